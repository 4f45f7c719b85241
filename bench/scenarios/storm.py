"""1,000 members are cut off at one moment and all come back at once."""

from __future__ import annotations

from typing import Any

from bench.facts import memory_kb
from bench.figures import Figure, Report
from bench.harness import Bench
from bench.stores import member_id

ORDER = 60
MEMBERS = 1_000


def play(bench: Bench) -> Report:
    """Each opens a socket, signs in, syncs to the end and is live; no one waits his turn."""
    store = bench.store()
    with bench.server(store.database) as running, bench.admin(store.database) as db:
        calls: list[int] = []

        def count() -> None:
            calls.append(_statements(db))

        found = bench.load(
            [running],
            on_begin=count,
            on_end=count,
            load="return",
            members=[member_id(n) for n in range(1, MEMBERS + 1)],
            rounds=bench.size.pairs,
        )
        memory = memory_kb(running.pid) / 1024
    rounds = found["rounds"]
    return Report(
        scenario="storm",
        title="All come back at once",
        how=f"{MEMBERS:,} members' sockets are cut at one moment; each comes back at once, without"
        " the pause that our clients make: connect, sign in, `ready`, sync to the end.",
        size=f"{store.messages:,} messages",
        figures=[
            Figure(what="all live and caught up", unit="s",
                   values=[one["all_live_s"] for one in rounds], target=3.0),
            Figure(what="live and caught up, the one in the middle", unit="s",
                   values=[one["p50_s"] for one in rounds]),
            Figure(what="statements a member", unit="",
                   values=[(calls[1] - calls[0]) / len(rounds) / MEMBERS]),
            Figure(what="refused for a moment, and tried again", unit="",
                   values=[float(found["refused"])]),
            Figure(what="memory of the server afterwards", unit="MB", values=[memory]),
        ],
    )  # fmt: skip


def _statements(db: Any) -> int:
    row = db.execute(
        "select coalesce(sum(s.calls), 0) from pg_stat_statements as s"
        " inner join pg_roles as r on r.oid = s.userid"
        " where r.rolname = 'bookconnect_dm_server' and s.toplevel"
    ).fetchone()
    return int(row[0])
