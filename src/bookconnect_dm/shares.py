"""No member uses up what all members share.

In charge of: how many statements of one member run at once; the rest of his wait in line.
Knows about: asyncio.
Does not know: statements, connections, rates (`limits` counts those).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from bookconnect_dm.errors import Problem

__all__ = ["MemberShares"]

AT_ONCE: Final = 4
"""Of ten connections. Without this, sixty deletions in a conversation that its owner held locked
took the server from everybody for as long as he liked."""
IN_LINE: Final = 100


@dataclass(slots=True)
class _Share:
    """One member's turns, and how many of his statements run or wait."""

    turns: asyncio.Semaphore
    users: int = 0


class MemberShares:
    """Hands out turns, `AT_ONCE` to a member at a time."""

    def __init__(self) -> None:
        self._shares: dict[UUID, _Share] = {}

    @contextlib.asynccontextmanager
    async def turn(self, member: UUID) -> AsyncIterator[None]:
        """Wait for a turn of this member's. Raises `Problem` when too many of his wait."""
        share = self._shares.get(member)
        if share is None:
            share = self._shares[member] = _Share(asyncio.Semaphore(AT_ONCE))
        if share.users >= AT_ONCE + IN_LINE:
            raise Problem("RATE_LIMIT_EXCEEDED", retry_after=1)
        share.users += 1
        try:
            async with share.turns:
                yield
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[member]
