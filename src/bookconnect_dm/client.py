"""A member's client: the whole API, live events, and sends that arrive once whatever happens.

In charge of: requests with retries, ids for what is sent, the socket with its renewal, coming back,
and catching up.
Knows about: the wire, its errors, and how catch-up and frames are merged (`sync`).
Does not know: the server's parts. It is all that `pip install bookconnect-dm` brings.

    async with Client("https://chat.example", get_token) as client:
        async for event in client.events():
            ...
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import UUID

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from bookconnect_dm import wire
from bookconnect_dm.errors import Problem
from bookconnect_dm.sync import Change, Forget, Found, Merge

__all__ = ["Client", "new_message_id"]

T = TypeVar("T")
Id = UUID | str
GetToken = Callable[[], Awaitable[str]]

REQUEST_S: Final = 10.0
GIVE_UP_S: Final = 60.0
PAUSE_S: Final = (0.2, 10.0)
READY_S: Final = 15.0
STEADY_S: Final = 10.0
EVENTS: Final = 1_000
"""Events that wait for their reader; with more, the socket is not read until he catches up."""
RENEW: Final = 0.8
"""A token is renewed when this much of what was left of it at the sign-in has passed."""
REFUSALS: Final = 3
"""Tokens refused in a row, all but the first asked for anew: then it is no accident."""
PAGE: Final = 100

_UNAUTHENTICATED: Final = 4401
_FINAL_CLOSES: Final = {4403: "PERMISSION_DENIED"}
_AGAIN: Final = {"UNAVAILABLE", "RATE_LIMIT_EXCEEDED", "INTERNAL"}


def new_message_id() -> UUID:
    """An id for a message, to send it with (and to repeat the send with)."""
    moment, noise = time.time_ns() // 1_000_000, secrets.randbits(74)
    high, low = noise >> 62, noise & ((1 << 62) - 1)
    return UUID(int=moment << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


class Client:
    """Speaks for one member to one server. Use it as an async context manager.

    `get_token` is asked for a token at first, and whenever the last one has ended or is about to.
    Calls are repeated for `give_up_s` while the server is away or asks for patience; then they
    raise `Problem`, as they do at once when the answer is final.
    """

    def __init__(
        self,
        server: str,
        get_token: GetToken,
        *,
        give_up_s: float = GIVE_UP_S,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._server = server.rstrip("/")
        self._get_token = get_token
        self._give_up_s = give_up_s
        # Without TLS nobody's certificates are needed, and reading them takes 50 ms.
        is_tls = self._server.startswith("https:")
        self._http = http or httpx.AsyncClient(timeout=REQUEST_S, verify=is_tls)
        self._token: str | None = None
        self._lanes: dict[str, asyncio.Lock] = {}
        self._merge = Merge()
        self._events: deque[Change] = deque()
        self._changed = asyncio.Condition()
        self._failure: Problem | None = None
        self._listener: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        self._has_synced = False
        self._unloaded: dict[str, str] = {}
        """Conversations that began while nobody listened, with the place up to which to tell them;
        a connection may end before their messages are loaded, and the next one goes on here."""
        self._refusals = 0
        self._expires_at = ""
        self.user_id: str | None = None
        """The member, once a socket was accepted."""
        self.reconnects = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the socket and all waiting. Harmless when repeated."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        await self._http.aclose()

    # -- calls

    async def me(self) -> wire.Me:
        """The member himself."""
        return await self._ask("GET", "/me", wire.Me)

    async def conversations(
        self, *, limit: int = 20, cursor: str | None = None
    ) -> wire.ConversationPage:
        """A page of the inbox, newest first."""
        query = {"limit": limit, "cursor": cursor}
        return await self._ask("GET", "/conversations", wire.ConversationPage, query=query)

    async def start(
        self,
        recipient: str | None = None,
        *,
        recipient_id: Id | None = None,
        store_id: Id | None = None,
    ) -> wire.StartAnswer:
        """Starts a conversation with a member by username or id, or gives the one that exists."""
        body = {"recipient": recipient, "recipient_id": recipient_id, "store_id": store_id}
        given = {name: value for name, value in body.items() if value is not None}
        return await self._ask("POST", "/conversations", wire.StartAnswer, body=given)

    async def conversation(self, conversation_id: Id) -> wire.DMConversation:
        """One conversation."""
        return await self._ask("GET", f"/conversations/{conversation_id}", wire.DMConversation)

    async def messages(
        self,
        conversation_id: Id,
        *,
        limit: int = 50,
        before: str | None = None,
        after: str | None = None,
    ) -> wire.MessagePage:
        """A page of messages, oldest first: the newest ones, or those before or after a cursor."""
        path = f"/conversations/{conversation_id}/messages"
        query = {"limit": limit, "before": before, "after": after}
        return await self._ask("GET", path, wire.MessagePage, query=query)

    async def send(
        self, conversation_id: Id, content: str, *, message_id: Id | None = None
    ) -> wire.DMMessage:
        """Sends a message; returns when it is committed, once, however often it had to be tried.

        Sends to one conversation go one after another, in the order of the calls.
        """
        body = {"content": content, "id": str(message_id or new_message_id())}
        path = f"/conversations/{conversation_id}/messages"
        async with self._lanes.setdefault(str(conversation_id), asyncio.Lock()):
            return await self._ask("POST", path, wire.DMMessage, body=body)

    async def read(
        self,
        conversation_id: Id,
        *,
        up_to: str | None = None,
        up_to_message: Id | None = None,
    ) -> str:
        """Moves the read mark (to the newest message unless told otherwise); where it stands."""
        values = {"up_to": up_to, "up_to_message": up_to_message}
        body = {name: value for name, value in values.items() if value is not None}
        path = f"/conversations/{conversation_id}/read"
        return (await self._ask("POST", path, wire.ReadAnswer, body=body)).last_read_at

    async def delete(self, message_id: Id) -> None:
        """Deletes a message of one's own, for both."""
        await self._answer("DELETE", f"/messages/{message_id}", {}, None)

    async def typing(self, conversation_id: Id) -> None:
        """Tells the other one that the member is writing; tells nobody while there is no socket."""
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._say(self._socket, wire.TypingFrame(UUID(str(conversation_id))))

    async def members(self, query: str = "", *, limit: int = 20) -> list[wire.Member]:
        """People of the member's stores whom he could write to."""
        values = {"query": query, "limit": limit}
        return (await self._ask("GET", "/members", wire.MemberPage, query=values)).members

    async def sync(self, request: wire.SyncRequest) -> wire.SyncAnswer:
        """One page of catch-up. `events` does this by itself."""
        return await self._ask("POST", "/sync", wire.SyncAnswer, body=request)

    # -- events

    @property
    def is_live(self) -> bool:
        """True while events come as they happen."""
        return self._socket is not None and self._merge.is_live

    async def events(self) -> AsyncIterator[Change]:
        """What happens from now on, in order, nothing twice; across lost connections as well.

        Ends never; raises `Problem` when no new token is accepted. The first catch-up tells of
        every conversation (`Found`) and of no message: load those by pages. Ask for it once: two
        readers would share the events.
        """
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._events or self._failure)
                if not self._events and self._failure is not None:
                    raise self._failure
                event = self._events.popleft()
                self._changed.notify_all()
            yield event

    async def _listen(self) -> None:
        try:
            await self._stay_connected()
        except Problem as problem:
            self._failure = problem
        except Exception as error:
            self._failure = Problem("INTERNAL", f"The client failed: {error!r}")
            raise
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def _stay_connected(self) -> None:
        pause_s = PAUSE_S[0]
        while True:
            began = time.monotonic()
            try:
                await self._one_connection()
            except Problem as problem:
                if problem.code not in _AGAIN:
                    raise
            except ConnectionClosed as closed:
                self._judge(closed)
            except (OSError, TimeoutError, InvalidHandshake, wire.MalformedError):
                pass  # not there, or not itself: again after a pause
            self.reconnects += 1
            if time.monotonic() - began > STEADY_S:
                pause_s = PAUSE_S[0]
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - no secret
            pause_s = min(pause_s * 2, PAUSE_S[1])

    def _judge(self, closed: ConnectionClosed) -> None:
        """Lets a connection that was closed be tried again, or raises."""
        code, reason = _close_of(closed)
        if code == _UNAUTHENTICATED:
            self._token = None
            # A token that has ended, on a live socket or in waiting, is no refusal yet.
            if self._refusals >= REFUSALS:
                raise Problem("UNAUTHENTICATED", reason)
        elif code in _FINAL_CLOSES:
            raise Problem(_FINAL_CLOSES[code], reason)

    async def _one_connection(self) -> None:
        """One socket from its opening to its end, which raises."""
        url = self._server.replace("http", "ws", 1) + "/v1/realtime"
        async with connect(url, compression=None, open_timeout=REQUEST_S) as socket:
            async with asyncio.timeout(READY_S):
                ready = await self._sign_in(socket)
            self._refusals = 0
            self.user_id = ready.user_id
            self._expires_at = ready.token_expires_at
            self._merge.begin()
            work = [
                asyncio.create_task(self._catch_up(socket)),
                asyncio.create_task(self._renew(socket)),
            ]
            self._socket = socket
            try:
                await self._receive(socket, work)
            finally:
                self._socket = None
                for task in work:
                    task.cancel()
                await asyncio.wait(work)
                for task in work:
                    if not task.cancelled() and (error := task.exception()):
                        raise error

    async def _sign_in(self, socket: ClientConnection) -> wire.ReadyFrame:
        await self._say(socket, wire.AuthFrame(await self._current_token()))
        while True:
            try:
                frame = wire.decode_server_frame(await socket.recv())
            except ConnectionClosed as closed:
                self._refusals += _close_of(closed)[0] == _UNAUTHENTICATED
                raise
            if isinstance(frame, wire.ReadyFrame):
                return frame
            if isinstance(frame, wire.ErrorFrame):
                raise Problem(frame.code, frame.detail)

    async def _receive(self, socket: ClientConnection, work: list[asyncio.Task[None]]) -> None:
        while True:
            frame = wire.decode_server_frame(await socket.recv())
            if isinstance(frame, wire.ResyncFrame):
                work[0].cancel()
                await asyncio.wait([work[0]])
                self._merge.begin()
                work[0] = asyncio.create_task(self._catch_up(socket))
            elif isinstance(frame, wire.AckFrame):
                if isinstance(frame.token_expires_at, str):
                    self._expires_at = frame.token_expires_at
            elif frame is not None:
                await self._tell(self._merge.frame(frame))

    async def _catch_up(self, socket: ClientConnection) -> None:
        """Asks until nothing is left to ask. A failure ends the connection: all begins anew."""
        try:
            while not self._merge.is_live:
                await self._load_new()
                while self._merge.request is not None:
                    changes = self._merge.answered(await self.sync(self._merge.request))
                    self._note_new(changes)
                    await self._tell(changes)
                    await self._load_new()
                await self._tell(self._merge.finish())
            self._has_synced = True
        except Exception:
            # Not closed politely: that waits, and whoever reads the socket would then end us first
            # and never know why.
            socket.transport.abort()
            raise

    def _note_new(self, changes: list[Change]) -> None:
        """Remembers whose messages have to be told: not at first, when all is loaded by pages."""
        for change in changes:
            if isinstance(change, Forget):
                self._has_synced = False
                self._unloaded.clear()
            elif isinstance(change, wire.ReloadFrame | wire.ConversationRemovedFrame):
                self._unloaded.pop(change.conversation_id, None)
            elif isinstance(change, Found) and change.is_new and self._has_synced:
                conversation_id = change.conversation.id
                self._unloaded[conversation_id] = self._merge.positions.get(conversation_id, "")

    async def _load_new(self) -> None:
        """Tells what was written in conversations that began while nobody listened."""
        while self._unloaded:
            conversation_id, position = next(iter(self._unloaded.items()))
            messages = await self._all_messages(conversation_id)
            del self._unloaded[conversation_id]  # and told: nothing comes between
            await self._tell([wire.MessageFrame(m) for m in messages if m.sent_at <= position])

    async def _all_messages(self, conversation_id: str) -> list[wire.DMMessage]:
        messages: list[wire.DMMessage] = []
        before: str | None = None
        while True:
            try:
                page = await self.messages(conversation_id, limit=PAGE, before=before)
            except Problem as problem:
                if problem.code != "CONVERSATION_NOT_FOUND":  # it is not his any more
                    raise
                return []
            messages[:0] = page.messages
            before = page.next_cursor
            if before is None:
                return messages

    async def _renew(self, socket: ClientConnection) -> None:
        """Shows a fresh token before the last one ends. Refused, it is shown at the next socket."""
        while True:
            left_s = wire.parse_time(self._expires_at).timestamp() - time.time()
            await asyncio.sleep(max(1.0, left_s * RENEW))
            self._token = None
            with contextlib.suppress(ConnectionClosed, Problem):
                token = await self._current_token()
                await self._say(socket, wire.AuthFrame(token, ref="renewal"))

    async def _tell(self, changes: list[Change]) -> None:
        """Queues events, in this order; waits for room afterwards, so that order is kept."""
        if not changes:
            return
        self._events.extend(changes)
        async with self._changed:
            self._changed.notify_all()
            await self._changed.wait_for(lambda: len(self._events) < EVENTS)

    async def _say(self, socket: ClientConnection, frame: wire.ClientFrame) -> None:
        await socket.send(wire.encode(frame).decode())

    # -- requests

    async def _current_token(self) -> str:
        if self._token is None:
            try:
                self._token = await self._get_token()
            except Problem:
                raise
            except Exception as error:
                # The host's own code; whatever it was, asking again later may help.
                raise Problem("UNAVAILABLE", f"No token was to be had: {error!r}") from error
        return self._token

    async def _ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        query: dict[str, Any] | None = None,
        body: object = None,
    ) -> T:
        content = await self._answer(method, path, query or {}, body)
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError as error:
            raise Problem("INTERNAL", f"The server's answer is not understood: {error}") from None

    async def _answer(self, method: str, path: str, query: dict[str, Any], body: object) -> bytes:
        """The body of the answer; the call is repeated while that may help."""
        until = time.monotonic() + self._give_up_s
        pause_s = PAUSE_S[0]
        while True:
            problem = await self._try(method, path, query, body)
            if isinstance(problem, bytes):
                return problem
            wait_s = max(problem.retry_after or 0.0, random.uniform(0, pause_s))  # noqa: S311
            if problem.code not in _AGAIN or time.monotonic() + wait_s > until:
                raise problem
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, PAUSE_S[1])

    async def _try(
        self, method: str, path: str, query: dict[str, Any], body: object
    ) -> bytes | Problem:
        """One attempt; another with a fresh token while the last one is not accepted."""
        for refusals in range(1, REFUSALS + 1):
            try:
                headers = {"authorization": f"Bearer {await self._current_token()}"}
            except Problem as problem:
                return problem
            content = None
            if body is not None:
                content = wire.encode(body)
                headers["content-type"] = "application/json"
            try:
                answer = await self._http.request(
                    method,
                    f"{self._server}/v1{path}",
                    params={name: value for name, value in query.items() if value is not None},
                    content=content,
                    headers=headers,
                )
            except httpx.HTTPError as error:
                return Problem("UNAVAILABLE", f"The server cannot be reached: {error!r}")
            if answer.is_success:
                return answer.content
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                return _problem_of(answer)
            self._token = None
            if refusals == REFUSALS:
                return _problem_of(answer)
        raise AssertionError("unreachable")


def _close_of(closed: ConnectionClosed) -> tuple[int, str]:
    return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


def _problem_of(answer: httpx.Response) -> Problem:
    try:
        body = msgspec.json.decode(answer.content, type=wire.ProblemBody)
    except msgspec.DecodeError:  # a proxy's page, not ours
        is_passing = answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        return Problem("UNAVAILABLE" if is_passing else "INTERNAL", f"HTTP {answer.status_code}")
    return Problem(body.code, body.detail, field=body.field, retry_after=body.retry_after)
