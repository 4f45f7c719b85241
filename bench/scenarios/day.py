"""A day of 1,000 members in fast motion, against the same messages spread evenly over it."""

from __future__ import annotations

from bench.facts import memory_kb
from bench.figures import Figure, Report
from bench.harness import Bench
from bench.talk import must_be_whole

ORDER = 25
MEMBERS = 1_000
A_DAY_EACH = 50
NIGHT, DAY, EVENING, PEAK = 0.15, 0.9, 1.6, 2.4
HOURS = [*[NIGHT] * 6, *[DAY] * 11, *[EVENING] * 2, *[PEAK] * 3, EVENING, NIGHT]
"""How busy each hour is: quiet nights, and a tenth of all within each of three hours."""


def play(bench: Bench) -> Report:
    """An even day and a real one in turns."""
    store = bench.store()
    members = store.members(MEMBERS)
    seconds = 60 if bench.size.is_full else 30
    # In half of a minute only half of a day's messages: as fast a motion, and no faster.
    each = A_DAY_EACH * seconds / 60
    rate = MEMBERS * each / seconds
    mean = sum(HOURS) / len(HOURS)
    curve = [hour / mean for hour in HOURS]
    seen: dict[str, list[float]] = {}
    with bench.server(store.database) as running:
        for pair in range(bench.size.pairs):
            for name, shape in (("even", [1.0]), ("day", curve)):
                before = memory_kb(running.pid)
                found = bench.load([running], load="talk", members=members, rate=rate,
                                   curve=shape, seconds=seconds, seed=pair)  # fmt: skip
                must_be_whole(found)
                for share in ("p50", "p99", "worst"):
                    seen.setdefault(f"{name} {share}", []).append(found["delivery_ms"][share])
                done = found["heard_per_s"] * found["window_s"]
                used = found["cpu"]["server"] + found["cpu"]["database"]
                seen.setdefault(f"{name} cpu", []).append(used / done * 1e3)
                grown = (memory_kb(running.pid) - before) / 1024
                seen.setdefault(f"{name} memory", []).append(grown)
    return Report(
        scenario="day",
        title="A day in fast motion",
        how=f"{MEMBERS:,} members on sockets, {rate:.0f} messages a second on average, as they"
        f" write {A_DAY_EACH} each in a day of one minute; quiet nights, and {max(curve):.1f} times"
        " the average in the three busiest hours. Beside it the same number spread evenly.",
        size=f"{store.messages:,} messages before",
        figures=[
            Figure(what="send to delivered over the day, p50", unit="ms", values=seen["day p50"],
                   baseline_is="spread evenly", baseline=seen["even p50"]),
            Figure(what="send to delivered over the day, p99", unit="ms", values=seen["day p99"],
                   baseline_is="spread evenly", baseline=seen["even p99"]),
            Figure(what="the slowest message of the day", unit="ms", values=seen["day worst"],
                   baseline_is="spread evenly", baseline=seen["even worst"]),
            Figure(what="processor time a message over the day", unit="ms", values=seen["day cpu"],
                   baseline_is="spread evenly", baseline=seen["even cpu"]),
            Figure(what="memory the server kept after the day", unit="MB",
                   values=seen["day memory"]),
        ],
    )  # fmt: skip
