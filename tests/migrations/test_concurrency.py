"""Many at once, interrupted, in the way of members: one migration happens whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from bookconnect_dm import migrate
from bookconnect_dm.direct import CommandError
from tests.conftest import MakeCluster
from tests.helpers.migrating import findings, plan_with, up
from tests.helpers.postgres import Cluster, Database
from tests.helpers.schema import catalog_of
from tests.helpers.world import World


def wait_until(condition: Callable[[], object], *, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def adding(more: str) -> Callable[[str], str]:
    return lambda text: text + more


def test_ten_ups_at_once_apply_once(empty_pg: Database) -> None:
    ready = threading.Barrier(10)

    def one() -> list[str]:
        ready.wait(timeout=30)
        return up(empty_pg)

    with ThreadPoolExecutor(10) as threads:
        results = [future.result(timeout=60) for future in [threads.submit(one) for _ in range(10)]]
    assert sorted(map(len, results)) == [0] * 9 + [len(migrate.plan("standalone"))]
    assert findings(empty_pg) == []


def test_processes_at_once_all_succeed(empty_pg: Database) -> None:
    env = {**os.environ, "BOOKCONNECT_DM_ADMIN_URL": empty_pg.admin_url}
    command = [sys.executable, "-c", "from bookconnect_dm.cli import main; main()", "migrate", "up"]
    running = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=60)[0].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert sum("Nothing to do." in one for one in said) == 2
    assert findings(empty_pg) == []


def test_databases_of_one_fresh_cluster_migrate_at_once(make_cluster: MakeCluster) -> None:
    """They share the cluster's roles, which only one of them can make."""
    cluster: Cluster = make_cluster(18)
    databases = [cluster.empty_database() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(up, databases))
    assert [findings(database) for database in databases] == [[]] * 4


def test_a_migration_whose_backend_is_killed_has_not_happened_and_resumes(
    empty_pg: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as slow:
        slow.setattr(migrate, "plan", plan_with(4, lambda text: f"{text}\nselect pg_sleep(60);"))
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(up, empty_pg)
            kill = (
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s"
                " and application_name = 'bookconnect-dm migrate' and wait_event = 'PgSleep'"
            )
            wait_until(lambda: empty_pg.cluster.execute(kill, empty_pg.name))
            with pytest.raises(CommandError):
                running.result(timeout=30)
    assert empty_pg.run("select to_regnamespace('messaging') as made") == [{"made": None}]
    assert empty_pg.run("select to_regclass('public.conversations') as made") == [{"made": None}]
    assert up(empty_pg)
    assert findings(empty_pg) == []


def test_a_migration_whose_process_is_killed_has_not_happened(pg: Database) -> None:
    """It re-applies code in a database with everything in it; half of it must not stay."""
    catalog = catalog_of(pg)
    program = (
        "import asyncio\n"
        "from bookconnect_dm import migrate\n"
        "from tests.helpers.migrating import plan_with\n"
        "migrate.plan = plan_with(5, lambda text: 'drop policy \"Users see their messages\" on'\n"
        "  ' public.direct_messages; select pg_sleep(60);' + text)\n"
        f"asyncio.run(migrate.up({pg.admin_url!r}, adapter='standalone'))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        sleeping = "select pid from pg_stat_activity where datname = %s and wait_event = 'PgSleep'"
        wait_until(lambda: pg.cluster.execute(sleeping, pg.name))
        process.kill()
    # The server notices at its next word to the client; here it is told.
    pg.cluster.execute(f"select pg_terminate_backend(pid) from ({sleeping}) as s", pg.name)
    wait_until(lambda: catalog_of(pg) == catalog)
    assert findings(pg) == []
    assert up(pg) == []


def test_a_table_in_use_is_said_with_who_uses_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "plan", plan_with(2, lambda text: f"{text}\n-- next\n"))
    monkeypatch.setattr(migrate, "TABLE_PATIENCE_S", 0.5)
    with world.db.connect() as busy:
        busy.execute("set application_name = 'nightly report'")
        busy.execute("select count(*) from public.direct_messages")
        with pytest.raises(CommandError) as refused:
            up(world.db)
        assert "try again when the database is quieter" in str(refused.value)
        assert str(refused.value).startswith("Table public.direct_messages was in use")
        assert f"process {busy.info.backend_pid} (postgres, nightly report" in str(refused.value)
    assert up(world.db)


def test_the_hosts_users_in_use_are_waited_for_when_the_trigger_is_placed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never again: later releases apply their code past the host's open transactions."""
    db = cluster.empty_database(host="bookconnect")
    monkeypatch.setattr(migrate, "LOCK_WAIT_MS", 50)
    with db.connect() as busy:
        busy.execute("update public.users set displayname = 'Ada L.'")
        with pytest.raises(CommandError, match="try again when the database is quieter"):
            up(db)
        busy.rollback()
        assert up(db)
        monkeypatch.setattr(migrate, "plan", plan_with(2, adding("\n-- next\n")))
        busy.execute("update public.users set displayname = 'Ada L.'")
        assert up(db)
    db.drop()


def test_code_is_applied_while_members_write_and_nobody_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Senders lock messages, then the conversation; readers the other way round."""
    conversation = world.converse(world.ada, world.ben)
    stop = threading.Event()

    def write() -> int:
        sent = 0
        while not stop.is_set():
            world.send(world.ada, conversation, "still here")
            sent += 1
        return sent

    def read() -> int:
        pages = 0
        while not stop.is_set():
            with world.db.as_user(world.ben) as connection:
                connection.execute("select * from public.get_user_conversations()")
                connection.execute("select * from public.direct_messages limit 1")
            pages += 1
        return pages

    with ThreadPoolExecutor(4) as threads:
        working = [threads.submit(work) for work in (write, write, read, read)]
        try:
            for round_number in range(2):
                more = f"\n-- release {round_number}\n"
                monkeypatch.setattr(migrate, "plan", plan_with(2, adding(more)))
                assert up(world.db)
        finally:
            stop.set()
        assert all(future.result(timeout=30) > 0 for future in working)
    assert findings(world.db) == []


def test_whoever_holds_the_migrations_lock_is_named(
    pg: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is no secret: any login can take it, and stay."""
    monkeypatch.setattr(migrate, "LOCK_ATTEMPTS", 2)
    with psycopg.connect(pg.url("bookconnect_dm_server"), autocommit=True) as stranger:
        stranger.execute("set application_name = 'not ours'")
        stranger.execute("select pg_advisory_lock(hashtext('bookconnect_dm migrate'), 0)")
        with pytest.raises(CommandError, match="Another migration") as refused:
            up(pg)
        named = f"process {stranger.info.backend_pid} (bookconnect_dm_server, not ours)"
        assert named in str(refused.value)
    assert up(pg) == []


def test_a_waiting_migration_holds_no_snapshot(pg: Database) -> None:
    """One that waits for another for a minute must not keep dead rows alive meanwhile."""
    with psycopg.connect(pg.admin_url, autocommit=True) as first:
        first.execute("select pg_advisory_lock(hashtext('bookconnect_dm migrate'), 0)")
        with ThreadPoolExecutor(1) as thread:
            second = thread.submit(up, pg)
            waiting = (
                "select state, backend_xmin from pg_stat_activity"
                " where application_name = 'bookconnect-dm migrate' and datname = %s"
            )
            wait_until(lambda: ("idle", None) in pg.cluster.execute(waiting, pg.name))
            first.execute("select pg_advisory_unlock_all()")
            assert second.result(timeout=30) == []
