"""When others see what the log already tells.

In charge of: holding back a transaction that is committed and not yet visible.
Knows about: snapshots, and that reading one may fail.
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

__all__ = ["LIMIT_S", "ReadSnapshot", "wait_until_visible"]

ReadSnapshot = Callable[[], Awaitable[str]]
"""Reads the text of `pg_current_snapshot()` on the primary; raises `Problem`."""

LIMIT_S: Final = 2.0
"""Everybody's delivery waits meanwhile, so not for long: then it is told all the same."""
PAUSE_S: Final = (0.001, 0.1)

log = structlog.get_logger("visibility")


async def wait_until_visible(xid: int, read_snapshot: ReadSnapshot) -> bool:
    """Returns when others see the committed transaction `xid` (32 bits), or after `LIMIT_S`.

    False when it is not known to be visible: it took too long, or the database could not be asked.
    """
    pause_s = PAUSE_S[0]
    try:
        async with asyncio.timeout(LIMIT_S):
            while not Snapshot(await read_snapshot()).shows(xid):
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_S[1])
    except TimeoutError:
        log.warning("told_before_visible", xid=xid, after_s=LIMIT_S)
    except Problem as problem:
        log.warning("told_before_visible", xid=xid, error=problem.detail)
    else:
        return True
    return False
