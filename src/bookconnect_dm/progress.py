"""How far one reader of the log has come, and what PostgreSQL is to be told of it, and when.

In charge of: the confirmed position, when a status is due, and how long the stream has been silent.
Knows about: the frames of `pgoutput`. Times are handed in: `now` is in seconds of a steady clock.
Does not know: clocks, connections, what the transactions mean.

What is confirmed is the end of the last processed commit or, once nothing is pending, of the last
keepalive. With commits alone PostgreSQL would keep its log behind every write to a table that is
not ours, and would wait for us when it is told to stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bookconnect_dm.events import Transaction
from bookconnect_dm.pgoutput import Keepalive, encode_status

__all__ = ["FeedFacts", "Progress"]

REPORT_S: Final = 1.0  # a status at least this often
ASK_S: Final = 5.0  # a status that wants an answer (it comes within 0.2 ms)
PAUSE_S: Final = 0.1  # a keepalive that wants no answer gets one at most this often


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedFacts:
    """How the feed is doing, for metrics and `doctor`."""

    healthy: bool
    transactions: int
    confirmed_lsn: str
    behind_bytes: int
    lag_s: float
    """From the last transaction's commit to when PostgreSQL sent it to us."""
    reconnects: int
    gaps: int
    foreign: int
    """Messages of others in the log, dropped."""
    retained_bytes: int
    """Log that PostgreSQL keeps for our slot, at the last look."""
    idle_slots: int
    """Slots of ours that nobody reads, at the last look."""
    last_error: str | None


class Progress:
    """One stream's bookkeeping; it outlives the connection."""

    __slots__ = (
        "_asked_at",
        "_heard_at",
        "_reported_at",
        "confirmed",
        "lag_s",
        "owes_gap",
        "transactions",
        "wal_end",
    )

    def __init__(self) -> None:
        self.confirmed = 0
        self.wal_end = 0
        """How far PostgreSQL has read its log, as far as we heard."""
        self.transactions = 0
        self.lag_s = 0.0
        """From the last transaction's commit to when it was sent to us, by PostgreSQL's clock."""
        self.owes_gap = False
        """Transactions were left out, and nobody was told yet."""
        self._heard_at = self._reported_at = self._asked_at = 0.0

    def start_at(self, lsn: int, now: float) -> None:
        """A stream begins at `lsn`."""
        self.confirmed = self.wal_end = lsn
        self._heard_at = self._reported_at = self._asked_at = now

    def heard(self, now: float) -> None:
        """A frame came in."""
        self._heard_at = now

    def silent_s(self, now: float) -> float:
        """Seconds since the last frame."""
        return now - self._heard_at

    def done(self, transaction: Transaction, sent_at: int) -> None:
        """`transaction`, which PostgreSQL sent at `sent_at`, is processed."""
        self.transactions += 1
        self.lag_s = max(0.0, (sent_at - transaction.committed_at) / 1e6)
        self.confirmed = max(self.confirmed, transaction.end_lsn)
        self.wal_end = max(self.wal_end, transaction.end_lsn)

    def kept_alive(self, frame: Keepalive, *, is_idle: bool) -> None:
        """All up to `frame.wal_end` was sent; if `is_idle`, it is processed as well."""
        self.wal_end = max(self.wal_end, frame.wal_end)
        if is_idle:
            self.confirmed = max(self.confirmed, frame.wal_end)

    def may_report(self, now: float) -> bool:
        """True when the last status is old enough for another that nobody asked for."""
        return now - self._reported_at >= PAUSE_S

    def must_report(self, now: float) -> bool:
        """True when a status is due."""
        return now - self._reported_at >= REPORT_S or now - self._asked_at >= ASK_S

    def report(self, now: float, pg_now: int) -> bytes:
        """The status; `pg_now` is the time as PostgreSQL counts it."""
        is_asking = now - self._asked_at >= ASK_S
        self._reported_at = now
        if is_asking:
            self._asked_at = now
        return encode_status(self.confirmed, pg_now, reply=is_asking)
