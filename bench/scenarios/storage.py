"""What the mission's store takes on disk once retention has taken its part, byte by byte."""

from __future__ import annotations

from typing import Any

from bench.figures import Chart, Figure, Report, Series
from bench.harness import Bench

ORDER = 110
STEADY = 2_340_000
"""500 members, 50 messages a day; 70 % stay 30 days, 20 % 180, 10 % 365."""
HEAD, POINTER, KEYS, TIMES, FLAG = 24, 4, 48, 16, 1


def play(bench: Bench) -> Report:
    """A store in its steady state, just loaded; sizes scaled to the mission's number."""
    store = bench.store("steady")
    with bench.admin(store.database) as db:
        sizes = _sizes(db)
        content = float(_one(db, "select avg(octet_length(content)) from public.direct_messages"))
        length = float(_one(db, "select avg(length(content)) from public.direct_messages"))
    scale = STEADY / store.messages
    total = sum(sizes.values()) * scale / 1e6
    row = {name: size / store.messages for name, size in sizes.items()}
    counted = HEAD + KEYS + content + 1 + TIMES + FLAG
    lines = [
        f"{name}: {size * scale / 1e6:,.0f} MB, {row[name]:.1f} bytes a message"
        for name, size in sizes.items()
    ]
    lines.append(
        f"A row of the heap: {HEAD} head, {KEYS} three ids, {content:.1f} content"
        f" ({length:.1f} characters) and 1 for its length, {TIMES} two times, {FLAG} flag"
        f" = {counted:.1f}; {POINTER} pointer; the rest of {row['messages']:.1f} aligns times to 8"
        " bytes and fills pages."
    )
    return Report(
        scenario="storage",
        title="Storage at steady state",
        how="The mission's store after retention: 2.34 million messages. Loaded, indexed, vacuumed;"
        " a store that has been swept for months has some free space more.",
        size=f"{store.messages:,} messages, scaled to {STEADY:,}",
        figures=[
            Figure(what="messages with their indexes", unit="MB", values=[total],
                   target=700.0 if bench.size.is_full else None,
                   note="the mission estimates 650" if bench.size.is_full else
                   "fewer of a smaller store's messages share an index key than the mission's"),
            Figure(what="bytes a message", unit="bytes", values=[sum(row.values())]),
        ],
        charts=[Chart(name="storage", title="Bytes a message", unit="bytes", series=[
            Series(name="bytes", points=list(row.items()))])],
        notes=lines,
    )  # fmt: skip


def _sizes(db: Any) -> dict[str, int]:
    found = {"messages": int(_one(db, "select pg_table_size('public.direct_messages')"))}
    for name, size in db.execute(
        "select indexrelname, pg_relation_size(indexrelid) from pg_stat_user_indexes"
        " where relid = 'public.direct_messages'::regclass order by 2 desc"
    ).fetchall():
        found[name] = int(size)
    return found


def _one(db: Any, statement: str) -> Any:
    return db.execute(statement).fetchone()[0]
