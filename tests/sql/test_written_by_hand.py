"""Rows that a host's developer writes into the tables, with the mission's own statements."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.helpers.migrating import findings
from tests.helpers.world import World


def _written(world: World, *members: UUID) -> UUID:
    """A conversation that no function started: the tables' defaults and nothing else."""
    row = world.db.run(
        "insert into public.conversations (store_id) values (%s) returning id", world.page_anchor
    )[0]
    for member in members:
        world.db.run(
            "insert into public.conversation_participants (conversation_id, user_id)"
            " values (%s, %s)",
            row["id"],
            member,
        )
    return UUID(str(row["id"]))


def _start(world: World, starter: UUID, recipient: UUID) -> tuple[UUID, bool]:
    with world.db.as_user(starter) as connection:
        row = connection.execute(
            "select conversation_id, is_existing from public.start_conversation(%s)", (recipient,)
        ).fetchone()
    assert row is not None
    return UUID(str(row["conversation_id"])), row["is_existing"]


def _state(world: World, message: UUID) -> dict[str, Any]:
    return world.db.run(
        "select m.is_deleted, m.deleted_at, m.retention_expires_at, m.sent_at, c.position,"
        " c.updated_at from public.direct_messages as m"
        " join public.conversations as c on c.id = m.conversation_id where m.id = %s",
        message,
    )[0]


def test_a_deletion_without_a_time_gets_the_clocks_and_is_told(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    first = world.send(world.ada, conversation, "Gone by hand")
    second = world.send(world.ben, conversation, "Stays")
    before = _state(world, second)["position"]
    world.db.run("update public.direct_messages set is_deleted = true where id = %s", first)
    state = _state(world, first)
    assert before < state["deleted_at"] == state["position"] < state["retention_expires_at"]
    assert state["updated_at"] == before, "a deletion does not reorder inboxes"
    with world.db.as_user(world.ben) as connection:
        changes = connection.execute(
            "select public.get_conversation_changes(%s, %s) as told", (conversation, before)
        ).fetchone()
    assert changes is not None
    assert [gone["id"] for gone in changes["told"]["deleted"]] == [str(first)]
    assert _state(world, second)["is_deleted"] is False


def test_an_expired_message_that_is_deleted_without_a_time_counts_as_swept(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    message = world.send(world.ada, conversation, "Long ago")
    before = _state(world, message)["position"]
    world.db.run(
        "update public.direct_messages set retention_expires_at = now() - interval '1 day'"
    )
    world.db.run("update public.direct_messages set is_deleted = true")
    state = _state(world, message)
    assert state["deleted_at"] >= state["retention_expires_at"]
    assert state["position"] == before, "expiry is no event"


def test_a_time_that_is_given_stays_and_the_two_columns_cannot_disagree(world: World) -> None:
    """The mission's soft deletion gives `deleted_at = NOW()`."""
    message = world.send(world.ada, world.converse(world.ada, world.ben), "Given")
    given = world.db.run(
        "update public.direct_messages set is_deleted = true, deleted_at = now()"
        " returning deleted_at = now() as is_kept"
    )
    assert given == [{"is_kept": True}]
    with pytest.raises(psycopg.errors.CheckViolation):
        world.db.run("update public.direct_messages set is_deleted = false where id = %s", message)


def test_a_conversation_written_by_hand_is_found_by_both(world: World) -> None:
    conversation = _written(world, world.ada, world.cleo)
    world.send(world.ada, conversation, "Can you hear me?")
    # Cleo's tier starts nothing; she has this one already.
    assert _start(world, world.cleo, world.ada) == (conversation, True)
    assert _start(world, world.ada, world.cleo) == (conversation, True)
    assert world.db.run("select conversation_id from messaging.conversation_pairs") == [
        {"conversation_id": conversation}
    ]


def test_of_two_written_by_hand_the_older_one_is_theirs(world: World) -> None:
    older = _written(world, world.ben, world.ada)
    _written(world, world.ada, world.ben)
    assert _start(world, world.ada, world.ben) == (older, True)
    assert _start(world, world.ben, world.ada) == (older, True)


def test_what_is_not_of_exactly_these_two_is_left_alone(world: World) -> None:
    _written(world, world.ada, world.ben, world.cleo)
    _written(world, world.ada)
    _written(world, world.ada, world.dora)
    conversation, is_existing = _start(world, world.ada, world.ben)
    assert is_existing is False
    assert world.db.run("select conversation_id from messaging.conversation_pairs") == [
        {"conversation_id": conversation}
    ]


def test_the_cleaner_can_be_tried_by_making_messages_older(world: World) -> None:
    """As docs/explain/database-design.md says; nothing is out of order afterwards."""
    conversation = world.converse(world.ada, world.ben)
    for content in ("one", "two"):
        world.send(world.ada, conversation, content)
    world.db.run(
        "update public.direct_messages set sent_at = sent_at - interval '400 days',"
        " retention_expires_at = retention_expires_at - interval '400 days'"
    )
    assert findings(world.db) == []
    assert world.db.run("select public.soft_delete_expired_messages() as n") == [{"n": 2}]
    assert world.db.run("select public.cleanup_expired_messages() as n") == [{"n": 2}]
    assert findings(world.db) == []
