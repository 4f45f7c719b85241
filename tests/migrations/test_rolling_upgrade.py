"""An upgrade under load: the servers of an older commit, its schema, then ours, one after another.

The older commit is the last one with other SQL, with the wire that it had. Members chat all the
time over two servers; no call fails and no message is lost, in each of these states: old servers
on the new schema, an old and a new server side by side, new servers on a schema that has gone on
(a column and a function more), an old server back on it.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bookconnect_dm import migrate, migrations
from bookconnect_dm.client import Client
from bookconnect_dm.crew import Crew, Order
from tests.helpers.migrating import findings, up
from tests.helpers.postgres import Cluster, Database
from tests.helpers.server import RunningServer, free_port, server_env, token_for
from tests.helpers.world import World, make_world
from tests.migrations.test_next_release import BACK, CODE, PINS, TABLES

pytestmark = pytest.mark.feed

ROOT = Path(__file__).resolve().parents[2]
SQL = "src/bookconnect_dm/sql"
SPEAKS = (f"{SQL}/migrations", f"{SQL}/functions")
SENDS = 100 if os.environ.get("PROOF") else 6
"""In each state, before the next begins."""


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)


def is_same(commit: str, *paths: str) -> bool:
    """Whether these are in the working copy as they were then."""
    return git("diff", "--quiet", commit, "--", *paths).returncode == 0


def older_commit() -> str | None:
    """Find the last commit with another schema."""
    commits = git("log", "--format=%H", "--", *SPEAKS).stdout.decode().split()
    return next((commit for commit in commits if not is_same(commit, *SPEAKS)), None)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it was then."""
    commit = older_commit()
    if commit is None:
        pytest.skip("there is no history here: nothing to upgrade from")
    folder = tmp_path_factory.mktemp("older")
    archive = git("archive", commit, "src").stdout
    # Python's own tarfile warns without a filter, and knows none before 3.11.4.
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder / "src"


@pytest.fixture
def old_world(
    live_cluster: Cluster, older: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A database with the older package's schema."""
    live_cluster.database().drop()  # the logins must be there, with passwords
    db = live_cluster.empty_database()
    with monkeypatch.context() as then:
        then.setattr(migrations, "SQL", older / "bookconnect_dm" / "sql")
        up(db)
    yield make_world(db)
    db.drop()


def a_server(db: Database, source: Path | None, port: int) -> RunningServer:
    env = server_env(db, port)
    return RunningServer(env | {"PYTHONPATH": str(source)} if source else env, port)


FAILED = re.compile(
    r'bookconnect_dm_(?:statements|sends|rejections)_total\{.*"(INTERNAL|UNAVAILABLE)".*\} [1-9].*'
)


def must_have_served(server: RunningServer, *, is_ours: bool) -> None:
    """Clients repeat what fails for a moment, so that it is asked of the server.

    An older one may have said that a lock took too long, as it did until that was repeated. That it
    is not ready yet, a server says to whoever asks for that.
    """
    told = httpx.get(f"{server.url}/metrics").text
    failed = [
        found[0]
        for found in FAILED.finditer(told)
        if found[1] == "INTERNAL" or (is_ours and "_rejections_" not in found[0])
    ]
    assert not failed, [*failed, server.log]


def restart(was: RunningServer, then: RunningServer, *, was_ours: bool) -> None:
    must_have_served(was, is_ours=was_ours)
    assert was.stop() == 0, was.log
    then.start(timeout_s=60)


async def until_sent(crew: Crew, more: int = SENDS) -> None:
    """Let messages flow for a while."""
    goal = len(crew.result.took_s["send"]) + more
    async with asyncio.timeout(120):
        while len(crew.result.took_s["send"]) < goal:
            assert not crew.result.problems, crew.result.problems
            await asyncio.sleep(0.05)


async def upgrade(
    crew: Crew, db: Database, older: Path, servers: list[RunningServer], next_release: Path
) -> None:
    first, second = servers
    await until_sent(crew)
    assert await migrate.up(db.admin_url, adapter="standalone", warn=lambda _: None)
    await until_sent(crew)
    for was in (first, second):
        servers.append(a_server(db, None, was.port))
        await asyncio.to_thread(restart, was, servers[-1], was_ours=False)
        await until_sent(crew)
    (next_release / "migrations" / f"{PINS}.sql").write_text(TABLES)
    (next_release / "rollbacks" / f"{PINS}.sql").write_text(BACK)
    code = next_release / "functions" / "support.sql"
    code.write_text(code.read_text("utf-8") + CODE)
    applied = await migrate.up(db.admin_url, adapter="standalone", warn=lambda _: None)
    assert PINS in applied
    await until_sent(crew)
    servers.append(a_server(db, older, first.port))
    await asyncio.to_thread(restart, servers[2], servers[-1], was_ours=True)
    await until_sent(crew)
    await asyncio.to_thread(must_have_served, servers[3], is_ours=True)


async def test_no_call_fails_while_schema_and_servers_are_replaced(
    old_world: World, older: Path, next_release: Path
) -> None:
    db = old_world.db
    servers = [a_server(db, older, free_port()) for _ in range(2)]
    order = Order(server="", members=4, seconds=600, messages_per_hour=20_000, sends_per_second=20)
    crew = Crew(order, lambda *_: None)
    names = ("ada", "ben", "cleo", "dora")
    clients = []
    try:
        for server in servers:
            await asyncio.to_thread(server.start, timeout_s=60)
        for number, name in enumerate(names):
            user = old_world.members[name]

            async def token(user: object = user) -> str:
                return token_for(user)  # type: ignore[arg-type]

            clients.append(Client(servers[number % 2].url, token))
            crew.add(user, clients[-1], may_start=name in {"ada", "ben"})
        working = asyncio.create_task(crew.work(order.seconds))
        try:
            await upgrade(crew, db, older, servers, next_release)
        finally:
            crew.end()
            result = await working
    finally:
        for client in clients:
            await client.close()
        for server in servers:
            if server.process is not None and server.process.poll() is None:
                await asyncio.to_thread(server.stop)
            print(server.log[-2_000:])
            server.give_log_up()
    assert not result.problems, result.problems
    assert result.unheard == 0
    assert result.reconnects >= 6, "each of three restarts sent two members away"
    stored = db.run("select count(*) as n from public.direct_messages")[0]["n"]
    assert stored == len(result.took_s["send"]) >= 6 * SENDS
    assert await asyncio.to_thread(findings, db) == []
