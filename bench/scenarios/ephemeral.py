"""How soon a member on another server hears that somebody came, or is typing."""

from __future__ import annotations

from bench.figures import Figure, Report
from bench.harness import Bench
from bench.stats import percentile
from bench.stores import Store, conversation_id, member_id

ORDER = 55
PAIRS = 50
TARGET_MS = 500.0


def play(bench: Bench) -> Report:
    """Fifty pairs, each of a conversation, one member on each of two servers."""
    store = bench.store()
    pairs = _pairs(store)
    seen: dict[tuple[str, str], list[float]] = {}
    for _ in range(bench.size.pairs):
        with bench.server(store.database) as one, bench.server(store.database) as two:
            found = bench.load([one, two], load="glimpses", pairs=pairs)
        for what in ("typing", "online"):
            for name, share in (("p50", 0.5), ("worst", 1.0)):
                seen.setdefault((what, name), []).append(percentile(found[what], share))
    return Report(
        scenario="ephemeral",
        title="Typing and presence across servers",
        how=f"{PAIRS} pairs of members on two servers, one after the other: from the sender's frame"
        " (for presence: from his `ready`) to the other's, through the database's log. Nothing is"
        " stored of either.",
        size=f"{store.messages:,} messages",
        figures=[
            Figure(what=f"{what} heard on another server, {name}", unit="ms",
                   values=seen[what, name], target=TARGET_MS)
            for what in ("typing", "online") for name in ("p50", "worst")
        ],
    )  # fmt: skip


def _pairs(store: Store) -> list[dict[str, str]]:
    """Conversations of which nobody is in another one: he would be online already."""
    taken: set[int] = set()
    found = []
    for number, (one, other) in enumerate(
        zip(store.shape.ones, store.shape.others, strict=True), start=1
    ):
        if len(found) < PAIRS and not {one, other} & taken:
            taken |= {one, other}
            found.append({"one": member_id(one), "other": member_id(other),
                          "conversation": conversation_id(number)})  # fmt: skip
    return found
