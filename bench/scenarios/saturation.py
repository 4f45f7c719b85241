"""As many messages as go through: 500 members who answer at once, against a plain INSERT."""

from __future__ import annotations

from collections import defaultdict

from bench import plain
from bench.figures import Chart, Figure, Report, Series
from bench.harness import Bench
from bench.stats import median, percentile
from bench.stores import Store
from bench.talk import must_be_whole

ORDER = 10
TITLE = "Saturation"


def play(bench: Bench) -> Report:
    """Pairs of a pgbench window and a window of ours, in the same database."""
    store = bench.store()
    counts = [500] if not bench.size.is_full else [500, 100, 1_000]
    report = Report(
        scenario="saturation",
        title=TITLE,
        how="Each of 500 members, on a socket of his own, sends to five friends and sends the next"
        " message when the last is acknowledged. A message counts when its reader's socket has"
        " it. The baseline inserts single rows into the mission's table (its keys and indexes,"
        f" no security, no delivery) with pgbench, {plain.CLIENTS} clients, prepared.",
        size=f"{store.messages:,} messages before",
    )
    by_count: dict[int, list[float]] = {}
    for count in counts:
        _windows(bench, store, report, count=count, by_count=by_count)
    if len(counts) > 1:
        points = [(f"{n} members", median(v)) for n, v in by_count.items()]
        report.charts.append(Chart(name="saturation-members", title="Delivered by members",
            unit="messages/s", series=[Series(name="delivered", points=list(points))]))  # fmt: skip
    return report


def _windows(
    bench: Bench, store: Store, report: Report, *, count: int, by_count: dict[int, list[float]]
) -> None:
    members = store.members(count)
    seen: dict[str, list[float]] = defaultdict(list)
    with bench.server(store.database) as running:
        for pair in range(bench.size.pairs):
            rate, cost_ms = plain.inserts(
                bench, store.database,
                conversations=len(store.shape.ones), seconds=bench.size.seconds,
            )  # fmt: skip
            found = bench.load([running], load="talk", members=members, warm_s=2.0, seed=pair,
                               seconds=bench.size.seconds)  # fmt: skip
            must_be_whole(found)
            done = found["heard_per_s"] * found["window_s"]
            cpu = {name: s / done * 1e3 for name, s in found["cpu"].items()}
            seen["plain"].append(rate)
            seen["plain cpu"].append(cost_ms)
            seen["rate"].append(found["heard_per_s"])
            seen["p99"].append(found["delivery_ms"]["p99"])
            seen["cpu"].append(cpu["server"] + cpu["database"])
            seen["cpu and load"].append(cpu["server"] + cpu["database"] + cpu["load"])
            for name in ("server", "database", "load"):
                seen[name].append(cpu[name])
            waits = found["members_p99_ms"]
            seen["fair"].append(max(waits) / percentile(waits, 0.5))
    by_count[count] = seen["rate"]
    report.figures += _figures(count, seen)


def _figures(count: int, seen: dict[str, list[float]]) -> list[Figure]:
    is_main = count == 500
    server, database, load = (median(seen[name]) for name in ("server", "database", "load"))
    return [
        Figure(what=f"delivered, {count} members", unit="messages/s", values=seen["rate"],
               target=1.0 if is_main else None, at_least=True, as_ratio=True,
               baseline_is="pgbench, single-row INSERT", baseline=seen["plain"]),
        Figure(what=f"processor time a message, {count} members", unit="ms", values=seen["cpu"],
               target=0.25 if is_main else None,
               note=f"server {server:.3f}, database {database:.3f}; beside it the load's own"
               f" {load:.3f}"),
        Figure(what=f"processor time a message with the load's own, {count} members", unit="ms",
               values=seen["cpu and load"], baseline_is="a pgbench INSERT with pgbench's own",
               baseline=seen["plain cpu"]),
        Figure(what=f"slowest member's p99 to the median member's, {count} members", unit="x",
               values=seen["fair"], target=3.0 if is_main else None),
        Figure(what=f"send to delivered p99, {count} members, all at once", unit="ms",
               values=seen["p99"]),
    ]  # fmt: skip
