"""The REST API as a table, and as an OpenAPI 3.1 document.

In charge of: which calls exist, what they take and give, and which errors they may answer with.
Knows about: `wire`, `errors`. `rest` serves exactly this table.
Does not know: how a call is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from bookconnect_dm import __version__, wire
from bookconnect_dm.content import LENGTH, SPACE
from bookconnect_dm.errors import ERRORS

__all__ = ["OPERATIONS", "Operation", "Query", "document"]

Json = dict[str, Any]

_UUID: Final[Json] = {"type": "string", "format": "uuid"}
_LEAP_YEAR: Final = r"[1-9]\d(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00"
_DAY: Final = (
    rf"(?:[1-9]\d{{3}}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    rf"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))|(?:{_LEAP_YEAR})-02-29)"
)
"""A day that there is: a cursor that the document allows is one that the server takes."""
_TIME_PATTERN: Final = rf"^{_DAY}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{{6}}Z$"
_POSITION: Final[Json] = {"type": "string", "format": "date-time", "pattern": _TIME_PATTERN}
_NO_NUL: Final = r"^[^\u0000]*$"
_INBOX_CURSOR: Final[Json] = {
    "type": "string",
    "pattern": _TIME_PATTERN.replace("Z$", "Z_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A parameter after the question mark."""

    name: str
    schema: Json
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call."""

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    answers: Mapping[int, type | None]
    errors: tuple[str, ...] = ()
    query: tuple[Query, ...] = ()
    body: type | None = None
    is_public: bool = False
    media_type: str = "application/json"

    @property
    def has_head(self) -> bool:
        """Whether HEAD is answered too: what needs no token is asked so by uptime checkers."""
        return self.is_public and self.method == "GET"


def _limit(standard: int) -> Query:
    schema: Json = {"type": "integer", "minimum": 1, "maximum": 100, "default": standard}
    return Query(name="limit", schema=schema, meaning="How many at most.")


OPERATIONS: Final = (
    Operation(
        name="get_me",
        method="GET",
        path="/v1/me",
        summary="The signed-in member: tier, stores, how long messages are kept.",
        answers={200: wire.Me},
    ),
    Operation(
        name="list_conversations",
        method="GET",
        path="/v1/conversations",
        summary="A page of the inbox, newest first.",
        query=(
            _limit(20),
            Query(name="cursor", schema=_INBOX_CURSOR, meaning="`next_cursor` of the last page."),
        ),
        answers={200: wire.ConversationPage},
        errors=("INVALID_REQUEST",),
    ),
    Operation(
        name="start_conversation",
        method="POST",
        path="/v1/conversations",
        summary="Starts a conversation, or finds the one there is (200).",
        body=wire.StartRequest,
        answers={201: wire.StartAnswer, 200: wire.StartAnswer},
        errors=(
            "INVALID_REQUEST",
            "PERMISSION_DENIED",
            "STORE_CONTEXT_ERROR",
            "USER_NOT_FOUND",
            "RATE_LIMIT_EXCEEDED",
        ),
    ),
    Operation(
        name="get_conversation",
        method="GET",
        path="/v1/conversations/{conversation_id}",
        summary="One conversation.",
        answers={200: wire.DMConversation},
        errors=("INVALID_REQUEST", "CONVERSATION_NOT_FOUND"),
    ),
    Operation(
        name="list_messages",
        method="GET",
        path="/v1/conversations/{conversation_id}/messages",
        summary="A page of a conversation, oldest first: the newest, or around a position.",
        query=(
            _limit(50),
            Query(name="before", schema=_POSITION, meaning="Older than this."),
            Query(
                name="after",
                schema=_POSITION,
                meaning="Newer than this. Not together with `before`.",
            ),
        ),
        answers={200: wire.MessagePage},
        errors=("INVALID_REQUEST", "CONVERSATION_NOT_FOUND"),
    ),
    Operation(
        name="send_message",
        method="POST",
        path="/v1/conversations/{conversation_id}/messages",
        summary="Sends a message. With an `id` of the client's making it is safe to repeat (200).",
        body=wire.SendRequest,
        answers={201: wire.DMMessage, 200: wire.DMMessage},
        errors=(
            "INVALID_REQUEST",
            "INVALID_CONTENT",
            "PERMISSION_DENIED",
            "CONVERSATION_NOT_FOUND",
            "CONFLICT",
            "RATE_LIMIT_EXCEEDED",
        ),
    ),
    Operation(
        name="mark_read",
        method="POST",
        path="/v1/conversations/{conversation_id}/read",
        summary="Moves the read mark forward: to a position, to a message, or to the newest.",
        body=wire.ReadRequest,
        answers={200: wire.ReadAnswer},
        errors=("INVALID_REQUEST", "CONVERSATION_NOT_FOUND", "MESSAGE_NOT_FOUND"),
    ),
    Operation(
        name="delete_message",
        method="DELETE",
        path="/v1/messages/{message_id}",
        summary="Deletes a message of one's own, for both sides. Safe to repeat.",
        answers={204: None},
        errors=("INVALID_REQUEST", "PERMISSION_DENIED", "MESSAGE_NOT_FOUND", "LEGAL_HOLD"),
    ),
    Operation(
        name="search_members",
        method="GET",
        path="/v1/members",
        summary="People of the member's stores.",
        query=(
            _limit(20),
            Query(
                name="query",
                schema={"type": "string", "pattern": _NO_NUL, "default": ""},
                meaning="Part of a name.",
            ),
        ),
        answers={200: wire.MemberPage},
        errors=("INVALID_REQUEST",),
    ),
    Operation(
        name="sync",
        method="POST",
        path="/v1/sync",
        summary="What happened since the positions that a client has: the only way to catch up.",
        body=wire.SyncRequest,
        answers={200: wire.SyncAnswer},
        errors=("INVALID_REQUEST",),
    ),
    Operation(
        name="healthz",
        method="GET",
        path="/healthz",
        summary="Whether the process runs.",
        answers={200: None},
        is_public=True,
        media_type="text/plain",
    ),
    Operation(
        name="readyz",
        method="GET",
        path="/readyz",
        summary="Whether sends are stored and delivered: database and live feed.",
        answers={200: wire.Readiness},
        errors=("UNAVAILABLE",),
        is_public=True,
    ),
    Operation(
        name="metrics",
        method="GET",
        path="/metrics",
        summary="Figures for Prometheus.",
        answers={200: None},
        is_public=True,
        media_type="text/plain",
    ),
)
"""Every call of the API."""

DEMO_OPERATIONS: Final = (
    Operation(
        name="demo_sign_in",
        method="POST",
        path="/demo/sign-in",
        summary="A token for one of the demo's members. Only in the demo.",
        body=wire.SignInRequest,
        answers={200: wire.SignInAnswer},
        errors=("INVALID_REQUEST", "USER_NOT_FOUND"),
        is_public=True,
    ),
    Operation(
        name="demo_members",
        method="GET",
        path="/demo/members",
        summary="The demo's members. Only in the demo.",
        answers={200: wire.DemoMembers},
        is_public=True,
    ),
)

_ID: Final = "0192f000-0000-7000-8000-00000000000"
_TIME: Final = "2026-11-22T10:15:30.123456Z"
EXAMPLES: Final[Mapping[type, Json]] = {
    wire.StartRequest: {"recipient": "ben"},
    wire.StartAnswer: {"conversation_id": f"{_ID}1", "is_existing": False},
    wire.SendRequest: {"id": f"{_ID}2", "content": "Have you read it?"},
    wire.ReadRequest: {"up_to_message": f"{_ID}2"},
    wire.ReadAnswer: {"last_read_at": _TIME},
    wire.SyncRequest: {"epoch": "4b1f", "positions": {f"{_ID}1": _TIME}},
    wire.DMMessage: {
        "id": f"{_ID}2",
        "conversation_id": f"{_ID}1",
        "sender_id": f"{_ID}3",
        "content": "Have you read it?",
        "sent_at": _TIME,
        "expires_at": "2027-05-21T10:15:30.123456Z",
        "is_deleted": False,
        "sender": {"username": "ada", "displayname": "Ada"},
    },
}
"""One example a struct; a test decodes each into its struct."""


_VISIBLE: Final = "[^" + "".join(f"\\u{ord(c):04x}" for c in SPACE) + "]"


def _refine(schemas: Json) -> None:
    """Says what a struct's types cannot: for validators, and for those who make test data."""
    text: Json = {"type": "string", "pattern": _NO_NUL}
    schemas["StartRequest"]["oneOf"] = [
        {"required": [one], "properties": {one: text, other: {"type": "null"}}}
        for one, other in (("recipient", "recipient_id"), ("recipient_id", "recipient"))
    ]
    schemas["SendRequest"]["properties"]["content"] |= {
        "minLength": 1,
        "maxLength": LENGTH,
        "allOf": [{"pattern": _VISIBLE}, {"pattern": _NO_NUL}],
    }
    read, both = schemas["ReadRequest"], {"up_to": text, "up_to_message": text}
    read["properties"]["up_to"] = {"anyOf": [_POSITION, {"type": "null"}], "default": None}
    read["not"] = {"required": list(both), "properties": both}
    sync = schemas["SyncRequest"]["properties"]
    sync["positions"] |= {"propertyNames": _UUID, "additionalProperties": _POSITION}
    sync["epoch"] = {"anyOf": [text, {"type": "null"}], "default": None}
    sync["cursor"] = {"anyOf": [_UUID, {"enum": ["", None]}], "default": None}


def document(*, demo: bool = False) -> Json:
    """The OpenAPI document of this version."""
    operations = OPERATIONS + (DEMO_OPERATIONS if demo else ())
    types = {wire.ProblemBody} | {t for o in operations for t in _types_of(o)}
    ordered = sorted(types, key=lambda t: t.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    _refine(schemas)
    for one, example in EXAMPLES.items():
        if one.__name__ in schemas:
            schemas[one.__name__]["examples"] = [example]
    paths: Json = {}
    for operation in operations:
        made = _operation(operation)
        paths.setdefault(operation.path, {})[operation.method.lower()] = made
        if operation.has_head:
            paths[operation.path]["head"] = _head(made)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "BookConnect Direct Messaging",
            "version": __version__,
            "description": "Ids are UUIDs; times are RFC 3339, UTC, with six digits and Z. "
            "Positions and cursors are opaque. Live events come over the socket /v1/realtime.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _types_of(operation: Operation) -> list[type]:
    found = [t for t in operation.answers.values() if t is not None]
    return [*found, operation.body] if operation.body else found


def _operation(operation: Operation) -> Json:
    made: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {
            **{str(s): _answer(operation, s, t) for s, t in operation.answers.items()},
            **_problems(operation),
        },
    }
    if not operation.is_public:
        made["security"] = [{"bearer": []}]
    if operation.body:
        made["requestBody"] = {
            # A start needs one of two names, which no field of it says by itself.
            "required": operation.body is wire.StartRequest
            or any(one.required for one in msgspec.structs.fields(operation.body)),
            "content": {"application/json": {"schema": _ref(operation.body)}},
        }
    return made


def _head(get: Json) -> Json:
    """The same without bodies."""
    responses = {s: {"description": a["description"]} for s, a in get["responses"].items()}
    about = {"operationId": f"{get['operationId']}_head", "summary": "As GET, without the body."}
    return {**get, **about, "responses": responses}


def _parameters(operation: Operation) -> list[Json]:
    in_path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    return [
        *({"name": n, "in": "path", "required": True, "schema": _UUID} for n in in_path),
        *(
            {
                "name": q.name,
                "in": "query",
                "schema": q.schema,
                "description": q.meaning,
                "allowEmptyValue": True,
            }
            for q in operation.query
        ),
    ]


def _answer(operation: Operation, status: int, answer: type | None) -> Json:
    meaning = {200: "Done.", 201: "Made.", 204: "Done; nothing to say."}[status]
    if answer is not None:
        return {"description": meaning, "content": {"application/json": {"schema": _ref(answer)}}}
    if status == 204:
        return {"description": meaning}
    text: Json = {operation.media_type: {"schema": {"type": "string"}}}
    return {"description": meaning, "content": text}


def _problems(operation: Operation) -> Json:
    """The error answers by status, each with the codes that it may carry."""
    codes = [*operation.errors]
    if not operation.is_public:
        codes += ["UNAUTHENTICATED", "UNAVAILABLE"]
    if operation.body:
        codes += ["PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"]
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys([*codes, "INTERNAL"]):
        by_status.setdefault(ERRORS[code].status, []).append(code)
    return {
        str(status): {
            "description": " ".join(f"`{code}`: {ERRORS[code].meaning}" for code in found),
            "content": {"application/problem+json": {"schema": _ref(wire.ProblemBody)}},
        }
        for status, found in sorted(by_status.items())
    }


def _ref(struct: type) -> Json:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}
