"""What each further server costs, which reads the whole stream whoever is connected to it."""

from __future__ import annotations

import contextlib

from bench.facts import Cpu
from bench.figures import Figure, Report
from bench.harness import Bench

ORDER = 27
FURTHER = 2
RATE = 500


def play(bench: Bench) -> Report:
    """The same load on one server, alone and with others beside it that nobody is connected to."""
    store = bench.store()
    members = store.members(500)
    alone: list[float] = []
    beside: list[float] = []
    theirs: list[float] = []
    for pair in range(bench.size.pairs):
        for further in (0, FURTHER):
            with contextlib.ExitStack() as stack:
                running = stack.enter_context(bench.server(store.database))
                others = [stack.enter_context(bench.server(store.database)) for _ in range(further)]
                clocks: list[Cpu] = []
                used: list[float] = []
                found = bench.load(
                    [running], load="talk", members=members, rate=RATE, seed=pair,
                    seconds=bench.size.seconds,
                    on_begin=lambda others=others, to=clocks: to.append(bench.cpu(*others)),
                    on_end=lambda of=clocks, to=used: to.append(of[0].so_far()["server"]),
                )  # fmt: skip
            done = found["heard_per_s"] * found["window_s"]
            (beside if further else alone).append(found["cpu"]["database"] / done * 1e3)
            if further:
                theirs.append(used[0] / further / done * 1e3)
    return Report(
        scenario="servers",
        title="Further servers",
        how=f"500 members on one server, {RATE} messages a second; alone, and with {FURTHER} more"
        " servers on the same database that nobody is connected to. Each reads all of the stream.",
        size=f"{store.messages:,} messages before",
        figures=[
            Figure(what="processor time a message of a further server", unit="ms", values=theirs),
            Figure(what=f"processor time a message of the database, {FURTHER} more servers",
                   unit="ms", values=beside, baseline_is="one server", baseline=alone),
        ],
    )  # fmt: skip
