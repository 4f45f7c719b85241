"""Reading: pages, limits, previews, unread and read positions."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.helpers.world import World


def ask(world: World, who: UUID, statement: str, *arguments: object) -> list[dict[str, Any]]:
    with world.db.as_user(who) as db:
        return list(db.execute(statement, arguments or None).fetchall())


def refusal(
    world: World, who: UUID, statement: str, *arguments: object
) -> tuple[str | None, str | None]:
    with pytest.raises(psycopg.Error) as refused:
        ask(world, who, statement, *arguments)
    return refused.value.sqlstate, refused.value.diag.message_primary


def expire(world: World, message: UUID) -> None:
    """Let a message's time have come a second ago, as if the clock had moved."""
    world.db.run(
        "update direct_messages set retention_expires_at = now() - interval '1 s' where id = %s",
        message,
    )


def unread(world: World, who: UUID, conversation: UUID) -> int:
    count: int = ask(world, who, "select get_unread_message_count(%s) as n", conversation)[0]["n"]
    inbox = ask(
        world, who, "select unread_count from get_user_conversations() where id = %s", conversation
    )
    assert inbox == [{"unread_count": count}]
    return count


# --- pages of history ---------------------------------------------------------------------


def test_history_pages_join_without_gap_or_overlap(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    sent = [world.send(world.ada, conversation, f"message {n}") for n in range(7)]
    page = "select id, sent_at, has_more from get_conversation_messages(%s, 3, before => %s)"
    seen, before, more = [], None, True
    while more:
        rows = ask(world, world.ben, page, conversation, before)
        seen += [row["id"] for row in rows]
        before, more = rows[-1]["sent_at"], rows[-1]["has_more"]
    assert seen == sent[::-1]


def test_history_after_a_position_comes_oldest_first(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    sent = [world.send(world.ada, conversation, f"message {n}") for n in range(5)]
    rows = ask(world, world.ben, "select * from get_conversation_messages(%s, 2)", conversation)
    assert [row["id"] for row in rows] == [sent[4], sent[3]]
    first = ask(world, world.ben, "select min(sent_at) as at from direct_messages")[0]["at"]
    rows = ask(
        world,
        world.ben,
        "select * from get_conversation_messages(%s, 2, after => %s)",
        conversation,
        first,
    )
    assert [(row["id"], row["has_more"]) for row in rows] == [(sent[1], True), (sent[2], True)]


def test_before_and_after_together_are_refused(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    statement = "select * from get_conversation_messages(%s, 2, now(), now())"
    assert refusal(world, world.ada, statement, conversation) == ("PT400", "INVALID_REQUEST")


def test_half_a_cursor_is_refused(world: World) -> None:
    statement = "select * from get_user_conversations(before_updated_at => now())"
    assert refusal(world, world.ada, statement) == ("PT400", "INVALID_REQUEST")
    statement = "select * from get_user_conversations(before_id => %s)"
    assert refusal(world, world.ada, statement, uuid4()) == ("PT400", "INVALID_REQUEST")


@pytest.mark.parametrize(("asked", "given"), [(None, 50), (0, 1), (-5, 1), (1, 1), (1000, 100)])
def test_a_limit_out_of_range_is_clamped(world: World, asked: int | None, given: int) -> None:
    conversation = world.converse(world.ada, world.ben)
    world.db.run(
        "insert into direct_messages (conversation_id, sender_id, content)"
        " select %s, %s, 'message ' || n from generate_series(1, 120) as n",
        conversation,
        world.ada,
    )
    rows = ask(
        world, world.ben, "select id from get_conversation_messages(%s, %s)", conversation, asked
    )
    assert len(rows) == given


def test_one_conversation_never_answers_for_another(world: World) -> None:
    """Arguments share names with columns: a body that mixed them up would return both."""
    one, two = world.converse(world.ada, world.ben), world.converse(world.ada, world.cleo)
    world.send(world.ada, one, "for ben")
    world.send(world.ada, two, "for cleo")
    rows = ask(world, world.ada, "select content from get_conversation_messages(%s)", one)
    assert rows == [{"content": "for ben"}]
    changes = ask(world, world.ada, "select get_conversation_changes(%s, '2000-01-01Z') as c", two)[
        0
    ]["c"]
    assert [m["content"] for m in changes["messages"]] == ["for cleo"]


@pytest.mark.parametrize(
    "statement",
    [
        "select * from get_conversation_messages(%s)",
        "select get_conversation(%s)",
        "select get_conversation_changes(%s, now())",
        "select get_unread_message_count(%s)",
        "select mark_conversation_as_read(%s)",
        "select * from send_message(%s, 'hello')",
    ],
)
def test_a_foreign_conversation_is_like_none(world: World, statement: str) -> None:
    foreign = world.converse(world.edgar, world.fern)
    for conversation in (foreign, uuid4()):
        assert refusal(world, world.ada, statement, conversation) == (
            "PT404",
            "CONVERSATION_NOT_FOUND",
        )


# --- the inbox ----------------------------------------------------------------------------


def test_the_inbox_is_newest_first_and_pages_by_its_cursor(world: World) -> None:
    conversations = [
        world.converse(world.ada, other) for other in (world.ben, world.cleo, world.dora)
    ]
    for conversation in (conversations[1], conversations[0], conversations[2]):
        world.send(world.ada, conversation, "hello")
    rows = ask(world, world.ada, "select * from get_user_conversations(2)")
    assert [row["id"] for row in rows] == [conversations[2], conversations[0]]
    rest = ask(
        world,
        world.ada,
        "select id from get_user_conversations(2, %s, %s)",
        rows[-1]["updated_at"],
        rows[-1]["id"],
    )
    assert [row["id"] for row in rest] == [conversations[1]]


def test_the_preview_is_the_newest_message_that_may_be_read(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    sent = [world.send(world.ada, conversation, f"message {n}") for n in range(4)]

    def preview() -> str | None:
        row = ask(world, world.ben, "select last_message from get_user_conversations()")[0]
        one = ask(world, world.ben, "select get_conversation(%s) as c", conversation)[0]["c"]
        assert one["last_message"] == row["last_message"]
        return row["last_message"] and str(row["last_message"]["content"])

    assert preview() == "message 3"
    ask(world, world.ada, "select delete_message(%s)", sent[3])
    assert preview() == "message 2"
    expire(world, sent[2])
    assert preview() == "message 1"
    expire(world, sent[1])
    expire(world, sent[0])
    assert preview() is None


def test_deleting_an_old_message_does_not_reorder_the_inbox(world: World) -> None:
    older, newer = world.converse(world.ada, world.ben), world.converse(world.ada, world.cleo)
    message = world.send(world.ada, older, "hello")
    world.send(world.ada, newer, "hello")
    ask(world, world.ada, "select delete_message(%s)", message)
    assert [
        row["id"] for row in ask(world, world.ada, "select id from get_user_conversations()")
    ] == [newer, older]


# --- unread and read positions ------------------------------------------------------------


def test_unread_counts_the_others_visible_messages_after_my_position(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    sent = [world.send(world.ada, conversation, f"message {n}") for n in range(5)]
    world.send(world.ben, conversation, "my own do not count")
    assert (unread(world, world.ben, conversation), unread(world, world.ada, conversation)) == (
        5,
        1,
    )
    ask(world, world.ada, "select delete_message(%s)", sent[4])
    expire(world, sent[3])
    assert unread(world, world.ben, conversation) == 3
    ask(
        world,
        world.ben,
        "select mark_conversation_as_read(%s, up_to_message => %s)",
        conversation,
        sent[1],
    )
    assert unread(world, world.ben, conversation) == 1
    assert ask(world, world.ben, "select get_unread_conversation_count() as n") == [{"n": 1}]
    ask(world, world.ben, "select mark_conversation_as_read(%s)", conversation)
    assert unread(world, world.ben, conversation) == 0
    assert ask(world, world.ben, "select get_unread_conversation_count() as n") == [{"n": 0}]


def test_unread_stops_counting_at_a_hundred(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    world.db.run(
        "insert into direct_messages (conversation_id, sender_id, content)"
        " select %s, %s, 'message ' || n from generate_series(1, 130) as n",
        conversation,
        world.ada,
    )
    assert unread(world, world.ben, conversation) == 100


def test_the_first_message_after_the_start_is_unread(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    assert unread(world, world.ben, conversation) == 0
    world.send(world.ada, conversation, "hello")
    assert unread(world, world.ben, conversation) == 1


def test_last_read_at_moves_forward_only_and_never_past_the_newest_message(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    for n in range(3):
        world.send(world.ada, conversation, f"message {n}")
    times = [
        row["sent_at"]
        for row in ask(world, world.ben, "select sent_at from direct_messages order by 1")
    ]
    mark = "select mark_conversation_as_read(%s, up_to => %s) as at"
    assert ask(world, world.ben, mark, conversation, times[1]) == [{"at": times[1]}]
    assert ask(world, world.ben, mark, conversation, times[0]) == [{"at": times[1]}]
    assert ask(world, world.ben, mark, conversation, "2199-01-01Z") == [{"at": times[2]}]
    for attempt in (
        "2199-01-01Z",
        "1999-01-01Z",
    ):  # the column grant, as a PostgREST client uses it
        ask(
            world,
            world.ben,
            "update conversation_participants set last_read_at = %s where user_id = auth.uid()"
            " returning last_read_at",
            attempt,
        )
        mine = "select last_read_at from conversation_participants where user_id = %s"
        assert ask(world, world.ben, mine, world.ben) == [{"last_read_at": times[2]}]


def test_reading_up_to_a_foreign_message_is_refused(world: World) -> None:
    conversation, other = (
        world.converse(world.ada, world.ben),
        world.converse(world.ada, world.cleo),
    )
    message = world.send(world.ada, other, "hello")
    statement = "select mark_conversation_as_read(%s, up_to_message => %s)"
    assert refusal(world, world.ada, statement, conversation, message) == (
        "PT404",
        "MESSAGE_NOT_FOUND",
    )
    both = "select mark_conversation_as_read(%s, now(), %s)"
    assert refusal(world, world.ada, both, conversation, message) == ("PT400", "INVALID_REQUEST")


def test_reading_what_is_being_committed_waits_for_it(world: World) -> None:
    """Live delivery can be ahead of visibility: a read of it must not fall short."""
    conversation = world.converse(world.ada, world.ben)
    with ThreadPoolExecutor(1) as pool, world.db.as_user(world.ada) as sender:
        row = sender.execute("select * from send_message(%s, 'hello')", (conversation,)).fetchone()
        assert row is not None
        statement = "select mark_conversation_as_read(%s, up_to_message => %s) as at"
        reading = pool.submit(ask, world, world.ben, statement, conversation, row["id"])
        waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = %s"
        give_up = time.monotonic() + 10
        while not world.db.run(waiting, world.db.name):
            assert not reading.done()
            assert time.monotonic() < give_up
        sender.commit()
        assert reading.result(10) == [{"at": row["sent_at"]}]
