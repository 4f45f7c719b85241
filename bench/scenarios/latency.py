"""How long a message takes to its reader while the server has time: 50, 200 and 1,000 a second."""

from __future__ import annotations

from bench import plain
from bench.figures import Chart, Figure, Report, Series
from bench.harness import Bench
from bench.stats import median, percentile
from bench.talk import must_be_whole

ORDER = 20
RATES = (50, 200, 1_000)
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
TARGETS = {(200, "p50"): 1.5, (200, "p99"): 5.0, (1_000, "p99"): 20.0}


def play(bench: Bench) -> Report:
    """The rates in turns, so that each has the same moments of the machine."""
    store = bench.store()
    members = store.members(500)
    seen: dict[tuple[int, str], list[float]] = {}
    acks: dict[int, list[float]] = {rate: [] for rate in RATES}
    bare: dict[tuple[int, str], list[float]] = {}
    with bench.server(store.database) as running:
        for pair in range(bench.size.pairs):
            for rate in RATES:
                rows = plain.paced(bench, store.database, conversations=len(store.shape.ones),
                                   seconds=bench.size.seconds / 2, rate=rate)  # fmt: skip
                found = bench.load([running], load="talk", members=members, rate=rate,
                                   seconds=bench.size.seconds, seed=pair)  # fmt: skip
                must_be_whole(found)
                for name, share in SHARES.items():
                    bare.setdefault((rate, name), []).append(percentile(rows, share))
                    seen.setdefault((rate, name), []).append(found["delivery_ms"][name])
                acks[rate].append(found["ack_ms"]["p50"])
    return Report(
        scenario="latency",
        title="Send to delivered",
        how="500 members on sockets; sends at random moments at this rate; from the sender's frame"
        " to the reader's, each message committed to disk before. The baseline inserts single rows"
        " into the mission's table at that pace with pgbench: no security, no server, no reader.",
        size=f"{store.messages:,} messages before",
        figures=[
            Figure(what=f"send to delivered at {rate}/s, {name}", unit="ms",
                   values=seen[rate, name], target=TARGETS.get((rate, name)),
                   baseline_is=f"pgbench, single-row INSERT, {name}", baseline=bare[rate, name],
                   note=f"acknowledged in {median(acks[rate]):.3g} ms" if name == "p50" else "")
            for rate in RATES for name in SHARES
        ],
        charts=[Chart(name="latency", title="Send to delivered", unit="ms", series=[
            Series(name=name, points=[(f"{rate}/s", median(seen[rate, name])) for rate in RATES])
            for name in SHARES])],
    )  # fmt: skip
