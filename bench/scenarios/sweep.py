"""What a large sweep costs, and what it costs those who send meanwhile.

The quiet run, sends alone, stands beside the busy one in the same run: only their ratio means
anything. Where the disk is slow, both wait for it more than for anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from bench import stores
from bench.figures import Figure, Report
from bench.harness import Bench
from bookconnect_dm import retention

ORDER = 90
SEED = Path(__file__).with_suffix(".sql")
SENDERS = 4
SENDS_PER_S = 100.0
QUIET_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sends:
    """What senders saw, at a fixed rate: from the moment a send was due to its acknowledgement."""

    count: int
    failures: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What the sweep did, and the database's growth over it."""

    marked: int
    removed: int
    marked_per_s: float
    removed_per_s: float
    longest_batch_ms: float
    took_s: float
    wal_mb: float
    table_growth_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    quiet: Sends
    busy: Sends
    sweep: Sweep


@dataclass
class _Load:
    """Sends at a fixed rate from threads of their own, until told to stop."""

    server_url: str
    pairs: list[tuple[UUID, UUID]]
    rate: float
    stopped: threading.Event = field(default_factory=threading.Event)
    took: list[float] = field(default_factory=list)
    failures: int = 0

    def run(self, number: int) -> None:
        statement = (
            "select r.code from messaging.send_one(%s, %s, %s, %s, 1000) as r"  # as the writer does
        )
        interval = SENDERS / self.rate
        with psycopg.connect(self.server_url, autocommit=True) as db:
            due = time.perf_counter() + interval * number / SENDERS
            # Conversations of his own: a lock must be the sweep's, not a neighbour's.
            mine = itertools.cycle(self.pairs[number::SENDERS])
            while not self.stopped.wait(max(0.0, due - time.perf_counter())):
                sender, conversation = next(mine)
                row = db.execute(statement, (sender, uuid4(), conversation, "Hello")).fetchone()
                self.took.append(time.perf_counter() - due)
                self.failures += row is None or row[0] is not None
                due += interval

    def result(self) -> Sends:
        took = sorted(self.took)
        return Sends(
            count=len(took),
            failures=self.failures,
            p50_ms=1000 * took[len(took) // 2],
            p99_ms=1000 * took[int(len(took) * 0.99)],
            worst_ms=1000 * took[-1],
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.run, args=(n,)) for n in range(SENDERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join()


def measure(
    admin_url: str,
    server_url: str,
    *,
    messages: int,
    quiet_s: float = QUIET_S,
    rate: float = SENDS_PER_S,
    pace: retention.Pace | None = None,
) -> Result:
    """Fill a migrated, empty database, send into it quietly, then sweep it while sending."""
    with psycopg.connect(admin_url) as db:
        db.execute(SEED.read_bytes())
        pairs = _fill(db, messages)
    with psycopg.connect(admin_url, autocommit=True) as db:
        db.execute("vacuum (analyze)")
        db.execute("checkpoint")
        quiet = _Load(server_url, pairs, rate)
        with quiet.running():
            time.sleep(quiet_s)
        busy = _Load(server_url, pairs, rate)
        with busy.running():
            sweep = _swept(db, admin_url, pace)
    return Result(quiet=quiet.result(), busy=busy.result(), sweep=sweep)


def _fill(db: psycopg.Connection[Any], messages: int) -> list[tuple[UUID, UUID]]:
    for start in range(0, messages, 100_000):
        many = min(100_000, messages - start)
        db.execute("select pg_temp.fill(%s, %s, %s)", (start, many, messages))
        db.commit()
    return list(db.execute("select * from pg_temp.pairs()").fetchall())


def _swept(db: psycopg.Connection[Any], admin_url: str, pace: retention.Pace | None) -> Sweep:
    took: dict[str, list[tuple[float, float]]] = {}

    def note(batch: retention.Batch) -> None:
        took.setdefault(batch.step, []).append((time.perf_counter(), batch.took_s))

    before = _sizes(db)
    outcome = asyncio.run(retention.run_once(admin_url, recovery_days=0, report=note, pace=pace))
    after = _sizes(db)
    counts = outcome.counts
    spans = {step: batches[-1][0] - batches[0][0] + batches[0][1] for step, batches in took.items()}
    return Sweep(
        marked=counts.get("soft_delete", 0),
        removed=counts.get("cleanup", 0),
        marked_per_s=counts.get("soft_delete", 0) / spans.get("soft_delete", 1),
        removed_per_s=counts.get("cleanup", 0) / spans.get("cleanup", 1),
        longest_batch_ms=1000 * max(s for batches in took.values() for _, s in batches),
        took_s=outcome.took_s,
        wal_mb=(after[0] - before[0]) / 1e6,
        table_growth_mb=(after[1] - before[1]) / 1e6,
    )


def _sizes(db: psycopg.Connection[Any]) -> tuple[int, int]:
    row = db.execute(
        "select (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint,"
        " pg_total_relation_size('public.direct_messages')"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def report(result: Result, messages: int) -> list[str]:
    s = result.sweep
    lines = [
        f"sweep of {messages:,} expired messages in {s.took_s:.1f} s",
        f"  marked   {s.marked:>12,}  {s.marked_per_s:>10,.0f}/s",
        f"  removed  {s.removed:>12,}  {s.removed_per_s:>10,.0f}/s",
        f"  longest batch, and so the longest lock: {s.longest_batch_ms:.0f} ms",
        f"  log written {s.wal_mb:,.0f} MB, table and indexes grew by {s.table_growth_mb:,.1f} MB",
    ]
    for name, sends in (("quiet", result.quiet), ("sweeping", result.busy)):
        lines.append(
            f"  sends {name:8} {sends.count:>7,}  p50 {sends.p50_ms:6.2f}  p99 {sends.p99_ms:6.2f}"
            f"  worst {sends.worst_ms:6.1f} ms  failed {sends.failures}"
        )
    lines.append(f"  p99 while sweeping / quiet: {result.busy.p99_ms / result.quiet.p99_ms:.2f}")
    return lines


def play(bench: Bench) -> Report:
    """The worker's own pace under sends, and then as fast as it can."""
    messages = 1_000_000 if bench.size.is_full else 100_000
    gentle: list[Result] = []
    hasty: list[Result] = []
    no_pause = retention.Pace(batch_rows=2_000, batch_s=1.0, pause_share=0.0)
    for _ in range(bench.size.pairs):
        for into, pace in ((gentle, None), (hasty, no_pause)):
            database = stores.open_empty(bench.postgres, "sweep")
            into.append(
                measure(
                    bench.admin_url(database), bench.server_url(database),
                    messages=messages, quiet_s=bench.size.seconds / 2, pace=pace,
                )
            )  # fmt: skip
    figures = []
    for name, results in (("at the worker's pace", gentle), ("without a pause", hasty)):
        is_gentle = results is gentle
        figures += [
            Figure(what=f"removed for good, {name}", unit="messages/s", at_least=True,
                   values=[r.sweep.removed_per_s for r in results],
                   target=None if is_gentle else 30_000.0),
            Figure(what=f"sends' p99 while sweeping {name}", unit="ms", as_ratio=True,
                   values=[r.busy.p99_ms for r in results], target=2.0 if is_gentle else None,
                   baseline_is="quiet", baseline=[r.quiet.p99_ms for r in results]),
            Figure(what=f"longest batch, {name}", unit="ms",
                   values=[r.sweep.longest_batch_ms for r in results],
                   note="no lock of the sweep's is held for longer"),
            Figure(what=f"log written, {name}", unit="MB",
                   values=[r.sweep.wal_mb for r in results]),
            Figure(what=f"table and indexes grew, {name}", unit="MB",
                   values=[r.sweep.table_growth_mb for r in results]),
        ]  # fmt: skip
    return Report(
        scenario="sweep",
        title="The sweep",
        how=f"{messages:,} expired messages are marked and removed while {SENDS_PER_S:.0f} sends a"
        " second go on, one call each; against the same sends before.",
        size=f"{messages:,} expired, {messages // 10:,} young messages",
        figures=figures,
    )
