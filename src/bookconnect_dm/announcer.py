"""Typing and presence: this server's voice among the servers, and its ear.

In charge of: putting notes into the log when there is something to say, at most ten a second, and
telling the hub what other servers' notes mean.
Knows about: `presence`, `notes`, the hub, the store; it has the clocks.
Does not know: how the log is read, sockets, who shares a conversation with whom.

All of this is of the moment: what cannot be said is dropped, and who is online is said again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable
from typing import Final

import structlog

from bookconnect_dm import notes
from bookconnect_dm.errors import Problem
from bookconnect_dm.hub import Hub
from bookconnect_dm.notes import STALE_S, Note
from bookconnect_dm.presence import Change, Presence, Typing
from bookconnect_dm.store import Store

__all__ = ["Announcer"]

GATHER_S: Final = 0.1
"""After a note; what comes up meanwhile goes together."""
PAUSE_S: Final = (1.0, 30.0)
FAREWELL_S: Final = 1.0

log = structlog.get_logger("announcer")


class Announcer:
    """Typing and presence of a server. Methods do not wait, except for `run` and `stop`."""

    def __init__(self, presence: Presence, *, store: Store, hub: Hub) -> None:
        self._presence = presence
        self._typing = Typing()
        self._store = store
        self._hub = hub
        self._something = asyncio.Event()
        self._key: bytes | None = None
        self._ahead_s = 0.0
        self._mouth = asyncio.Lock()  # one note at a time: nothing comes after the farewell
        self._stopping = False

    # -- what members do

    def came(self, user_id: str) -> None:
        """A member has a socket here; he may have had others."""
        self._tell(self._presence.came(user_id))
        self._something.set()

    def left(self, user_id: str) -> None:
        """A member's last socket here is gone."""
        self._presence.left(user_id, time.monotonic())
        self._something.set()

    def typing(self, conversation_id: str, user_id: str) -> None:
        """A member is typing in a conversation of his."""
        if self._typing.add(conversation_id, user_id, time.monotonic()):
            self._something.set()

    # -- what servers say

    def hear(self, data: bytes, sent_at: float) -> None:
        """Takes what came through the log; `sent_at` is the database's time, in seconds."""
        note = notes.verified(data, self._key) if self._key else None
        if note is None:
            return
        age_s = sent_at - note.at
        self._tell(self._presence.heard(note, time.monotonic(), age_s=age_s))
        if age_s < STALE_S:
            for conversation_id, user_id in note.typing:
                self._hub.tell_typing(conversation_id, user_id)
        self._something.set()

    def start_over(self) -> None:
        """The stream had a gap, or the database is another one: key and people are asked anew."""
        self._key = None
        self._presence.start_over()
        self._something.set()

    # -- life

    async def run(self) -> None:
        """Says what is to be said, until it is cancelled."""
        pause_s = PAUSE_S[0]
        while True:
            try:
                await self._speak()
            except Problem as problem:
                log.warning("announcer_waits", error=problem.detail)
            except Exception as error:  # the outer edge of a task
                log.exception("announcer_failed", error=type(error).__name__)
            else:
                pause_s = PAUSE_S[0]
                await asyncio.sleep(GATHER_S)
                await self._wait()
                continue
            self._presence.start_over()
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  no secret
            pause_s = min(pause_s * 2, PAUSE_S[1])

    async def stop(self) -> None:
        """Says goodbye, if that is quickly done. `run` says nothing afterwards."""
        self._stopping = True
        if self._key is not None:
            with contextlib.suppress(Problem, TimeoutError):
                async with asyncio.timeout(FAREWELL_S), self._mouth:
                    note = self._presence.farewell(at=self._database_now())
                    await self._store.emit(notes.sign(note, self._key))

    async def _speak(self) -> None:
        self._something.clear()
        now = time.monotonic()
        self._tell(self._presence.tick(now))
        if self._key is None:
            key, database_now = await self._store.ephemeral_key()
            self._key = key
            self._ahead_s = database_now - time.time()
        typing = self._typing.take(now, stale_s=STALE_S)
        note = self._presence.note(now, at=self._database_now(), typing=typing)
        if note is not None:
            async with self._mouth:
                await self._say(note, self._key)

    async def _say(self, note: Note, key: bytes) -> None:
        if not self._stopping:
            self._ahead_s = await self._store.emit(notes.sign(note, key)) - time.time()

    async def _wait(self) -> None:
        left_s = self._presence.due(time.monotonic()) - time.monotonic()
        if left_s > 0 and not self._typing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._something.wait()

    def _database_now(self) -> float:
        return time.time() + self._ahead_s

    def _tell(self, changes: Iterable[Change]) -> None:
        for user_id, online in changes:
            self._hub.tell_presence(user_id, online=online)
