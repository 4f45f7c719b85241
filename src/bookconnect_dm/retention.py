"""The retention worker: lets messages go when their time is over.

In charge of: whole passes in bounded batches, one worker at a time, the dry run, the row that says
what became of a pass.
Knows about: the retention statements of `sql/admin.sql`, and which of their errors pass by.
Does not know: when a message expires or what is under hold: the database decides. Nor when a pass
is due: `schedule` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from bookconnect_dm.direct import CommandError, Direct, connect, lock_holder

__all__ = [
    "NAME",
    "Batch",
    "Due",
    "Occasion",
    "Outcome",
    "Pace",
    "Report",
    "Step",
    "recalculate",
    "run_once",
]

Step = Literal["notice", "recalculate", "soft_delete", "cleanup"]

NAME: Final = "bookconnect-dm retention"
LOCK: Final = "bookconnect_dm retention"
LOCK_WAIT_S: Final = 10.0
RECALCULATE_S: Final = 3000.0
TRIES: Final = 6
SMALL_BATCH: Final = 200
ANSWER_S: Final = 90.0
"""Longer than the database's own limit on a batch: who is silent then is gone."""
# Another session held a row, or had just changed it; a hold was placed at the same moment.
PASSES_BY: Final = frozenset({"40001", "40P01", "55P03", "PT409"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How hard the worker works. Measured by bench/scenarios/sweep.py."""

    batch_rows: int = 1000
    batch_s: float = 0.1
    """A batch that takes longer is followed by a smaller one: its locks last as long as it does."""
    recalculated_rows: int = 500
    """Smaller: a batch of these locks the conversations that it touches."""
    pause_share: float = 0.5
    """Of a batch's time, left to others after it; live delivery reads the same log."""
    pause_s: float = 0.002
    patience_s: float = 5.0
    """How long a pass waits for transactions from before a change of tier to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch that is done: of which step, how many rows, how long it took."""

    step: Step
    rows: int
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a pass would do now to one store's messages of one tier."""

    step: str
    store_id: str
    store: str | None
    tier: str
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a pass did; `due` only for a dry run, which does nothing."""

    counts: Mapping[Step, int] = field(default_factory=dict)
    due: tuple[Due, ...] = ()
    is_busy: bool = False
    """Another worker was at it, so nothing was done."""
    holder: str = ""
    """Who that is, in a sentence."""
    is_complete: bool = True
    """False: time was up, or something stayed locked. The next pass goes on there."""
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Why a pass is made: the moment of the schedule that it serves, if it serves one."""

    due_at: datetime | None = None
    skipped: int = 0
    """Moments before that one at which nobody ran."""


BY_HAND: Final = Occasion()
Report = Callable[[Batch], None]


async def run_once(
    url: str,
    *,
    recovery_days: int = 7,
    dry_run: bool = False,
    report: Report | None = None,
    budget_s: float | None = None,
    pace: Pace | None = None,
    occasion: Occasion = BY_HAND,
) -> Outcome:
    """One whole pass: notice changes of tier, recalculate, soft, hard, each until nothing is left.

    Idempotent, and safe to cancel: each batch is a transaction of its own. One worker at a time,
    across all servers; the outcome of a second one `is_busy`. Raises `CommandError`.
    """
    began = time.monotonic()
    if dry_run:
        return await _preview(url, recovery_days, began)
    work = None
    try:
        async with connect(url, name=NAME) as db:
            if not await _lock(db):
                return Outcome(is_busy=True, holder=await lock_holder(db, LOCK))
            until = None if budget_s is None else began + budget_s
            work = _Work(db, report or _nobody, pace or Pace(), until)
            await work.whole_pass(recovery_days)
            took_s = time.monotonic() - began
            word = "complete" if work.is_complete else "incomplete"
            await _note(db, occasion, word, took_s=took_s, counts=work.counts)
    except CommandError as error:
        if work is not None:
            await _note_failure(url, occasion, str(error), work.counts, began)
        raise
    return Outcome(counts=work.counts, is_complete=work.is_complete, took_s=took_s)


async def recalculate(url: str, *, report: Report | None = None, pace: Pace | None = None) -> None:
    """New expiry times for members whose tier has changed, unless a pass is at it."""
    async with connect(url, name=NAME) as db:
        if await db.value("try_lock_retention"):
            await db.rows("limit_retention")
            until = time.monotonic() + RECALCULATE_S
            await _Work(db, report or _nobody, pace or Pace(), until).recalculate()


async def _preview(url: str, recovery_days: int, began: float) -> Outcome:
    async with connect(url, name=NAME) as db:
        rows = await db.rows("retention_preview", recovery_days=recovery_days)
    due = tuple(Due(step=s, store_id=i, store=n, tier=t, messages=m) for s, i, n, t, m in rows)
    return Outcome(due=due, took_s=time.monotonic() - began)


async def _note_failure(
    url: str, occasion: Occasion, why: str, counts: Mapping[Step, int], began: float
) -> None:
    """Over a connection of its own: the pass's may be gone. The database may be, too."""
    with contextlib.suppress(CommandError):
        async with connect(url, name=NAME) as db:
            took_s = time.monotonic() - began
            await _note(db, occasion, "failed", took_s=took_s, counts=counts, detail=why)


class _Work:
    """The steps of one pass, over one connection that holds the worker's lock."""

    def __init__(self, db: Direct, report: Report, pace: Pace, until: float | None) -> None:
        self._db = db
        self._report = report
        self._pace = pace
        self._until = until
        self.counts: dict[Step, int] = {}
        self.is_complete = True

    async def whole_pass(self, recovery_days: int) -> None:
        await self.notice()
        await self.recalculate()
        await self.sweep("soft_delete")
        await self.sweep("cleanup", recovery_days=recovery_days)

    async def notice(self) -> None:
        while not self._time_is_up():
            rows = await self._batch("notice", "notice_tier_changes")
            if not rows or not rows[0][0]:
                return

    async def recalculate(self) -> None:
        """Until nobody waits; transactions from before a change get a little time to end."""
        patience = self._pace.patience_s
        while not self._time_is_up():
            rows = await self._batch(
                "recalculate", "recalculate_batch", batch_size=self._pace.recalculated_rows
            )
            if rows and rows[0][0]:
                continue
            if not await self._db.value("pending_recalculations"):
                return
            if patience <= 0:
                self.is_complete = False
                return
            patience -= 0.25
            await asyncio.sleep(0.25)

    async def sweep(self, step: Literal["soft_delete", "cleanup"], **params: object) -> None:
        """Rounds over all that is due, soonest first, until a round finds nothing."""
        while await self._round(step, params):
            pass

    async def _round(
        self, step: Literal["soft_delete", "cleanup"], params: Mapping[str, object]
    ) -> int:
        done = 0
        reached = "-infinity"
        size = self._pace.batch_rows
        while not self._time_is_up():
            began = time.monotonic()
            rows = await self._batch(
                step, f"{step}_batch", from_expiry=reached, batch_size=size, **params
            )
            size = self._next_size(size, time.monotonic() - began)
            if not rows or rows[0][1] is None or rows[0] == (0, reached):
                return done
            done += int(rows[0][0])
            reached = str(rows[0][1])
        return 0

    def _next_size(self, size: int, took_s: float) -> int:
        if took_s > self._pace.batch_s:
            return max(size // 2, min(SMALL_BATCH, self._pace.batch_rows))
        return min(size + SMALL_BATCH, self._pace.batch_rows)

    async def _batch(self, step: Step, statement: str, **params: object) -> list[tuple[Any, ...]]:
        """One batch, tried again while what hinders it passes by; no rows when it stays."""
        for attempt in range(TRIES):
            began = time.monotonic()
            try:
                async with asyncio.timeout(ANSWER_S):
                    rows = await self._db.rows(statement, **params)
            except TimeoutError:
                raise CommandError("The database has stopped answering: try again.") from None
            except CommandError as error:
                if error.sqlstate not in PASSES_BY:
                    raise
                await asyncio.sleep(_jittered(0.05 * 2**attempt))
                continue
            took_s = time.monotonic() - began
            count = int(rows[0][0])
            self.counts[step] = self.counts.get(step, 0) + count
            if count:
                self._report(Batch(step=step, rows=count, took_s=took_s))
                await asyncio.sleep(max(self._pace.pause_s, took_s * self._pace.pause_share))
            return rows
        self.is_complete = False
        return []

    def _time_is_up(self) -> bool:
        if self._until is None or time.monotonic() < self._until:
            return False
        self.is_complete = False
        return True


async def _lock(db: Direct) -> bool:
    """Hold the worker's lock for this connection, if it comes free soon.

    A waiting query would hold a snapshot, and with it back every cleaning: poll.
    """
    until = time.monotonic() + LOCK_WAIT_S
    while not await db.value("try_lock_retention"):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.2)
    await db.rows("limit_retention")
    return True


async def _note(
    db: Direct,
    occasion: Occasion,
    outcome: str,
    *,
    took_s: float,
    counts: Mapping[Step, int],
    detail: str | None = None,
) -> None:
    """Leave a row that says what became of a pass; `doctor` and the schedule read it."""
    await db.rows(
        "note_retention_run",
        outcome=outcome,
        took_s=took_s,
        due_at=occasion.due_at,
        skipped=occasion.skipped,
        counts=json.dumps(dict(counts)),
        detail=detail,
    )


def _nobody(_batch: Batch) -> None:
    pass


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311  no secret
