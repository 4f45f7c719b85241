"""Sending: order, identity, idempotency; what a batch does with a bad or blocked row."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.helpers.postgres import Connection
from tests.helpers.world import World

TRIM_VECTORS = Path(__file__).parents[1] / "vectors" / "trim.json"


def send(db: Connection, conversation: UUID, content: str, message: UUID | None = None) -> Any:
    return db.execute(
        "select * from send_message(%s, %s, %s)", (conversation, content, message)
    ).fetchone()


def batch(world: World, rows: Sequence[tuple[UUID, UUID, UUID, str]]) -> dict[int, dict[str, Any]]:
    """Send (actor, message, conversation, content) rows as the server does; by row number, once."""
    with world.db.connect("bookconnect_dm_server", autocommit=True) as db:
        found = db.execute(
            "select * from messaging.send_batch(%s, %s, %s, %s)",
            [list(c) for c in zip(*rows, strict=True)],
        ).fetchall()
    assert len(found) == len(rows)
    return {row["n"]: row for row in found}


# --- the row ------------------------------------------------------------------------------


def test_a_message_without_an_id_gets_a_version_7_uuid(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    with world.db.as_user(world.ada) as db:
        ids = [send(db, conversation, "hello")["id"] for _ in range(3)]
    assert [i.version for i in ids] == [7, 7, 7]
    newest_ms = ids[-1].int >> 80
    assert abs(newest_ms / 1000 - time.time()) < 60


def test_content_is_trimmed_by_the_shared_list(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    with world.db.as_user(world.ada) as db:
        for vector in json.loads(TRIM_VECTORS.read_text("utf-8")):
            if vector["trimmed"]:
                assert send(db, conversation, vector["content"])["content"] == vector["trimmed"]


@pytest.mark.parametrize("content", ["", "   ", "\u00a0\u2003\ufeff\n", "x" * 1001, "é" * 1001])
def test_content_out_of_bounds_is_refused(world: World, content: str) -> None:
    conversation = world.converse(world.ada, world.ben)
    with world.db.as_user(world.ada) as db, pytest.raises(psycopg.Error) as refused:
        send(db, conversation, content)
    assert (refused.value.sqlstate, refused.value.diag.message_primary) == (
        "PT422",
        "INVALID_CONTENT",
    )
    assert refused.value.diag.message_hint == "content"


@pytest.mark.parametrize("content", ["x" * 1000, "👩‍👧‍👦" * 200, "  " + "y" * 1000 + "\n"])
def test_a_thousand_code_points_are_allowed(world: World, content: str) -> None:
    conversation = world.converse(world.ada, world.ben)
    with world.db.as_user(world.ada) as db:
        assert send(db, conversation, content)["content"] == content.strip()


def test_a_plain_insert_cannot_choose_time_expiry_or_state(world: World) -> None:
    """Also for the owner, whom no column grant stops: the database sets them, always."""
    conversation = world.converse(world.ada, world.ben)
    row = world.db.run(
        "insert into direct_messages (conversation_id, sender_id, content, sent_at,"
        " retention_expires_at, is_deleted, deleted_at)"
        " values (%s, %s, 'hello', '1999-01-01Z', '2999-01-01Z', true, now()) returning *",
        conversation,
        world.ada,
    )[0]
    assert row["sent_at"].year > 2000
    assert (row["retention_expires_at"] - row["sent_at"]).days == 365
    assert (row["is_deleted"], row["deleted_at"]) == (False, None)


# --- the clock ----------------------------------------------------------------------------


def test_the_clock_rises_even_when_the_wall_clock_lies_behind(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    world.db.run(
        "update conversations set position = '2199-01-01Z', updated_at = '2199-01-01Z'"
        " where id = %s",
        conversation,
    )
    with world.db.as_user(world.ada) as db:
        first, second = (send(db, conversation, "hello")["sent_at"] for _ in range(2))
    assert (
        second
        > first
        > first.replace(year=2199, month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    )
    repaired = world.db.run("select messaging.repair_clock(%s) as at", conversation)
    assert repaired[0]["at"] >= first  # its own messages are the newest events


def test_the_clock_fires_before_retention_is_computed_from_it(world: World) -> None:
    names = world.db.run(
        "select tgname from pg_trigger where tgrelid = 'direct_messages'::regclass"
        " and not tgisinternal and tgtype & 4 > 0 and tgtype & 2 > 0 order by tgname"
    )
    assert [n["tgname"] for n in names] == [
        "_100_set_message_clock",
        "set_message_retention_trigger",
    ]


def test_updated_at_and_position_are_the_newest_sent_at(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "one")
    world.send(world.ben, conversation, "two")
    row = world.db.run(
        "select c.position, c.updated_at, max(m.sent_at) as newest from conversations c"
        " join direct_messages m on m.conversation_id = c.id where c.id = %s group by c.id",
        conversation,
    )[0]
    assert row["position"] == row["updated_at"] == row["newest"]


def write_one(db: Connection, conversation: UUID, sender: UUID, n: int) -> None:
    with db.transaction(force_rollback=n % 7 == 3):
        db.execute("select messaging.become(%s)", (sender,))
        if n % 5 == 2:
            with db.transaction(force_rollback=True):
                send(db, conversation, f"taken back {n}")
        row = send(db, conversation, f"message {n}")
        if n % 11 == 5:
            db.execute("select delete_message(%s)", (row["id"],))


def test_six_writers_with_rollbacks_leave_one_rising_order(world: World) -> None:
    """Aborts and savepoints give their times back; no row appears behind a reader's position."""
    conversation = world.converse(world.ada, world.ben)
    stop = threading.Event()
    seen: list[Any] = []
    behind: list[Any] = []

    def write(sender: UUID) -> None:
        with world.db.connect("bookconnect_dm_server", autocommit=True) as db:
            for n in range(16):
                # Who locks a row, rolls back to a savepoint and locks it again can deadlock with
                # one who waits for it (PostgreSQL waits for whole transactions): he tries again.
                done = False
                while not done:
                    with contextlib.suppress(
                        psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable
                    ):
                        write_one(db, conversation, sender, n)
                        done = True

    def read() -> None:
        with world.db.connect(autocommit=True) as db:
            position, final = None, False
            while not final:
                final = stop.is_set()
                rows = db.execute(
                    "select sent_at from direct_messages where conversation_id = %s order by 1",
                    (conversation,),
                ).fetchall()
                times = [row["sent_at"] for row in rows]
                fresh = [t for t in times if t not in seen]
                behind.extend(t for t in fresh if position is not None and t <= position)
                seen.extend(fresh)
                position = times[-1] if times else None

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(s,)) for s in (world.ada, world.ben) * 3]
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join(60)
    stop.set()
    reader.join(60)
    assert behind == []
    assert len(seen) == len(set(seen)) == 6 * len([n for n in range(16) if n % 7 != 3])


def test_repeatable_read_fails_rather_than_misorder(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    with world.db.connect("bookconnect_dm_server") as db:
        db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        db.execute("select messaging.become(%s)", (world.ada,))
        world.send(world.ben, conversation, "in between")
        with pytest.raises(psycopg.errors.SerializationFailure):
            send(db, conversation, "late")


# --- idempotency --------------------------------------------------------------------------


def test_a_repeat_gives_the_original_and_moves_nothing(world: World) -> None:
    conversation, message = world.converse(world.ada, world.ben), uuid4()
    with world.db.as_user(world.ada) as db:
        first = send(db, conversation, "hello", message)
    clock = world.db.run("select position, updated_at from conversations")
    with world.db.as_user(world.ada) as db:
        assert send(db, conversation, "  hello ", message) == first
    assert world.db.run("select position, updated_at from conversations") == clock


@pytest.mark.parametrize("change", ["content", "conversation", "sender"])
def test_an_id_that_means_something_else_is_a_conflict_that_leaks_nothing(
    world: World, change: str
) -> None:
    conversation, message = world.converse(world.ada, world.ben), uuid4()
    other = world.converse(world.ada, world.cleo)
    with world.db.as_user(world.ada) as db:
        send(db, conversation, "hello", message)
    sender = world.ben if change == "sender" else world.ada
    with world.db.as_user(sender) as db, pytest.raises(psycopg.Error) as refused:
        send(
            db,
            other if change == "conversation" else conversation,
            "something else" if change == "content" else "hello",
            message,
        )
    assert (refused.value.sqlstate, refused.value.diag.message_primary) == ("PT409", "CONFLICT")
    assert "hello" not in str(refused.value)


def test_a_repeat_of_a_deleted_message_succeeds_without_its_content(world: World) -> None:
    conversation, message = world.converse(world.ada, world.ben), uuid4()
    with world.db.as_user(world.ada) as db:
        send(db, conversation, "hello", message)
        db.execute("select delete_message(%s)", (message,))
        db.execute("select delete_message(%s)", (message,))  # a second time succeeds
        again = send(db, conversation, "hello", message)
    assert (again["id"], again["is_deleted"], again["content"]) == (message, True, "")


def test_who_left_the_store_reads_on_and_no_longer_sends(world: World) -> None:
    conversation, message = world.converse(world.ada, world.ben), uuid4()
    with world.db.as_user(world.ben) as db:
        send(db, conversation, "hello", message)
    world.db.run("delete from store_members where user_id = %s", world.ben)
    with world.db.as_user(world.ben) as db:
        assert (
            len(
                db.execute(
                    "select * from get_conversation_messages(%s)", (conversation,)
                ).fetchall()
            )
            == 1
        )
        assert send(db, conversation, "hello", message)["id"] == message  # a repeat is no new send
        with pytest.raises(psycopg.Error) as refused:
            send(db, conversation, "one more thing")
    assert refused.value.diag.message_primary == "PERMISSION_DENIED"


# --- batches ------------------------------------------------------------------------------


def test_a_batch_answers_row_by_row_in_everybodys_own_name(world: World) -> None:
    mine, foreign = world.converse(world.ada, world.ben), world.converse(world.edgar, world.fern)
    rows = [
        (world.ada, uuid4(), mine, "from ada"),
        (world.ben, uuid4(), mine, "from ben"),
        (world.ada, uuid4(), foreign, "into a foreign one"),
        (world.cleo, uuid4(), uuid4(), "into nothing"),
        (world.ben, uuid4(), mine, " "),
        (world.fern, uuid4(), foreign, "from fern"),
    ]
    results = batch(world, rows)
    codes = [results[n]["code"] for n in range(1, 7)]
    assert codes == [
        None, None, "CONVERSATION_NOT_FOUND", "CONVERSATION_NOT_FOUND", "INVALID_CONTENT", None,
    ]  # fmt: skip
    stored = world.db.run("select sender_id, content from direct_messages order by content")
    assert [(r["sender_id"], r["content"]) for r in stored] == [
        (world.ada, "from ada"), (world.ben, "from ben"), (world.fern, "from fern"),
    ]  # fmt: skip


def test_a_batch_has_fifty_rows_at_most(world: World) -> None:
    """64 subtransactions are where PostgreSQL's cache of them ends."""
    conversation = world.converse(world.ada, world.ben)
    with pytest.raises(psycopg.Error, match="INVALID_REQUEST"):
        batch(world, [(world.ada, uuid4(), conversation, "hello")] * 51)
    assert world.db.run("select id from direct_messages") == []


def test_a_batch_leaves_nobody_behind_on_its_connection(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    with world.db.connect("bookconnect_dm_server", autocommit=True) as db:
        with db.transaction():
            db.execute(
                "select messaging.send_batch(%s, %s, %s, %s)",
                ([world.ada], [uuid4()], [conversation], ["hello"]),
            )
            assert db.execute("select auth.uid() as me").fetchone() == {"me": None}
        assert db.execute("select count(*) as n from direct_messages").fetchone() == {"n": 0}


def test_a_repeat_within_one_batch_is_one_row(world: World) -> None:
    conversation, message = world.converse(world.ada, world.ben), uuid4()
    results = batch(world, [(world.ada, message, conversation, "hello")] * 3)
    assert [results[n]["is_new"] for n in (1, 2, 3)] == [True, False, False]
    assert len({results[n]["sent_at"] for n in (1, 2, 3)}) == 1


def test_a_locked_conversation_is_busy_and_harms_no_neighbour(world: World) -> None:
    locked, free = world.converse(world.ada, world.ben), world.converse(world.ada, world.cleo)
    rows = [(world.ada, uuid4(), c, "hello") for c in (locked, free) * 5]
    with world.db.as_owner() as blocker:
        blocker.execute("select from conversations where id = %s for update", (locked,))
        began = time.monotonic()
        results = batch(world, rows)
        took = time.monotonic() - began
    codes = [results[n]["code"] for n in range(1, 11)]
    assert codes == ["BUSY", None] * 5
    assert took < 2  # one wait of about 100 ms, not five


def test_a_sender_whose_row_is_locked_harms_no_neighbour(world: World) -> None:
    """The foreign key's check waits for a host that holds the sender's row."""
    one, two = world.converse(world.ada, world.ben), world.converse(world.ben, world.cleo)
    with world.db.as_owner() as blocker:
        blocker.execute("select from auth.users where id = %s for update", (world.ada,))
        results = batch(
            world, [(world.ada, uuid4(), one, "hello"), (world.ben, uuid4(), two, "hello")]
        )
    assert [results[n]["code"] for n in (1, 2)] == ["BUSY", None]
    alone = world.db.connect("bookconnect_dm_server", autocommit=True)
    with alone as db:
        row = db.execute(
            "select (messaging.send_one(%s, %s, %s, 'hello', 500)).code", (world.ada, uuid4(), one)
        ).fetchone()
    assert row == {"code": None}


def test_a_stranger_does_not_queue_on_a_foreign_lock(world: World) -> None:
    """He is refused at once: waiting would tell him that the conversation is alive."""
    conversation = world.converse(world.ada, world.ben)
    with world.db.as_owner() as blocker:
        blocker.execute("select from conversations where id = %s for update", (conversation,))
        with world.db.as_user(world.edgar) as db:
            db.execute("set local statement_timeout = '2s'")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                db.execute(
                    "insert into direct_messages (conversation_id, sender_id, content)"
                    " values (%s, %s, 'hello')",
                    (conversation, world.edgar),
                )


def test_what_the_hosts_own_trigger_hides_at_once_is_stored_all_the_same(world: World) -> None:
    """Moderation, say. The answer is the same for one that goes alone and for one among others."""
    conversation = world.converse(world.ada, world.ben)
    world.db.run("""
        create function public.moderate() returns trigger language plpgsql security definer as $$
        begin
            update public.direct_messages set is_deleted = true where id = new.id;
            return null;
        end $$;
        create trigger moderate after insert on public.direct_messages
        for each row when (new.content like '%bad%') execute function public.moderate()
    """)
    rows = [(world.ada, uuid4(), conversation, text) for text in ("good", "bad", "fine")]
    found = batch(world, rows)
    assert [(found[n]["code"], found[n]["is_new"]) for n in (1, 2, 3)] == [(None, True)] * 3
    assert [found[n]["content"] for n in (1, 2, 3)] == ["good", "", "fine"]
    alone = batch(world, [(world.ada, uuid4(), conversation, "bad")])
    assert (alone[1]["code"], alone[1]["is_new"]) == (None, True)
