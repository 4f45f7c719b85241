"""Applying, rolling back and applying again end where they began."""

from __future__ import annotations

import pytest

from bookconnect_dm import migrate
from bookconnect_dm.direct import CommandError
from tests.helpers.migrating import down, findings, plan_with, states, up
from tests.helpers.postgres import Database
from tests.helpers.schema import catalog_of, dump_of
from tests.helpers.world import World, make_world


def test_up_down_up_gives_the_same_schema(fresh: Database) -> None:
    applied = up(fresh)
    catalog, dump = catalog_of(fresh), dump_of(fresh)
    assert down(fresh) == list(reversed(applied))
    assert up(fresh) == applied
    assert catalog_of(fresh) == catalog
    assert dump_of(fresh) == dump
    assert findings(fresh) == []


def test_down_leaves_the_host_as_it_was(fresh: Database) -> None:
    before = set(dump_of(fresh))
    up(fresh)
    down(fresh)
    left = set(dump_of(fresh))
    assert before <= left
    # What a plain host lacked: schema auth with auth.uid(), and the standalone host's own tables.
    extra = [line for line in left - before if "messaging" in line or "bookconnect_dm_tier" in line]
    assert extra == []
    if fresh.adapter == "supabase":
        assert left == before


def test_down_to_a_migration_that_is_not_there_takes_nothing(pg: Database) -> None:
    with pytest.raises(CommandError, match=r"no migration 99 here: the newest is 5\."):
        down(pg, to=99)
    assert findings(pg) == []


def test_up_again_finds_nothing_to_do(pg: Database) -> None:
    before = pg.run("select name, applied_at from messaging.migrations order by name")
    assert up(pg) == []
    assert pg.run("select name, applied_at from messaging.migrations order by name") == before


def test_down_to_any_migration_and_up_again(world: World) -> None:
    message = world.send(world.ada, world.converse(world.ada, world.ben), "kept")
    catalog = catalog_of(world.db)
    for to in range(5, 0, -1):
        gone = down(world.db, to=to)
        numbers = [int(name[9:12]) for name in gone if name[:8].isdigit()]
        assert numbers == list(range(5, to, -1))
        assert states(world.db)["catalog"] == ("applied" if to == 5 else "pending")
        # Half-way back, the host's own update of a tier must not fail.
        world.set_tier(world.ada, "free")
        up(world.db)
        assert catalog_of(world.db) == catalog
        world.set_tier(world.ada, "privileged_plus")
    assert world.db.run("select id from public.direct_messages") == [{"id": message}]
    assert findings(world.db) == []


def test_down_step_by_step_takes_one_at_a_time(pg: Database) -> None:
    for number in range(5, 0, -1):
        gone = [name for name in down(pg, to=number - 1) if name[:8].isdigit()]
        assert [int(name[9:12]) for name in gone] == [number]
        assert down(pg, to=number - 1) == []
    assert pg.run("select to_regnamespace('messaging') as found")[0]["found"] is None


def test_a_database_where_the_workers_runs_were_a_migration_of_their_own(pg: Database) -> None:
    record = "insert into messaging.migrations values ('20261127_006_retention_runs', 'x', now())"
    pg.run(record)
    assert up(pg) == []
    assert findings(pg) == []
    pg.run(record)
    assert len(down(pg, to=4)) == 2


@pytest.mark.parametrize("is_rolled_back", [False, True])
def test_a_database_whose_indexes_are_by_the_exact_expiry(
    world: World, *, is_rolled_back: bool
) -> None:
    """As it was before 0.1.0 was out: it gets the ones by a rounded time, and keeps its rows."""
    message = world.send(world.ada, world.converse(world.ada, world.ben), "still here")
    if is_rolled_back:
        down(world.db, to=3)
    with world.db.connect() as owner:
        owner.execute("""
            drop index public.idx_messages_sender_id, public.idx_messages_retention_expires;
            create index idx_messages_sender_id
            on public.direct_messages (sender_id, retention_expires_at);
            create index idx_messages_retention_expires
            on public.direct_messages (is_deleted, retention_expires_at);
            update messaging.migrations
            set checksum = 'fdf3b31ddc9c7b15f6ef01fdd2da7a697efdd2be8ff6c784a05ec5da5bb66fbb'
            where name like '%_003_%'
        """)
        if not is_rolled_back:
            owner.execute("""
                update messaging.expected_objects as e set definition = c.definition
                from messaging.catalog() as c where (e.kind, e.name) = (c.kind, c.name)
            """)
    up(world.db)
    assert findings(world.db) == []
    assert up(world.db) == []
    rounded = world.db.run("select from pg_indexes where indexdef like '%date_bin%'")
    assert len(rounded) == 2
    assert world.db.run("select id from public.direct_messages") == [{"id": message}]


def test_down_refuses_to_lose_messages_and_prints_the_backup_command(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    for n in range(3):
        world.send(world.ada, conversation, f"message {n}")
    with pytest.raises(CommandError) as refused:
        down(world.db)
    assert "3 messages in 1 conversations" in str(refused.value)
    assert "pg_dump --format=custom --file=before-rollback.dump" in str(refused.value)
    assert "--force" in str(refused.value)
    assert findings(world.db) == []

    assert down(world.db, force=True)
    assert world.db.run("select to_regclass('public.direct_messages') as gone") == [{"gone": None}]
    assert world.db.run("select count(*) from public.users") == [{"count": 6}]


def test_down_refuses_to_lose_a_conversation_without_messages(world: World) -> None:
    world.converse(world.ada, world.ben)
    with pytest.raises(CommandError, match="1 conversations"):
        down(world.db)


def test_a_legal_hold_stops_even_a_forced_rollback(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    world.db.run("select messaging.place_hold(%s, 'a court asks')", conversation)
    with pytest.raises(CommandError, match="legal hold"):
        down(world.db, force=True)
    world.db.run("select messaging.release_hold(%s)", conversation)
    assert down(world.db, force=True)


def test_a_rollback_of_code_needs_no_force(world: World) -> None:
    world.send(world.ada, world.converse(world.ada, world.ben), "kept")
    assert down(world.db, to=1)


def test_down_of_nothing_does_nothing(empty_pg: Database) -> None:
    assert down(empty_pg) == []


def test_changed_code_is_applied_again_and_tables_are_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = world.send(world.ada, world.converse(world.ada, world.ben), "kept")
    changed = plan_with(
        4,
        lambda text: text.replace(
            "'Only its sender can delete a message.'", "'Not yours to delete.'"
        ),
    )
    monkeypatch.setattr(migrate, "plan", changed)
    assert states(world.db)["20261122_004_direct_messaging_functions"] == "changed"
    applied = up(world.db)
    assert "20261122_004_direct_messaging_functions" in applied
    assert "20261122_005_direct_messaging_triggers" in applied
    assert not [name for name in applied if "_001_" in name or "_003_" in name]
    assert findings(world.db) == []
    assert world.db.run("select id from public.direct_messages") == [{"id": message}]
    source = world.db.run(
        "select prosrc from pg_proc where oid = 'messaging.delete_message(uuid)'::regprocedure"
    )
    assert "Not yours to delete." in source[0]["prosrc"]


def test_applying_code_again_mends_what_was_dropped(
    pg: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = catalog_of(pg)
    pg.run("drop function public.delete_message(uuid)")
    pg.run('drop policy "Users see their messages" on public.direct_messages')
    monkeypatch.setattr(migrate, "plan", plan_with(2, lambda text: text + "\n-- next release\n"))
    up(pg)
    assert catalog_of(pg) == catalog


def test_members_and_accounts_of_the_world_survive_down_and_up(world: World) -> None:
    down(world.db)
    up(world.db)
    fresh = make_world(world.db)
    fresh.send(fresh.ada, fresh.converse(fresh.ada, fresh.ben), "again")
    assert world.db.run("select count(*) from public.direct_messages") == [{"count": 1}]
