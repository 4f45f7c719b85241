"""Simulated members at work: they open the page, read, type, write, answer and delete.

In charge of: what each does over the API, in whose time, within which bounds, and what was seen.
Knows about: the Python client, members' rhythm.
Does not know: whether it may; `load` has asked.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import UUID

from bookconnect_dm import wire
from bookconnect_dm.client import Client, new_message_id
from bookconnect_dm.errors import Problem
from bookconnect_dm.limits import Bucket
from bookconnect_dm.rhythm import ANSWERS, Action, Rhythm

__all__ = ["Crew", "Order", "Result"]

T = TypeVar("T")

GIVE_UP_S: Final = 30.0
STRAGGLERS_S: Final = 10.0
"""How long the last messages are waited for at the end."""
COMING_S: Final = 10.0
"""Within which all have come, at most."""
PARTNERS: Final = 3
"""Conversations that a member starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to do, and the bounds that it keeps."""

    server: str
    members: int
    seconds: float
    messages_per_hour: float
    """Of each member."""
    sends_per_second: float
    """Of all members together, never more."""
    is_remote_meant: bool = False
    seed: int = 1


@dataclass(slots=True)
class Result:
    """What the members saw."""

    took_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    problems: Counter[str] = field(default_factory=Counter)
    """Errors, by what was tried and the code of the answer."""
    unheard: int = 0
    """Messages that were acknowledged and did not reach a partner who was there."""
    reconnects: int = 0

    @property
    def is_well(self) -> bool:
        """Something was sent, nothing failed, and all was heard."""
        return bool(self.took_s["send"]) and not self.problems and not self.unheard


class Crew:
    """All members of a run, and what they have in common."""

    def __init__(self, order: Order, report: Callable[[str, int], None]) -> None:
        self.result = Result()
        self.members: dict[UUID, _Member] = {}
        self._order = order
        self._report = report
        self._turns = Bucket(order.sends_per_second, 1.0, now=time.monotonic())
        self._on_their_way: dict[tuple[str, UUID], float] = {}

    def add(self, user_id: UUID, client: Client, *, may_start: bool) -> None:
        """One more member; what he does is the same again with the same seed and number."""
        chance = random.Random(f"{self._order.seed}/{len(self.members)}")  # noqa: S311 - no secret
        rhythm = Rhythm(chance, messages_per_hour=self._order.messages_per_hour)
        self.members[user_id] = _Member(self, user_id, client, rhythm, may_start=may_start)

    async def work(self, seconds: float) -> Result:
        """Let all members work for that time; then wait for what is on its way."""
        coming_s = min(COMING_S, seconds / 5)
        members = list(self.members.values())
        tasks = [asyncio.create_task(member.live(coming_s)) for member in members]
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
            self.end()
            await asyncio.wait(tasks, timeout=GIVE_UP_S + STRAGGLERS_S)
            await self._wait_for_stragglers()
        finally:
            for task in (*tasks, *(member.listener for member in members if member.listener)):
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error
        self.result.unheard = len(self._on_their_way)
        self.result.reconnects = sum(member.client.reconnects for member in members)
        return self.result

    def end(self) -> None:
        """Let everybody finish what he is at, before the time is over."""
        for member in self.members.values():
            member.leave()

    async def _wait_for_stragglers(self) -> None:
        until = time.monotonic() + STRAGGLERS_S
        while self._on_their_way and time.monotonic() < until:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(0.05)

    async def timed(self, kind: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Do it, and note how long it took; None when it failed, which is noted too."""
        began = time.monotonic()
        try:
            answer = await call()
        except Problem as problem:
            self.result.problems[f"{kind}: {problem.code}"] += 1
            return None
        self.result.took_s[kind].append(time.monotonic() - began)
        self._report(kind, 1)
        return answer

    async def turn(self) -> None:
        """Wait until one more message may be sent by anybody."""
        while wait_s := self._turns.take(time.monotonic()):  # noqa: ASYNC110 - as told
            await asyncio.sleep(wait_s)

    def sending(self, message_id: UUID, to: UUID | None) -> None:
        """A message is on its way; it must reach its reader if he is one of us and there."""
        reader = self.members.get(to) if to else None
        if reader is not None and reader.has_come:
            self._on_their_way[str(message_id), reader.user_id] = time.monotonic()

    def not_sent(self, message_id: UUID, to: UUID | None) -> None:
        """It failed, and that is noted; nobody waits for it."""
        if to:
            self._on_their_way.pop((str(message_id), to), None)

    def withdrawn(self, message_id: str) -> None:
        """Its sender deletes it: a reader who was away never hears of it, rightly."""
        for key in [key for key in self._on_their_way if key[0] == message_id]:
            del self._on_their_way[key]

    def heard(self, message_id: str, by: UUID) -> None:
        """A reader has got a message."""
        since = self._on_their_way.pop((message_id, by), None)
        if since is not None:
            self.result.took_s["delivery"].append(time.monotonic() - since)


class _Member:
    """One simulated member."""

    def __init__(
        self, crew: Crew, user_id: UUID, client: Client, rhythm: Rhythm, *, may_start: bool
    ) -> None:
        self.user_id = user_id
        self.client = client
        self.listener: asyncio.Task[None] | None = None
        self._crew = crew
        self._rhythm = rhythm
        self._may_start = may_start
        self._others: dict[str, UUID | None] = {}
        """Who is at the other end of each conversation."""
        self._arrived: asyncio.Queue[wire.DMMessage] = asyncio.Queue(maxsize=20)
        self._leaving = asyncio.Event()
        self._was_live = False
        self._mine: list[str] = []

    @property
    def has_come(self) -> bool:
        """Whether he has listened once: from then on he hears everything, by and by."""
        self._was_live = self._was_live or self.client.is_live
        return self._was_live

    def leave(self) -> None:
        """Finish what he is at, and no more."""
        self._leaving.set()

    async def live(self, coming_s: float) -> None:
        """Come within that time, open the page, and go on until told to leave."""
        await self._wait(self._rhythm.pause_s() % max(0.1, coming_s))
        await self._open()
        while not self._leaving.is_set():
            message = await self._next_arrival(self._rhythm.pause_s())
            if self._leaving.is_set():
                return
            if message is not None:
                await self._answer(message)
            else:
                await self._do(self._rhythm.action())

    async def _wait(self, seconds: float) -> None:
        """Let time pass; leaving ends it."""
        try:
            await asyncio.wait_for(self._leaving.wait(), seconds)
        except TimeoutError:
            return

    async def _next_arrival(self, seconds: float) -> wire.DMMessage | None:
        """The next message that came, within that time."""
        try:
            return await asyncio.wait_for(self._arrived.get(), seconds)
        except TimeoutError:
            return None

    # -- what he does

    async def _open(self) -> None:
        await self._crew.timed("me", self.client.me)
        await self._look()
        self.listener = asyncio.create_task(self._listen())
        if self._may_start:
            everybody = [other for other in self._crew.members if other != self.user_id]
            for other in self._rhythm.some(everybody, PARTNERS):
                await self._start(other)

    async def _start(self, other: UUID) -> None:
        started = await self._crew.timed("start", lambda: self.client.start(recipient_id=other))
        if started is not None:
            self._others[str(started.conversation_id)] = other

    async def _listen(self) -> None:
        try:
            async for event in self.client.events():
                self._note(event)
        except Problem as problem:
            self._crew.result.problems[f"events: {problem.code}"] += 1

    def _note(self, event: object) -> None:
        if isinstance(event, wire.MessageFrame):
            self._crew.heard(event.message.id, self.user_id)
            is_mine = event.message.sender_id == str(self.user_id)
            if not is_mine and not self._arrived.full():
                self._arrived.put_nowait(event.message)
        elif isinstance(event, wire.ConversationFrame):
            other = next((u for u in event.user_ids if u != str(self.user_id)), None)
            self._others.setdefault(event.conversation_id, UUID(other) if other else None)

    async def _do(self, action: Action) -> None:
        if action == "look":
            await self._look()
        elif action == "search":
            await self._crew.timed("search", lambda: self.client.members("l"))
        elif action == "delete" and self._mine:
            message_id = self._mine.pop()
            self._crew.withdrawn(message_id)
            await self._crew.timed("delete", lambda: self.client.delete(message_id))
        elif self._others:
            conversation_id = self._rhythm.some(list(self._others), 1)[0]
            if action == "write":
                await self._write(conversation_id)
            else:
                await self._read_back(conversation_id)

    async def _look(self) -> None:
        page = await self._crew.timed("inbox", self.client.conversations)
        for one in page.conversations if page else ():
            person = one.other_participant
            self._others[one.id] = UUID(person.id) if person else None

    async def _read_back(self, conversation_id: str) -> None:
        page = await self._page(conversation_id, None)
        if page is not None and page.next_cursor:
            await self._page(conversation_id, page.next_cursor)

    async def _page(self, conversation_id: str, before: str | None) -> wire.MessagePage | None:
        return await self._crew.timed(
            "page", lambda: self.client.messages(conversation_id, before=before)
        )

    async def _answer(self, message: wire.DMMessage) -> None:
        """Read what came; then answer it, or not."""
        conversation_id = message.conversation_id
        await self._wait(self._rhythm.reading_s(message.content))
        await self._crew.timed("read", lambda: self.client.read(conversation_id))
        if self._rhythm.happens(ANSWERS):
            await self._say(conversation_id)

    async def _write(self, conversation_id: str) -> None:
        """Open a thread and write a few messages in a row."""
        await self._page(conversation_id, None)
        for _ in range(self._rhythm.burst()):
            await self._say(conversation_id)

    async def _say(self, conversation_id: str) -> None:
        text = self._rhythm.text()
        await self.client.typing(conversation_id)
        await self._wait(self._rhythm.typing_s(text))
        await self._crew.turn()
        if self._leaving.is_set():
            return
        message_id, other = new_message_id(), self._others.get(conversation_id)
        self._crew.sending(message_id, other)
        sent = await self._crew.timed(
            "send", lambda: self.client.send(conversation_id, text, message_id=message_id)
        )
        if sent is None:
            self._crew.not_sent(message_id, other)
        else:
            self._mine.append(str(message_id))
