"""One connection's place in the hub: what it may hear, and the bounded queue of what it will.

In charge of: holding frames until the connection writes them, and giving up on one that cannot
follow.
Knows about: snapshots.
Does not know: events, other connections, sockets, tasks.
"""

from __future__ import annotations

from collections.abc import Callable

from bookconnect_dm.snapshot import Snapshot

__all__ = ["Subscriber"]


class Subscriber:
    """One connection's place in the hub. Made by `Hub.register`.

    When `wake` was called: if `overflowed`, close the connection; if not `is_admitted`, read the
    memberships and admit; then write what `pop_all` gives. The rest is for the hub.
    """

    __slots__ = (
        "_bytes_limit",
        "_frames_limit",
        "_queue",
        "_queued_bytes",
        "conversations",
        "is_admitted",
        "missed_gap",
        "only",
        "overflowed",
        "owes_resync",
        "snapshot",
        "user_id",
        "wake",
    )

    def __init__(
        self, user_id: str, wake: Callable[[], None], *, frames_limit: int, bytes_limit: int
    ) -> None:
        self.user_id = user_id
        self.wake = wake
        self.is_admitted = False
        self.overflowed = False
        self.conversations: set[str] = set()
        self.only: frozenset[str] | None = None
        self.snapshot: Snapshot | None = None
        """What his memberships were read under, until the stream has passed it."""
        self.missed_gap = False
        """The stream had a gap between his read and his admission."""
        self.owes_resync = False
        """He was admitted when the stream had a gap."""
        self._frames_limit = frames_limit
        self._bytes_limit = bytes_limit
        self._queue: list[bytes] = []
        self._queued_bytes = 0

    @property
    def waiting(self) -> int:
        """Frames in its queue."""
        return len(self._queue)

    def pop_all(self) -> list[bytes]:
        """Takes all that is queued, oldest first."""
        frames, self._queue, self._queued_bytes = self._queue, [], 0
        return frames

    def wants(self, conversation_id: str) -> bool:
        """True unless he narrowed himself to other conversations."""
        return self.only is None or conversation_id in self.only

    def offer(self, frame: bytes) -> None:
        """Queues `frame`, or overflows; wakes the connection when it may be asleep."""
        if self.overflowed:
            return
        queue = self._queue
        self._queued_bytes += len(frame)
        if len(queue) >= self._frames_limit or self._queued_bytes > self._bytes_limit:
            self.overflow()
            return
        queue.append(frame)
        if len(queue) == 1:
            self.wake()

    def offer_if_idle(self, frame: bytes) -> None:
        """Queues what may as well get lost, unless the connection has enough to do already."""
        if len(self._queue) < self._frames_limit // 2:
            self.offer(frame)

    def overflow(self) -> None:
        """Gives up on a connection that cannot follow."""
        self.overflowed = True
        self._queue, self._queued_bytes = [], 0
        self.wake()
