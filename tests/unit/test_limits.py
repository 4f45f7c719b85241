from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookconnect_dm.limits import Bucket, MemberBuckets

ADA, BEN = UUID(int=1), UUID(int=2)


def test_a_burst_goes_through_and_then_the_rate_holds() -> None:
    bucket = Bucket(10, 3, now=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(0.0) == pytest.approx(0.1)
    assert bucket.take(0.1) == 0.0


def test_a_rate_of_zero_never_refuses() -> None:
    bucket = Bucket(0, 0, now=0.0)
    assert all(bucket.take(0.0) == 0.0 for _ in range(1000))


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    bucket = Bucket(1, 2, now=100.0)
    assert bucket.take(50.0) == 0.0
    assert bucket.take(50.0) == 0.0
    assert bucket.take(50.0) > 0


def test_a_turn_given_back_can_be_taken_again() -> None:
    bucket = Bucket(1, 1, now=0.0)
    assert bucket.take(0.0) == 0.0
    bucket.give_back()
    assert bucket.take(0.0) == 0.0
    assert bucket.take(0.0) > 0


def test_members_do_not_share_their_turns() -> None:
    buckets = MemberBuckets(1, 1)
    assert buckets.take(ADA, 0.0) == 0.0
    assert buckets.take(ADA, 0.0) > 0
    assert buckets.take(BEN, 0.0) == 0.0
    buckets.give_back(ADA)
    assert buckets.take(ADA, 0.0) == 0.0


def test_only_so_many_members_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bookconnect_dm.limits._MEMBERS", 2)
    buckets = MemberBuckets(1, 1)
    for member in range(3):
        assert buckets.take(UUID(int=member), 0.0) == 0.0
    assert buckets.take(UUID(int=2), 0.0) > 0
    assert buckets.take(UUID(int=0), 0.0) == 0.0  # forgotten, so forgiven


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=200),
    st.floats(0.1, 50),
    st.integers(1, 50),
)
def test_never_more_than_burst_and_rate_allow(gaps: list[float], rate: float, burst: int) -> None:
    bucket, now, taken = Bucket(rate, burst, now=0.0), 0.0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now) == 0.0
    assert taken <= burst + rate * now + 1e-6
