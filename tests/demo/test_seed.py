"""The demo's data: idempotent, and exactly what living members would have left behind."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import psycopg
import pytest

from tests.helpers.postgres import Database
from tests.helpers.world import World

_MEMBERS, _SEED, _MARK, _IS_SEEDED = (
    (files("bookconnect_dm") / "sql" / "demo" / name).read_text("utf-8")
    for name in ("members.sql", "conversations.sql", "seeded.sql", "is_seeded.sql")
)


@pytest.fixture
def demo(world: World) -> World:
    world.db.run_script(_SEED)
    return world


def _inbox(world: World, username: str) -> list[dict[str, Any]]:
    with world.db.as_user(world.members[username]) as connection:
        return connection.execute(
            "select other_participant ->> 'username' as other, unread_count,"
            " last_message ->> 'content' as last from public.get_user_conversations()"
        ).fetchall()


def _snapshot(db: Database) -> list[dict[str, Any]]:
    return db.run(
        "select 'c' as kind, to_jsonb(c)::text as row from conversations as c"
        " union all select 'p', to_jsonb(p)::text from conversation_participants as p"
        " union all select 'm', to_jsonb(m)::text from direct_messages as m"
        " union all select 't', to_jsonb(t)::text from messaging.tier_changes as t"
        " union all select 'k', to_jsonb(k)::text from messaging.conversation_pairs as k"
        " order by 1, 2"
    )


def test_seeding_again_changes_nothing(demo: World) -> None:
    before = _snapshot(demo.db)
    demo.db.run_script(_SEED)
    assert _snapshot(demo.db) == before
    assert len(before) > 40


def test_every_member_sees_the_inbox_that_the_story_tells(demo: World) -> None:
    unread = {
        name: {row["other"]: row["unread_count"] for row in _inbox(demo, name)}
        for name in demo.members
    }
    assert unread == {
        "ada": {"ben": 2, "cleo": 0, "dora": 0},
        "ben": {"ada": 0, "dora": 1},
        "cleo": {"ada": 1},
        "dora": {"ben": 0, "ada": 0},
        "edgar": {"fern": 0},
        "fern": {"edgar": 1},
    }


def test_one_message_leaves_in_two_days_and_one_is_deleted(demo: World) -> None:
    assert demo.db.run(
        "select content from direct_messages"
        " where retention_expires_at between now() + interval '1 day' and now() + interval '2 days'"
    )
    assert demo.db.run("select count(*) as n from direct_messages where is_deleted") == [{"n": 1}]


def test_nothing_has_expired_when_the_demo_begins(demo: World) -> None:
    assert not demo.db.run(
        "select 1 as one from direct_messages where retention_expires_at <= now()"
    )


def test_clocks_and_read_positions_fit_the_messages(demo: World) -> None:
    """`position` and `updated_at` as the triggers would have left them; nobody read the future."""
    assert not demo.db.run(
        "select c.id from conversations as c join direct_messages as m on c.id = m.conversation_id"
        " group by c.id having c.updated_at <> max(m.sent_at)"
        " or c.position <> max(greatest(m.sent_at, coalesce(m.deleted_at, m.sent_at)))"
    )
    assert not demo.db.run(
        "select 1 as one from conversation_participants as p"
        " join conversations as c on c.id = p.conversation_id where p.last_read_at > c.updated_at"
    )


def test_members_can_write_on(demo: World) -> None:
    """The seeded pairs are known: starting again finds the conversation, and it takes messages."""
    conversation = demo.converse(demo.ada, demo.ben)
    assert str(conversation) == "c0000000-0000-4000-8000-000000000001"
    demo.send(demo.cleo, demo.converse(demo.cleo, demo.ada), "Found it, thank you!")
    assert _inbox(demo, "ada")[0]["last"] == "Found it, thank you!"


def test_what_was_filled_once_is_known_though_everything_was_removed_since(pg: Database) -> None:
    assert pg.run(_IS_SEEDED) == [{"is_seeded": False}]
    pg.run_script(f"{_MEMBERS}\n{_SEED}\n{_MARK}")
    pg.run("delete from auth.users")
    pg.run("delete from public.stores")
    assert pg.run(_IS_SEEDED) == [{"is_seeded": True}]


def test_what_an_older_release_filled_is_known_by_its_stores(world: World) -> None:
    world.db.run("delete from auth.users where id = %s", world.ben)
    assert world.db.run(_IS_SEEDED) == [{"is_seeded": True}]


def test_a_first_filling_that_was_interrupted_has_not_happened(pg: Database) -> None:
    """All of the demo's files are one transaction, so that the next start fills it whole."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        pg.run_script(f"{_MEMBERS}\n{_SEED}\n{_MARK}\nselect 1 / 0")
    assert pg.run(_IS_SEEDED) == [{"is_seeded": False}]
    assert not pg.run("select id from auth.users")
