"""A server with RETENTION_URL is the worker too; one without removes nothing."""

from __future__ import annotations

import time

from tests.helpers.server import running_server
from tests.helpers.world import World

KINDS = "select step, sum(messages) as messages from messaging.cleanup_ledger group by step"


def _an_expired_message(world: World) -> None:
    world.send(world.ada, world.converse(world.ada, world.ben), "Long ago")
    with world.db.as_superuser() as owner:
        owner.execute("set local session_replication_role = replica")
        owner.execute(
            "update public.direct_messages set sent_at = sent_at - interval '400 days',"
            " retention_expires_at = retention_expires_at - interval '400 days'"
        )


def test_a_server_with_a_retention_url_cleans(live_world: World, worker_url: str) -> None:
    _an_expired_message(live_world)
    with running_server(live_world.db, RETENTION_URL=worker_url, RECOVERY_WINDOW="0") as server:
        deadline = time.monotonic() + 60
        while '"event": "retention_pass"' not in server.log:
            assert time.monotonic() < deadline, server.log
            time.sleep(0.1)
    assert live_world.db.run("select id from public.direct_messages") == []
    ledger = {row["step"]: row["messages"] for row in live_world.db.run(KINDS)}
    assert ledger == {"soft_delete": 1, "cleanup": 1}


def test_a_server_without_one_opens_no_connection_for_it(live_world: World) -> None:
    with running_server(live_world.db):
        names = live_world.db.run(
            "select application_name from pg_catalog.pg_stat_activity"
            " where datname = current_database() and application_name like '%%retention%%'"
        )
    assert names == []
