"""The socket as an AsyncAPI 3 document.

In charge of: which frames there are, what answers what, and an example of each.
Knows about: `wire`, the close codes of `errors`.
Does not know: when a frame is sent, or what it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args
from uuid import UUID

import msgspec

from bookconnect_dm import __version__, wire
from bookconnect_dm.errors import CLOSES

__all__ = ["EXAMPLES", "document"]

Json = dict[str, Any]

_A, _B, _C = (UUID(f"0192f000-0000-7000-8000-00000000000{n}") for n in (1, 2, 3))
_TIME: Final = "2026-11-22T10:15:30.123456Z"
_MESSAGE: Final = wire.DMMessage(
    str(_B), str(_A), str(_C), "Have you read it?", _TIME, "2027-05-21T10:15:30.123456Z"
)

_EXAMPLES: Final[tuple[wire.ClientFrame | wire.ServerFrame, ...]] = (
    wire.AuthFrame(token="eyJhbGciOi..."),  # noqa: S106  no token
    wire.SendFrame(ref="1", id=_B, conversation_id=_A, content="Have you read it?"),
    wire.DeleteFrame(ref="2", id=_B),
    wire.ReadFrame(ref="3", conversation_id=_A, up_to_message=_B),
    wire.TypingFrame(conversation_id=_A),
    wire.SubscribeFrame(ref="4", conversation_ids=[_A]),
    wire.PingFrame(),
    wire.ReadyFrame(
        user_id=str(_C),
        epoch="4b1f",
        token_expires_at=_TIME,
        limits=wire.Limits(1000, 65_536, 10.0, 200, 60, 20, 50.0, 400),
    ),
    wire.AckFrame(ref="1", message=_MESSAGE),
    wire.ErrorFrame(code="INVALID_CONTENT", detail="Write something.", ref="1", field="content"),
    wire.MessageFrame(_MESSAGE),
    wire.MessageDeletedFrame(str(_B), str(_A), _TIME),
    wire.ReadEventFrame(str(_A), str(_C), _TIME),
    wire.ConversationFrame(str(_A), str(_C), [str(_B), str(_C)]),
    wire.ConversationRemovedFrame(str(_A)),
    wire.ExpiryFrame(str(_A)),
    wire.ReloadFrame(str(_A)),
    wire.ResyncFrame(),
    wire.TypingEventFrame(str(_A), str(_C)),
    wire.PresenceFrame(str(_C), online=True),
    wire.PongFrame(),
)
EXAMPLES: Final[Mapping[type, Json]] = {
    type(frame): msgspec.json.decode(wire.encode(frame)) for frame in _EXAMPLES
}
"""One example a frame, as it goes over the wire."""

_ANSWERS: Final[Mapping[type, tuple[type, ...]]] = {
    wire.AuthFrame: (wire.ReadyFrame, wire.AckFrame, wire.ErrorFrame),
    wire.SendFrame: (wire.AckFrame, wire.ErrorFrame),
    wire.DeleteFrame: (wire.AckFrame, wire.ErrorFrame),
    wire.ReadFrame: (wire.AckFrame, wire.ErrorFrame),
    wire.SubscribeFrame: (wire.AckFrame, wire.ErrorFrame),
    wire.PingFrame: (wire.PongFrame,),
}
"""What a client gets back for a frame; `typing` is not answered."""

_ABOUT: Final = (
    "JSON text frames, the first of them `auth`. What needs an answer carries a `ref`, which the "
    "answer repeats; an `ack` means committed. Per conversation, `message` and `message_deleted` "
    "come in the order of their positions. After any gap: `auth`, `ready`, then POST /v1/sync. "
    "Frames and fields that are not known here are to be ignored."
)


def document() -> Json:
    """The AsyncAPI document of this version."""
    clients, servers = get_args(wire.ClientFrame), get_args(wire.ServerFrame)
    frames = [*clients, *servers]
    _, schemas = msgspec.json.schema_components(frames, ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "BookConnect Direct Messaging: the socket",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "realtime": {
                "address": "/v1/realtime",
                "messages": {
                    frame.__name__: {"$ref": f"#/components/messages/{frame.__name__}"}
                    for frame in frames
                },
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": {
            **{_tag(frame): _operation(frame) for frame in clients},
            "events": {
                "action": "send",
                "summary": "What the server tells without being asked.",
                "channel": {"$ref": "#/channels/realtime"},
                "messages": [_message_ref(frame) for frame in servers],
            },
        },
        "components": {
            "schemas": schemas,
            "messages": {frame.__name__: _message(frame) for frame in frames},
        },
        "x-close-codes": {
            str(close.code): f"{close.meaning} {close.what_to_do}" for close in CLOSES.values()
        },
    }


def _operation(frame: type) -> Json:
    """A frame of the client's; the document speaks for the server, which receives it."""
    made: Json = {
        "action": "receive",
        "summary": _summary(frame),
        "channel": {"$ref": "#/channels/realtime"},
        "messages": [_message_ref(frame)],
    }
    if answers := _ANSWERS.get(frame):
        made["reply"] = {
            "channel": {"$ref": "#/channels/realtime"},
            "messages": [_message_ref(answer) for answer in answers],
        }
    return made


def _message(frame: type) -> Json:
    made: Json = {
        "name": _tag(frame),
        "title": _tag(frame),
        "summary": _summary(frame),
        "payload": {"$ref": f"#/components/schemas/{frame.__name__}"},
        "examples": [{"payload": EXAMPLES[frame]}],
    }
    if "ref" in frame.__annotations__:
        made["correlationId"] = {"location": "$message.payload#/ref"}
    return made


def _message_ref(frame: type) -> Json:
    return {"$ref": f"#/channels/realtime/messages/{frame.__name__}"}


def _summary(frame: type) -> str:
    return " ".join((frame.__doc__ or "").split())


def _tag(frame: type) -> str:
    return str(frame.__struct_config__.tag)  # type: ignore[attr-defined]  # every frame is a Struct
