"""Which transactions a statement saw."""

from __future__ import annotations

from bookconnect_dm.snapshot import Snapshot


def test_a_snapshot_shows_what_had_ended() -> None:
    snapshot = Snapshot("10:20:12,15")
    shown = [xid for xid in range(5, 25) if snapshot.shows(xid)]
    assert shown == [5, 6, 7, 8, 9, 10, 11, 13, 14, 16, 17, 18, 19]
    assert [xid for xid in range(15, 25) if snapshot.precedes(xid)] == [20, 21, 22, 23, 24]


def test_ids_of_the_stream_are_compared_across_the_wraparound() -> None:
    wrap = 1 << 32
    snapshot = Snapshot(f"{5 * wrap - 10}:{5 * wrap + 10}:{5 * wrap + 3}")
    assert snapshot.shows(wrap - 11)
    assert snapshot.shows(wrap - 5)
    assert snapshot.shows(2)
    assert not snapshot.shows(3)
    assert not snapshot.shows(10)
    assert snapshot.precedes(10)
    assert not snapshot.precedes(9)
    before = Snapshot(f"{5 * wrap - 10}:{5 * wrap - 10}:")
    assert before.precedes(3)
    assert before.shows(wrap - 11)
