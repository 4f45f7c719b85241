"""What one member may use at once of what all share."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from bookconnect_dm.errors import Problem
from bookconnect_dm.shares import IN_LINE, MemberShares

PLACES, AT_ONCE = 7, 4


async def test_one_member_waits_for_himself_and_nobody_waits_for_him() -> None:
    members, one, other = MemberShares(PLACES), uuid4(), uuid4()
    running, most, release = 0, 0, asyncio.Event()

    async def statement() -> None:
        nonlocal running, most
        async with members.turn(one):
            running += 1
            most = max(most, running)
            await release.wait()
            running -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(3 * AT_ONCE):
            group.create_task(statement())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert running == AT_ONCE
        async with members.turn(other):
            release.set()
    assert (running, most) == (0, AT_ONCE)


async def test_too_long_a_line_is_refused_and_nothing_is_remembered() -> None:
    members, one, release = MemberShares(PLACES), uuid4(), asyncio.Event()

    async def statement() -> None:
        async with members.turn(one):
            await release.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE + IN_LINE):
            group.create_task(statement())
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await statement()
        assert refused.value.code == "RATE_LIMIT_EXCEEDED"
        release.set()
    assert not members._shares
