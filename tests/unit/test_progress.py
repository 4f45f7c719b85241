"""What PostgreSQL is told of our progress, and when."""

from __future__ import annotations

import struct

from bookconnect_dm.events import Transaction
from bookconnect_dm.pgoutput import Keepalive
from bookconnect_dm.progress import Progress


def done(progress: Progress, end_lsn: int, *, committed_at: int = 0, sent_at: int = 0) -> None:
    progress.done(Transaction(xid=1, end_lsn=end_lsn, committed_at=committed_at), sent_at)


def started(lsn: int = 100, now: float = 0.0) -> Progress:
    progress = Progress()
    progress.start_at(lsn, now)
    return progress


def test_a_processed_commit_is_confirmed_to_its_end() -> None:
    progress = started()
    done(progress, 150)
    assert (progress.confirmed, progress.transactions) == (150, 1)


def test_an_idle_keepalive_is_confirmed_so_that_other_tables_retain_nothing() -> None:
    progress = started()
    progress.kept_alive(Keepalive(500, 0, reply_requested=False), is_idle=True)
    assert progress.confirmed == 500
    done(progress, 400)
    assert progress.confirmed == 500


def test_a_keepalive_within_a_transaction_confirms_nothing() -> None:
    progress = started()
    progress.kept_alive(Keepalive(500, 0, reply_requested=True), is_idle=False)
    assert (progress.confirmed, progress.wal_end) == (100, 500)


def test_a_status_is_due_each_second_and_asks_for_an_answer_each_five() -> None:
    progress = started()
    asked = []
    for now in range(1, 16):
        assert not progress.must_report(now - 0.1)
        assert progress.must_report(now)
        status = progress.report(now, 42)
        kind, written, flushed, applied, at, asks = struct.unpack("!cQQQqB", status)
        assert (kind, written, flushed, applied, at) == (b"r", 100, 100, 100, 42)
        asked.append(asks)
    assert asked == [0, 0, 0, 0, 1] * 3


def test_unasked_answers_are_ten_a_second_at_most() -> None:
    progress = started()
    progress.report(1.0, 0)
    assert not progress.may_report(1.05)
    assert progress.may_report(1.1)


def test_silence_is_counted_from_the_last_frame() -> None:
    progress = started(now=5.0)
    assert progress.silent_s(8.0) == 3.0
    progress.heard(8.0)
    assert progress.silent_s(9.0) == 1.0


def test_the_lag_is_measured_by_one_clock() -> None:
    progress = started()
    done(progress, 150, committed_at=1_000_000, sent_at=1_250_000)
    assert progress.lag_s == 0.25
