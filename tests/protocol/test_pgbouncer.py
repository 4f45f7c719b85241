"""Behind PgBouncer in transaction mode, all but the feed.

A smoke set; with PROOF=1 every test with a server in it, as it is, through it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.helpers import through
from tests.helpers.live import live
from tests.helpers.pgbouncer import POOL, Pooler, pooler
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World
from tests.protocol.conftest import Client

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def door(shared: World) -> Iterator[Pooler]:
    with pooler(shared.db.direct_url) as one:
        yield one


@pytest.fixture(scope="module")
def pooled(door: Pooler, shared: World) -> Iterator[RunningServer]:
    url = door.url(shared.db.name)
    with running_server(shared.db, DATABASE_URL=url, PREPARED_STATEMENTS="off") as server:
        yield server


def test_many_at_once_each_as_himself(pooled: RunningServer, shared: World, client: Client) -> None:
    """Connections are shared statement by statement: no answer is another member's."""
    conversation = shared.converse(shared.ada, shared.ben)

    def one(number: int, member: UUID) -> None:
        who = client(pooled, member)
        for turn in range(6):
            assert who.get("/v1/me").json()["id"] == str(member)
            inbox = who.get("/v1/conversations").json()["conversations"]
            is_in = member in {shared.ada, shared.ben}
            assert [c["id"] for c in inbox] == ([str(conversation)] if is_in else [])
            messages = f"/v1/conversations/{conversation}/messages"
            body = {"content": f"{number}/{turn}", "id": str(uuid4())}
            answer = who.post(messages, json=body)
            assert answer.status_code == (201 if is_in else 404), answer.text
            if is_in:
                assert answer.json()["sender_id"] == str(member)
                assert who.post(messages, json=body).status_code == 200
                assert who.post(f"/v1/conversations/{conversation}/read", json={}).is_success
                assert who.delete(f"/v1/messages/{body['id']}").status_code == 204
            assert who.get(messages, params={"limit": 5}).status_code == (200 if is_in else 404)
            assert who.get("/v1/members").is_success
            sync = who.post("/v1/sync", json={"positions": {}})
            assert len(sync.json()["conversations"]) == is_in

    members = [*shared.members.values()] * 2
    with ThreadPoolExecutor(len(members)) as pool:
        for done in [pool.submit(one, *arguments) for arguments in enumerate(members)]:
            done.result()


async def test_the_socket_works_as_ever(pooled: RunningServer, shared: World) -> None:
    conversation = str(shared.converse(shared.ada, shared.ben))
    async with (
        live(pooled.socket_url, token_for(shared.ada)) as ada,
        live(pooled.socket_url, token_for(shared.ben)) as ben,
    ):
        last = {}
        for _ in range(20):
            fields = {"id": str(uuid4()), "conversation_id": conversation, "content": "Hello"}
            last = (await ada.ask("send", **fields))["message"]
            assert (await ben.hear("message"))["message"] == last
        await ada.say("typing", conversation_id=conversation)
        await ben.hear("typing")
        read = await ben.ask("read", conversation_id=conversation)
        assert read["last_read_at"] == last["sent_at"]
        assert (await ada.ask("delete", id=last["id"]))["type"] == "ack"
        assert (await ben.hear("message_deleted"))["id"] == last["id"]


def test_nothing_of_the_server_s_login_goes_past_it(
    pooled: RunningServer, door: Pooler, shared: World, client: Client
) -> None:
    def done() -> int:
        rows = door.show("stats")
        return sum(row["total_xact_count"] for row in rows if row["database"] == shared.db.name)

    before = done()
    assert client(pooled, shared.ada).get("/v1/me").status_code == 200
    assert done() > before
    ours, others = door.strangers(shared.db.name)
    assert 1 <= ours <= POOL
    assert others == []
    # The password at its door is not PostgreSQL's.
    past_it = make_conninfo(door.url(shared.db.name), port=shared.db.cluster.embedded.port)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(past_it)


def test_who_goes_past_it_is_seen(pooled: RunningServer, door: Pooler, shared: World) -> None:
    with psycopg.connect(shared.db.direct_url, application_name="bookconnect-dm"):
        _, others = door.strangers(shared.db.name)
        assert [row["application_name"] for row in others] == ["bookconnect-dm"]


def test_a_server_is_not_ready_while_its_pooler_reaches_nobody(
    pooled: RunningServer, shared: World, client: Client
) -> None:
    """Its connections live, up to the pooler, and the feed is direct: neither knows."""
    ada, name = client(pooled, shared.ada), shared.db.name
    assert ada.get("/v1/me").status_code == 200
    execute = shared.db.cluster.execute
    execute(f"alter database {name} allow_connections false")
    try:
        execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = 'bookconnect_dm_server' and datname = %s",
            name,
        )
        assert ada.get("/v1/me").json()["code"] == "UNAVAILABLE"
        assert ada.get("/readyz").status_code == 503
        assert ada.get("/readyz").json()["detail"] == "The database is away."
    finally:
        execute(f"alter database {name} allow_connections true")
    pooled.wait_for(200)
    assert ada.get("/v1/me").status_code == 200, "ready is ready"


def test_what_is_left_out_is_there_and_counted() -> None:
    files = through.played()
    assert len(files) > 20
    for name in through.LEFT_OUT:
        path, _, test = name.partition("::")
        assert f"def {test}" in (ROOT / path).read_text("utf-8"), name
        assert path not in files or test
    assert len(through.LEFT_OUT) == 3, "one more is a decision: say why, and count it here"


@pytest.mark.skipif(not os.environ.get("PROOF"), reason="the whole API: make proof")
def test_the_servers_tests_pass_through_it(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PROOF"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n2", "-rs", *through.played()],
        cwd=ROOT,
        env={**env, "THROUGH_PGBOUNCER": str(tmp_path / "seen"), "SEED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]
    seen = through.Seen.all_of(tmp_path / "seen")
    print(done.stdout[-2_000:], seen)
    assert seen.transactions > 1_000
    assert seen.looks > 50
    assert seen.backends > seen.looks, "each with more than one on average"
    tests = [name for name in through.LEFT_OUT if "::" in name]
    assert len(re.findall(through.MARK, done.stdout)) >= len(tests)
