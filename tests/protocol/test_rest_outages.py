"""The database is away, wrong, or goes; the server is told to stop: what each looks like."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from bookconnect_dm.app import SCHEMA_VERSION
from bookconnect_dm.config import PREFIX
from bookconnect_dm.db import Database, Outage
from bookconnect_dm.errors import Problem
from bookconnect_dm.metrics import Metrics
from tests.conftest import MakeCluster
from tests.helpers.live import live, raw
from tests.helpers.server import (
    RunningServer,
    free_port,
    running_server,
    server_env,
    token_for,
)
from tests.helpers.world import World, make_world
from tests.protocol.conftest import Client


def serve(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `serve` to its end."""
    script = [sys.executable, "-c", "from bookconnect_dm.cli import main; main()", "serve"]
    return subprocess.run(script, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_serve_names_what_is_missing(own: World) -> None:
    env = server_env(own.db, free_port())
    for names in (["FEED_URL"], ["DATABASE_URL", "JWT_SECRET"]):
        ended = serve({k: v for k, v in env.items() if k.removeprefix(PREFIX) not in names})
        assert ended.returncode != 0
        assert all(PREFIX + name in ended.stderr for name in names)
        assert len(ended.stderr.strip().splitlines()) == 1


def test_serve_refuses_a_database_without_our_schema(own: World) -> None:
    empty = own.db.cluster.empty_database()
    ended = serve(server_env(empty, free_port()))
    assert ended.returncode != 0
    assert "migrate up" in ended.stderr
    assert len((ended.stdout + ended.stderr).splitlines()) == 1, "one sentence, and nothing else"


def test_serve_refuses_a_newer_schema(own: World) -> None:
    own.db.run(
        "create or replace function messaging.schema_version() returns int"
        f" language sql immutable begin atomic select {SCHEMA_VERSION + 1}; end"
    )
    ended = serve(server_env(own.db, free_port()))
    assert ended.returncode != 0
    assert "newer server" in ended.stderr.splitlines()[-1]


def test_serve_refuses_a_login_above_the_rules(own: World) -> None:
    """It would work, and every policy would be void."""
    ended = serve(server_env(own.db, free_port(), DATABASE_URL=own.db.admin_url))
    assert ended.returncode != 0
    assert "bookconnect_dm_server" in ended.stderr.splitlines()[-1]


def test_the_version_we_need_is_the_one_that_the_migrations_make(own: World) -> None:
    (row,) = own.db.run("select messaging.schema_version() as version")
    assert row["version"] == SCHEMA_VERSION


def test_serve_says_that_its_port_is_taken(own: World, server: RunningServer) -> None:
    ended = serve(server_env(own.db, server.port))
    assert ended.returncode != 0
    assert str(server.port) in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_database_that_comes_late_is_waited_for(
    make_cluster: MakeCluster, client: Client
) -> None:
    cluster = make_cluster(18, synchronous_commit="on")
    world = make_world(cluster.database())
    cluster.embedded.stop()
    with running_server(world.db, ready=False) as server:
        ada = client(server, world.ada)
        answer = ada.get("/v1/me")
        assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
        assert answer.headers["retry-after"]
        assert ada.get("/readyz").status_code == 503
        assert ada.get("/healthz").status_code == 200
        cluster.embedded.start()
        server.wait_for(200)
        assert ada.get("/v1/me").status_code == 200


async def test_whoever_reaches_the_database_again_ends_the_outage_for_all(own: World) -> None:
    """A server that said it was ready went on refusing sends: only its reads had looked again."""
    outage = Outage(cool_until=time.monotonic() + 3_600)
    reads, writes = (
        Database(own.db.server_url, size=1, metrics=Metrics(), outage=outage) for _ in range(2)
    )
    try:
        with pytest.raises(Problem, match="away"):
            await writes.fetch("schema")
        assert await reads.is_up()
        assert await writes.fetch("schema") == [(SCHEMA_VERSION, True)]
    finally:
        await reads.close()
        await writes.close()


async def test_a_database_that_goes_and_comes_back(
    make_cluster: MakeCluster, client: Client
) -> None:
    cluster = make_cluster(18, synchronous_commit="on")
    world = make_world(cluster.database())
    conversation = str(world.converse(world.ada, world.ben))
    with running_server(world.db) as server:
        ada, path = client(server, world.ada), f"/v1/conversations/{conversation}/messages"
        async with live(server.socket_url, token_for(world.ben)) as ben:
            assert ada.post(path, json={"content": "before"}).status_code == 201
            await ben.hear("message")

            started = time.monotonic()
            await asyncio.to_thread(cluster.embedded.stop)
            # A server that keeps replication and connections open does not hold it up.
            assert time.monotonic() - started < 20

            started = time.monotonic()
            statuses = {ada.get("/v1/me").status_code for _ in range(10)}
            assert statuses == {503}
            assert time.monotonic() - started < 15  # an outage is answered quickly, by a pooler too
            body = {"content": "meanwhile", "id": str(uuid4())}
            assert ada.post(path, json=body).json()["code"] == "UNAVAILABLE"
            error = await ben.ask("send", conversation_id=conversation, **body)
            assert error["code"] == "UNAVAILABLE"
            assert ada.get("/readyz").status_code == 503

            await asyncio.to_thread(cluster.embedded.start)
            await asyncio.to_thread(server.wait_for, 200)
            sent = ada.post(path, json=body)
            assert sent.status_code == 201
            heard = await ben.hear("message")  # the same socket, which lived through it all
            assert heard["message"]["id"] == body["id"]


async def test_who_connects_during_an_outage_is_told_to_come_back(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster(18, synchronous_commit="on")
    world = make_world(cluster.database())
    with running_server(world.db) as server:
        await asyncio.to_thread(cluster.embedded.stop)
        async with raw(server.socket_url) as ada:
            await ada.say("auth", v=1, token=token_for(world.ada))
            assert await ada.close_code() == 1012
            assert [frame["code"] for frame in ada.heard] == ["UNAVAILABLE"]
        started = time.monotonic()
        assert await asyncio.to_thread(server.stop) == 0  # nor does an outage hold up a stop
        assert time.monotonic() - started < 10


def test_backends_that_are_killed_cost_nobody_an_error(
    server: RunningServer, shared: World, client: Client
) -> None:
    ada = client(server, shared.ada)
    for _ in range(3):
        assert ada.get("/v1/me").status_code == 200
        shared.db.run(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = 'bookconnect_dm_server' and datname = current_database()"
        )
    assert ada.get("/v1/me").status_code == 200


def test_a_member_who_locks_his_conversation_takes_nothing_from_others(
    own: World, client: Client
) -> None:
    """A direct session of his holds it while his own calls want it: he waits, nobody else does."""
    conversation = own.converse(own.ada, own.ben)
    message = own.send(own.ada, conversation, "held")
    with running_server(own.db) as server, own.db.as_user(own.ada) as holder:
        holder.execute("select * from send_message(%s, 'and not yet committed')", (conversation,))
        mine, others = client(server, own.ada), client(server, own.edgar)
        with ThreadPoolExecutor(20) as pool:
            wanted = [pool.submit(mine.delete, f"/v1/messages/{message}") for _ in range(20)]
            answers = [others.get("/v1/me").status_code for _ in range(20)]
            refused = {w.result().status_code for w in wanted}
    assert answers == [200] * 20
    assert refused == {503}


def test_tables_that_a_migration_holds_for_a_moment_cost_nobody_an_error(
    server: RunningServer, shared: World, client: Client
) -> None:
    """Longer than a statement waits for a lock, which is for rows that somebody sits on."""
    conversation = shared.converse(shared.ada, shared.ben)
    ada = client(server, shared.ada)
    with shared.db.as_superuser() as migration, ThreadPoolExecutor(2) as pool:
        migration.execute("lock table public.direct_messages, public.conversations")
        path = f"/v1/conversations/{conversation}/messages"
        read = pool.submit(ada.get, path)
        sent = pool.submit(ada.post, path, json={"content": "meanwhile"})
        time.sleep(0.4)
        migration.rollback()
        assert read.result().status_code == 200, read.result().text
        assert sent.result().status_code == 201, sent.result().text


async def test_delivery_asks_what_others_see_while_requests_have_every_connection(
    own: World, client: Client
) -> None:
    """A start is told when others see it; that question must not stand behind those who read."""
    members = (own.ada, own.ben, own.cleo, own.dora, own.edgar) * 4
    with running_server(own.db, POOL_SIZE="7") as server, ThreadPoolExecutor(20) as pool:
        async with live(server.socket_url, token_for(own.ben)) as ben:
            with own.db.as_superuser() as migration:
                migration.execute("lock table public.direct_messages")
                reads = [pool.submit(client(server, m).get, "/v1/conversations") for m in members]
                waits = "select 1 from pg_locks where not granted"
                while not own.db.run(waits):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                started = own.converse(own.ben, own.cleo)
                assert (await ben.hear("conversation"))["conversation_id"] == str(started)
                migration.rollback()
            for read in reads:
                read.result()
        assert "told_before_visible" not in server.log


async def test_sigterm_sends_1012_and_ends_quietly(own: World, client: Client) -> None:
    with running_server(own.db) as server:
        async with (
            live(server.socket_url, token_for(own.ada)) as ada,
            live(server.socket_url, token_for(own.ben)) as ben,
        ):
            server.signal(signal.SIGTERM)
            assert await ada.close_code() == 1012
            assert await ben.close_code() == 1012
        assert await asyncio.to_thread(server.stop) == 0
        assert "Traceback" not in server.log
    slots = own.db.run(
        "select slot_name from pg_replication_slots where database = current_database()"
    )
    assert slots == []


def test_who_is_told_to_stop_again_and_again_still_drops_its_slot(own: World) -> None:
    with running_server(own.db) as server:
        assert server.process is not None
        while server.process.poll() is None:
            server.signal(signal.SIGTERM)
            time.sleep(0.002)
        assert "Traceback" not in server.log
    slots = "select slot_name from pg_replication_slots where database = current_database()"
    assert own.db.run(slots) == []


def test_a_stopping_server_finishes_what_it_has_begun(own: World, client: Client) -> None:
    conversation = own.converse(own.ada, own.ben)
    with running_server(own.db) as server:
        with own.db.connect() as locker:
            locker.execute(
                "select from public.conversations where id = %s for update", (conversation,)
            )
            answers: list[httpx.Response] = []
            path = f"/v1/conversations/{conversation}/messages"
            ada = client(server, own.ada)
            thread = threading.Thread(
                target=lambda: answers.append(ada.post(path, json={"content": "last words"}))
            )
            thread.start()
            time.sleep(0.5)
            server.signal(signal.SIGTERM)
            time.sleep(0.5)
            locker.rollback()
        thread.join(15)
        assert [a.status_code for a in answers] == [201]


def test_the_demo_signs_in_and_lists_its_members(own: World, client: Client) -> None:
    port = free_port()
    demo = RunningServer(server_env(own.db, port), port)
    demo.arguments = (
        "import os; from bookconnect_dm.app import run; from bookconnect_dm.config import Settings;"
        "run(Settings.from_env(os.environ), demo=True)"
    )
    try:
        demo.start()
        nobody = client(demo)
        members = nobody.get("/demo/members").json()["members"]
        assert [m["username"] for m in members] == ["ada", "ben", "cleo", "dora", "edgar", "fern"]
        assert members[4]["store"] == "The Night Owl"
        token = nobody.post("/demo/sign-in", json={"username": "cleo"}).json()["token"]
        me = nobody.get("/v1/me", headers={"authorization": f"Bearer {token}"}).json()
        assert me["id"] == str(own.cleo)
        unknown = nobody.post("/demo/sign-in", json={"username": "zoe"})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "USER_NOT_FOUND")
        page = nobody.get("/")
        assert page.headers["content-type"].startswith("text/html")
        for name in re.findall(r'(?:href|src)="(/[^"]+)"', page.text):
            assert nobody.get(name).status_code == 200, name
    finally:
        demo.stop()
        demo.give_log_up()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_listens_where_it_is_told_to(own: World, host: str) -> None:
    with running_server(own.db, HOST=host) as server:
        assert httpx.get(f"http://{host}:{server.port}/healthz", verify=False).text == "ok\n"
