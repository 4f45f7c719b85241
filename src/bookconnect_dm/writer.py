"""Sends on their way into the database, several at a time.

In charge of: gathering sends while earlier ones are on their way, fairness, what happens to those
that cannot be stored at once, and telling each sender when his message is committed.
Knows about: the statements `send_batch` and `send_one`.
Does not know: who asked (REST or a socket), or who is told of the message (the feed tells).

A conversation is in one batch at a time only: its messages keep the order in which they came, and
no batch waits for another's lock. A batch goes off at once when one of two lanes is free, so at low
load nothing waits; what comes while both are busy makes the next batch. Where as many conversations
wait as a batch has rows, a third lane takes one: the database goes on while the server hands out
the answers of two.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final
from uuid import UUID

import structlog

from bookconnect_dm.content import checked_content, uuid7
from bookconnect_dm.db import Database, Row
from bookconnect_dm.errors import Problem
from bookconnect_dm.metrics import Metrics
from bookconnect_dm.wire import DMMessage

__all__ = ["Sent", "Writer"]

LANES: Final = 2
LANES_UNDER_PRESSURE: Final = 3
"""As many once `BATCH_ROWS` conversations wait. Always open, it would make smaller batches."""
BATCH_ROWS: Final = 50
ROWS_OF_A_MEMBER: Final = 8
LOCK_WAIT_MS: Final = 1_000
FIRST_LOCK_WAIT_MS: Final = 20
"""In a lane, as a row of a batch waits: what takes longer is waited for outside the lanes."""
RETRIES_AT_ONCE: Final = 2
CONNECTIONS: Final = LANES_UNDER_PRESSURE + RETRIES_AT_ONCE
DEADLINE_S: Final = 8.0
"""After this a send that found no way in is answered UNAVAILABLE; it may be repeated by its id."""
LOOK_S: Final = 1.0
"""How often those that wait are looked through for such."""
WAITING_IN_A_CONVERSATION: Final = 500
STOP_S: Final = 5.0

log = structlog.get_logger("writer")


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is committed; not `is_new` when an earlier send under this id had done it."""

    message: DMMessage
    is_new: bool


@dataclass(slots=True, eq=False)
class _Send:
    """A send on its way."""

    sender_id: UUID
    message_id: UUID
    conversation_id: UUID
    content: str
    answer: asyncio.Future[Sent]
    taken_at: float

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.taken_at + DEADLINE_S


class Writer:
    """Takes sends and answers each with what was committed, or with a `Problem`."""

    def __init__(self, database: Database, *, metrics: Metrics, waiting_limit: int) -> None:
        self._database = database
        self._metrics = metrics
        self._waiting_limit = waiting_limit
        self._waiting = 0
        self._queues: dict[UUID, deque[_Send]] = {}
        self._ready: OrderedDict[UUID, None] = OrderedDict()  # conversations, whose turn is next
        self._busy: set[UUID] = set()  # conversations on their way
        self._under_way = 0  # batches
        self._retries = asyncio.Semaphore(RETRIES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._stopped = False
        self._look: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Sends that are not on their way yet."""
        return self._waiting

    def submit(
        self, sender_id: UUID, conversation_id: UUID, *, content: str, message_id: UUID | None
    ) -> asyncio.Future[Sent]:
        """Takes a send; the answer comes after its commit.

        Cancelling the answer does not take the send back. Raises `Problem` for a content that
        cannot be stored, and UNAVAILABLE when too much is waiting.
        """
        text = checked_content(content)
        # Made here, before the first attempt: every repeat carries the same id.
        message_id = message_id or uuid7(time.time_ns() // 1_000_000)
        queue = self._queues.get(conversation_id)
        full = queue is not None and len(queue) >= WAITING_IN_A_CONVERSATION
        if self._stopped or full or self._waiting >= self._waiting_limit:
            self._metrics.sent("UNAVAILABLE", 0.0)
            raise Problem("UNAVAILABLE", "Too many messages are waiting.", retry_after=1)
        answer: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        now = time.monotonic()
        self._queue(_Send(sender_id, message_id, conversation_id, text, answer, now))
        return answer

    async def stop(self) -> None:
        """Takes no more, and gives what is on its way or waiting a few seconds to be stored."""
        self._stopped = True
        deadline = time.monotonic() + STOP_S
        while self._tasks and time.monotonic() < deadline:
            await asyncio.wait(self._tasks, timeout=deadline - time.monotonic())
        if self._look is not None:
            self._look.cancel()
        for task in self._tasks:
            task.cancel()
        for queue in self._queues.values():
            self._fail(queue, Problem("UNAVAILABLE", "The server is stopping.", retry_after=1))

    # -- waiting, and whose turn it is

    def _queue(self, send: _Send) -> None:
        conversation_id = send.conversation_id
        self._queues.setdefault(conversation_id, deque()).append(send)
        self._waiting += 1
        if conversation_id not in self._busy:
            self._ready[conversation_id] = None
        self._schedule()
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._refuse_late)

    def _refuse_late(self) -> None:
        """While a lane waits for a database that says nothing, those behind it get their answer."""
        self._look = None
        for conversation_id, queue in list(self._queues.items()):
            while queue and queue[0].is_late:
                self._waiting -= 1
                self._refuse(queue.popleft(), _too_late())
            if not queue:
                del self._queues[conversation_id]
                self._ready.pop(conversation_id, None)  # else it would count for a third lane
        if self._queues:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._refuse_late)

    def _schedule(self) -> None:
        """Looks for work at the end of this turn of the loop: what came together goes together."""
        if self._has_lane() and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        while self._has_lane():
            batch = self._next_batch()
            if batch:
                self._under_way += 1
                self._start(self._carry(batch))

    def _has_lane(self) -> bool:
        """Whether a batch may go off now: something is ready, and a lane is free for so much."""
        lanes = LANES if len(self._ready) < BATCH_ROWS else LANES_UNDER_PRESSURE
        return bool(self._ready) and self._under_way < lanes

    def _next_batch(self) -> list[_Send]:
        batch: list[_Send] = []
        members: Counter[UUID] = Counter()
        for conversation_id in list(islice(self._ready, 4 * BATCH_ROWS)):
            taken = self._take(conversation_id, BATCH_ROWS - len(batch), members)
            if taken:
                batch += taken
                self._busy.add(conversation_id)
                del self._ready[conversation_id]
            elif not self._queues.get(conversation_id):
                self._ready.pop(conversation_id, None)
            if len(batch) == BATCH_ROWS:
                break
        return batch

    def _take(self, conversation_id: UUID, room: int, members: Counter[UUID]) -> list[_Send]:
        """The first sends of a conversation, in order, while there is room for their senders."""
        queue = self._queues.get(conversation_id, deque())
        taken: list[_Send] = []
        while queue and len(taken) < room and members[queue[0].sender_id] < ROWS_OF_A_MEMBER:
            send = queue.popleft()
            self._waiting -= 1
            if send.is_late:
                self._refuse(send, _too_late())
            elif not send.answer.cancelled():
                members[send.sender_id] += 1
                taken.append(send)
        if not queue:
            self._queues.pop(conversation_id, None)
        return taken

    def _release(self, conversation_ids: Iterable[UUID]) -> None:
        for conversation_id in conversation_ids:
            self._busy.discard(conversation_id)
            if self._queues.get(conversation_id):
                self._ready[conversation_id] = None
        self._schedule()

    # -- on their way

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, batch: list[_Send]) -> None:
        """One batch: whatever happens, each send in it is answered or being retried alone."""
        blocked: dict[UUID, list[_Send]] = {}
        try:
            for send in await self._store(batch):
                blocked.setdefault(send.conversation_id, []).append(send)
        except Exception as error:  # the outer edge of a task: nothing may stay unanswered
            log.exception("batch_failed", error=type(error).__name__)
            self._fail(batch, Problem("INTERNAL"))
        finally:
            self._under_way -= 1
            self._release({s.conversation_id for s in batch} - blocked.keys())
        for conversation_id, sends in blocked.items():
            self._start(self._retry(conversation_id, sends))

    async def _store(self, batch: list[_Send]) -> list[_Send]:
        """Stores a batch and answers; gives those that found their conversation locked."""
        self._metrics.batch(len(batch))
        try:
            if len(batch) == 1:
                rows = await self._call(batch[0], lock_wait_ms=FIRST_LOCK_WAIT_MS)
            else:
                rows = await self._database.fetch(
                    "send_batch",
                    actors=[s.sender_id for s in batch],
                    message_ids=[s.message_id for s in batch],
                    conversation_ids=[s.conversation_id for s in batch],
                    contents=[s.content for s in batch],
                )
        except Problem as problem:
            return await self._split(batch, problem)
        return self._settle(batch, rows)

    async def _call(self, send: _Send, *, lock_wait_ms: int) -> list[Row]:
        """One send by itself: half the work of a batch of one."""
        return await self._database.fetch(
            "send_one",
            sender=send.sender_id,
            message_id=send.message_id,
            conversation_id=send.conversation_id,
            content=send.content,
            lock_wait_ms=lock_wait_ms,
        )

    async def _split(self, batch: list[_Send], problem: Problem) -> list[_Send]:
        """A batch failed as a whole: its halves find the send that is to blame, under its id."""
        is_slow = isinstance(problem.__cause__, TimeoutError)  # each half would wait as long again
        if len(batch) == 1 or is_slow or not await self._database.is_up():
            self._fail(batch, problem)
            return []
        middle = len(batch) // 2
        blocked = await self._store(batch[:middle])
        # What comes later in a conversation that is held goes later.
        held = {send.conversation_id for send in blocked}
        rest = [send for send in batch[middle:] if send.conversation_id not in held]
        blocked += [send for send in batch[middle:] if send.conversation_id in held]
        return blocked + (await self._store(rest) if rest else [])

    def _settle(self, batch: list[_Send], rows: list[Row]) -> list[_Send]:
        found = {row[0]: row for row in rows}
        blocked: list[_Send] = []
        for n, send in enumerate(batch, start=1):
            row = found.get(n)
            if row is None:
                self._refuse(send, Problem("INTERNAL"))
            elif row[1] == "BUSY":
                blocked.append(send)
            else:
                self._answer(send, row)
        return blocked

    async def _retry(self, conversation_id: UUID, sends: list[_Send]) -> None:
        """Sends of a locked conversation, one by one and in order, beside the batches."""
        try:
            for send in sends:
                await self._retry_one(send)
        except Exception as error:  # the outer edge of a task
            log.exception("retry_failed", error=type(error).__name__)
            self._fail(sends, Problem("INTERNAL"))
        finally:
            self._release([conversation_id])

    async def _retry_one(self, send: _Send) -> None:
        while not send.is_late:
            async with self._retries:
                try:
                    (row,) = await self._call(send, lock_wait_ms=LOCK_WAIT_MS)
                except Problem as problem:
                    self._refuse(send, problem)
                    return
            if row[1] != "BUSY":
                self._answer(send, row)
                return
        self._refuse(send, _too_late())

    # -- answers

    def _answer(self, send: _Send, row: Row) -> None:
        code, detail, field = row[1:4]
        if code == "INTERNAL":
            log.error("send_failed", sqlstate=detail)
            self._refuse(send, Problem("INTERNAL"))
        elif code is not None:
            self._refuse(send, Problem(code, detail or "", field=field))
        else:
            self._metrics.sent("ok" if row[4] else "repeat", time.monotonic() - send.taken_at)
            if not send.answer.done():
                send.answer.set_result(Sent(_message_of(send, row), is_new=row[4]))

    def _refuse(self, send: _Send, problem: Problem) -> None:
        self._metrics.sent(problem.code, time.monotonic() - send.taken_at)
        if not send.answer.done():
            send.answer.set_exception(problem)

    def _fail(self, sends: Iterable[_Send], problem: Problem) -> None:
        for send in sends:
            if not send.answer.done():
                # Each its own: an exception that is raised twice grows a traceback of both.
                self._refuse(send, Problem(problem.code, problem.detail, field=problem.field,
                                           retry_after=problem.retry_after))  # fmt: skip


def _too_late() -> Problem:
    return Problem("UNAVAILABLE", "The conversation is busy.", retry_after=1)


def _message_of(send: _Send, row: Row) -> DMMessage:
    """The message as it is stored: a send that went through, or a repeat of it, by its own ids."""
    return DMMessage(
        id=str(send.message_id),
        conversation_id=str(send.conversation_id),
        sender_id=str(send.sender_id),
        content=send.content if row[8] is None else row[8],
        sent_at=row[5],
        expires_at=row[6],
        is_deleted=row[7],
    )
