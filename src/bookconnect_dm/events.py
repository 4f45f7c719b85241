"""What a committed transaction means: row changes as domain events.

In charge of: the meaning of row changes (which of them members are told, and as what), and
gathering them until the transaction is complete.
Knows about: our three tables, and the messages of `pgoutput`.
Does not know: who listens, frames, connections, clocks. `hub` decides who hears of an event.

What nobody is told: expiry (both sides hold `expires_at`, so neither the sweep nor the purge is an
event), and what is deleted or expired when it commits. What is old by then, an import or the work
of a transaction that was held open, is told as `TooMuch`: positions are past it, so no catch-up
would bring it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from bookconnect_dm import pgoutput
from bookconnect_dm.pgoutput import ColumnValue, DecodeError, Row, Unchanged

__all__ = [
    "Assembler",
    "Event",
    "ExpiryChanged",
    "MembershipChange",
    "MessageDeleted",
    "MessageSent",
    "ReadMoved",
    "TooMuch",
    "Transaction",
    "wire_time",
]

STALE_S: Final = 600
"""A message or deletion this much older than its commit is no news, but history that changed."""

EVENTS_LIMIT: Final = 2_000
"""Events of one transaction; what goes beyond is told as `TooMuch` of its conversation. 2,000 are
published in about 20 ms, and nobody's queue holds more."""


# --- the events -------------------------------------------------------------------------------


class MessageSent(Struct, frozen=True, gc=False):
    """A message was committed; its place in the order is `sent_at`."""

    id: str
    conversation_id: str
    sender_id: str
    content: str
    sent_at: str
    expires_at: str


class MessageDeleted(Struct, frozen=True, gc=False):
    """Its sender deleted a message; its place in the order is `deleted_at`."""

    id: str
    conversation_id: str
    deleted_at: str


class ReadMoved(Struct, frozen=True, gc=False):
    """A member has read up to `last_read_at`."""

    conversation_id: str
    user_id: str
    last_read_at: str


class ExpiryChanged(Struct, frozen=True, gc=False):
    """Messages of this conversation expire at another time than before."""

    conversation_id: str


class TooMuch(Struct, frozen=True, gc=False):
    """More happened in this conversation, or longer ago, than is told by pieces: load it anew."""

    conversation_id: str


Event = MessageSent | MessageDeleted | ReadMoved | ExpiryChanged | TooMuch


class MembershipChange(Struct, frozen=True, gc=False):
    """From this commit on, the user is (or is no longer) in the conversation."""

    conversation_id: str
    user_id: str
    is_member: bool


class Transaction(Struct, frozen=True):
    """All that one commit means.

    `membership` is its net effect, one entry per member and conversation; it holds before `events`,
    which are in the order in which they were written. `stores` names the store of each conversation
    that began. `is_incomplete` means that something could not be told: everybody has to sync.
    """

    xid: int
    end_lsn: int
    committed_at: int
    membership: tuple[MembershipChange, ...] = ()
    events: tuple[Event, ...] = ()
    stores: dict[str, str] = {}
    is_incomplete: bool = False

    @property
    def is_empty(self) -> bool:
        """True when there is nothing in it for anybody."""
        return not (self.events or self.membership or self.is_incomplete)


# --- times ------------------------------------------------------------------------------------

_TIME: Final = re.compile(rb"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\+00", re.ASCII)
_NEVER: Final = "9999-12-31T23:59:59.999999Z"
_ALWAYS: Final = "0001-01-01T00:00:00.000000Z"
_PG_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FULL_LENGTH: Final = len("2000-01-01 00:00:00.123456+00")


def wire_time(value: bytes) -> str:
    """The stream's time (ISO, UTC) as the contract writes it. Raises `DecodeError`.

    What RFC 3339 cannot say (infinity, years beyond 9999 or before Christ) becomes the nearest
    time that it can.
    """
    if len(value) == _FULL_LENGTH and value.endswith(b"+00") and value[4] == 0x2D:
        text = value.decode("ascii", "replace")
        return f"{text[:10]}T{text[11:26]}Z"
    if found := _TIME.fullmatch(value):
        day, clock, fraction = found.groups(b"")
        return f"{day.decode()}T{clock.decode()}.{fraction.decode():0<6}Z"
    if value.startswith(b"-") or value.endswith(b" BC"):
        return _ALWAYS
    if value == b"infinity" or re.match(rb"\d{5,}-", value):
        return _NEVER
    raise DecodeError(f"{value[:40]!r} is no time in UTC.")


def _text_at(committed_at: int, offset_s: int) -> str:
    moment = _PG_EPOCH + timedelta(microseconds=committed_at, seconds=offset_s)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- the rows ---------------------------------------------------------------------------------


class _Table(Struct, frozen=True):
    """A relation of ours with the places of the columns that matter."""

    kind: str
    at: tuple[int, ...]


_MESSAGES, _PARTICIPANTS, _CONVERSATIONS = "messages", "participants", "conversations"

_COLUMNS: Final = {
    "direct_messages": (
        _MESSAGES,
        (
            "id",
            "conversation_id",
            "sender_id",
            "content",
            "sent_at",
            "is_deleted",
            "deleted_at",
            "retention_expires_at",
        ),
    ),
    "conversation_participants": (
        _PARTICIPANTS,
        ("conversation_id", "user_id", "last_read_at"),
    ),
    "conversations": (_CONVERSATIONS, ("id", "store_id")),
}


def _table_of(relation: pgoutput.Relation) -> _Table | None:
    if relation.namespace != "public" or relation.name not in _COLUMNS:
        return None
    kind, columns = _COLUMNS[relation.name]
    try:
        return _Table(kind, tuple(relation.columns.index(name) for name in columns))
    except ValueError as error:
        raise DecodeError(f"Table {relation.name} lacks a column: {error}.") from None


def _value(value: ColumnValue) -> bytes:
    if value is None or isinstance(value, Unchanged):
        raise DecodeError("A row of ours lacks a value.")
    return value


# --- gathering --------------------------------------------------------------------------------


class Assembler:
    """Takes the stream's messages one by one and gives each transaction when it is complete.

    Raises `DecodeError` for what cannot follow or be understood; it is of no use afterwards. With
    `skip_lsn`, rows of the transaction that commits there are not looked at, and it is marked
    incomplete: the way past one that cannot be understood.
    """

    __slots__ = (
        "_begin",
        "_cutoff",
        "_cutoff_second",
        "_events",
        "_is_incomplete",
        "_membership",
        "_now",
        "_skip_lsn",
        "_stores",
        "_tables",
    )

    def __init__(self, *, skip_lsn: int | None = None) -> None:
        self._tables: dict[int, _Table | None] = {}
        self._skip_lsn = skip_lsn
        self._begin: pgoutput.Begin | None = None
        self._events: dict[object, Event] = {}
        self._membership: dict[tuple[str, str], MembershipChange] = {}
        self._stores: dict[str, str] = {}
        self._is_incomplete = False
        self._cutoff_second = -1
        self._cutoff = self._now = ""

    @property
    def is_within_transaction(self) -> bool:
        """True from a transaction's begin to its commit."""
        return self._begin is not None

    @property
    def current_lsn(self) -> int | None:
        """Where the transaction at hand commits, or None between two."""
        return self._begin.final_lsn if self._begin else None

    def take(self, message: pgoutput.Message) -> Transaction | None:
        """Takes the next message; the transaction, when `message` completes one."""
        if isinstance(message, (pgoutput.Insert, pgoutput.Update, pgoutput.Delete)):
            self._take_row(message)
        elif isinstance(message, pgoutput.Begin):
            self._open(message)
        elif isinstance(message, pgoutput.Commit):
            return self._close(message)
        elif isinstance(message, pgoutput.Relation):
            self._tables[message.relation_id] = _table_of(message)
        elif isinstance(message, pgoutput.Truncate):
            ours = any(map(self._tables.get, message.relation_ids))
            self._is_incomplete = self._is_incomplete or ours
        return None

    def _open(self, begin: pgoutput.Begin) -> None:
        if self._begin:
            raise DecodeError("A transaction begins within another.")
        self._begin = begin
        second = begin.committed_at // 1_000_000
        if second != self._cutoff_second:
            self._cutoff_second = second
            self._now = _text_at(begin.committed_at, 0)
            self._cutoff = _text_at(begin.committed_at, -STALE_S)
        self._is_incomplete = begin.final_lsn == self._skip_lsn

    def _close(self, commit: pgoutput.Commit) -> Transaction:
        if not self._begin:
            raise DecodeError("A transaction ends that did not begin.")
        done = Transaction(
            xid=self._begin.xid,
            end_lsn=commit.end_lsn,
            committed_at=commit.committed_at,
            membership=tuple(self._membership.values()),
            events=tuple(self._events.values()),
            stores=self._stores,
            is_incomplete=self._is_incomplete,
        )
        self._begin = None
        self._events = {}
        self._membership = {}
        self._stores = {}
        return done

    def _take_row(self, change: pgoutput.Insert | pgoutput.Update | pgoutput.Delete) -> None:
        if not self._begin:
            raise DecodeError("A row comes outside a transaction.")
        try:
            table = self._tables[change.relation_id]
        except KeyError:
            raise DecodeError("A row of a table that was not announced.") from None
        if table is None or self._begin.final_lsn == self._skip_lsn:
            return
        try:
            if table.kind is _MESSAGES:
                self._take_message(table.at, change)
            elif table.kind is _PARTICIPANTS:
                self._take_participant(table.at, change)
            elif isinstance(change, pgoutput.Insert):
                conversation, store = (_value(change.new[at]) for at in table.at)
                self._stores[conversation.decode()] = store.decode()
        except (IndexError, UnicodeDecodeError):
            raise DecodeError("A row does not fit its table.") from None

    # -- messages

    def _take_message(
        self, at: tuple[int, ...], change: pgoutput.Insert | pgoutput.Update | pgoutput.Delete
    ) -> None:
        if isinstance(change, pgoutput.Delete):
            self._events.pop(_value(change.old[at[0]]).decode(), None)
            return
        is_deleted = _value(change.new[at[5]]) == b"t"
        if isinstance(change, pgoutput.Insert):
            if not is_deleted:
                self._sent(at, change.new)
        elif is_deleted:
            self._deleted(at, change.new)
        else:
            self._changed(at, change.new)

    def _sent(self, at: tuple[int, ...], row: Row) -> None:
        sent_at = wire_time(_value(row[at[4]]))
        expires_at = wire_time(_value(row[at[7]]))
        if expires_at <= self._now:
            return
        conversation_id = _value(row[at[1]]).decode()
        if sent_at < self._cutoff:
            self._tell_too_much(conversation_id)
            return
        message = MessageSent(
            _value(row[at[0]]).decode(),
            conversation_id,
            _value(row[at[2]]).decode(),
            _value(row[at[3]]).decode(),
            sent_at,
            expires_at,
        )
        self._add(message.id, message)

    def _deleted(self, at: tuple[int, ...], row: Row) -> None:
        deleted, expires = _value(row[at[6]]), _value(row[at[7]])
        # As bytes they sort as the times do: same form, and "+" sorts before "." and digits.
        if deleted >= expires:
            return  # the sweep's doing
        message_id = _value(row[at[0]]).decode()
        self._events.pop(message_id, None)  # what is deleted at the commit nobody gets to read
        conversation_id = _value(row[at[1]]).decode()
        deleted_at = wire_time(deleted)
        if deleted_at < self._cutoff:
            self._tell_too_much(conversation_id)
            return
        gone = MessageDeleted(message_id, conversation_id, deleted_at)
        self._add(("deleted", message_id), gone)

    def _changed(self, at: tuple[int, ...], row: Row) -> None:
        message = self._events.get(_value(row[at[0]]).decode())
        if isinstance(message, MessageSent):
            expires_at = wire_time(_value(row[at[7]]))
            self._events[message.id] = replace(message, expires_at=expires_at)
            return
        conversation_id = _value(row[at[1]]).decode()
        self._add(("expiry", conversation_id), ExpiryChanged(conversation_id))

    # -- participants

    def _take_participant(
        self, at: tuple[int, ...], change: pgoutput.Insert | pgoutput.Update | pgoutput.Delete
    ) -> None:
        if isinstance(change, pgoutput.Insert):
            self._member(at, change.new, is_member=True)
            return
        if change.old is not None:
            self._member(at, change.old, is_member=False)
        if isinstance(change, pgoutput.Update):
            if change.old is not None:
                self._member(at, change.new, is_member=True)
            self._read(at, change.new)

    def _member(self, at: tuple[int, ...], row: Row, *, is_member: bool) -> None:
        pair = _value(row[at[0]]).decode(), _value(row[at[1]]).decode()
        self._membership.pop(pair, None)
        self._membership[pair] = MembershipChange(*pair, is_member)

    def _read(self, at: tuple[int, ...], row: Row) -> None:
        moved = ReadMoved(
            _value(row[at[0]]).decode(),
            _value(row[at[1]]).decode(),
            wire_time(_value(row[at[2]])),
        )
        key = ("read", moved.conversation_id, moved.user_id)
        self._events.pop(key, None)
        self._add(key, moved)

    def _add(self, key: object, event: Event) -> None:
        if len(self._events) < EVENTS_LIMIT:
            self._events[key] = event
        else:
            self._tell_too_much(event.conversation_id)

    def _tell_too_much(self, conversation_id: str) -> None:
        self._events[("much", conversation_id)] = TooMuch(conversation_id)
