"""The worker: whole passes, one at a time, in bounded batches, on a schedule; and the dry run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bookconnect_dm import retention
from bookconnect_dm.direct import CommandError, Direct
from bookconnect_dm.retention import Batch, Pace, run_once
from tests.retention.clock import Clock
from tests.retention.world import STORE, Stage

QUICK = Pace(pause_s=0, pause_share=0, patience_s=0.5)

LOCK = "select pg_advisory_lock(hashtext('bookconnect_dm retention'), 0)"


def _fill(stage: Stage, clock: Clock) -> dict[str, UUID]:
    """Messages of every kind: expired and not, deleted, swept, held, pending, silently changed."""
    second = stage.value("insert into public.stores (name) values ('Second') returning id")
    members = {
        name: stage.member(tier)
        for name, tier in (
            ("free", "free"), ("privileged", "privileged"), ("plus", "privileged_plus"),
            ("falling", "privileged_plus"), ("rising", "free"), ("silent", "privileged_plus"),
        )
    }  # fmt: skip
    reader = stage.member("free")
    stage.run("insert into public.store_members select %s, id, 'manager' from public.users", second)
    places = []
    for member in members.values():
        for store in (STORE, second):
            rows = stage.run_as(
                member, "select conversation_id from public.start_conversation(%s, %s)",
                reader, store,
            )  # fmt: skip
            places.append((member, rows[0]["conversation_id"]))
    for number in range(8):
        for member, place in places:
            messages = [stage.send(member, place) for _ in range(1 + number % 3)]
            if number % 4 == 0:
                stage.run_as(member, "select public.delete_message(%s)", messages[-1]["id"])
        clock.pass_(20)
        if number == 2:
            stage.soft_delete()
        if number == 5:
            stage.set_tier(members["falling"], "free")
    stage.recalculate()
    stage.set_tier(members["rising"], "privileged")
    clock.pass_(25)
    stage.set_tier_silently(members["silent"], "free")
    stage.run("select messaging.place_hold(%s, 'a case')", places[0][1])
    return members


def _state(stage: Stage) -> dict[UUID, tuple[str, str, bool]]:
    rows = stage.run(
        "select m.id, c.store_id::text as store, messaging.host_tier(m.sender_id) as tier,"
        " m.is_deleted from public.direct_messages as m"
        " inner join public.conversations as c on m.conversation_id = c.id"
    )
    return {row["id"]: (row["store"], row["tier"], row["is_deleted"]) for row in rows}


def _what_happened(
    before: dict[UUID, tuple[str, str, bool]], after: dict[UUID, tuple[str, str, bool]]
) -> Counter[tuple[str, str, str]]:
    happened: Counter[tuple[str, str, str]] = Counter()
    for message, (store, tier, was_deleted) in before.items():
        if not was_deleted and (message not in after or after[message][2]):
            happened["soft_delete", store, tier] += 1
        if message not in after:
            happened["cleanup", store, tier] += 1
    return happened


@pytest.mark.parametrize("recovery_days", [0, 7])
async def test_the_dry_run_says_what_then_happens(
    stage: Stage, clock: Clock, url: str, recovery_days: int
) -> None:
    _fill(stage, clock)
    before = _state(stage)
    dry = await run_once(url, recovery_days=recovery_days, dry_run=True)
    assert _state(stage) == before, "it does nothing"
    assert stage.pending() == 1
    outcome = await run_once(url, recovery_days=recovery_days, pace=QUICK)
    happened = _what_happened(before, _state(stage))
    assert {(due.step, due.store_id, due.tier): due.messages for due in dry.due} == happened
    assert {due.store for due in dry.due} == {"The Stage", "Second"}
    assert len({(due.store_id, due.tier) for due in dry.due}) >= 4, "a scenario worth its name"
    assert outcome.is_complete
    assert outcome.counts["notice"] == 1
    assert outcome.counts["soft_delete"] == sum(
        many for (step, _, _), many in happened.items() if step == "soft_delete"
    )
    again = await run_once(url, recovery_days=recovery_days, pace=QUICK)
    assert sum(again.counts.values()) == 0, "each until 0"
    assert (await run_once(url, recovery_days=recovery_days, dry_run=True)).due == ()


async def test_a_pass_goes_in_batches_and_reports_each(
    stage: Stage, clock: Clock, url: str
) -> None:
    sender, _, conversation = stage.pair("free")
    for _ in range(25):
        stage.send(sender, conversation)
    clock.pass_(31)
    seen: list[Batch] = []
    pace = Pace(batch_rows=10, pause_s=0, pause_share=0)
    outcome = await run_once(url, recovery_days=0, report=seen.append, pace=pace)
    assert [(batch.step, batch.rows) for batch in seen] == [
        ("soft_delete", 10), ("soft_delete", 10), ("soft_delete", 5),
        ("cleanup", 10), ("cleanup", 10), ("cleanup", 5),
    ]  # fmt: skip
    assert outcome.counts["cleanup"] == 25
    ledger = stage.run("select step, messages from messaging.cleanup_ledger order by id")
    assert [(row["step"], row["messages"]) for row in ledger] == [(b.step, b.rows) for b in seen]


async def test_no_batch_is_larger_than_2000(stage: Stage, clock: Clock) -> None:
    sender, _, conversation = stage.pair("free")
    stage.run(
        "insert into public.direct_messages (conversation_id, sender_id, content)"
        " select %s, %s, 'x' from generate_series(1, 2500)",
        conversation, sender,
    )  # fmt: skip
    stage.set_tier(sender, "privileged")
    assert stage.value("select messaging.recalculate_batch(1000000)") == 2000
    stage.recalculate()
    clock.pass_(181)
    batch = "select messages from messaging.soft_delete_batch(batch_size => 1000000)"
    assert [stage.value(batch) for _ in range(3)] == [2000, 500, 0]
    batch = "select messages from messaging.cleanup_batch('0', batch_size => 1000000)"
    assert [stage.value(batch) for _ in range(3)] == [2000, 500, 0]


async def test_what_is_locked_in_step_two_holds_up_itself_alone(
    stage: Stage, clock: Clock, url: str
) -> None:
    """More of it in one slot of the index than a batch has rows."""
    sender, _, locked = stage.pair("free")
    free = stage.converse(sender, stage.member("free"))
    for _ in range(25):
        stage.send(sender, locked)
    clock.pass_(1)
    for _ in range(5):
        stage.send(sender, free)
    clock.pass_(60)
    stage.soft_delete()
    pace = Pace(pause_s=0, pause_share=0, patience_s=0.5, batch_rows=10)
    with stage.another() as other, other.owner.transaction():
        other.run("select from public.conversations where id = %s for update", locked)
        outcome = await run_once(url, pace=pace, recovery_days=0)
    assert outcome.counts["cleanup"] == 5
    assert (await run_once(url, pace=pace, recovery_days=0)).counts["cleanup"] == 25


async def test_one_worker_at_a_time(
    stage: Stage, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage.another() as other, monkeypatch.context() as impatient:
        impatient.setattr(retention, "LOCK_WAIT_S", 0.3)
        other.run(LOCK)
        busy = await run_once(url, pace=QUICK)
        assert busy.is_busy
        assert "The lock is held by process" in busy.holder
        other.run("select pg_advisory_unlock_all()")
    assert not (await run_once(url, pace=QUICK)).is_busy
    first, second = await asyncio.gather(run_once(url, pace=QUICK), run_once(url, pace=QUICK))
    assert [first.is_busy, second.is_busy] == [False, False], "a short one is waited for"


async def test_a_pass_waits_a_little_for_transactions_from_before(
    stage: Stage, clock: Clock, url: str
) -> None:
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation)
    with stage.another() as slow:
        with slow.acting_as(sender):
            slow.owner.execute("select public.send_message(%s, 'late')", (conversation,))
            stage.set_tier(sender, "privileged")
            outcome = await run_once(url, pace=QUICK)
            assert not outcome.is_complete
            patient = asyncio.create_task(run_once(url))
            await asyncio.sleep(0.5)
            assert not patient.done()
        outcome = await patient
    assert outcome.is_complete
    assert stage.pending() == 0


async def test_a_pass_stops_when_its_time_is_up(stage: Stage, clock: Clock, url: str) -> None:
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation)
    clock.pass_(31)
    outcome = await run_once(url, budget_s=0, pace=QUICK)
    assert not outcome.is_complete
    assert sum(outcome.counts.values()) == 0
    assert (await run_once(url, budget_s=60, pace=QUICK)).counts["soft_delete"] == 1


class _Stumbles(Direct):
    """A connection whose batches fail a few times first."""

    def __init__(self, failures: list[CommandError]) -> None:
        self.failures = failures

    async def rows(self, query: str, **params: object) -> list[tuple[Any, ...]]:
        del query, params
        if self.failures:
            raise self.failures.pop()
        return [(0, None)]


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "PT409"])
async def test_what_passes_by_is_tried_again(state: str) -> None:
    db = _Stumbles([CommandError("later", sqlstate=state)] * 3)
    work = retention._Work(db, lambda _: None, QUICK, None)
    await work.sweep("soft_delete")
    assert (work.is_complete, db.failures) == (True, [])


async def test_what_stays_is_left_to_the_next_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TRIES", 2)
    work = retention._Work(
        _Stumbles([CommandError("later", sqlstate="55P03")] * 9), lambda _: None, QUICK, None
    )
    await work.sweep("cleanup", recovery_days=0)
    assert not work.is_complete


async def test_other_errors_end_the_pass_with_their_sentence(stage: Stage, url: str) -> None:
    stage.run("drop function messaging.soft_delete_batch")
    with pytest.raises(CommandError, match="soft_delete_batch"):
        await run_once(url, pace=QUICK)


async def test_a_cancelled_pass_leaves_whole_batches_and_its_lock(
    stage: Stage, clock: Clock, url: str
) -> None:
    sender, _, conversation = stage.pair("free")
    for _ in range(20):
        stage.send(sender, conversation)
    clock.pass_(31)
    begun = asyncio.Event()
    slow = Pace(batch_rows=2, pause_s=0.05)
    task = asyncio.create_task(run_once(url, report=lambda _: begun.set(), pace=slow))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    swept = stage.value("select count(*) from public.direct_messages where is_deleted")
    assert swept % 2 == 0
    outcome = await run_once(url, pace=QUICK)
    assert outcome.counts["soft_delete"] == 20 - swept


# -- the command -------------------------------------------------------------------------------


def _command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if "BOOKCONNECT" not in name}
    env |= {f"BOOKCONNECT_DM_{name}": value for name, value in settings.items()}
    program = str(Path(sys.executable).parent / "bookconnect-dm")
    return subprocess.run(
        [program, "retention", "run", *arguments],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_command_says_what_it_would_do_and_what_it_did(
    stage: Stage, clock: Clock, url: str
) -> None:
    sender, _, conversation = stage.pair("free")
    for _ in range(3):
        stage.send(sender, conversation)
    clock.pass_(31)
    dry = _command("--dry-run", RETENTION_URL=url, RECOVERY_WINDOW="0")
    assert dry.stdout.splitlines() == [
        "A pass now would do this:",
        "3 expired messages marked as deleted: The Stage, free",
        "3 messages removed for good: The Stage, free",
    ]
    done = _command("--once", RETENTION_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["3 expired messages marked as deleted"]
    assert stage.value("select count(*) from public.direct_messages") == 3, "a window of 7 days"
    clock.pass_(8)
    done = _command("--once", ADMIN_URL=stage.db.admin_url)
    assert done.stdout.splitlines() == ["3 messages removed for good"]
    assert _command("--once", ADMIN_URL=stage.db.admin_url).stdout == "Nothing was due.\n"
