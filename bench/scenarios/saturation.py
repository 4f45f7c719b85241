"""As many messages as go through: 500 members who answer at once, against a plain INSERT."""

from __future__ import annotations

from bench import plain
from bench.figures import Chart, Figure, Report, Series
from bench.harness import Bench
from bench.stats import median, percentile

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


def _windows(bench, store, report, *, count, by_count):  # noqa: ANN001, ANN202
    members = store.members(count)
    ours, base, cpu, server, database, fair, load = [], [], [], [], [], [], []
    p99 = []
    with bench.server(store.database) as running:
        for pair in range(bench.size.pairs):
            base.append(plain.inserts_per_s(bench, store.database,
                        conversations=len(store.shape.ones), seconds=bench.size.seconds))  # fmt: skip
            seen = bench.load([running], load="talk", members=members, seconds=bench.size.seconds,
                              warm_s=2.0, seed=pair)  # fmt: skip
            _must_be_whole(seen)
            done = seen["heard_per_s"] * seen["window_s"]
            ours.append(seen["heard_per_s"])
            p99.append(seen["delivery_ms"]["p99"])
            server.append(seen["cpu"]["server"] / done * 1e3)
            database.append(seen["cpu"]["database"] / done * 1e3)
            cpu.append(server[-1] + database[-1])
            load.append(seen["cpu"]["load"] / done * 1e3)
            slowest = seen["members_p99_ms"]
            fair.append(max(slowest) / percentile(slowest, 0.5))
    by_count[count] = ours
    is_main = count == 500
    report.figures += [
        Figure(what=f"delivered, {count} members", unit="messages/s", values=ours, target=1.0 if is_main else None, at_least=True,
               as_ratio=is_main, baseline_is="pgbench single-row INSERT", baseline=base),
        Figure(what=f"processor time a message, {count} members", unit="ms", values=cpu, target=0.25 if is_main else None,
               note=f"server {median(server):.3f}, database {median(database):.3f};"
               f" the load's own {median(load):.3f} beside it"),
        Figure(what=f"fairness: slowest member's p99 to the median member's, {count} members", unit="x", values=fair,
               target=3.0 if is_main else None),
        Figure(what=f"send to delivered p99, {count} members, all at once", unit="ms", values=p99),
    ]  # fmt: skip


def _must_be_whole(seen) -> None:  # noqa: ANN001
    if seen["errors"] or seen["heard_twice"] or seen["heard"] != seen["sent"]:
        raise SystemExit(f"Not every message was delivered once: {seen}")
