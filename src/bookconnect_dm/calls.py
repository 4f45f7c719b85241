"""The calls of the API: what each takes from a request, asks for, and answers.

In charge of: reading ids, parameters and bodies, and saying clearly what is wrong with them.
Knows about: the shapes of `wire`, and what a request looks like here (`Request`).
Does not know: the web framework, or who may do what. `rest` serves these, by name.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar
from uuid import UUID

import msgspec

from bookconnect_dm import wire
from bookconnect_dm.door import Door
from bookconnect_dm.errors import Problem
from bookconnect_dm.metrics import CONTENT_TYPE as METRICS_TYPE
from bookconnect_dm.store import Page

__all__ = ["Answer", "Calls", "Demo", "Ready", "Request"]

Ready = Callable[[], Awaitable[str | None]]
"""Why the server cannot do its work right now; None if it can."""

_T = TypeVar("_T")


class Request(Protocol):
    """What the calls need of an HTTP request."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name."""

    @property
    def query_params(self) -> Mapping[str, str]:
        """What stands after the question mark."""

    @property
    def path_params(self) -> Mapping[str, str]:
        """What stands in the path, by name."""

    async def body(self) -> bytes:
        """The whole body."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a struct (or JSON made elsewhere), or bytes with their own media type."""

    body: object = None
    status: int = 200
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Demo:
    """What only the demo offers."""

    sign_in: Callable[[str], Awaitable[wire.SignInAnswer]]
    members: Callable[[], Awaitable[wire.DemoMembers]]


class Calls:
    """The calls, by the names that the table gives them."""

    def __init__(self, door: Door, ready: Ready, demo: Demo | None) -> None:
        self._door = door
        self._ready = ready
        self._demo = demo

    async def get_me(self, request: Request) -> Answer:
        """The signed-in member."""
        actor = await self._actor(request)
        return Answer(await self._door.store.me(actor))

    async def list_conversations(self, request: Request) -> Answer:
        """A page of the inbox."""
        actor = await self._actor(request)
        query = _query(request)
        before = _inbox_cursor(query["cursor"]) if "cursor" in query else None
        limit = self._limit(query, 20)
        return Answer(await self._door.store.conversations(actor, limit=limit, before=before))

    async def start_conversation(self, request: Request) -> Answer:
        """A conversation, made or found."""
        actor = await self._actor(request)
        answer = await self._door.start(actor, await _body(request, _start))
        return Answer(answer, status=200 if answer.is_existing else 201)

    async def get_conversation(self, request: Request) -> Answer:
        """One conversation."""
        actor = await self._actor(request)
        return Answer(await self._door.store.conversation(actor, _id(request, "conversation_id")))

    async def list_messages(self, request: Request) -> Answer:
        """A page of a conversation."""
        actor = await self._actor(request)
        conversation_id = _id(request, "conversation_id")
        query = _query(request)
        page = Page(
            limit=self._limit(query, 50),
            before=_position(query.get("before"), "before"),
            after=_position(query.get("after"), "after"),
        )
        return Answer(await self._door.store.messages(actor, conversation_id, page=page))

    async def send_message(self, request: Request) -> Answer:
        """A message, sent or found."""
        actor = await self._actor(request)
        conversation_id = _id(request, "conversation_id")
        body = await _body(request, _send)
        # Before the send: once a message is stored, nothing may turn its answer into an error.
        sender = await self._door.store.sender(actor)
        sent = await self._door.send(
            actor, conversation_id, content=body.content, message_id=body.id
        )
        message = msgspec.structs.replace(sent.message, sender=sender)
        return Answer(message, status=201 if sent.is_new else 200)

    async def mark_read(self, request: Request) -> Answer:
        """Where the read mark stands now."""
        actor = await self._actor(request)
        conversation_id = _id(request, "conversation_id")
        body = await _body(request, _read)
        last_read_at = await self._door.store.read(
            actor,
            conversation_id,
            up_to=_position(body.up_to, "up_to"),
            message_id=body.up_to_message,
        )
        return Answer(wire.ReadAnswer(last_read_at=last_read_at))

    async def delete_message(self, request: Request) -> Answer:
        """Nothing: it is gone."""
        actor = await self._actor(request)
        await self._door.store.delete(actor, _id(request, "message_id"))
        return Answer(b"", status=204)

    async def search_members(self, request: Request) -> Answer:
        """People to write to."""
        actor = await self._actor(request)
        query = _query(request)
        text, limit = query.get("query", ""), self._limit(query, 20)
        return Answer(await self._door.store.members(actor, query=text, limit=limit))

    async def sync(self, request: Request) -> Answer:
        """What happened meanwhile."""
        actor = await self._actor(request)
        body = await _body(request, _sync)
        if not body.cursor:
            body = msgspec.structs.replace(body, cursor=None)
        return Answer(await self._door.store.sync(actor, body))

    async def healthz(self, _request: Request) -> Answer:
        """That the process runs."""
        return Answer(b"ok\n", media_type="text/plain")

    async def readyz(self, _request: Request) -> Answer:
        """That the server can do its work."""
        if (reason := await self._ready()) is not None:
            raise Problem("UNAVAILABLE", reason, retry_after=1)
        return Answer(wire.Readiness(ready=True))

    async def metrics(self, _request: Request) -> Answer:
        """Figures for a scraper."""
        return Answer(self._door.metrics.text(), media_type=METRICS_TYPE)

    async def demo_sign_in(self, request: Request) -> Answer:
        """A token for a member of the demo."""
        body = await _body(request, _sign_in)
        return Answer(await _there(self._demo).sign_in(body.username))

    async def demo_members(self, _request: Request) -> Answer:
        """The members of the demo."""
        return Answer(await _there(self._demo).members())

    async def _actor(self, request: Request) -> UUID:
        """Who is asking. First of all, so that a stranger learns nothing from other errors."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Problem("UNAUTHENTICATED", "Send the token as Authorization: Bearer <token>.")
        return (await self._door.identify(token.strip())).user_id

    def _limit(self, query: Mapping[str, str], standard: int) -> int:
        most = self._door.settings.limits.page
        text = query.get("limit", str(min(standard, most)))
        if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or not 1 <= int(text) <= most:
            raise Problem("INVALID_REQUEST", f"limit is a number from 1 to {most}.", field="limit")
        return int(text)


# --- what comes in --------------------------------------------------------------------------

_start: msgspec.json.Decoder[wire.StartRequest] = msgspec.json.Decoder(wire.StartRequest)
_send: msgspec.json.Decoder[wire.SendRequest] = msgspec.json.Decoder(wire.SendRequest)
_read: msgspec.json.Decoder[wire.ReadRequest] = msgspec.json.Decoder(wire.ReadRequest)
_sync: msgspec.json.Decoder[wire.SyncRequest] = msgspec.json.Decoder(wire.SyncRequest)
_sign_in: msgspec.json.Decoder[wire.SignInRequest] = msgspec.json.Decoder(wire.SignInRequest)

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


async def _body(request: Request, decoder: msgspec.json.Decoder[_T]) -> _T:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = await request.body()
    if not data:
        # Who sends no body asks for nothing in particular, whatever type he would have given it.
        data = b"{}"
    elif media_type != "application/json":
        raise Problem("UNSUPPORTED_MEDIA_TYPE")
    try:
        return wire.decode_body(data, decoder)
    except wire.MalformedError as error:
        raise Problem("INVALID_REQUEST", error.detail, field=error.field) from None


def _query(request: Request) -> Mapping[str, str]:
    """The parameters that have a value: `?cursor=` is how a first page is written, too."""
    given = request.query_params
    return {name: given[name] for name in given if given[name]}


def _id(request: Request, name: str) -> UUID:
    text: str = request.path_params[name]
    if not _UUID.fullmatch(text):
        raise Problem("INVALID_REQUEST", f"{name} is a UUID.", field=name)
    return UUID(text)


def _position(text: str | None, field: str) -> datetime | None:
    if text is None:
        return None
    try:
        return wire.parse_time(text)
    except ValueError as error:
        raise Problem("INVALID_REQUEST", str(error), field=field) from None


def _inbox_cursor(text: str) -> tuple[datetime, UUID]:
    moment, _, conversation_id = text.partition("_")
    try:
        return wire.parse_time(moment), UUID(conversation_id)
    except ValueError:
        detail = "A cursor is what an earlier answer gave, unchanged."
        raise Problem("INVALID_REQUEST", detail, field="cursor") from None


def _there(demo: Demo | None) -> Demo:
    if demo is None:
        raise Problem("NOT_FOUND")
    return demo
