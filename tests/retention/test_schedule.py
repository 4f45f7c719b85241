"""The worker's day: when a pass is due, who leads, what is caught up when nobody did."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from bookconnect_dm import retention
from bookconnect_dm.metrics import Metrics
from bookconnect_dm.retention import Batch, Pace
from bookconnect_dm.schedule import Plan, last_due, run_for_ever, skipped
from tests.helpers.postgres import WORKER
from tests.retention.clock import Clock
from tests.retention.model import DAY
from tests.retention.world import Stage

QUICK = Pace(pause_s=0, pause_share=0, patience_s=0.5)
PLAN = Plan(recovery_days=0, look_s=0.05, pace=QUICK)
LOCK = "select pg_advisory_lock(hashtext('bookconnect_dm retention'), 0)"
BACKENDS = "select pid from pg_stat_activity where usename = %s"
RUNS = "select outcome, due_at, skipped, counts from messaging.retention_runs order by id"
LEADERS = (
    "select count(*) from pg_locks where locktype = 'advisory' and granted"
    " and classid = (hashtext('bookconnect_dm retention leader')::bigint & 4294967295)::oid"
    " and database = (select oid from pg_database where datname = current_database())"
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-03-01 00:59:59", "2026-02-28 02:00:00"),
        ("2026-03-01 01:00:00", "2026-03-01 01:00:00"),
        ("2026-03-01 01:59:59", "2026-03-01 01:00:00"),
        ("2026-03-01 23:00:00", "2026-03-01 02:00:00"),
    ],
)
def test_the_newest_moment_of_a_schedule(now: str, due: str) -> None:
    assert last_due(("02:00", "01:00"), at(now)) == at(due)


@pytest.mark.parametrize(
    ("since", "due", "many"),
    [
        ("2026-03-01 01:00:30", "2026-03-01 02:00:00", 0),
        ("2026-03-01 02:10:00", "2026-03-02 01:00:00", 0),
        ("2026-03-01 02:10:00", "2026-03-02 02:00:00", 1),
        ("2026-03-01 02:10:00", "2026-03-08 02:00:00", 13),
        ("2026-02-28 12:00:00", "2026-03-01 01:00:00", 0),
    ],
)
def test_moments_at_which_nobody_ran(since: str, due: str, many: int) -> None:
    assert skipped(("01:00", "02:00"), at(since), at(due)) == many


class Running:
    """A worker in this process, with what it reports."""

    def __init__(self, url: str, plan: Plan) -> None:
        self.batches: list[Batch] = []
        self.metrics = Metrics()
        self.task = asyncio.create_task(
            run_for_ever(url, plan, report=self.batches.append, metrics=self.metrics)
        )

    def figure(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"bookconnect_dm_retention_{name}", labels)

    @property
    def leads(self) -> bool:
        return self.figure("leader") == 1


@contextlib.asynccontextmanager
async def running(url: str, plan: Plan = PLAN) -> AsyncIterator[Running]:
    worker = Running(url, plan)
    try:
        yield worker
    finally:
        worker.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker.task


async def until(condition: Callable[[], Any], timeout_s: float = 30) -> None:
    async with asyncio.timeout(timeout_s):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - others make it true
            await asyncio.sleep(0.02)


async def test_the_first_pass_comes_at_once_and_recalculation_soon_after_a_change(
    stage: Stage, clock: Clock, url: str
) -> None:
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation)
    clock.pass_(31)
    async with running(url) as worker:
        await until(lambda: len(stage.run(RUNS)) == 1)
        assert stage.run("select id from public.direct_messages") == []
        message = stage.send(sender, conversation)
        stage.set_tier(sender, "privileged")
        await until(lambda: stage.value("select messaging.pending_recalculations()") == 0)
        assert stage.expires(message["id"]) - message["sent_at"] == 180 * DAY
        await until(lambda: worker.figure("runs_total", outcome="complete") == 1)
    assert [(run["outcome"], run["due_at"], run["skipped"]) for run in stage.run(RUNS)] == [
        ("complete", None, 0)
    ]


async def test_who_starts_anew_makes_no_pass_that_was_made_already(stage: Stage, url: str) -> None:
    async with running(url):
        await until(lambda: len(stage.run(RUNS)) == 1)
    async with running(url) as again:
        await until(lambda: again.figure("last_complete_timestamp_seconds"))
        await until(lambda: again.leads)
        assert again.figure("runs_total", outcome="complete") is None
    assert len(stage.run(RUNS)) == 1


async def test_a_week_without_anybody_is_caught_up_in_bounded_batches(
    stage: Stage, clock: Clock, url: str
) -> None:
    sender, _, conversation = stage.pair("free")
    for _ in range(7):
        for _ in range(6):
            stage.send(sender, conversation)
        clock.pass_(1)
    clock.pass_(23)
    async with running(url):
        await until(lambda: len(stage.run(RUNS)) == 1)
    clock.pass_(7)
    assert stage.value("select count(*) from public.direct_messages") > 10
    plan = Plan(recovery_days=0, look_s=0.05, pace=Pace(batch_rows=5, pause_s=0, pause_share=0))
    async with running(url, plan) as worker:
        await until(lambda: len(stage.run(RUNS)) == 2)
        await until(lambda: worker.figure("runs_total", outcome="complete") == 1)
        assert stage.run("select id from public.direct_messages") == []
        assert max(batch.rows for batch in worker.batches) == 5
        assert len(worker.batches) >= 6
        made = stage.run(RUNS)[1]
        assert made["skipped"] in {13, 14}, "twice a day for a week; the last one is made up for"
        assert made["due_at"] is not None
        assert worker.figure("skipped_total") == made["skipped"]
        # Asked after the pass, which is told before.
        await until(lambda: worker.figure("backlog_rows", step="mark") == 0)


async def test_one_leads_and_another_takes_over(stage: Stage, url: str) -> None:
    async with running(url) as one, running(url) as other:
        await until(lambda: one.leads != other.leads)
        assert stage.value(LEADERS) == 1
        leader, follower = (one, other) if one.leads else (other, one)
        await until(lambda: follower.figure("last_complete_timestamp_seconds"))
        assert not follower.leads
        leader.task.cancel()
        await until(lambda: follower.leads)
        assert stage.value(LEADERS) == 1
        leader.task = asyncio.create_task(run_for_ever(url, PLAN, metrics=leader.metrics))
    assert len(stage.run(RUNS)) == 1


def gone(stage: Stage, pids: set[int]) -> bool:
    return pids.isdisjoint(row["pid"] for row in stage.run(BACKENDS, WORKER))


async def test_it_survives_a_database_that_goes_and_comes(
    stage: Stage, clock: Clock, url: str
) -> None:
    sender, _, conversation = stage.pair("free")
    async with running(url) as worker:
        for _ in range(3):
            await until(lambda: worker.leads)
            pids = {row["pid"] for row in stage.run(BACKENDS, WORKER)}
            stage.run("select pg_terminate_backend(p) from unnest(%s::int[]) as p", list(pids))
            await until(partial(gone, stage, pids))
        message = stage.send(sender, conversation)
        stage.set_tier(sender, "privileged")
        await until(lambda: stage.value("select messaging.pending_recalculations()") == 0)
        assert stage.expires(message["id"]) - message["sent_at"] == 180 * DAY
        assert not worker.task.done()


async def test_a_pass_that_another_worker_does_is_looked_after(
    stage: Stage, clock: Clock, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one may die on the way; then the work is still to do, and not tomorrow."""
    monkeypatch.setattr(retention, "LOCK_WAIT_S", 0.1)
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation)
    clock.pass_(31)
    with stage.another() as other:
        other.run(LOCK)
        async with running(url) as worker:
            await until(lambda: (worker.figure("runs_total", outcome="busy") or 0) >= 2)
            assert stage.value("select count(*) from public.direct_messages") == 1
            other.owner.close()
            await until(lambda: stage.run("select id from public.direct_messages") == [])


async def test_a_pass_that_fails_is_seen_and_tried_again(stage: Stage, url: str) -> None:
    stage.run("alter function messaging.soft_delete_batch rename to away")
    async with running(url) as worker:
        await until(lambda: (worker.figure("failures") or 0) >= 2)
        failed = stage.run("select outcome, detail from messaging.retention_runs order by id")[0]
        assert failed["outcome"] == "failed"
        assert "soft_delete_batch" in failed["detail"]
        stage.run("alter function messaging.away rename to soft_delete_batch")
        await until(lambda: worker.figure("runs_total", outcome="complete") == 1)
        await until(lambda: worker.figure("failures") == 0)


async def test_the_record_keeps_90_days(stage: Stage, clock: Clock, url: str) -> None:
    await retention.run_once(url, pace=QUICK)
    clock.pass_(91)
    await retention.run_once(url, pace=QUICK)
    assert len(stage.run(RUNS)) == 1
