"""What reading the log on a standby needs of the primary.

In charge of: asking the primary for the record that a slot on a standby waits for, and noticing
that a standby no longer follows its primary.
Knows about: that the primary may refuse, and what the operator does then.
Does not know: slots, streams, how either is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from bookconnect_dm.errors import Problem

__all__ = ["FOLLOW_S", "Following", "Primary", "ask_for_snapshots"]


class Primary(Protocol):
    """What is asked of the primary, whoever's log is read. Both raise `Problem`."""

    async def log_standby_snapshot(self) -> None:
        """Puts into its log what a slot on a standby waits for."""

    async def snapshot(self) -> str:
        """Gives the text of its `pg_current_snapshot()`."""


FOLLOW_S: Final = 30.0
"""How often a standby is asked whether it still follows."""
PAUSE_S: Final = 1.0
HINT: Final = "Let the API's login execute pg_log_standby_snapshot() on the primary."

log = structlog.get_logger("standby")


async def ask_for_snapshots(primary: Primary) -> None:
    """Asks each second until it is cancelled, or refused.

    A slot on a standby is made when the primary logs who is at work, which it seldom does. Where
    our login may not ask for that, the slot is made all the same, when it happens.
    """
    while True:
        try:
            await primary.log_standby_snapshot()
        except Problem as problem:
            log.warning("standby_snapshot_refused", error=problem.detail, what_to_do=HINT)
            if problem.code != "UNAVAILABLE":
                return
        await asyncio.sleep(PAUSE_S)


class Following:
    """Whether the log that is read still grows: a lone standby answers and has nothing new."""

    def __init__(self, pause_s: float) -> None:
        self.is_true = True
        self._pause_s = pause_s

    async def watch(self, look: Callable[[], Awaitable[bool]]) -> None:
        """Looks again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(self._pause_s)
            before, self.is_true = self.is_true, await look()
            if self.is_true != before:
                log.warning("standby_follows" if self.is_true else "standby_lost_its_primary")
