"""When a message expires, told as the rule is told: the tests' second opinion.

The database computes the same with less (`messaging.expiry_of`); a property test holds them
together. Everything here is a pure function of a message's time and its sender's tier history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

DAY = timedelta(days=1)
GRACE = 30 * DAY
PERIODS = {"free": 30 * DAY, "privileged": 180 * DAY, "privileged_plus": 365 * DAY}
ALWAYS = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """From `at` on, the member had this tier; the first one of a history is at `ALWAYS`."""

    at: datetime
    tier: str

    @property
    def period(self) -> timedelta:
        return PERIODS[self.tier]


History = Sequence[Change]


def expiry(sent: datetime, history: History) -> datetime:
    """E = sent + period, then each later change of tier in its order."""
    before = [change for change in history if change.at <= sent]
    result = _at_the_start(sent, before)
    for was, change in pairwise([before[-1], *history[len(before) :]]):
        if result <= change.at:
            break  # expired stays expired
        if change.period > was.period:
            result = max(result, sent + change.period)
        elif change.period < was.period:
            result = min(result, max(sent + change.period, change.at + GRACE))
    return result


def _at_the_start(sent: datetime, before: History) -> datetime:
    graces = _open_graces(sent, before)
    longest = max([before[-1].period, *(was.period for was, _ in graces)])
    return min([sent + longest, *(max(sent + to.period, to.at + GRACE) for _, to in graces)])


def _open_graces(sent: datetime, before: History) -> list[tuple[Change, Change]]:
    """The downgrades (from, to) whose grace runs at `sent` and that no upgrade has closed."""
    steps = list(pairwise(before))
    return [
        (was, to)
        for number, (was, to) in enumerate(steps)
        if to.period < was.period
        and sent < to.at + GRACE
        and not any(
            earlier.period < later.period >= to.period for earlier, later in steps[number + 1 :]
        )
    ]
