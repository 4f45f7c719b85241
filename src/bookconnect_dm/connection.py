"""One socket's life: what comes in is done, what is due goes out, and nothing is left behind.

In charge of: carrying out what `session` decides, timers, cutting off who reads too slowly.
Knows about: the door, the hub's subscriber, and what a socket can do (`Wire`).
Does not know: WebSocket bytes, what frames mean, who may do what.

A connection has one task, its reader. Writing needs none: the hub wakes the connection, and at the
end of that turn of the loop all that is queued goes to the transport, unless that is still full;
then the transport says when there is room again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol
from uuid import UUID

import structlog

from bookconnect_dm import wire
from bookconnect_dm.auth import Identity
from bookconnect_dm.decoding import Ref
from bookconnect_dm.door import Door
from bookconnect_dm.errors import Problem
from bookconnect_dm.session import (
    Action,
    Close,
    Join,
    Reply,
    Session,
    Verify,
    error_frame,
    expiry_text,
)
from bookconnect_dm.subscriber import Subscriber
from bookconnect_dm.writer import Sent

__all__ = ["CLOSE_S", "CUT_S", "RESTARTING", "Connection", "Wire"]

Receive = Callable[[], Awaitable[Any]]

CLOSE_S: Final = 5.0
"""How long the other end may take to answer a close; then the connection is dropped."""
CUT_S: Final = 2.0
"""The same for one that does not read: the close stands behind all that he did not read."""
BLOCKED_S: Final = 5.0
"""How long nothing at all may go out."""
PENDING: Final = 64
"""Operations of one socket that may be on their way; then it is not read until one is done."""
LOOK_S: Final = 3600.0
PAUSE_S: Final = (0.2, 5.0)

TOO_SLOW: Final = 4409
TOO_MANY: Final = 4429
INTERNAL: Final = 4500
RESTARTING: Final = 1012

_SEND: Final = '{"type":"send"'

log = structlog.get_logger("ws")


class Wire(Protocol):
    """What a connection needs of its socket. None of it waits."""

    @property
    def is_open(self) -> bool:
        """Whether frames can still be written."""

    @property
    def has_room(self) -> bool:
        """Whether the transport takes more without piling it up."""

    def write(self, frames: list[bytes]) -> None:
        """Hands encoded frames to the transport."""

    def end(self, code: int, reason: str, *, within_s: float = CLOSE_S) -> None:
        """Says goodbye, and drops the connection if that is not answered in time."""


class Connection:
    """A socket that was accepted."""

    __slots__ = (
        "_admitting",
        "_blocked_timer",
        "_closed_with",
        "_door",
        "_flush_is_due",
        "_loop",
        "_pending",
        "_receive",
        "_room",
        "_session",
        "_subscriber",
        "_tasks",
        "_timer",
        "_user_id",
        "_wire",
        "is_listening",
    )

    def __init__(self, door: Door, socket: Wire, receive: Receive) -> None:
        limits = door.settings.limits
        frames_per_second, frame_burst = limits.frames
        self._door = door
        self._wire = socket
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._session = Session(
            frames_per_second=frames_per_second,
            frame_burst=frame_burst,
            auth_seconds=limits.auth_seconds,
            now=time.time(),
        )
        self._user_id: UUID | None = None
        self._subscriber: Subscriber | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = 0
        self._room: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._blocked_timer: asyncio.TimerHandle | None = None
        self._flush_is_due = False
        self._admitting = False
        self._closed_with: int | None = None
        self.is_listening = False
        """Whether the reader waits for the next frame, and so nothing is before it."""

    async def run(self) -> None:
        """Reads until the connection is over, and leaves nothing behind."""
        self._door.metrics.socket_opened()
        try:
            self._set_timer()
            await self._read()
        except Exception as error:  # the outer edge of a connection
            log.exception("socket_failed", error=type(error).__name__)
            self._end(INTERNAL, "internal error")
        finally:
            self._clean_up()

    def _clean_up(self) -> None:
        for timer in (self._timer, self._blocked_timer):
            if timer is not None:
                timer.cancel()
        # What is on its way to the database goes on to its end: cancelled half way it would cost
        # the connection, and whoever comes and goes quickly would cost everybody theirs.
        if self._subscriber is not None:
            self._door.hub.unregister(self._subscriber)
            self._subscriber = None
        if self._user_id is not None:
            self._door.leave(self._user_id)
        self._door.metrics.socket_closed(self._closed_with)

    # -- reading

    async def _read(self) -> None:
        while True:
            self.is_listening = True
            message = await self._receive()
            self.is_listening = False
            if message["type"] != "websocket.receive":
                return
            text = message.get("text")
            action = self._session.receive(message["bytes"] if text is None else text, time.time())
            if action is not None:
                await self._do(action)

    def take_at_once(self, text: str) -> bool:
        """Does what a `send` frame asks, without waking the reader; False for any other frame.

        Only while `is_listening`. Most frames are sends, and the way through a queue and a task
        takes longer than all that is done about them here.
        """
        if self._pending >= PENDING - 1 or not text.startswith(_SEND):
            return False
        try:
            action = self._session.receive(text, time.time())
            if isinstance(action, wire.SendFrame):
                self._door.metrics.frame("SendFrame")
                self._send(action)
            elif isinstance(action, Reply):
                self._say(action.frame)
            elif isinstance(action, Close):
                self._end(action.code, action.reason)
            elif action is not None:  # a frame with two types: the last one counted
                self._start(self._do(action))
        except Exception as error:  # the outer edge of a connection
            log.exception("socket_failed", error=type(error).__name__)
            self._end(INTERNAL, "internal error")
        return True

    async def _do(self, action: Action) -> None:
        self._door.metrics.frame(type(action).__name__)
        if isinstance(action, wire.SendFrame):
            self._send(action)
            await self._wait_for_room()
        elif isinstance(action, wire.DeleteFrame | wire.ReadFrame):
            self._pending += 1
            self._start(self._carry_out(action))
            await self._wait_for_room()
        elif isinstance(action, Verify):
            await self._verify(action)
        elif isinstance(action, wire.SubscribeFrame):
            await self._subscribe(action)
        elif isinstance(action, wire.TypingFrame):
            if self._subscriber is not None:
                self._door.typing(self._subscriber, action.conversation_id)
        else:
            await self._obey(action)

    async def _obey(self, action: Join | Reply | Close) -> None:
        if isinstance(action, Reply):
            self._say(action.frame)
        elif isinstance(action, Close):
            self._end(action.code, action.reason)
        else:
            await self._join(action.identity)

    async def _verify(self, action: Verify) -> None:
        answer: Join | Reply | Close | None
        try:
            identity = await self._door.identify(action.token)
        except Problem as problem:
            answer = self._session.refused(problem, action.ref)
        else:
            answer = self._session.accepted(identity, action.ref)
        self._set_timer()
        if answer is not None:
            await self._obey(answer)

    async def _subscribe(self, frame: wire.SubscribeFrame) -> None:
        hub, subscriber, wanted = self._door.hub, self._subscriber, frame.conversation_ids
        if subscriber is None:
            return
        try:
            wider = hub.begin_widening(subscriber, wanted)
            snapshot = await self._door.store.snapshot() if wider else None
            hub.narrow(subscriber, wanted, snapshot)
        except Problem as problem:
            self._say(error_frame(problem, frame.ref))
        else:
            self._say(wire.AckFrame(ref=frame.ref))
        finally:
            hub.end_widening(subscriber)

    # -- joining

    async def _join(self, identity: Identity) -> None:
        if not self._door.enter(identity.user_id):
            self._end(TOO_MANY, "too many sockets of this member")
            return
        self._user_id = identity.user_id
        self._session.count_frames_by(self._door.frames_of(identity.user_id, time.time()))
        self._subscriber = self._door.hub.register(identity.user_id, self._wake)
        await self._admit(self._subscriber, identity)

    async def _admit(self, subscriber: Subscriber, newcomer: Identity | None) -> None:
        """Reads what the member is in, and lets his frames begin; `ready` goes before the first."""
        self._admitting = True
        pause = PAUSE_S[0]
        while self._wire.is_open:
            try:
                found = await self._door.store.membership(UUID(subscriber.user_id))
            except Problem as problem:
                # Behind too much of his own he waits: that will be done.
                if newcomer is not None and problem.code != "RATE_LIMIT_EXCEEDED":
                    self._say(error_frame(problem))
                    self._end(RESTARTING, "not available right now")
                    return
                # He hears nothing until then, and is told to sync when he does.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(pause * 2, PAUSE_S[1])
                continue
            if newcomer is not None:
                self._greet(newcomer, found.epoch)
                self._door.is_in(newcomer.user_id)
                newcomer = None
            if self._door.hub.admit(subscriber, found.snapshot, found.conversations):
                break
        self._admitting = False

    def _greet(self, identity: Identity, epoch: str) -> None:
        self._say(
            wire.ReadyFrame(
                user_id=str(identity.user_id),
                epoch=epoch,
                token_expires_at=expiry_text(identity),
                limits=self._door.shown_limits(),
            )
        )

    # -- what the member asks for

    def _send(self, frame: wire.SendFrame) -> None:
        try:
            answer = self._door.send(
                self._member(), frame.conversation_id, content=frame.content, message_id=frame.id
            )
        except Problem as problem:
            self._say(error_frame(problem, frame.ref))
            return
        self._pending += 1
        answer.add_done_callback(partial(self._sent, frame.ref))

    def _sent(self, ref: Ref, answer: asyncio.Future[Sent]) -> None:
        self._done_one()
        if answer.cancelled():
            return
        error = answer.exception()
        if error is None:
            self._say(wire.AckFrame(ref=ref, message=answer.result().message))
        else:
            problem = error if isinstance(error, Problem) else Problem("INTERNAL")
            self._say(error_frame(problem, ref))

    async def _carry_out(self, frame: wire.DeleteFrame | wire.ReadFrame) -> None:
        try:
            ack = await (
                self._delete(frame) if isinstance(frame, wire.DeleteFrame) else self._mark(frame)
            )
        except Problem as problem:
            self._say(error_frame(problem, frame.ref))
        except Exception as error:  # the outer edge of a task
            log.exception("operation_failed", error=type(error).__name__)
            self._say(error_frame(Problem("INTERNAL"), frame.ref))
        else:
            self._say(ack)
        finally:
            self._done_one()

    async def _delete(self, frame: wire.DeleteFrame) -> wire.AckFrame:
        await self._door.store.delete(self._member(), frame.id)
        return wire.AckFrame(ref=frame.ref)

    async def _mark(self, frame: wire.ReadFrame) -> wire.AckFrame:
        try:
            up_to = None if frame.up_to is None else wire.parse_time(frame.up_to)
        except ValueError as error:
            raise Problem("INVALID_REQUEST", str(error), field="up_to") from None
        last_read_at = await self._door.store.read(
            self._member(), frame.conversation_id, up_to=up_to, message_id=frame.up_to_message
        )
        return wire.AckFrame(ref=frame.ref, last_read_at=last_read_at)

    def _member(self) -> UUID:
        if self._user_id is None:
            raise Problem("UNAUTHENTICATED")
        return self._user_id

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait_for_room(self) -> None:
        if self._pending >= PENDING and self._wire.is_open:
            self._room = self._loop.create_future()
            await self._room

    def _done_one(self) -> None:
        self._pending -= 1
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # -- writing

    def _say(self, frame: wire.ServerFrame) -> None:
        data = wire.encode(frame)
        if isinstance(frame, wire.ErrorFrame):
            self._door.metrics.rejected("ws", frame.code)
        if self._subscriber is None:
            self._wire.write([data])
        else:
            self._subscriber.offer(data)

    def _wake(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        subscriber = self._subscriber
        if subscriber is None:
            return
        if subscriber.overflowed:
            self._cut()
            return
        if self._wire.has_room and (frames := subscriber.pop_all()):
            self._wire.write(frames)
            self._door.metrics.written(len(frames))
        if not subscriber.is_admitted and not self._admitting:
            self._start(self._admit(subscriber, None))

    def on_full(self) -> None:
        """The transport takes no more: the other end reads too slowly, or not at all."""
        if self._blocked_timer is None:
            self._blocked_timer = self._loop.call_later(BLOCKED_S, self._cut)

    def on_room(self) -> None:
        """The transport takes frames again."""
        if self._blocked_timer is not None:
            self._blocked_timer.cancel()
            self._blocked_timer = None
        self._wake()

    def _cut(self) -> None:
        self._end(TOO_SLOW, "too slow: come back and sync", within_s=CUT_S)

    def _end(self, code: int, reason: str, *, within_s: float = CLOSE_S) -> None:
        if self._subscriber is not None and code != TOO_SLOW and self._wire.is_open:
            # What was queued before goes before.
            self._wire.write(self._subscriber.pop_all())
        if self._closed_with is None and self._wire.is_open:
            self._closed_with = code
        self._wire.end(code, reason, within_s=within_s)

    # -- time

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        left = self._session.deadline - time.time()
        self._timer = self._loop.call_later(max(0.0, min(left, LOOK_S)), self._tick)

    def _tick(self) -> None:
        due = self._session.tick(time.time())
        if due is None:
            self._set_timer()
        else:
            self._end(due.code, due.reason)
