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

IN_LINE: Final = 100


@dataclass(slots=True)
class _Share:
    """One member's turns, and how many of his statements run or wait."""

    turns: asyncio.Semaphore
    users: int = 0


class MemberShares:
    """Hands out turns, about half of `places` to a member at a time.

    Without this, sixty deletions in a conversation that its owner held locked took the server from
    everybody for as long as he liked.
    """

    def __init__(self, places: int) -> None:
        self._at_once = max(1, (places + 1) // 2)
        self._shares: dict[UUID, _Share] = {}

    @contextlib.asynccontextmanager
    async def turn(self, member: UUID) -> AsyncIterator[None]:
        """Wait for a turn of this member's. Raises `Problem` when too many of his wait."""
        share = self._shares.get(member)
        if share is None:
            share = self._shares[member] = _Share(asyncio.Semaphore(self._at_once))
        if share.users >= self._at_once + IN_LINE:
            raise Problem("RATE_LIMIT_EXCEEDED", retry_after=1)
        share.users += 1
        try:
            async with share.turns:
                yield
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[member]
