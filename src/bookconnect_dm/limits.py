"""How often is too often.

In charge of: counting what a member does against a rate with a burst (a bucket that refills).
Knows about: numbers. The time is handed in with every question.
Does not know: who asks, what for, or what is answered.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from uuid import UUID

__all__ = ["Bucket", "MemberBuckets"]

_MEMBERS: Final = 20_000
"""Members remembered at once; the one longest idle is forgotten first, which forgives him."""


class Bucket:
    """Holds up to `burst` turns and gets `rate` new ones a second; a rate of 0 never refuses."""

    __slots__ = ("_at", "_burst", "_rate", "_turns")

    def __init__(self, rate: float, burst: float, *, now: float) -> None:
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._turns = self._burst
        self._at = now

    def take(self, now: float) -> float:
        """Take one turn: 0.0 if there was one, else the seconds until there will be."""
        if self._rate <= 0:
            return 0.0
        self._turns = min(self._burst, self._turns + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._turns >= 1.0:
            self._turns -= 1.0
            return 0.0
        return (1.0 - self._turns) / self._rate

    def give_back(self) -> None:
        """Undo a turn that turned out not to count."""
        self._turns = min(self._burst, self._turns + 1.0)


class MemberBuckets:
    """One bucket a member, all alike."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[UUID, Bucket] = OrderedDict()

    def take(self, user_id: UUID, now: float) -> float:
        """Take one of this member's turns: 0.0 if he had one, else the seconds to wait."""
        return 0.0 if self._rate <= 0 else self.of(user_id, now).take(now)

    def of(self, user_id: UUID, now: float) -> Bucket:
        """This member's bucket, the same for all of his connections."""
        bucket = self._buckets.get(user_id)
        if bucket is None:
            bucket = self._buckets[user_id] = Bucket(self._rate, self._burst, now=now)
            if len(self._buckets) > _MEMBERS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(user_id)
        return bucket

    def give_back(self, user_id: UUID) -> None:
        """Undo this member's last turn: it turned out not to count."""
        if bucket := self._buckets.get(user_id):
            bucket.give_back()
