"""Simulated members' ways."""

from __future__ import annotations

import random

import pytest

from bookconnect_dm.rhythm import ANSWERS, Rhythm


def rhythm(per_hour: float = 60.0, seed: int = 1) -> Rhythm:
    return Rhythm(random.Random(seed), messages_per_hour=per_hour)


@pytest.mark.parametrize("per_hour", [1.0, 60.0, 3_600.0])
def test_in_the_long_run_he_writes_as_much_as_was_asked(per_hour: float) -> None:
    """His own doing, and half as much again in answers."""
    one, written, passed_s = rhythm(per_hour), 0, 0.0
    for _ in range(20_000):
        passed_s += one.pause_s()
        if one.action() == "write":
            texts = [one.text() for _ in range(one.burst())]
            passed_s += sum(one.typing_s(text) for text in texts)
            written += len(texts)
    assert written / (1 - ANSWERS) / passed_s * 3_600 == pytest.approx(per_hour, rel=0.15)


def test_pauses_are_mostly_short_and_sometimes_long() -> None:
    one = rhythm()
    pauses = sorted(one.pause_s() for _ in range(5_000))
    assert pauses[2_500] < sum(pauses) / 5_000 < pauses[4_500]
    assert pauses[0] > 0


def test_texts_are_ones_that_the_api_takes() -> None:
    one = rhythm()
    texts = [one.text() for _ in range(5_000)]
    assert all(1 <= len(text) <= 1_000 and text == text.strip() for text in texts)
    assert len(set(texts)) > 1_000


def test_the_same_seed_gives_the_same_member() -> None:
    one, same, other = rhythm(), rhythm(), rhythm(seed=2)
    ways = [[(r.action(), r.pause_s(), r.text()) for _ in range(20)] for r in (one, same, other)]
    assert ways[0] == ways[1] != ways[2]
