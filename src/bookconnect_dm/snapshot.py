"""PostgreSQL's snapshots: which transactions a statement saw.

In charge of: telling whether a transaction of the stream is part of what a statement read.
Knows about: the text of `pg_current_snapshot()`, and that the stream's ids have 32 bits of its 64.
Does not know: everything else.
"""

from __future__ import annotations

__all__ = ["Snapshot"]


class Snapshot:
    """What one statement saw: a transaction that it shows is part of what the statement read."""

    __slots__ = ("_running", "xmax", "xmin")

    def __init__(self, text: str) -> None:
        xmin, xmax, running = text.split(":")
        self.xmin = int(xmin)
        self.xmax = int(xmax)
        self._running = frozenset(map(int, running.split(","))) if running else frozenset()

    def shows(self, xid: int) -> bool:
        """True when the committed transaction `xid` (32 bits, of the stream) is visible in it."""
        wide = self._widen(xid)
        return wide < self.xmin or (wide < self.xmax and wide not in self._running)

    def precedes(self, xid: int) -> bool:
        """True when `xid` began later; then the stream is past all that the snapshot shows."""
        return self._widen(xid) >= self.xmax

    def _widen(self, xid: int) -> int:
        """`xid` with its upper half: the one that brings it closest to the snapshot."""
        wide = (self.xmax & ~0xFFFFFFFF) | xid
        if wide > self.xmax + 0x80000000:
            return wide - 0x100000000
        if wide < self.xmax - 0x80000000:
            return wide + 0x100000000
        return wide
