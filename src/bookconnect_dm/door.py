"""What both doors have in common, REST and the socket.

In charge of: who is asking, how often he may, and handing what he wants to the parts behind.
Knows about: the parts of a running server.
Does not know: HTTP, frames, close codes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from uuid import UUID

from bookconnect_dm import wire
from bookconnect_dm.announcer import Announcer
from bookconnect_dm.auth import Identity
from bookconnect_dm.config import CONTENT_LENGTH, Settings
from bookconnect_dm.errors import Problem
from bookconnect_dm.hub import Hub
from bookconnect_dm.keys import Keyring
from bookconnect_dm.limits import Bucket, MemberBuckets
from bookconnect_dm.metrics import Metrics
from bookconnect_dm.store import Store
from bookconnect_dm.subscriber import Subscriber
from bookconnect_dm.writer import Sent, Writer

__all__ = ["Door"]


class Door:
    """The parts of a server as `rest` and `ws` use them."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        writer: Writer,
        hub: Hub,
        announcer: Announcer | None,
        metrics: Metrics,
    ) -> None:
        limits = settings.limits
        self.settings = settings
        self.store = store
        self.hub = hub
        self.metrics = metrics
        self.sockets: Counter[UUID] = Counter()
        self._keyring = Keyring(settings)
        self._writer = writer
        self._announcer = announcer
        self._sends = MemberBuckets(*limits.sends)
        self._starts = MemberBuckets(limits.starts_per_hour / 3600, limits.starts_per_hour)
        self._frames = MemberBuckets(*limits.frames)

    async def identify(self, token: str) -> Identity:
        """The member that `token` stands for. Raises `Problem`."""
        return await self._keyring.identify(token)

    def send(
        self, actor: UUID, conversation_id: UUID, *, content: str, message_id: UUID | None
    ) -> asyncio.Future[Sent]:
        """Hands a message to the writer; await the answer. Raises `Problem`."""
        self._take_turn(self._sends, actor, "sends")
        return self._writer.submit(actor, conversation_id, content=content, message_id=message_id)

    async def start(self, actor: UUID, request: wire.StartRequest) -> wire.StartAnswer:
        """Makes a conversation, or finds the one there is. Raises `Problem`."""
        self._take_turn(self._starts, actor, "starts")
        answer = await self.store.start(actor, request)
        if answer.is_existing:
            self._starts.give_back(actor)
        return answer

    def enter(self, actor: UUID) -> bool:
        """Counts one more socket of this member; False if he has as many as he may."""
        most = self.settings.limits.sockets
        if most and self.sockets[actor] >= most:
            self.metrics.limited("sockets")
            return False
        self.sockets[actor] += 1
        return True

    def is_in(self, actor: UUID) -> None:
        """A socket of this member was let in: others hear that he is online, if he was not yet."""
        if self._announcer:
            self._announcer.came(str(actor))

    def frames_of(self, actor: UUID, now: float) -> Bucket:
        """What counts the frames of this member, over all of his sockets."""
        return self._frames.of(actor, now)

    def leave(self, actor: UUID) -> None:
        """One socket of this member is gone."""
        self.sockets[actor] -= 1
        if self.sockets[actor] <= 0:
            del self.sockets[actor]
            if self._announcer:
                self._announcer.left(str(actor))

    def typing(self, subscriber: Subscriber, conversation_id: UUID) -> None:
        """A member is typing: told to the others, if he is in that conversation."""
        if self._announcer and str(conversation_id) in subscriber.conversations:
            self._announcer.typing(str(conversation_id), subscriber.user_id)

    def shown_limits(self) -> wire.Limits:
        """The limits, for clients that want to stay below them."""
        limits = self.settings.limits
        sends_per_second, send_burst = limits.sends
        frames_per_second, frame_burst = limits.frames
        return wire.Limits(
            content_length=CONTENT_LENGTH,
            frame_bytes=limits.frame_bytes,
            sends_per_second=sends_per_second,
            send_burst=send_burst,
            starts_per_hour=limits.starts_per_hour,
            sockets=limits.sockets,
            frames_per_second=frames_per_second,
            frame_burst=frame_burst,
        )

    def _take_turn(self, buckets: MemberBuckets, actor: UUID, limit: str) -> None:
        wait_s = buckets.take(actor, time.monotonic())
        if wait_s > 0:
            self.metrics.limited(limit)
            raise Problem("RATE_LIMIT_EXCEEDED", retry_after=round(wait_s, 3))
