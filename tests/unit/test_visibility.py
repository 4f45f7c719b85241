"""Waiting for others to see a transaction ends, whatever the database says."""

from __future__ import annotations

import itertools

import pytest

from bookconnect_dm import visibility
from bookconnect_dm.errors import Problem
from bookconnect_dm.visibility import wait_until_visible


async def test_it_waits_until_a_snapshot_shows_the_transaction() -> None:
    snapshots = iter(["7:9:7,8", "8:9:8", "9:9:"])

    async def read_snapshot() -> str:
        return next(snapshots)

    assert await wait_until_visible(8, read_snapshot)
    assert list(snapshots) == []


async def test_it_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visibility, "LIMIT_S", 0.05)
    asked = itertools.count()

    async def read_snapshot() -> str:
        next(asked)
        return "7:9:7,8"

    assert not await wait_until_visible(8, read_snapshot)
    assert 1 < next(asked) < 50


async def test_it_goes_on_where_the_database_does_not_answer() -> None:
    async def read_snapshot() -> str:
        raise Problem("UNAVAILABLE", "away")

    assert not await wait_until_visible(8, read_snapshot)
