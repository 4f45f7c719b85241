"""Bytes that PostgreSQL 18 and 15 really sent, and any other bytes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bookconnect_dm import pgoutput
from bookconnect_dm.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    DecodeError,
    Delete,
    Emitted,
    Insert,
    Keepalive,
    Relation,
    Truncate,
    Update,
    WalData,
    decode,
    decode_frame,
)

VECTORS = Path(__file__).parents[1] / "vectors"
CONVERSATION = b"0190a000-0000-7000-8000-00000000000c"


def frames(version: int) -> list[bytes]:
    """What the server sent for the statements of one small session, frame by frame."""
    return [
        bytes.fromhex(line)
        for line in json.loads((VECTORS / f"pgoutput_{version}.json").read_text("ascii"))
    ]


def messages(version: int) -> list[pgoutput.Message]:
    decoded = [decode_frame(frame) for frame in frames(version)]
    return [decode(frame.payload) for frame in decoded if isinstance(frame, WalData)]


CAPTURED = [
    frame.payload
    for version in (18, 15)
    for frame in map(decode_frame, frames(version))
    if isinstance(frame, WalData)
]


@pytest.mark.parametrize("version", [18, 15])
class TestCaptured:
    def test_a_session_has_the_messages_of_its_statements(self, version: int) -> None:
        kinds = [type(m).__name__ for m in messages(version) if not isinstance(m, Relation)]
        one = ["Begin", "Insert", "Commit"]
        assert kinds == [
            *["Begin", "Insert", "Insert", "Insert", "Commit"],
            *one,
            *["Begin", "Update", "Commit"] * 3,
            *["Begin", "Delete", "Commit"] * 2,
            "Emitted",
            *["Begin", "Emitted", "Commit"],
            *["Begin", "Truncate", "Commit"],
        ]

    def test_begin_and_commit_frame_a_transaction(self, version: int) -> None:
        begin = next(m for m in messages(version) if isinstance(m, Begin))
        commit = next(m for m in messages(version) if isinstance(m, Commit))
        assert begin.final_lsn == commit.commit_lsn < commit.end_lsn
        assert begin.committed_at == commit.committed_at
        assert begin.xid > 0

    def test_a_relation_names_its_columns_and_key(self, version: int) -> None:
        relation = next(m for m in messages(version) if isinstance(m, Relation))
        assert (relation.namespace, relation.name) == ("public", "conversation_participants")
        assert relation.replica_identity == "d"
        assert relation.columns == ("conversation_id", "user_id", "joined_at", "last_read_at")
        assert relation.key == (True, True, False, False)

    def test_an_insert_has_text_values_and_nulls(self, version: int) -> None:
        insert = [m for m in messages(version) if isinstance(m, Insert)][2]
        assert insert.new[1] == CONVERSATION
        assert insert.new[3] == "Grüße, 📚".encode()
        assert insert.new[5] == b"f"
        assert insert.new[6] is None
        assert insert.new[7] == b"2027-01-01 10:00:00.5+00"

    def test_a_long_value_that_did_not_change_is_left_out(self, version: int) -> None:
        update = next(m for m in messages(version) if isinstance(m, Update))
        assert update.old is None
        assert update.new[3] is UNCHANGED

    def test_a_changed_key_brings_the_old_one(self, version: int) -> None:
        update = [m for m in messages(version) if isinstance(m, Update)][2]
        assert update.old is not None
        assert update.old[0] == update.new[0] == CONVERSATION
        assert update.old[1] != update.new[1]

    def test_a_delete_brings_the_key_alone(self, version: int) -> None:
        delete = next(m for m in messages(version) if isinstance(m, Delete))
        assert delete.old[0] == CONVERSATION
        assert delete.old[2] is None

    def test_emitted_messages_and_truncates(self, version: int) -> None:
        loose, within = [m for m in messages(version) if isinstance(m, Emitted)]
        assert (loose.transactional, loose.prefix, loose.content) == (
            False,
            "bookconnect_dm",
            b"hello",
        )
        assert (within.transactional, within.content) == (True, b"there")
        (truncate,) = [m for m in messages(version) if isinstance(m, Truncate)]
        assert len(truncate.relation_ids) == 2

    def test_keepalives_between_them_rise(self, version: int) -> None:
        ends = [f.wal_end for f in map(decode_frame, frames(version)) if isinstance(f, Keepalive)]
        assert ends
        assert ends == sorted(ends)


def test_a_type_and_an_origin_are_understood() -> None:
    assert decode(b"Y\0\0\0\x07public\0mood\0") == pgoutput.TypeName(7, "public", "mood")
    assert decode(b"O\0\0\0\0\0\0\0\x05far\0") == pgoutput.Origin(5, "far")


@pytest.mark.parametrize("payload", CAPTURED, ids=lambda payload: f"{payload[:1]!r}")
def test_every_prefix_and_every_extension_of_a_message_is_refused(payload: bytes) -> None:
    for end in range(min(len(payload), 600)):
        with pytest.raises(DecodeError):
            decode(payload[:end])
    with pytest.raises(DecodeError):
        decode(payload + b"\0")


@given(st.binary(max_size=300))
@example(b"")
@example(b"U\0\0\0\1K\xff\xff")
@example(b"T\xff\xff\xff\xff\0")
@example(b"I\0\0\0\1N\0\1t\xff\xff\xff\xff")
def test_any_bytes_give_a_message_or_a_decode_error(data: bytes) -> None:
    for attempt in (decode, decode_frame):
        try:
            attempt(data)
        except DecodeError:
            continue


@given(st.sampled_from(CAPTURED), st.data())
def test_a_damaged_message_gives_a_message_or_a_decode_error(
    payload: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(payload) - 1))
    damaged = bytearray(payload)
    damaged[at] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(damaged))
    except DecodeError:
        return


@given(st.integers(0, 2**64 - 1))
def test_lsns_are_written_as_postgresql_writes_them(lsn: int) -> None:
    assert pgoutput.parse_lsn(pgoutput.format_lsn(lsn)) == lsn


def test_a_status_has_the_layout_of_the_protocol() -> None:
    status = pgoutput.encode_status(0x0000000100000002, 42, reply=True)
    assert status == b"r" + struct.pack("!QQQqB", *[0x100000002] * 3, 42, 1)
    assert pgoutput.format_lsn(0x100000002) == "1/2"
