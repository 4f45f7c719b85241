"""What row changes mean: built from messages of the stream, without a database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookconnect_dm import pgoutput
from bookconnect_dm.events import (
    EVENTS_LIMIT,
    Assembler,
    ExpiryChanged,
    MembershipChange,
    MessageDeleted,
    MessageSent,
    ReadMoved,
    TooMuch,
    Transaction,
    wire_time,
)
from bookconnect_dm.pgoutput import UNCHANGED, DecodeError

VECTORS = Path(__file__).parents[1] / "vectors"

MESSAGES, PARTICIPANTS, CONVERSATIONS, FOREIGN = 1, 2, 3, 4
SECOND = 1_000_000
NOW = 848_657_880 * SECOND  # 2026-11-22 10:18:00 UTC, as PostgreSQL counts
NOW_TEXT = b"2026-11-22 10:18:00"
LATER = b"2027-11-22 10:18:00+00"
C, ADA, BEN = "c-1", "ada", "ben"


def _relation(number: int, name: str, *columns: str, schema: str = "public") -> pgoutput.Relation:
    keys = (True, *[False] * (len(columns) - 1))
    return pgoutput.Relation(number, schema, name, "d", columns, keys)


RELATIONS = (
    _relation(
        MESSAGES,
        "direct_messages",
        *("id", "conversation_id", "sender_id", "content", "sent_at", "is_deleted"),
        *("deleted_at", "retention_expires_at"),
    ),
    _relation(
        PARTICIPANTS,
        "conversation_participants",
        *("conversation_id", "user_id", "joined_at", "last_read_at"),
    ),
    _relation(CONVERSATIONS, "conversations", "id", "store_id", "created_at"),
    _relation(FOREIGN, "direct_messages", "id", schema="archive"),
)


def message_row(
    message_id: str = "m-1",
    *,
    conversation: str = C,
    content: Any = b"hello",
    sent_at: bytes = NOW_TEXT + b".5+00",
    deleted_at: bytes | None = None,
    expires_at: bytes = LATER,
) -> tuple[Any, ...]:
    return (
        message_id.encode(),
        conversation.encode(),
        ADA.encode(),
        content,
        sent_at,
        b"f" if deleted_at is None else b"t",
        deleted_at,
        expires_at,
    )


def sent(message_id: str = "m-1", **values: Any) -> pgoutput.Insert:
    return pgoutput.Insert(MESSAGES, message_row(message_id, **values))


def changed(message_id: str = "m-1", **values: Any) -> pgoutput.Update:
    return pgoutput.Update(MESSAGES, None, message_row(message_id, **values))


def purged(message_id: str = "m-1") -> pgoutput.Delete:
    return pgoutput.Delete(MESSAGES, (message_id.encode(), *[None] * 7))


def participant(user: str, conversation: str = C, read: bytes = NOW_TEXT) -> tuple[Any, ...]:
    return (conversation.encode(), user.encode(), NOW_TEXT + b"+00", read + b"+00")


def joined(user: str, conversation: str = C) -> pgoutput.Insert:
    return pgoutput.Insert(PARTICIPANTS, participant(user, conversation))


def left(user: str, conversation: str = C) -> pgoutput.Delete:
    return pgoutput.Delete(PARTICIPANTS, (conversation.encode(), user.encode(), None, None))


def read(user: str, at: bytes = NOW_TEXT) -> pgoutput.Update:
    return pgoutput.Update(PARTICIPANTS, None, participant(user, read=at))


def assembled(*rows: pgoutput.Message, skip_lsn: int | None = None) -> Transaction:
    """The transaction of these row changes."""
    assembler = Assembler(skip_lsn=skip_lsn)
    opening = (*RELATIONS, pgoutput.Begin(final_lsn=100, committed_at=NOW, xid=7))
    for message in (*opening, *rows):
        assert assembler.take(message) is None
    done = assembler.take(pgoutput.Commit(commit_lsn=100, end_lsn=120, committed_at=NOW))
    assert done is not None
    return done


def events_of(*rows: pgoutput.Message) -> tuple[Any, ...]:
    return assembled(*rows).events


# --- messages ---------------------------------------------------------------------------------


def test_an_insert_is_a_message_with_wire_times() -> None:
    (event,) = events_of(sent(content="Grüße".encode()))
    assert event == MessageSent(
        *("m-1", C, ADA, "Grüße"),
        "2026-11-22T10:18:00.500000Z",
        "2027-11-22T10:18:00.000000Z",
    )


def test_a_deletion_before_the_expiry_is_the_senders() -> None:
    (event,) = events_of(changed(deleted_at=NOW_TEXT + b".25+00", content=UNCHANGED))
    assert event == MessageDeleted("m-1", C, "2026-11-22T10:18:00.250000Z")


@pytest.mark.parametrize(
    ("deleted_at", "expires_at"),
    [
        (b"2026-11-22 10:18:00+00", b"2026-11-22 10:18:00+00"),
        (b"2026-11-22 10:18:00.1+00", b"2026-11-22 10:18:00+00"),
        (b"2026-11-22 10:18:00.11+00", b"2026-11-22 10:18:00.1+00"),
        (b"2026-11-22 10:18:00+00", b"2026-11-22 10:17:59.999999+00"),
        (b"2026-11-22 10:18:00+00", b"-infinity"),
    ],
)
def test_a_deletion_at_or_after_the_expiry_is_the_sweeps(
    deleted_at: bytes, expires_at: bytes
) -> None:
    assert events_of(changed(deleted_at=deleted_at, expires_at=expires_at)) == ()


def test_a_purge_is_silent() -> None:
    assert assembled(purged()).is_empty


def test_a_changed_expiry_is_told_once_per_conversation() -> None:
    events = events_of(changed("m-1"), changed("m-2"), changed("m-3", conversation="c-2"))
    assert events == (ExpiryChanged(C), ExpiryChanged("c-2"))


def test_a_message_deleted_in_its_own_transaction_is_never_shown() -> None:
    (event,) = events_of(sent(), changed(deleted_at=NOW_TEXT + b".7+00"))
    assert isinstance(event, MessageDeleted)
    assert events_of(sent(), purged()) == ()


def test_a_message_changed_in_its_own_transaction_is_shown_as_it_ends() -> None:
    (event,) = events_of(sent(), changed(expires_at=b"2026-12-01 00:00:00+00", content=UNCHANGED))
    assert isinstance(event, MessageSent)
    assert (event.content, event.expires_at) == ("hello", "2026-12-01T00:00:00.000000Z")


OLD = b"2026-11-22 10:07:59.999999+00"


@pytest.mark.parametrize(
    "row",
    [
        sent(expires_at=b"2026-11-22 10:18:00+00"),
        sent(deleted_at=b"2026-11-22 10:18:00+00"),
    ],
    ids=["expired", "deleted"],
)
def test_what_nobody_could_read_is_no_news(row: pgoutput.Message) -> None:
    assert assembled(row).is_empty


@pytest.mark.parametrize(
    "rows",
    [
        [sent("m-1", sent_at=OLD), sent("m-2", sent_at=OLD)],
        [changed(deleted_at=OLD)],
        [sent(sent_at=OLD), changed(deleted_at=OLD)],
    ],
    ids=["sent", "deleted", "both"],
)
def test_what_is_old_when_it_commits_is_loaded_anew(rows: list[pgoutput.Message]) -> None:
    """Held open, or imported: no catch-up brings what positions are past."""
    assert events_of(*rows) == (TooMuch(C),)


def test_a_message_of_nine_minutes_ago_is_news() -> None:
    assert len(events_of(sent(sent_at=b"2026-11-22 10:09:00+00"))) == 1


def test_events_keep_the_order_of_the_rows() -> None:
    events = events_of(
        sent("m-1"), changed("m-0", deleted_at=NOW_TEXT + b".6+00"), sent("m-2"), sent("m-3")
    )
    assert [event.id for event in events] == ["m-1", "m-0", "m-2", "m-3"]


def test_what_goes_beyond_the_limit_is_told_as_too_much_of_its_conversation() -> None:
    rows = [sent(f"m-{n}", conversation=f"c-{n % 3}") for n in range(EVENTS_LIMIT + 500)]
    events = events_of(*rows)
    assert len(events) == EVENTS_LIMIT + 3
    assert {event.conversation_id for event in events[EVENTS_LIMIT:]} == {"c-0", "c-1", "c-2"}
    assert all(isinstance(event, TooMuch) for event in events[EVENTS_LIMIT:])


# --- participants and conversations -------------------------------------------------------------


def test_joining_and_leaving_are_membership_changes() -> None:
    done = assembled(joined(ADA), joined(BEN), left("dora"))
    assert done.membership == (
        MembershipChange(C, ADA, is_member=True),
        MembershipChange(C, BEN, is_member=True),
        MembershipChange(C, "dora", is_member=False),
    )


def test_the_last_change_of_a_membership_counts() -> None:
    assert assembled(joined(ADA), left(ADA)).membership == (
        MembershipChange(C, ADA, is_member=False),
    )
    assert assembled(left(ADA), joined(ADA)).membership == (
        MembershipChange(C, ADA, is_member=True),
    )


def test_a_moved_row_is_leaving_and_joining() -> None:
    old = (C.encode(), ADA.encode(), None, None)
    move = pgoutput.Update(PARTICIPANTS, old, participant(BEN))
    assert assembled(move).membership == (
        MembershipChange(C, ADA, is_member=False),
        MembershipChange(C, BEN, is_member=True),
    )


def test_reads_are_coalesced_to_the_last() -> None:
    events = events_of(read(ADA), read(BEN), read(ADA, b"2026-11-22 10:18:01"))
    assert events == (
        ReadMoved(C, BEN, "2026-11-22T10:18:00.000000Z"),
        ReadMoved(C, ADA, "2026-11-22T10:18:01.000000Z"),
    )


def test_a_conversation_that_begins_says_its_store() -> None:
    row = pgoutput.Insert(CONVERSATIONS, (C.encode(), b"s-1", NOW_TEXT))
    done = assembled(row, joined(ADA), joined(BEN), sent())
    assert done.stores == {C: "s-1"}
    assert len(done.membership) == 2
    assert len(done.events) == 1


# --- the stream -------------------------------------------------------------------------------


def test_a_transaction_carries_its_place_in_the_stream() -> None:
    done = assembled(sent())
    assert (done.xid, done.end_lsn, done.committed_at) == (7, 120, NOW)
    assert not done.is_incomplete


def test_tables_of_other_schemas_are_not_ours() -> None:
    assert assembled(pgoutput.Insert(FOREIGN, (b"x",))).is_empty
    assert assembled(pgoutput.Truncate((FOREIGN,), 0)).is_empty


def test_a_truncate_of_ours_makes_everybody_sync() -> None:
    assert assembled(pgoutput.Truncate((MESSAGES,), 0)).is_incomplete


def test_a_transaction_to_skip_is_not_looked_at() -> None:
    done = assembled(sent(), pgoutput.Insert(MESSAGES, (None,)), skip_lsn=100)
    assert done.is_incomplete
    assert done.events == ()


def test_nothing_of_one_transaction_is_left_for_the_next() -> None:
    assembler = Assembler()
    for message in RELATIONS:
        assembler.take(message)
    for number in (1, 2):
        assembler.take(pgoutput.Begin(number, NOW, number))
        assert assembler.is_within_transaction
        assembler.take(sent(f"m-{number}"))
        done = assembler.take(pgoutput.Commit(number, number, NOW))
        assert done is not None
        assert [event.id for event in done.events if isinstance(event, MessageSent)] == [
            f"m-{number}"
        ]
        assert not assembler.is_within_transaction


@pytest.mark.parametrize(
    "messages",
    [
        [pgoutput.Commit(1, 1, NOW)],
        [sent()],
        [pgoutput.Begin(1, NOW, 1), pgoutput.Begin(2, NOW, 2)],
        [pgoutput.Begin(1, NOW, 1), pgoutput.Insert(99, (b"x",))],
        [pgoutput.Begin(1, NOW, 1), pgoutput.Insert(MESSAGES, (b"x",))],
        [pgoutput.Begin(1, NOW, 1), sent(content=None)],
        [pgoutput.Begin(1, NOW, 1), sent(content=b"\xff")],
        [pgoutput.Begin(1, NOW, 1), sent(sent_at=b"yesterday")],
        [_relation(9, "direct_messages", "id")],
    ],
)
def test_what_cannot_follow_or_be_understood_is_refused(messages: list[pgoutput.Message]) -> None:
    assembler = Assembler()

    def take_all() -> None:
        for message in (*RELATIONS, *messages):
            assembler.take(message)

    with pytest.raises(DecodeError):
        take_all()


@pytest.mark.parametrize("version", [18, 15])
def test_a_captured_session_means_what_was_done(version: int) -> None:
    lines = json.loads((VECTORS / f"pgoutput_{version}.json").read_text("ascii"))
    frames = [pgoutput.decode_frame(bytes.fromhex(line)) for line in lines]
    assembler = Assembler()
    done = [
        transaction
        for frame in frames
        if isinstance(frame, pgoutput.WalData)
        and (transaction := assembler.take(pgoutput.decode(frame.payload)))
    ]
    kinds = [[type(event).__name__ for event in transaction.events] for transaction in done]
    assert kinds == [
        *(["MessageSent"], ["MessageSent"], ["MessageDeleted"], ["ReadMoved"], ["ReadMoved"]),
        *([], [], [], []),
    ]
    assert [len(transaction.membership) for transaction in done] == [2, 0, 0, 0, 2, 1, 0, 0, 0]
    assert [transaction.is_incomplete for transaction in done] == [False] * 8 + [True]


# --- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2026-11-22 10:18:00+00", "2026-11-22T10:18:00.000000Z"),
        (b"2026-11-22 10:18:00.1+00", "2026-11-22T10:18:00.100000Z"),
        (b"2026-11-22 10:18:00.123456+00", "2026-11-22T10:18:00.123456Z"),
        (b"infinity", "9999-12-31T23:59:59.999999Z"),
        (b"12026-11-22 10:18:00+00", "9999-12-31T23:59:59.999999Z"),
        (b"-infinity", "0001-01-01T00:00:00.000000Z"),
        (b"0044-03-15 10:18:00+00 BC", "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_times_have_six_digits_and_z(text: bytes, expected: str) -> None:
    assert wire_time(text) == expected


@given(st.datetimes(), st.datetimes())
def test_wire_times_sort_as_the_times_do(one: Any, other: Any) -> None:
    def written(moment: Any) -> str:
        text = moment.strftime("%Y").zfill(4) + moment.strftime("-%m-%d %H:%M:%S.%f")
        return wire_time(text.rstrip("0").rstrip(".").encode() + b"+00")

    assert (written(one) < written(other)) == (one < other)


@pytest.mark.parametrize("text", [b"", b"now", b"2026-11-22 10:18:00+01", b"22.11.2026 10:18"])
def test_what_is_no_time_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        wire_time(text)
