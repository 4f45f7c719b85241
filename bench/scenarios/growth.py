"""What an operation costs in the whole store beside a tenth of it, in turns within one run."""

from __future__ import annotations

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
ROUNDS = 60
READS = (
    "inbox, 200 conversations",
    "inbox, 1,000 conversations",
    "history, newest page",
    "history, oldest page",
    "search for a member",
    "begin a conversation",
)
RATE = 1_000


def play(bench: Bench) -> Report:
    """Each pair takes the stores in the other order, so that neither always comes second."""
    whole, tenth = bench.store(), bench.store(share=bench.size.store_share * TENTH)
    seen: dict[int, dict[str, list[float]]] = {whole.messages: {}, tenth.messages: {}}
    units: dict[str, str] = {}
    for pair in range(bench.size.pairs):
        for store in (tenth, whole) if pair % 2 == 0 else (whole, tenth):
            for (what, unit), value in _costs(bench, store, seed=pair).items():
                seen[store.messages].setdefault(what, []).append(value)
                units[what] = unit
    figures = [
        Figure(what=what, unit=unit, values=seen[whole.messages][what], target=TARGET,
               as_ratio=True, baseline_is="a tenth of it", baseline=seen[tenth.messages][what])
        for what, unit in units.items()
    ]  # fmt: skip
    points = [(one.what, median(one.ratios)) for one in figures]
    return Report(
        scenario="growth",
        title="A whole store beside a tenth of it",
        how="The same members and conversations; the tenth has a tenth of each day's messages. Both"
        " stores on one PostgreSQL, each in turn with a server to itself: requests over HTTP, then"
        f" {RATE:,} sends a second, then as many as go through, 500 members on sockets.",
        size=f"{whole.messages:,} and {tenth.messages:,} messages before",
        figures=figures,
        charts=[Chart(name="growth", title="A whole store beside a tenth of it",
                      unit="times the cost in the tenth",
                      series=[Series(name="whole", points=[*points])])],
    )  # fmt: skip


def _costs(bench: Bench, store: Store, *, seed: int) -> dict[tuple[str, str], float]:
    """One look at a store: figure and unit, and what was measured."""
    members = store.members(500)
    with bench.admin(store.database) as db:
        groups = {name: one for name, one in groups_of(db).items() if name in READS}
    found: dict[tuple[str, str], float] = {}
    with bench.server(store.database) as running:
        asked = bench.load([running], load="ask", groups=groups, rounds=ROUNDS,
                           first=seed * (ROUNDS + WARM_ROUNDS))  # fmt: skip
        for name, took in asked["ms"].items():
            found[f"{name}, p95", "ms"] = percentile(took, 0.95)
        for rate in (RATE, None):
            said = bench.load([running], load="talk", members=members, rate=rate, warm_s=2.0,
                              seconds=bench.size.seconds / 2, seed=seed)  # fmt: skip
            must_be_whole(said)
            if rate:
                for share in ("p50", "p95", "p99"):
                    took_ms = said["delivery_ms"][share]
                    found[f"send to delivered at {rate:,}/s, {share}", "ms"] = took_ms
            else:
                done = said["heard_per_s"] * said["window_s"]
                used_s = said["cpu"]["server"] + said["cpu"]["database"]
                found["processor time a message, as many as go through", "ms"] = used_s / done * 1e3
    return found
