"""The logical stream's bytes as typed messages: PostgreSQL's `pgoutput`, protocol version 1.

In charge of: decoding each message of the stream, and the frames of the replication protocol.
Knows about: the byte layout, and nothing of what the tables mean.
Does not know: connections, clocks, tasks, tables. `events` gives the rows their meaning.

Any bytes give a message or a `DecodeError`, never another exception. Values come as text, as bytes
that are not decoded yet: most columns of most rows are never looked at.
"""

from __future__ import annotations

from struct import Struct as Layout
from struct import error as LayoutError  # noqa: N812 - struct names its exception in lower case
from typing import Any, Final

from msgspec import Struct

__all__ = [
    "UNCHANGED",
    "Begin",
    "ColumnValue",
    "Commit",
    "DecodeError",
    "Delete",
    "Emitted",
    "Insert",
    "Keepalive",
    "Message",
    "Origin",
    "Relation",
    "Truncate",
    "TypeName",
    "Unchanged",
    "Update",
    "WalData",
    "decode",
    "decode_frame",
    "emitted_content",
    "encode_status",
    "format_lsn",
    "is_emitted",
    "parse_lsn",
]


class DecodeError(ValueError):
    """Bytes that are no message of the protocol."""


class Unchanged:
    """The type of `UNCHANGED`: a long value that an UPDATE did not touch and the log left out."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged()

ColumnValue = bytes | Unchanged | None
Row = tuple[ColumnValue, ...]


# --- the messages -----------------------------------------------------------------------------


class Begin(Struct, frozen=True, gc=False):
    """A transaction follows. Times are microseconds since 2000-01-01 UTC."""

    final_lsn: int
    committed_at: int
    xid: int


class Commit(Struct, frozen=True, gc=False):
    """The transaction is complete; the log goes on at `end_lsn`."""

    commit_lsn: int
    end_lsn: int
    committed_at: int


class Origin(Struct, frozen=True, gc=False):
    """The transaction was replicated from elsewhere."""

    commit_lsn: int
    name: str


class Relation(Struct, frozen=True):
    """What a relation id stands for from here on. `key` marks the columns of its identity."""

    relation_id: int
    namespace: str
    name: str
    replica_identity: str
    columns: tuple[str, ...]
    key: tuple[bool, ...]


class TypeName(Struct, frozen=True, gc=False):
    """The name of a type that is not built in."""

    type_id: int
    namespace: str
    name: str


class Insert(Struct, frozen=True):
    """A new row."""

    relation_id: int
    new: Row


class Update(Struct, frozen=True):
    """A changed row; `old` holds its identity where that changed, else None."""

    relation_id: int
    old: Row | None
    new: Row


class Delete(Struct, frozen=True):
    """A row that is gone; under the default identity only key columns of `old` are set."""

    relation_id: int
    old: Row


class Truncate(Struct, frozen=True):
    """Tables that were emptied."""

    relation_ids: tuple[int, ...]
    options: int


class Emitted(Struct, frozen=True, gc=False):
    """What somebody put into the log with `pg_logical_emit_message`: anybody may, trust nothing."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


Message = (
    Begin | Commit | Origin | Relation | TypeName | Insert | Update | Delete | Truncate | Emitted
)


# --- frames around them -----------------------------------------------------------------------


class WalData(Struct, frozen=True, gc=False):
    """A piece of the stream; `payload` is one message. `sent_at` is by the database's clock."""

    start_lsn: int
    sent_at: int
    payload: bytes


class Keepalive(Struct, frozen=True, gc=False):
    """The server has read its log up to `wal_end` and sent all that it found there for us."""

    wal_end: int
    sent_at: int
    reply_requested: bool


_WAL, _ALIVE = b"wk"
_EMIT: Final = ord("M")
_PAYLOAD_AT: Final = 25
_CONTENT_AT: Final = _PAYLOAD_AT + 10
_I32: Final = Layout("!i")
_WAL_DATA: Final = Layout("!QQq")
_KEEPALIVE: Final = Layout("!Qq?")
_STATUS: Final = Layout("!cQQQqB")


def decode_frame(data: bytes | memoryview) -> WalData | Keepalive:
    """The frame of the replication protocol in `data`. Raises `DecodeError`."""
    try:
        kind = data[0]
        if kind == _WAL:
            start, _end, sent_at = _WAL_DATA.unpack_from(data, 1)
            return WalData(start, sent_at, bytes(data[25:]))
        if kind == _ALIVE:
            return Keepalive(*_KEEPALIVE.unpack_from(data, 1))
    except (LayoutError, IndexError):
        raise DecodeError(f"A frame ends early, after {len(data)} bytes.") from None
    raise DecodeError(f"There is no frame of kind {kind}.")


def is_emitted(data: bytes | memoryview) -> bool:
    """True for a frame with a message that was put into the log by `pg_logical_emit_message`."""
    return len(data) > _CONTENT_AT and data[0] == _WAL and data[_PAYLOAD_AT] == _EMIT


def emitted_content(
    data: bytes | memoryview, prefix: bytes, *, most: int
) -> tuple[bytes, int] | None:
    """The content and `sent_at` of such a frame.

    None unless it is called `prefix`, has at most `most` bytes and is of no transaction: whatever
    its size, only so much of it is looked at.
    """
    _start, _end, sent_at = _WAL_DATA.unpack_from(data, 1)
    name = prefix + b"\0"
    at = _CONTENT_AT + len(name)
    is_ours = data[_PAYLOAD_AT + 1] & 1 == 0 and bytes(data[_CONTENT_AT:at]) == name
    if not is_ours or not at + 4 <= len(data) <= at + 4 + most:
        return None
    (size,) = _I32.unpack_from(data, at)
    return (bytes(data[at + 4 :]), sent_at) if size == len(data) - at - 4 else None


def encode_status(confirmed_lsn: int, now: int, *, reply: bool) -> bytes:
    """The status that tells the server how far the log was processed, and may ask for an answer."""
    return _STATUS.pack(b"r", confirmed_lsn, confirmed_lsn, confirmed_lsn, now, reply)


def format_lsn(lsn: int) -> str:
    """`lsn` as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """The number behind `text`. Raises `ValueError`."""
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


# --- decoding ---------------------------------------------------------------------------------

_BEGIN: Final = Layout("!QqI")
_COMMIT: Final = Layout("!BQQq")
_U64: Final = Layout("!Q")
_U32: Final = Layout("!I")
_U16: Final = Layout("!H")
_TRUNCATE: Final = Layout("!IB")
_EMITTED: Final = Layout("!BQ")
_COLUMN_TAIL: Final = Layout("!Ii")

_NULL, _TOAST, _TEXT = b"nut"
_NEW, _KEY, _OLD = b"NKO"


def decode(data: bytes) -> Message:
    """The message in `data`. Raises `DecodeError` for anything else."""
    try:
        reader = _READERS.get(data[0])
        if reader is None:
            raise DecodeError(f"There is no message of kind {data[:1]!r}.")
        message: Message
        message, end = reader(data)
    except (IndexError, LayoutError, UnicodeDecodeError) as error:
        raise DecodeError(f"A message of kind {data[:1]!r} is broken: {error}.") from None
    if end != len(data):
        raise DecodeError(f"A message of kind {data[:1]!r} has {len(data) - end} bytes too many.")
    return message


def _begin(data: bytes) -> tuple[Begin, int]:
    return Begin(*_BEGIN.unpack_from(data, 1)), 21


def _commit(data: bytes) -> tuple[Commit, int]:
    _flags, commit_lsn, end_lsn, committed_at = _COMMIT.unpack_from(data, 1)
    return Commit(commit_lsn, end_lsn, committed_at), 26


def _origin(data: bytes) -> tuple[Origin, int]:
    (lsn,) = _U64.unpack_from(data, 1)
    name, at = _text(data, 9)
    return Origin(lsn, name), at


def _relation(data: bytes) -> tuple[Relation, int]:
    (relation_id,) = _U32.unpack_from(data, 1)
    namespace, at = _text(data, 5)
    name, at = _text(data, at)
    identity = chr(data[at])
    (count,) = _U16.unpack_from(data, at + 1)
    at += 3
    names, keys = [], []
    for _ in range(count):
        keys.append(bool(data[at] & 1))
        column, at = _text(data, at + 1)
        _COLUMN_TAIL.unpack_from(data, at)
        at += 8
        names.append(column)
    return Relation(
        relation_id,
        namespace or "pg_catalog",
        name,
        identity,
        tuple(names),
        tuple(keys),
    ), at


def _type(data: bytes) -> tuple[TypeName, int]:
    (type_id,) = _U32.unpack_from(data, 1)
    namespace, at = _text(data, 5)
    name, at = _text(data, at)
    return TypeName(type_id, namespace or "pg_catalog", name), at


def _insert(data: bytes) -> tuple[Insert, int]:
    (relation_id,) = _U32.unpack_from(data, 1)
    if data[5] != _NEW:
        raise DecodeError("An INSERT brings no new row.")
    new, at = _row(data, 6)
    return Insert(relation_id, new), at


def _update(data: bytes) -> tuple[Update, int]:
    (relation_id,) = _U32.unpack_from(data, 1)
    old: Row | None = None
    at = 5
    if data[at] in (_KEY, _OLD):
        old, at = _row(data, at + 1)
    if data[at] != _NEW:
        raise DecodeError("An UPDATE brings no new row.")
    new, at = _row(data, at + 1)
    return Update(relation_id, old, new), at


def _delete(data: bytes) -> tuple[Delete, int]:
    (relation_id,) = _U32.unpack_from(data, 1)
    if data[5] not in (_KEY, _OLD):
        raise DecodeError("A DELETE brings no old row.")
    old, at = _row(data, 6)
    return Delete(relation_id, old), at


def _truncate(data: bytes) -> tuple[Truncate, int]:
    count, options = _TRUNCATE.unpack_from(data, 1)
    if len(data) != 6 + 4 * count:
        raise DecodeError("A TRUNCATE names another number of tables than it says.")
    ids = tuple(_U32.unpack_from(data, 6 + 4 * n)[0] for n in range(count))
    return Truncate(ids, options), len(data)


def _emitted(data: bytes) -> tuple[Emitted, int]:
    flags, lsn = _EMITTED.unpack_from(data, 1)
    prefix, at = _text(data, 10)
    content, at = _counted(data, at)
    return Emitted(bool(flags & 1), lsn, prefix, content), at


def _row(data: bytes, at: int) -> tuple[Row, int]:
    (count,) = _U16.unpack_from(data, at)
    at += 2
    values: list[ColumnValue] = []
    size_at = _I32.unpack_from
    for _ in range(count):
        kind = data[at]
        if kind == _TEXT:
            (size,) = size_at(data, at + 1)
            at += 5
            end = at + size
            values.append(data[at:end])
            if size < 0:
                raise DecodeError("A column has a negative size.")
            at = end
        elif kind == _NULL:
            values.append(None)
            at += 1
        elif kind == _TOAST:
            values.append(UNCHANGED)
            at += 1
        else:
            raise DecodeError(f"There is no column of kind {data[at : at + 1]!r}.")
    return tuple(values), at


def _counted(data: bytes, at: int) -> tuple[bytes, int]:
    (size,) = _I32.unpack_from(data, at)
    if size < 0:
        raise DecodeError("A value has a negative size.")
    return data[at + 4 : at + 4 + size], at + 4 + size


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.find(b"\0", at)
    if end < 0:
        raise DecodeError("A name has no end.")
    return data[at:end].decode(), end + 1


_READERS: Final[dict[int, Any]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("O"): _origin,
    ord("R"): _relation,
    ord("Y"): _type,
    ord("I"): _insert,
    ord("U"): _update,
    ord("D"): _delete,
    ord("T"): _truncate,
    ord("M"): _emitted,
}
