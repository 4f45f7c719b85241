"""The retention worker's day: one leader among all servers, passes when they are due, no gaps.

In charge of: who leads, when a pass is due, catching up after a time in which nobody ran, saying
in log and metrics what was late, skipped or failed; the same schedule for pg_cron.
Knows about: `retention`, the lock of the leader, the record of the passes in the database.
Does not know: what a pass does.

Every worker tries for one lock, and whoever has it leads until he is gone: his connection ends with
him, PostgreSQL gives the lock back, and another one's next try succeeds. When a pass is due is read
from the record and not remembered, so it makes no difference who led before, or for how long nobody
did.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Final

import structlog

from bookconnect_dm.direct import CommandError, Direct, connect
from bookconnect_dm.metrics import Metrics
from bookconnect_dm.retention import (
    NAME,
    Batch,
    Occasion,
    Outcome,
    Pace,
    Report,
    recalculate,
    run_once,
)

__all__ = ["LOOK_S", "Plan", "last_due", "pg_cron_jobs", "run_for_ever", "skipped"]

LOOK_S: Final = 30.0
"""The least pause between two looks; the longest is half as much again, so less than a minute."""
BUDGET_S: Final = 3000.0
"""A scheduled pass stops after this and goes on with the next one; the day belongs to members."""
LATE_S: Final = 900.0
MOST_DOUBLINGS: Final = 3
"""After each failure the pause doubles, so often at most."""

log = structlog.get_logger("retention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When to run, and how."""

    times: Sequence[str] = ("01:00", "02:00")
    """Every day, in UTC."""
    recovery_days: int = 7
    look_s: float = LOOK_S
    budget_s: float = BUDGET_S
    pace: Pace | None = None
    must_be_on_time: bool = True
    """Where nobody expects a worker to run day and night, being late is not news."""


async def run_for_ever(
    url: str, plan: Plan, *, report: Report | None = None, metrics: Metrics | None = None
) -> None:
    """Leads whenever nobody else does, and makes the passes that are due.

    Also after a time in which nobody ran. In between, messages of members whose tier has changed
    get their new expiry times within a minute or so. Comes back from everything but cancellation;
    that is how it ends.
    """
    worker = _Worker(url, plan, report, metrics or Metrics())
    # Servers that start together do not all knock at the same moment.
    await asyncio.sleep(min(1.0, plan.look_s) * random.uniform(0, 1))  # noqa: S311  no secret
    failures = 0
    while True:
        try:
            await worker.try_to_lead()
        except CommandError as error:
            failures += 1
            log.warning("retention_failed", reason=str(error), times=failures)
        else:
            failures = 0
        await asyncio.sleep(_pause_s(plan, failures))


def last_due(times: Sequence[str], now: datetime) -> datetime:
    """The newest moment of a daily schedule that is not after `now`."""
    moments = [_at(now, time) for time in times]
    return max(moment if moment <= now else moment - timedelta(days=1) for moment in moments)


def skipped(times: Sequence[str], since: datetime, due: datetime) -> int:
    """How many moments of the schedule lie between the last pass and the one that is due now."""
    days = range((due.date() - since.date()).days + 1)
    moments = [_at(since + timedelta(days=day), time) for day in days for time in set(times)]
    return sum(since < moment < due for moment in moments)


def pg_cron_jobs(times: Sequence[str], recovery_days: int) -> str:
    """The same schedule as SQL for pg_cron, where PostgreSQL runs it all by itself."""
    text = (files("bookconnect_dm") / "sql" / "export" / "pg_cron.sql").read_text("utf-8")
    head, _, job = text.partition("-- The schedule:\n")
    jobs = [
        job.replace("@at@", time)
        .replace("@minute@", str(int(time[3:])))
        .replace("@hour@", str(int(time[:2])))
        .replace("@hours@", str(24 * recovery_days))
        for time in times
    ]
    return "\n".join([head.strip() + "\n", *jobs])


def _at(day: datetime, time: str) -> datetime:
    return day.replace(hour=int(time[:2]), minute=int(time[3:]), second=0, microsecond=0)


def _pause_s(plan: Plan, failures: int = 0) -> float:
    looks = 1 << min(failures, MOST_DOUBLINGS)
    return plan.look_s * looks * random.uniform(1.0, 1.5)  # noqa: S311  no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a look at the record gave, by PostgreSQL's clock, which stamped it."""

    now: datetime
    last_ended_at: datetime | None
    members_waiting: int


class _Worker:
    """One candidate."""

    def __init__(self, url: str, plan: Plan, report: Report | None, metrics: Metrics) -> None:
        self._url = url
        self._plan = plan
        self._report = report
        self._metrics = metrics
        metrics.retention_leads(leads=False)

    async def try_to_lead(self) -> None:
        """Returns when somebody else leads; else it leads until something fails."""
        async with connect(self._url, name=NAME) as db:
            if not await db.value("try_to_lead_retention"):
                await self._look(db)
                return
            log.info("retention_leads")
            self._metrics.retention_leads(leads=True)
            try:
                await self._lead(db)
            finally:
                self._metrics.retention_leads(leads=False)
                log.info("retention_leads_no_more")

    async def _lead(self, db: Direct) -> None:
        await self._measure(db)
        while True:
            seen = await self._look(db)
            due_at = last_due(self._plan.times, seen.now)
            if seen.last_ended_at is None or seen.last_ended_at < due_at:
                await self._make_pass(db, _occasion(self._plan.times, seen, due_at), seen.now)
            elif seen.members_waiting:
                await recalculate(self._url, report=self._count, pace=self._plan.pace)
            await asyncio.sleep(_pause_s(self._plan))

    async def _make_pass(self, db: Direct, occasion: Occasion, now: datetime) -> None:
        if self._plan.must_be_on_time:
            _tell_of_gaps(occasion, now)
        self._metrics.retention_skipped(occasion.skipped)
        try:
            outcome = await run_once(
                self._url,
                recovery_days=self._plan.recovery_days,
                report=self._count,
                budget_s=self._plan.budget_s,
                pace=self._plan.pace,
                occasion=occasion,
            )
        except CommandError:
            self._metrics.retention_ran("failed")
            raise
        self._metrics.retention_ran(_word(outcome))
        log.info(
            "retention_pass",
            outcome=_word(outcome),
            took_s=round(outcome.took_s, 3),
            counts=dict(outcome.counts),
        )
        await self._look(db)
        await self._measure(db)

    async def _look(self, db: Direct) -> _Seen:
        """One statement; the metrics hear of it."""
        row = (await db.rows("retention_state"))[0]
        now, ended_at, complete_at, failures, _why, members_waiting = row
        self._metrics.retention_state(
            complete_at=complete_at.timestamp() if complete_at else 0.0, failures=failures
        )
        return _Seen(
            now=now.astimezone(UTC),
            last_ended_at=ended_at.astimezone(UTC) if ended_at else None,
            members_waiting=members_waiting,
        )

    async def _measure(self, db: Direct) -> None:
        """What is to do, and what the stores take on disk: once a pass, never on a scrape."""
        days = self._plan.recovery_days
        row = (await db.rows("retention_backlog", recovery_days=days))[0]
        to_mark, to_remove, members, oldest = row
        self._metrics.retention_backlog(
            to_mark=to_mark,
            to_remove=to_remove,
            members=members,
            oldest_due_at=oldest.timestamp() if oldest else 0.0,
        )
        self._metrics.storage(dict(await db.rows("storage_by_store")))

    def _count(self, batch: Batch) -> None:
        self._metrics.retention_did(batch.step, batch.rows)
        if self._report:
            self._report(batch)


def _occasion(times: Sequence[str], seen: _Seen, due_at: datetime) -> Occasion:
    if seen.last_ended_at is None:
        return Occasion()  # the first one of all is not late
    return Occasion(due_at=due_at, skipped=skipped(times, seen.last_ended_at, due_at))


def _tell_of_gaps(occasion: Occasion, now: datetime) -> None:
    if occasion.due_at is None:
        return
    late_s = (now - occasion.due_at).total_seconds()
    if late_s > LATE_S or occasion.skipped:
        log.warning(
            "retention_late",
            due_at=occasion.due_at.isoformat(),
            late_s=round(late_s),
            skipped=occasion.skipped,
        )


def _word(outcome: Outcome) -> str:
    if outcome.is_busy:
        return "busy"
    return "complete" if outcome.is_complete else "incomplete"
