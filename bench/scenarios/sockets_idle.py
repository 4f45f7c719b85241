"""What a socket costs that nobody talks on, by clients that offer compression as browsers do."""

from __future__ import annotations

from bench.facts import memory_kb
from bench.figures import Figure, Report
from bench.harness import Bench
from bench.stores import member_id

ORDER = 70


def play(bench: Bench) -> Report:
    """The server's memory before and with them, and its processor time while nothing happens."""
    store = bench.store()
    counts = (1_000, 10_000)
    report = Report(
        scenario="sockets_idle",
        title="Idle sockets",
        how="Signed in, in all their conversations, and silent. Memory of the server process (its"
        " own share) less what it had before, by the number of sockets; processor time over"
        " the seconds after.",
        size=f"{store.messages:,} messages",
    )
    for count in counts:
        each, busy = [], []
        for _ in range(1 if count > 1_000 else bench.size.pairs):
            with bench.server(store.database) as running:
                bench.load([running], load="return", members=[member_id(9)], settle_s=0.1)
                before = memory_kb(running.pid)
                after: list[int] = []
                found = bench.load(
                    [running],
                    on_end=lambda pid=running.pid, to=after: to.append(memory_kb(pid)),
                    load="return",
                    members=[member_id(1 + n % 500) for n in range(count)],
                    settle_s=2.0,
                    hold_s=5.0,
                )
                each.append((after[0] - before) / count)
                busy.append(found["cpu"]["server"] / 5.0 * 100)
        report.figures += [
            Figure(what=f"memory a socket, {count:,} sockets", unit="KB", values=each,
                   target=32.0),
            Figure(what=f"processor at rest, {count:,} sockets", unit="% of a core", values=busy),
        ]  # fmt: skip
    return report
