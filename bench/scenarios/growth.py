"""What an operation costs in the whole store beside a tenth of it, in turns within one run."""

from __future__ import annotations

from typing import Any

from bench.asking import WARM_ROUNDS
from bench.figures import Chart, Figure, Report, Series
from bench.harness import Bench
from bench.scenarios.reads import groups_of
from bench.stats import median, percentile
from bench.stores import Store
from bench.talk import must_be_whole

ORDER = 35
FULL_ONLY = True
TENTH = 0.1
TARGET = 1.3
ROUNDS = 100
CONTROL = "nothing at all (GET /healthz)"
READS = (
    CONTROL,
    "inbox, 200 conversations",
    "inbox, 1,000 conversations",
    "history, newest page",
    "history, middle page",
    "history, oldest page",
    "search for a member",
    "begin a conversation",
    "catch up after a minute",
)
RATE = 1_000
REPEATS = 3
"""Windows a repetition, each a third as long: how long a send takes changes with the minute."""

Costs = dict[tuple[str, str], list[float]]
"""By figure and unit, a value a repetition."""


def play(bench: Bench) -> Report:
    """Reads of both in turns, request by request; then windows of sends in turns."""
    stores = bench.store(), bench.store(share=bench.size.store_share * TENTH)
    whole, tenth = costs = _reads(bench, stores)
    for rate, repeats in ((RATE, REPEATS), (None, 1)):
        for turn in range(bench.size.pairs * repeats):
            # Neither store always comes second.
            for at in (1, 0) if turn % 2 == 0 else (0, 1):
                for figure, value in _sends(bench, stores[at], rate=rate, seed=turn).items():
                    costs[at].setdefault(figure, []).append(value)
    figures = [
        Figure(what=what, unit=unit, values=values, as_ratio=True,
               target=None if what.startswith(CONTROL) else TARGET,
               baseline_is="a tenth of it", baseline=tenth[what, unit])
        for (what, unit), values in whole.items()
    ]  # fmt: skip
    points = [(one.what, median(one.ratios)) for one in figures]
    return Report(
        scenario="growth",
        title="A whole store beside a tenth of it",
        how="The same members and conversations; the tenth has a tenth of each day's messages. Both"
        " stores on one PostgreSQL. Requests over HTTP, each to the one and then to the other's"
        f" server; then, each in turn with a server to itself, {RATE:,} sends a second and as many"
        " as go through, 500 members on sockets.",
        size=f"{stores[0].messages:,} and {stores[1].messages:,} messages before",
        figures=figures,
        charts=[Chart(name="growth", title="A whole store beside a tenth of it",
                      unit="times the cost in the tenth",
                      series=[Series(name="whole", points=[*points])])],
    )  # fmt: skip


def _reads(bench: Bench, stores: tuple[Store, Store]) -> tuple[Costs, Costs]:
    groups: list[dict[str, list[dict[str, Any]]]] = []
    for store in stores:
        with bench.admin(store.database) as db:
            groups.append(groups_of(db))
    in_turns = {
        f"{at} {name}": [{**one, "server": at} for one in groups[at][name]]
        for name in READS
        for at in (0, 1)
    }
    costs: tuple[Costs, Costs] = {}, {}
    with bench.server(stores[0].database) as one, bench.server(stores[1].database) as other:
        for pair in range(bench.size.pairs):
            asked = bench.load([one, other], load="ask", groups=in_turns, rounds=ROUNDS,
                               first=pair * (ROUNDS + WARM_ROUNDS))  # fmt: skip
            for name, took in asked["ms"].items():
                at, what = int(name[0]), name[2:]
                for label, share in (("p50", 0.5), ("p95", 0.95)):
                    figure = f"{what}, {label}", "ms"
                    costs[at].setdefault(figure, []).append(percentile(took, share))
    return costs


def _sends(
    bench: Bench, store: Store, *, rate: int | None, seed: int
) -> dict[tuple[str, str], float]:
    """A window at a pace, or one of as many sends as go through."""
    members = store.members(500)
    seconds = bench.size.seconds / (REPEATS if rate else 2)
    with bench.server(store.database) as running:
        said = bench.load([running], load="talk", members=members, rate=rate, seed=seed,
                          warm_s=2.0, seconds=seconds)  # fmt: skip
    must_be_whole(said)
    if rate:
        return {
            (f"send to delivered at {rate:,}/s, {share}", "ms"): said["delivery_ms"][share]
            for share in ("p50", "p95", "p99")
        }
    done = said["heard_per_s"] * said["window_s"]
    used_s = said["cpu"]["server"] + said["cpu"]["database"]
    return {("processor time a message, as many as go through", "ms"): used_s / done * 1e3}
