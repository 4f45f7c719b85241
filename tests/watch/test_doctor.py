"""Each thing that doctor looks at, broken for real: it names it, and says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bookconnect_dm.config import Settings
from bookconnect_dm.direct import CommandError
from bookconnect_dm.doctor import examine, slow
from tests.conftest import MakeCluster
from tests.helpers.pgbouncer import pooled_url
from tests.helpers.postgres import Database, run_async
from tests.helpers.world import World


def wrong(db: Database, **settings: Any) -> dict[str, str]:
    """What doctor finds wrong: name and cure."""
    addresses = {"admin_url": db.admin_url, "database_url": db.server_url, "feed_url": db.feed_url}
    ours = Settings(**{**addresses, **settings})
    return {c.name: c.what_to_do for c in run_async(lambda: examine(ours)) if not c.is_well}


UNCLOSED = 'alter policy "Users see their messages" on public.direct_messages using (true)'
EXPIRED = (
    "set session_replication_role = replica; update public.direct_messages set"
    " sent_at = sent_at - interval '40 days', retention_expires_at = sent_at - interval '10 days'"
)
STUCK = (
    "insert into messaging.recalculations (user_id, requested_at)"
    " select id, now() - interval '2 days' from public.users limit 1"
)
BREAK = {
    "everybody may do what the access rules say, and no more": (
        "grant select on messaging.settings to authenticated",
        "messaging.settings",
    ),
    "who does not say who he is sees nothing, as authenticated": (UNCLOSED, "migrate verify"),
    "retention keeps up": (EXPIRED, "retention run --once"),
    "changes of tier reach their messages": (STUCK, "pg_stat_activity"),
}


@pytest.mark.parametrize("name", BREAK)
def test_what_is_broken_is_named_with_its_cure(world: World, name: str) -> None:
    world.send(world.ada, world.converse(world.ada, world.ben), "there must be something to see")
    assert wrong(world.db) == {}
    statement, cure = BREAK[name]
    with world.db.as_superuser() as owner:
        for one in statement.split(";"):
            owner.execute(one)
    found = wrong(world.db)
    assert cure in found[name]


def test_a_slot_that_nobody_reads_is_named(live_pg: Database) -> None:
    live_pg.run("select pg_create_logical_replication_slot('bookconnect_dm_gone', 'pgoutput')")
    assert "pg_drop_replication_slot" in wrong(live_pg)["every slot of ours is read"]


@pytest.mark.parametrize(
    "setting",
    ["log_parameter_max_length_on_error = -1", "log_min_duration_statement = 0"],
)
def test_a_log_that_would_quote_messages_is_named(make_cluster: MakeCluster, setting: str) -> None:
    db = make_cluster(18).database()
    db.cluster.execute(f"alter database {db.name} set {setting}")
    assert "log_parameter_max_length" in wrong(db)["PostgreSQL's log quotes no message"]


def test_a_damaged_folder_of_backups_is_one_finding(pg: Database, tmp_path: Path) -> None:
    record = tmp_path / "lines" / "0001" / "line.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    said = wrong(pg, backup_folder=str(tmp_path))
    assert list(said) == ["a backup younger than 8 days was proved"]
    assert f"{record} is damaged" in said["a backup younger than 8 days was proved"]


def test_a_pooler_is_named_where_it_does_harm(pg: Database) -> None:
    with pooled_url(pg.server_url) as url:
        name = "prepared statements suit the way to the database"
        assert "PREPARED_STATEMENTS=off" in wrong(pg, database_url=url)[name]
        assert name not in wrong(pg, database_url=url, prepared_statements="off")
    with pooled_url(pg.feed_url) as url:
        assert "the feed connects directly" in wrong(pg, feed_url=url)


def test_slow_says_what_is_missing_and_lists_our_statements(make_cluster: MakeCluster) -> None:
    db = make_cluster(18, shared_preload_libraries="pg_stat_statements").database()
    with pytest.raises(CommandError, match="create extension pg_stat_statements"):
        run_async(lambda: slow(db.admin_url))
    db.run("create extension pg_stat_statements")
    db.run("select messaging.schema_version()")
    assert "messaging.schema_version" in str(run_async(lambda: slow(db.admin_url)))
