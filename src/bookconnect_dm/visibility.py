"""When others see what the log already tells.

In charge of: holding back a transaction that is committed and not yet visible.
Knows about: snapshots, and that reading one may fail, or hang.
Does not know: the stream, what the transaction means, who listens.

PostgreSQL writes the commit to its log first and shows the transaction to others afterwards. The
log's readers may be faster: by a third of a millisecond as a rule, by more when the committing
process has to wait for a processor, by as long as it takes where a standby has to confirm. Who is
told of a conversation in that moment, and asks for it, would hear that there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from bookconnect_dm.errors import Problem
from bookconnect_dm.snapshot import Snapshot

__all__ = ["LIMIT_S", "ReadSnapshot", "Visibility"]

ReadSnapshot = Callable[[], Awaitable[str]]
"""Reads the text of `pg_current_snapshot()` on the primary; raises `Problem`."""

LIMIT_S: Final = 2.0
"""Everybody's delivery waits meanwhile, so not for long: then it is told all the same."""
PAUSE_S: Final = (0.001, 0.1)

log = structlog.get_logger("visibility")


class Visibility:
    """What others see, as far as it was asked for. One read settles all that committed before."""

    def __init__(self, read_snapshot: ReadSnapshot) -> None:
        self._read_snapshot = read_snapshot
        self._last: Snapshot | None = None
        self._left: asyncio.Task[None] | None = None
        """A look that was given up and has not ended: a connection may die without a word."""

    def forget(self) -> None:
        """The stream begins anew, perhaps in another history: ask again."""
        self._last = None

    async def wait(self, xid: int) -> bool:
        """Returns when others see the committed transaction `xid` (32 bits), or after `LIMIT_S`.

        False when it is not known to be visible: it took too long, or the database could not be
        asked. While a look that took too long is still under way, nobody waits for another.
        """
        if self._last is not None and self._last.shows(xid):
            return True
        if self._left is not None and not self._left.done():
            return False
        look = asyncio.create_task(self._look(xid))
        try:
            # Not `timeout`: a driver that is cancelled asks the database to stop, and waits for it.
            await asyncio.wait({look}, timeout=LIMIT_S)
        finally:
            if not look.done():
                look.cancel()
                self._left = look
        if not look.done():
            log.warning("told_before_visible", xid=xid, after_s=LIMIT_S)
        return look.done() and self._last is not None and self._last.shows(xid)

    async def _look(self, xid: int) -> None:
        pause_s = PAUSE_S[0]
        try:
            while True:
                self._last = Snapshot(await self._read_snapshot())
                if self._last.shows(xid):
                    return
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_S[1])
        except Problem as problem:
            log.warning("told_before_visible", xid=xid, error=problem.detail)
