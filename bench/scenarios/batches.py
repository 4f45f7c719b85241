"""The writer's batches against one call a send, with the same connections, in one process."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from bench.figures import Figure, Report
from bench.harness import Bench
from bench.stats import percentile
from bench.stores import Store
from bookconnect_dm.content import uuid7
from bookconnect_dm.db import Database
from bookconnect_dm.metrics import Metrics
from bookconnect_dm.writer import CONNECTIONS, Writer

ORDER = 40
SENDERS = 500
CONTENT = ("Have you read the one about the lighthouse? " * 3)[:97]

Send = Callable[[UUID, UUID], Awaitable[object]]


def play(bench: Bench) -> Report:
    """500 senders at once, and 50 sends a second, with the one and with the other."""
    store = bench.store()
    return asyncio.run(_play(bench, store))


async def _play(bench: Bench, store: Store) -> Report:
    who = [(UUID(m["id"]), [UUID(c) for c in m["conversations"]]) for m in store.members(SENDERS)]
    url = bench.server_url(store.database)
    rates: dict[str, list[float]] = {"batches": [], "calls": []}
    p50s: dict[str, list[float]] = {"batches": [], "calls": []}
    seconds = bench.size.seconds / 2
    for _ in range(bench.size.pairs):
        for name in ("calls", "batches"):
            database = Database(url, size=CONNECTIONS, metrics=Metrics())
            writer = Writer(database, metrics=Metrics(), waiting_limit=10_000)
            send = _by_batches(writer) if name == "batches" else _by_calls(database)
            try:
                await _saturate(send, who, 0.5)
                rates[name].append(await _saturate(send, who, seconds))
                p50s[name].append(await _calmly(send, who, seconds))
            finally:
                await writer.stop()
                await database.close()
    return Report(
        scenario="batches",
        title="Batches against one call a send",
        how=f"{SENDERS} senders in one process, each sends again when he has his answer, through"
        f" {CONNECTIONS} connections; then 50 sends a second. No sockets, no delivery.",
        size=f"{store.messages:,} messages before",
        figures=[
            Figure(what="stored, 500 senders, batches", unit="messages/s", values=rates["batches"],
                   target=3.0, at_least=True, as_ratio=True, baseline_is="one call a send",
                   baseline=rates["calls"]),
            Figure(what="answered at 50/s, batches, p50", unit="ms", values=p50s["batches"],
                   target=1.05, as_ratio=True, baseline_is="one call a send",
                   baseline=p50s["calls"]),
        ],
    )  # fmt: skip


def _by_batches(writer: Writer) -> Send:
    def send(sender: UUID, conversation: UUID) -> Awaitable[object]:
        return writer.submit(sender, conversation, content=CONTENT, message_id=None)

    return send


def _by_calls(database: Database) -> Send:
    free = asyncio.Semaphore(CONNECTIONS)  # whoever waits, waits here for as long as it takes

    async def send(sender: UUID, conversation: UUID) -> object:
        async with free:
            return await database.fetch(
                "send_one",
                sender=sender,
                message_id=uuid7(time.time_ns() // 1_000_000),
                conversation_id=conversation,
                content=CONTENT,
                lock_wait_ms=1000,
            )

    return send


async def _saturate(send: Send, who: list[tuple[UUID, list[UUID]]], seconds: float) -> float:
    """Sends a second."""
    rng = random.Random(3)
    began = time.perf_counter()
    until = began + seconds
    done = 0

    async def one(sender: UUID, conversations: list[UUID]) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await send(sender, rng.choice(conversations))
            done += 1

    await asyncio.gather(*(one(*each) for each in who))
    return done / (time.perf_counter() - began)


async def _calmly(send: Send, who: list[tuple[UUID, list[UUID]]], seconds: float) -> float:
    """Milliseconds to an answer, in the middle."""
    rng = random.Random(4)
    took: list[float] = []

    async def one() -> None:
        sender, conversations = rng.choice(who)
        began = time.perf_counter()
        await send(sender, rng.choice(conversations))
        took.append((time.perf_counter() - began) * 1e3)

    tasks = set()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        tasks.add(asyncio.create_task(one()))
        await asyncio.sleep(rng.expovariate(50))
    await asyncio.gather(*tasks)
    return percentile(took, 0.5)
