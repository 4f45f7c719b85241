"""`verify` names what is not as the migrations left it."""

from __future__ import annotations

from importlib.resources import files

import pytest
from psycopg.rows import tuple_row

from bookconnect_dm import migrate
from bookconnect_dm.db import load_queries
from bookconnect_dm.drift import Difference
from tests.helpers.migrating import down, findings, plan_with, states, up
from tests.helpers.postgres import Database, run_async
from tests.helpers.world import World

ADMIN_SQL = (files("bookconnect_dm") / "sql" / "admin.sql").read_text("utf-8")
DRIFT_QUERY = load_queries(ADMIN_SQL)["drift"]

DRIFT = {
    "a dropped policy": (
        'drop policy "Users see their messages" on public.direct_messages',
        'policy public.direct_messages."Users see their messages" is missing',
    ),
    "a weakened policy": (
        'alter policy "Users see their messages" on public.direct_messages using (true)',
        'policy public.direct_messages."Users see their messages" is changed',
    ),
    "a policy for others": (
        'alter policy "Users see their messages" on public.direct_messages to anon',
        'policy public.direct_messages."Users see their messages" is changed',
    ),
    "an added policy": (
        "create policy everybody on public.conversations for select using (true)",
        'policy public.conversations."everybody" is unexpected',
    ),
    "row security switched off": (
        "alter table public.conversations disable row level security",
        "table public.conversations is changed",
    ),
    "a changed function": (
        (
            "create or replace function messaging.tier_days(tier text) returns int"
            " language sql immutable as 'select 365'"
        ),
        "function messaging.tier_days(text) is changed",
    ),
    "a function without its pinned path": (
        "alter function messaging.delete_message(uuid) reset search_path",
        "function messaging.delete_message(uuid) is changed",
    ),
    "a dropped function": (
        "drop function public.find_member(text)",
        "function public.find_member(text) is missing",
    ),
    "a missing index": (
        "drop index public.idx_messages_deletions",
        "index public.idx_messages_deletions is missing",
    ),
    "another index": (
        "create index slow on public.direct_messages (content)",
        "index public.slow is unexpected",
    ),
    "a widened grant on a table": (
        "grant delete on public.direct_messages to authenticated",
        "table public.direct_messages is changed",
    ),
    "a widened grant on a column": (
        "grant update (content) on public.direct_messages to authenticated",
        "column public.direct_messages.content is changed",
    ),
    "a widened grant on a function": (
        "grant execute on function public.cleanup_expired_messages() to anon",
        "function public.cleanup_expired_messages() is changed",
    ),
    "a function open to everybody": (
        "grant execute on function messaging.become(uuid) to public",
        "function messaging.become(uuid) is changed",
    ),
    "a widened grant on the schema": (
        "grant usage on schema messaging to authenticated",
        "schema messaging is changed",
    ),
    "a grant that is gone": (
        "revoke select on public.conversations from authenticated",
        "table public.conversations is changed",
    ),
    "a disabled trigger": (
        "alter table public.direct_messages disable trigger _100_set_message_clock",
        "trigger public.direct_messages._100_set_message_clock is changed",
    ),
    "a dropped trigger on the host's table": (
        "drop trigger bookconnect_dm_tier_changed on public.users",
        "trigger public.users.bookconnect_dm_tier_changed is missing",
    ),
    "a column that may be null": (
        "alter table public.direct_messages alter retention_expires_at drop not null",
        "column public.direct_messages.retention_expires_at is changed",
    ),
    "a changed default": (
        "alter table public.direct_messages alter is_deleted set default true",
        "column public.direct_messages.is_deleted is changed",
    ),
    "a dropped constraint": (
        (
            "alter table public.conversation_participants"
            " drop constraint conversation_participants_user_id_fkey"
        ),
        (
            "constraint public.conversation_participants.conversation_participants_user_id_fkey"
            " is missing"
        ),
    ),
    "another owner": (
        "alter table public.direct_messages owner to pg_database_owner",
        "table public.direct_messages is changed",
    ),
    "a publication that says less": (
        "alter publication bookconnect_dm set (publish = 'insert')",
        "publication bookconnect_dm is changed",
    ),
    "a publication without a table": (
        "alter publication bookconnect_dm drop table public.conversation_participants",
        "publication bookconnect_dm is changed",
    ),
    "a foreign table in our schema": (
        "create table messaging.notes (id int)",
        "table messaging.notes is unexpected",
    ),
}


def test_verify_finds_nothing_after_up(fresh: Database) -> None:
    up(fresh)
    assert findings(fresh) == []


def test_verify_names_every_kind_of_drift(pg: Database) -> None:
    """Each change on its own; undone by rolling it back in the same session."""
    baseline = set(_drift(pg, None))
    assert baseline == set()
    wrong = {
        name: seen
        for name, (change, expected) in DRIFT.items()
        if expected not in (seen := _drift(pg, change))
    }
    assert wrong == {}


def _drift(db: Database, change: str | None) -> list[str]:
    """Make a change, compare as `verify` does, and roll back."""
    with db.connect() as connection:
        if change is not None:
            connection.execute(change)
        cursor = connection.cursor(row_factory=tuple_row)
        rows = cursor.execute(DRIFT_QUERY).fetchall()
        connection.rollback()
    return [str(Difference(*row).finding) for row in rows]


@pytest.mark.parametrize(
    "name",
    ["a dropped policy", "a changed function", "a missing index", "a widened grant on a table"],
)
def test_the_command_verify_says_it(pg: Database, name: str) -> None:
    change, expected = DRIFT[name]
    pg.run(change)
    assert expected in findings(pg)


def test_verify_does_not_depend_on_how_a_session_is_set_up(pg: Database) -> None:
    pg.run(
        f"alter database {pg.name} set search_path = messaging, public;"
        f"alter database {pg.name} set intervalstyle = 'iso_8601';"
        f"alter database {pg.name} set timezone = 'Asia/Kolkata';"
        f"alter database {pg.name} set datestyle = 'German'"
    )
    assert findings(pg) == []


def test_verify_of_a_database_without_messaging_says_what_is_pending(empty_pg: Database) -> None:
    assert "migration 20261122_001_direct_messaging_schema is pending" in findings(empty_pg)


def test_verify_says_what_a_rollback_took(pg: Database) -> None:
    down(pg, to=3)
    found = findings(pg)
    assert "migration 20261122_004_direct_messaging_functions is pending" in found
    assert states(pg)["20261122_003_direct_messaging_indexes"] == "applied"


# --- what `up` makes of it ------------------------------------------------------------------------


def cures(db: Database) -> dict[str, str]:
    """What `verify` finds, with what it says to do."""
    found = run_async(lambda: migrate.verify(db.admin_url, adapter=db.adapter))
    return {str(one): one.cure for one in found}


def warnings(db: Database) -> list[str]:
    """What `up` says that an operator has still to do."""
    said: list[str] = []
    run_async(lambda: migrate.up(db.admin_url, adapter=db.adapter, warn=said.append))
    return said


@pytest.mark.parametrize(
    "name",
    [
        "a dropped policy",
        "a weakened policy",
        "row security switched off",
        "a changed function",
        "a dropped function",
        "a widened grant on a table",
        "a widened grant on a function",
        "a grant that is gone",
        "a dropped trigger on the host's table",
        "a publication that says less",
    ],
)
def test_up_makes_again_what_is_code(pg: Database, name: str) -> None:
    change, expected = DRIFT[name]
    pg.run(change)
    assert cures(pg) == {expected: "bookconnect-dm migrate up"}
    assert up(pg) != []
    assert findings(pg) == []
    assert up(pg) == []


@pytest.mark.parametrize("name", ["a missing index", "a dropped constraint"])
@pytest.mark.parametrize("release", ["the same", "the same after a rollback", "the next"])
def test_what_is_made_once_and_gone_is_never_taken_for_right(
    pg: Database, name: str, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, expected = DRIFT[name]
    pg.run(change)
    if release == "the same after a rollback":
        down(pg, to=3)
    elif release == "the next":
        monkeypatch.setattr(migrate, "plan", plan_with(4, lambda text: text + "\n-- the next"))
    assert (up(pg) != []) is (release != "the same")
    ((found, by_hand),) = cures(pg).items()
    assert found == expected
    assert any(expected in sentence for sentence in warnings(pg))
    pg.run(by_hand)
    assert findings(pg) == []
    assert warnings(pg) == []


def test_what_is_changed_and_no_code_stays_named(pg: Database) -> None:
    change, expected = DRIFT["a column that may be null"]
    pg.run(change)
    up(pg)
    down(pg, to=4)
    up(pg)
    assert findings(pg) == [expected]


def test_what_somebody_added_is_left_alone_and_stays_named(pg: Database) -> None:
    pg.run("create role reporting")
    additions = [DRIFT["another index"], DRIFT["an added policy"]]
    for change, _ in additions:
        pg.run(change)
    assert up(pg) == []
    pg.run("grant execute on function public.get_me() to reporting")
    expected = [*(said for _, said in additions), "function public.get_me() is changed"]
    for _ in range(2):
        assert up(pg) != []  # the grant may have been one of ours
        assert sorted(findings(pg)) == sorted(expected)
    down(pg, to=4)
    up(pg)
    assert sorted(findings(pg)) == sorted(expected)
    pg.run("revoke execute on function public.get_me() from reporting; drop role reporting")


def test_code_that_the_next_release_does_not_have_is_not_missed(
    pg: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = migrate.plan
    more = "create function messaging.was() returns int language sql as 'select 1';"
    more += "create view messaging.seen as select 1 as one, 2 as two;"
    monkeypatch.setattr(migrate, "plan", plan_with(4, lambda text: text + more))
    up(pg)
    monkeypatch.setattr(migrate, "plan", older)
    pg.run("drop function messaging.was(); drop view messaging.seen")
    assert len(findings(pg)) >= 4
    up(pg)
    assert findings(pg) == []


# --- rows -----------------------------------------------------------------------------------------


def test_verify_names_rows_that_break_the_rules(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "one")
    world.db.run(
        "set session_replication_role = replica;"
        "update public.direct_messages set sent_at = now() + interval '1 hour',"
        " retention_expires_at = now() + interval '3 years';"
        f"insert into public.conversation_participants values ('{conversation}', '{world.cleo}')"
    )
    assert [line for line in findings(world.db) if line.startswith("data")] == [
        "data a conversation's clock is not before its newest event is 1 wrong",
        "data a message expires after it was sent and within 365 days of it is 1 wrong",
        "data a pair's conversation has nobody else in it is 1 wrong",
    ]


def test_after_an_upgrade_of_postgresql_verify_asks_for_up_and_up_settles_it(pg: Database) -> None:
    pg.run("update messaging.expected_objects set definition = '14' where kind = 'server'")
    assert findings(pg) == [
        "server PostgreSQL is another one than at the last migration: run bookconnect-dm migrate up"
    ]
    assert up(pg)
    assert findings(pg) == []
