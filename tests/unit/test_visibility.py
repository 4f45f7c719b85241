"""Waiting for others to see a transaction ends, whatever the database says."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest

from bookconnect_dm import visibility
from bookconnect_dm.errors import Problem
from bookconnect_dm.visibility import Visibility


async def test_it_waits_until_a_snapshot_shows_the_transaction() -> None:
    snapshots = iter(["7:9:7,8", "8:9:8", "9:9:"])

    async def read_snapshot() -> str:
        return next(snapshots)

    assert await Visibility(read_snapshot).wait(8)
    assert list(snapshots) == []


async def test_one_read_settles_all_that_it_shows() -> None:
    asked = itertools.count()

    async def read_snapshot() -> str:
        next(asked)
        return "9:9:"

    seen = Visibility(read_snapshot)
    assert [await seen.wait(xid) for xid in (8, 7, 6)] == [True, True, True]
    assert next(asked) == 1
    seen.forget()
    assert await seen.wait(8)
    assert next(asked) == 3


async def test_it_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visibility, "LIMIT_S", 0.05)
    asked = itertools.count()

    async def read_snapshot() -> str:
        next(asked)
        return "7:9:7,8"

    assert not await Visibility(read_snapshot).wait(8)
    assert 1 < next(asked) < 50


async def test_a_read_that_does_not_even_end_when_cancelled_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visibility, "LIMIT_S", 0.05)
    may_end, asked = asyncio.Event(), itertools.count()

    async def read_snapshot() -> str:
        next(asked)
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()
        return "9:9:"

    seen = Visibility(read_snapshot)
    async with asyncio.timeout(30):
        assert [await seen.wait(xid) for xid in (8, 8, 8)] == [False, False, False]
        assert next(asked) == 1, "nor is it asked for again meanwhile"
        may_end.set()
        while not await seen.wait(8):  # noqa: ASYNC110 - it is asked, not told
            await asyncio.sleep(0.01)


async def test_it_goes_on_where_the_database_does_not_answer() -> None:
    async def read_snapshot() -> str:
        raise Problem("UNAVAILABLE", "away")

    assert not await Visibility(read_snapshot).wait(8)
