from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookconnect_dm import wire

ID = "0192f000-0000-7000-8000-000000000001"
OTHER = "0192f000-0000-7000-8000-000000000002"
TIME = "2026-11-22T10:15:30.123456Z"
SEND = {"type": "send", "ref": 1, "id": ID, "conversation_id": OTHER, "content": "Hello"}


def client(frame: object) -> wire.ClientFrame | None:
    return wire.decode_client_frame(json.dumps(frame))


def malformed(frame: object) -> wire.MalformedError:
    data = frame if isinstance(frame, bytes | str) else json.dumps(frame)
    with pytest.raises(wire.MalformedError) as caught:
        wire.decode_client_frame(data)
    return caught.value


def test_half_a_character_in_a_name_is_malformed_and_the_ref_comes_back() -> None:
    found = malformed('{"type":"send","ref":7,"\\ud800":2}')
    assert "half a character" in found.detail
    assert found.ref == 7
    decoder = msgspec.json.Decoder(wire.SyncRequest)
    for body in (b'{"\\ud800":1}', b'{"epoch":"e","positions":{"\\ud800":"x"}}'):
        with pytest.raises(wire.MalformedError):
            wire.decode_body(body, decoder)


# --- what clients send ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"type": "auth", "v": 1, "token": "t"}, wire.AuthFrame(token="t")),
        (SEND, wire.SendFrame(ref=1, id=UUID(ID), conversation_id=UUID(OTHER), content="Hello")),
        ({"type": "delete", "ref": "a", "id": ID}, wire.DeleteFrame(ref="a", id=UUID(ID))),
        (
            {"type": "read", "ref": 2, "conversation_id": ID, "up_to": TIME},
            wire.ReadFrame(ref=2, conversation_id=UUID(ID), up_to=TIME),
        ),
        (
            {"type": "read", "ref": 2, "conversation_id": ID, "up_to_message": OTHER},
            wire.ReadFrame(ref=2, conversation_id=UUID(ID), up_to_message=UUID(OTHER)),
        ),
        (
            {"type": "typing", "conversation_id": ID},
            wire.TypingFrame(conversation_id=UUID(ID)),
        ),
        (
            {"type": "subscribe", "ref": 3, "conversation_ids": [ID]},
            wire.SubscribeFrame(ref=3, conversation_ids=[UUID(ID)]),
        ),
        (
            {"type": "subscribe", "ref": 3, "conversation_ids": None},
            wire.SubscribeFrame(ref=3, conversation_ids=None),
        ),
        ({"type": "ping"}, wire.PingFrame()),
    ],
)
def test_each_frame_of_a_client_is_read(frame: object, expected: wire.ClientFrame) -> None:
    assert client(frame) == expected


def test_an_unknown_type_is_ignored() -> None:
    assert client({"type": "dance", "ref": 1}) is None


def test_an_unknown_field_is_ignored() -> None:
    assert client({"type": "ping", "mood": "good"}) == wire.PingFrame()


def test_ids_in_capitals_are_the_same_ids() -> None:
    frame = client({**SEND, "id": ID.upper()})
    assert isinstance(frame, wire.SendFrame)
    assert frame.id == UUID(ID)


def test_a_broken_frame_names_field_and_ref() -> None:
    error = malformed({**SEND, "id": "x"})
    assert (error.field, error.ref, error.detail) == ("id", 1, "Invalid UUID.")


def test_a_missing_field_is_named() -> None:
    error = malformed({"type": "send", "ref": "r"})
    assert (error.field, error.ref) == ("id", "r")
    assert error.detail == "The frame needs the field `id`."


@pytest.mark.parametrize(
    "ref", [None, 1.5, True, [1], {"a": 1}, "x" * 201, 2**53, -(2**60), "half \ud83d"]
)
def test_a_ref_that_cannot_be_sent_back_is_refused(ref: object) -> None:
    error = malformed({**SEND, "ref": ref})
    assert error.ref is None
    assert error.field == "ref"


def test_half_a_character_in_the_text_still_gives_the_frame_with_its_ref() -> None:
    data = json.dumps({**SEND, "ref": 7, "content": "\ud83d"})
    assert "\\ud83d" in data
    frame = wire.decode_client_frame(data)
    assert isinstance(frame, wire.SendFrame)
    assert (frame.ref, frame.content) == (7, "\ud83d")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"nul",
        b'{"type":"ping","x":' + b"[" * 100_000,
        b'{"type":"ping","x":NaN}',
        "\ud800",
    ],
)
def test_what_is_no_json_is_refused(data: bytes | str) -> None:
    error = malformed(data)
    assert error.ref is None
    assert "JSON" in error.detail


@pytest.mark.parametrize("frame", [[], "ping", 1, None, {}, {"type": None}, {"ref": 1}])
def test_what_is_no_frame_is_refused(frame: object) -> None:
    malformed(json.dumps(frame))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_frame_nothing_or_the_one_error(data: bytes) -> None:
    with contextlib.suppress(wire.MalformedError):
        wire.decode_client_frame(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["auth", "send", "delete", "read", "subscribe", "x"])},
        optional=dict.fromkeys(
            ("ref", "id", "token", "content", "conversation_id", "conversation_ids"), json_values
        ),
    )
)
def test_any_json_gives_a_frame_nothing_or_the_one_error(frame: dict[str, Any]) -> None:
    try:
        wire.decode_client_frame(json.dumps(frame))
    except wire.MalformedError as error:
        wire.encode(error.ref)  # whatever it names can be sent back


# --- what the server sends ------------------------------------------------------------------

MESSAGE = wire.DMMessage(ID, OTHER, ID, "Hello", TIME, TIME)
LIMITS = wire.Limits(1000, 65_536, 10.0, 200, 60, 20, 50.0, 400)
SERVER_FRAMES: list[wire.ServerFrame] = [
    wire.ReadyFrame(ID, "epoch", TIME, LIMITS),
    wire.AckFrame(ref=1, message=MESSAGE),
    wire.AckFrame(ref="a", last_read_at=TIME),
    wire.ErrorFrame("CONFLICT", "Taken.", ref=2, field="id", retry_after=1.5),
    wire.MessageFrame(MESSAGE),
    wire.MessageDeletedFrame(ID, OTHER, TIME),
    wire.ReadEventFrame(ID, OTHER, TIME),
    wire.ConversationFrame(ID, OTHER, [ID, OTHER]),
    wire.ConversationRemovedFrame(ID),
    wire.ExpiryFrame(ID),
    wire.ReloadFrame(ID),
    wire.ResyncFrame(),
    wire.TypingEventFrame(ID, OTHER),
    wire.PresenceFrame(ID, online=True),
    wire.PongFrame(),
]


def test_the_examples_cover_every_frame_of_the_server() -> None:
    assert {type(frame) for frame in SERVER_FRAMES} == set(get_args(wire.ServerFrame))


@pytest.mark.parametrize("frame", SERVER_FRAMES, ids=lambda f: type(f).__name__)
def test_encoding_and_decoding_a_frame_changes_nothing(frame: wire.ServerFrame) -> None:
    assert wire.decode_server_frame(wire.encode(frame)) == frame


def test_a_client_ignores_frames_of_a_newer_server() -> None:
    assert wire.decode_server_frame(b'{"type":"confetti"}') is None


def test_a_message_frame_says_nothing_of_its_sender_but_the_id() -> None:
    assert json.loads(wire.encode(wire.MessageFrame(MESSAGE))) == {
        "type": "message",
        "message": {
            "id": ID,
            "conversation_id": OTHER,
            "sender_id": ID,
            "content": "Hello",
            "sent_at": TIME,
            "expires_at": TIME,
            "is_deleted": False,
        },
    }


def test_what_is_not_said_is_not_written() -> None:
    assert wire.encode(wire.AckFrame(ref=1)) == b'{"type":"ack","ref":1}'
    assert wire.encode(wire.ErrorFrame("X", "y")) == b'{"type":"error","code":"X","detail":"y"}'


# --- REST bodies ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"content": 1}', "content"),
        (b'{"content": "x", "id": "y"}', "id"),
        (b'{"content": "x", "extra": 1}', "extra"),
        (b"{}", "content"),
        (b"[]", None),
        (b"", None),
        (b'{"content": "\xff"}', None),
    ],
)
def test_a_bad_body_names_the_field(body: bytes, field: str | None) -> None:
    with pytest.raises(wire.MalformedError) as caught:
        wire.decode_body(body, msgspec.json.Decoder(wire.SendRequest))
    assert caught.value.field == field


def test_a_body_with_half_a_character_is_read() -> None:
    decoder = msgspec.json.Decoder(wire.SendRequest)
    assert wire.decode_body(b'{"content": "\\udc00"}', decoder).content == "\udc00"


def test_positions_are_keyed_by_conversation() -> None:
    decoder = msgspec.json.Decoder(wire.SyncRequest)
    body = json.dumps({"positions": {ID: TIME}}).encode()
    assert wire.decode_body(body, decoder).positions == {UUID(ID): TIME}
    with pytest.raises(wire.MalformedError) as caught:
        wire.decode_body(b'{"positions": {"x": "y"}}', decoder)
    assert caught.value.field == "positions"


# --- times ----------------------------------------------------------------------------------


def test_a_time_has_always_six_digits_and_z() -> None:
    assert wire.format_time(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000000Z"
    east = timezone(timedelta(hours=2))
    assert wire.format_time(datetime(2026, 1, 1, tzinfo=east)) == "2025-12-31T22:00:00.000000Z"


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_comes_back_as_it_was(moment: datetime) -> None:
    assert wire.parse_time(wire.format_time(moment)) == moment


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_times_sort_as_their_strings_do(one: datetime, other: datetime) -> None:
    assert (one < other) == (wire.format_time(one) < wire.format_time(other))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.1234567Z",
        "2026-02-30T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:00",
        "2026-01-01T00:00:00Z\n",
        "٢٠٢٦-01-01T00:00:00Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Expected a time such as"):
        wire.parse_time(text)
