"""The shape of every REST body and WebSocket frame.

In charge of: what goes over the wire, as typed structs, and how it is encoded and decoded.
Knows about: JSON, UUIDs and how times are written (RFC 3339, UTC, six digits, `Z`).
Does not know: who sends or stores any of it; no clock, socket, task or SQL.

Ids that come in are `UUID`; ids that go out are lower-case strings. Times and positions are strings
in both directions, because they are compared as strings and must not lose their microseconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final, get_args
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from bookconnect_dm import decoding
from bookconnect_dm.decoding import Ref, decode_frame

PROTOCOL_VERSION: Final = 1

MalformedError = decoding.MalformedError
decode_body = decoding.decode_body


# --- the nouns -----------------------------------------------------------------------------


class Store(Struct, frozen=True):
    """A store that the member belongs to, with his role there."""

    id: str
    name: str
    role: str


class Retention(Struct, frozen=True):
    """How long what the member writes is kept."""

    tier: str
    retention_days: int
    grace_ends_at: str | None


class Me(Struct, frozen=True):
    """The signed-in member."""

    id: str
    username: str | None
    displayname: str | None
    avatar_url: str | None
    tier: str
    can_start_conversations: bool
    stores: list[Store]
    retention: Retention


class Member(Struct, frozen=True):
    """Somebody of the member's stores."""

    id: str
    username: str
    displayname: str | None
    avatar_url: str | None
    can_message: bool


class Participant(Struct, frozen=True):
    """The other one in a conversation; without a name if the host no longer knows him."""

    id: str
    username: str | None
    displayname: str | None
    avatar_url: str | None
    last_read_at: str


class LastMessage(Struct, frozen=True):
    """The newest message of a conversation, for the inbox."""

    id: str
    content: str
    sent_at: str
    sender_id: str
    expires_at: str


class DMConversation(Struct, frozen=True):
    """A conversation as one of its members sees it."""

    id: str
    store_id: str
    created_at: str
    updated_at: str
    last_read_at: str
    other_participant: Participant | None
    last_message: LastMessage | None
    unread_count: int


class Sender(Struct, frozen=True):
    """Who wrote a message."""

    username: str | None
    displayname: str | None


class DMMessage(Struct, frozen=True):
    """A message; its position in the conversation is its `sent_at`. Frames leave `sender` out."""

    id: str
    conversation_id: str
    sender_id: str
    content: str
    sent_at: str
    expires_at: str
    is_deleted: bool = False
    sender: Sender | UnsetType | None = UNSET


class Limits(Struct, frozen=True):
    """The limits of this server, for clients that want to stay below them (0 means none)."""

    content_length: int
    frame_bytes: int
    sends_per_second: float
    send_burst: int
    starts_per_hour: int
    sockets: int
    frames_per_second: float
    frame_burst: int


# --- REST: requests ------------------------------------------------------------------------


class StartRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/conversations: the recipient by name or by id."""

    recipient: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    recipient_id: UUID | None = None
    store_id: UUID | None = None


class SendRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/conversations/{id}/messages; `id` is made by a client that wants to retry."""

    content: str
    id: UUID | None = None


class ReadRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/conversations/{id}/read: up to a time, a message, or (neither) the newest."""

    up_to: str | None = None
    up_to_message: UUID | None = None


class SyncRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/sync: what the client has. The first call names no epoch and no positions."""

    epoch: str | None = None
    positions: dict[UUID, str] = {}
    cursor: str | None = None


class SignInRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /demo/sign-in (demo only)."""

    username: Annotated[str, Meta(min_length=1, max_length=200)]


# --- REST: answers -------------------------------------------------------------------------


class ConversationPage(Struct, frozen=True):
    """GET /v1/conversations."""

    conversations: list[DMConversation]
    next_cursor: str | None
    unread_conversations: int


class StartAnswer(Struct, frozen=True):
    """POST /v1/conversations."""

    conversation_id: str
    is_existing: bool


class MessagePage(Struct, frozen=True):
    """GET /v1/conversations/{id}/messages, oldest first."""

    messages: list[DMMessage]
    has_more: bool
    next_cursor: str | None


class ReadAnswer(Struct, frozen=True):
    """POST /v1/conversations/{id}/read: where the read mark stands now."""

    last_read_at: str


class MemberPage(Struct, frozen=True):
    """GET /v1/members."""

    members: list[Member]


class DeletedMessage(Struct, frozen=True):
    """A deletion by the sender, with its place in the conversation's order."""

    id: str
    deleted_at: str


class ConversationChanges(Struct, frozen=True):
    """What happened in one conversation since a position; not `complete` means load it anew."""

    conversation_id: str
    messages: list[DMMessage]
    deleted: list[DeletedMessage]
    position: str | None
    complete: bool


class ReadMark(Struct, frozen=True):
    """How far a member has read."""

    conversation_id: str
    user_id: str
    last_read_at: str


class SyncAnswer(Struct, frozen=True):
    """One page of the catch-up; call again with `next_cursor` until it is null."""

    epoch: str
    reload: bool
    conversations: list[DMConversation]
    changes: list[ConversationChanges]
    reads: list[ReadMark]
    gone: list[str]
    next_cursor: str | None


class SignInAnswer(Struct, frozen=True):
    """POST /demo/sign-in."""

    token: str


class DemoMember(Struct, frozen=True):
    """Somebody to sign in as, in the demo."""

    id: str
    username: str
    displayname: str | None
    tier: str
    store: str
    role: str


class DemoMembers(Struct, frozen=True):
    """GET /demo/members."""

    members: list[DemoMember]


class Readiness(Struct, frozen=True):
    """GET /readyz, when all is well."""

    ready: bool


class ProblemBody(Struct, frozen=True, omit_defaults=True):
    """application/problem+json."""

    code: str
    detail: str
    title: str
    status: int
    type: str = "about:blank"
    field: str | None = None
    retry_after: float | None = None


# --- WebSocket: what a client sends ---------------------------------------------------------


class AuthFrame(Struct, frozen=True, tag_field="type", tag="auth"):
    """The first frame; later, a renewal. A `v` that is not spoken here is answered by `error`."""

    token: str
    v: int = PROTOCOL_VERSION
    ref: Ref | UnsetType = UNSET


class SendFrame(Struct, frozen=True, tag_field="type", tag="send"):
    """Sends a message; `id` makes it safe to repeat."""

    ref: Ref
    id: UUID
    conversation_id: UUID
    content: str


class DeleteFrame(Struct, frozen=True, tag_field="type", tag="delete"):
    """Deletes a message of one's own, for both."""

    ref: Ref
    id: UUID


class ReadFrame(Struct, frozen=True, tag_field="type", tag="read"):
    """Moves the read mark forward."""

    ref: Ref
    conversation_id: UUID
    up_to: str | None = None
    up_to_message: UUID | None = None


class TypingFrame(Struct, frozen=True, tag_field="type", tag="typing"):
    """Says that the member is writing."""

    conversation_id: UUID


class SubscribeFrame(Struct, frozen=True, tag_field="type", tag="subscribe"):
    """Narrows the socket to these conversations; null widens it to all again.

    What was kept from it meanwhile does not come later: after the answer to a wider choice, sync.
    """

    ref: Ref
    conversation_ids: Annotated[list[UUID], Meta(max_length=1000)] | None


class PingFrame(Struct, frozen=True, tag_field="type", tag="ping"):
    """Asks for a `pong`."""


ClientFrame = (
    AuthFrame | SendFrame | DeleteFrame | ReadFrame | TypingFrame | SubscribeFrame | PingFrame
)


# --- WebSocket: what the server sends -------------------------------------------------------


class ReadyFrame(Struct, frozen=True, tag_field="type", tag="ready"):
    """The token was accepted; frames follow."""

    user_id: str
    epoch: str
    token_expires_at: str
    limits: Limits
    v: int = PROTOCOL_VERSION


class AckFrame(Struct, frozen=True, tag_field="type", tag="ack"):
    """The frame called `ref` is done, and committed."""

    ref: Ref | UnsetType = UNSET
    message: DMMessage | UnsetType = UNSET
    last_read_at: str | UnsetType = UNSET
    token_expires_at: str | UnsetType = UNSET


class ErrorFrame(Struct, frozen=True, tag_field="type", tag="error"):
    """The frame called `ref` (if any) failed; the connection stays."""

    code: str
    detail: str
    ref: Ref | UnsetType = UNSET
    field: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET


class MessageFrame(Struct, frozen=True, tag_field="type", tag="message"):
    """A message was committed. Moves the position to its `sent_at`."""

    message: DMMessage


class MessageDeletedFrame(Struct, frozen=True, tag_field="type", tag="message_deleted"):
    """Its sender deleted a message. Moves the position to `deleted_at`."""

    id: str
    conversation_id: str
    deleted_at: str


class ReadEventFrame(Struct, frozen=True, tag_field="type", tag="read"):
    """A member's read mark moved."""

    conversation_id: str
    user_id: str
    last_read_at: str


class ConversationFrame(Struct, frozen=True, tag_field="type", tag="conversation"):
    """The member is in a conversation that is new to him: fetch the rest."""

    conversation_id: str
    store_id: str | None
    user_ids: list[str]


class ConversationRemovedFrame(Struct, frozen=True, tag_field="type", tag="conversation_removed"):
    """The member is no longer in this conversation."""

    conversation_id: str


class ExpiryFrame(Struct, frozen=True, tag_field="type", tag="expiry"):
    """Expiry times in this conversation changed: fetch."""

    conversation_id: str


class ReloadFrame(Struct, frozen=True, tag_field="type", tag="reload"):
    """Forget this conversation and load it anew."""

    conversation_id: str


class ResyncFrame(Struct, frozen=True, tag_field="type", tag="resync"):
    """Call /v1/sync now: something may have been missed."""


class TypingEventFrame(Struct, frozen=True, tag_field="type", tag="typing"):
    """The other one is writing."""

    conversation_id: str
    user_id: str


class PresenceFrame(Struct, frozen=True, tag_field="type", tag="presence"):
    """A member who shares a conversation came or went."""

    user_id: str
    online: bool


class PongFrame(Struct, frozen=True, tag_field="type", tag="pong"):
    """The answer to `ping`."""


ServerFrame = (
    ReadyFrame
    | AckFrame
    | ErrorFrame
    | MessageFrame
    | MessageDeletedFrame
    | ReadEventFrame
    | ConversationFrame
    | ConversationRemovedFrame
    | ExpiryFrame
    | ReloadFrame
    | ResyncFrame
    | TypingEventFrame
    | PresenceFrame
    | PongFrame
)


# --- bytes ----------------------------------------------------------------------------------

_encoder = msgspec.json.Encoder()
_client_frames: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_server_frames: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)


def _types_of(union: object) -> frozenset[str]:
    return frozenset(str(one.__struct_config__.tag) for one in get_args(union))


_CLIENT_TYPES: Final = _types_of(ClientFrame)
_SERVER_TYPES: Final = _types_of(ServerFrame)


def encode(value: object) -> bytes:
    """The struct (or plain value) as compact JSON."""
    return _encoder.encode(value)


def decode_client_frame(data: bytes | str) -> ClientFrame | None:
    """The frame in `data`; None for a type that this version does not know.

    Raises `MalformedError`, which carries the frame's `ref` where it could be read.
    """
    return decode_frame(data, _client_frames, _CLIENT_TYPES)


def decode_server_frame(data: bytes | str) -> ServerFrame | None:
    """The frame in `data`; None for a type that this version does not know.

    Raises `MalformedError`.
    """
    return decode_frame(data, _server_frames, _SERVER_TYPES)


# --- times ----------------------------------------------------------------------------------

_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)


_TIME_EXPECTED: Final = "Expected a time such as 2026-01-31T12:00:00.000000Z."


def format_time(moment: datetime) -> str:
    """`moment` as RFC 3339 in UTC with six digits and `Z`, so that strings sort as times do."""
    plain = moment.astimezone(UTC).replace(tzinfo=None)
    return plain.isoformat(timespec="microseconds") + "Z"


def parse_time(text: str) -> datetime:
    """The moment that `text` (RFC 3339 with an offset) names. Raises `ValueError`."""
    if not _TIME.fullmatch(text):
        raise ValueError(_TIME_EXPECTED)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(_TIME_EXPECTED) from None
