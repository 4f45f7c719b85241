"""The capacity model against databases that were really filled.

In CI 50,000 messages of a young store, and a smaller one in which messages have come and gone for
months; with PROOF=1 a young store of 1,000,000 and one that has run for more than a year.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bookconnect_dm import compact, pages
from bookconnect_dm.capacity import ENTRIES, Plan, figures
from bookconnect_dm.direct import CommandError
from tests.helpers.migrating import findings
from tests.helpers.postgres import Connection, Database, run_async

STORE = Path(__file__).with_name("store.sql")
PROOF = bool(os.environ.get("PROOF"))
MARGIN = 0.10

PLANS = {
    "young": Plan(members=667 if PROOF else 34, days=30),
    "running": Plan(members=40 if PROOF else 20, days=400 if PROOF else 70),
}


def fill(db: Database, plan: Plan) -> dict[str, int]:
    """Let members write for the plan's days, sweep each night, vacuum as autovacuum would."""
    numbers = {"members": plan.members, "conversations": int(plan.conversations_per_member)}
    text = STORE.read_text("utf-8")
    for name, number in numbers.items():
        text = text.replace(f":{name}", str(number))
    with db.connect(autocommit=True) as connection:
        connection.execute(text)
        _live(connection, plan)
        connection.execute("vacuum analyze public.direct_messages")
        return sizes(connection)


def _live(connection: Connection, plan: Plan) -> None:
    per_day = round(plan.messages)
    dead = 0
    for day in range(int(plan.days)):
        connection.execute("select pg_temp.write(%s, 1, %s, %s)", (day, per_day, plan.characters))
        swept = connection.execute(
            "select pg_temp.sweep(%s, %s, %s) as dead",
            (day, int(plan.recovery_days), plan.deleted_share),
        ).fetchone()
        assert swept is not None
        dead += swept["dead"]
        if day in {5, 29}:
            connection.execute("analyze public.direct_messages")
        if day >= 30 and dead > 0.2 * figures(plan).stored + 50:
            connection.execute("vacuum public.direct_messages")
            dead = 0


TABLES = (
    "public.direct_messages",
    "public.conversations",
    "public.conversation_participants",
    "messaging.conversation_pairs",
)


def sizes(connection: Connection) -> dict[str, int]:
    rows = connection.execute(
        "select c.relname, pg_relation_size(c.oid) as bytes from pg_class as c"
        " left join pg_index as i on c.oid = i.indexrelid"
        " where coalesce(i.indrelid, c.oid) = any(%s::regclass[]) and c.relkind in ('r', 'i')",
        (list(TABLES),),
    ).fetchall()
    return {row["relname"]: row["bytes"] for row in rows}


def compare(plan: Plan, measured: dict[str, int], *, rebuilt: bool = False) -> dict[str, float]:
    """Print model and measure; give the deviation of each relation and of all."""
    model = figures(plan)
    told = {r.name: r.rebuilt if rebuilt else r.grown for r in model.relations}
    assert told.keys() == measured.keys(), told.keys() ^ measured.keys()
    for name, size in measured.items():
        print(f"{name:40} {size:>12,} {told[name]:>12,.0f} {told[name] / size - 1:+.1%}")
    total = sum(told.values()) / sum(measured.values()) - 1
    print(f"{'all':40} {sum(measured.values()):>12,} {sum(told.values()):>12,.0f} {total:+.1%}")
    return {name: told[name] / size - 1 for name, size in measured.items()} | {"all": total}


def test_the_model_is_within_a_tenth_of_a_young_store(pg: Database) -> None:
    deviation = compare(PLANS["young"], fill(pg, PLANS["young"]))
    assert abs(deviation["all"]) < MARGIN
    assert abs(deviation["direct_messages"]) < MARGIN


def test_and_of_a_store_that_has_run_for_long_and_compact_makes_it_small_again(
    pg: Database,
) -> None:
    plan = PLANS["running"]
    grown = fill(pg, plan)
    deviation = compare(plan, grown)
    assert abs(deviation["all"]) < MARGIN
    assert abs(deviation["direct_messages"]) < MARGIN
    run = subprocess.run(
        [Path(sys.executable).parent / "bookconnect-dm", "compact"],
        env={**os.environ, "BOOKCONNECT_DM_ADMIN_URL": pg.admin_url},
        capture_output=True,
        text=True,
        check=True,
    )
    print(run.stdout)
    with pg.connect() as connection:
        rebuilt = sizes(connection)
    deviation = compare(plan, rebuilt, rebuilt=True)
    for name in ("direct_messages_pkey", "idx_messages_conversation_sent"):
        assert rebuilt[name] < grown[name] / 1.4
        assert abs(deviation[name]) < 0.03
        assert f"{name}: " in run.stdout
    assert findings(pg) == []


def test_what_an_interrupted_compact_left_is_cleared_away(pg: Database) -> None:
    """A killed REINDEX CONCURRENTLY leaves an invalid index with a name of PostgreSQL's own."""
    pg.run(
        "create index idx_messages_sender_id_ccnew on public.direct_messages"
        " (sender_id, retention_expires_at)"
    )
    with pg.as_superuser() as connection:
        connection.execute(
            "update pg_index set indisvalid = false"
            " where indexrelid = 'public.idx_messages_sender_id_ccnew'::regclass"
        )
    assert any("ccnew" in finding for finding in findings(pg))
    told = run_async(lambda: _compact(pg))
    assert set(told) == set(ENTRIES)
    assert findings(pg) == []


def test_it_waits_for_no_migration(pg: Database) -> None:
    with pg.connect(autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(hashtext('bookconnect_dm migrate'), 0)")
        with pytest.raises(CommandError, match="try again afterwards"):
            run_async(lambda: _compact(pg))


async def _compact(db: Database) -> list[str]:
    told: list[str] = []
    await compact.compact(db.admin_url, report=lambda index, _: told.append(index.name))
    return told


def test_long_texts_go_to_toast_as_the_model_says(pg: Database) -> None:
    """A thousand characters of four bytes; that nothing is compressed is the model's worst case."""
    plan = PLANS["young"]
    fill(pg, replace(plan, members=20, days=1))
    pg.run("alter table public.direct_messages alter column content set storage external")
    pg.run(
        "update public.direct_messages set content = (select string_agg("
        " chr(128512 + (hashtext(id::text || i) & 511)), '') from generate_series(1, 1000) as i)"
    )
    measured = pg.run(
        "select pg_relation_size(c.reltoastrelid) + pg_indexes_size(c.reltoastrelid) as bytes,"
        " (select count(*) from public.direct_messages) as messages"
        " from pg_class as c where c.oid = 'public.direct_messages'::regclass"
    )[0]
    told = measured["messages"] * pages.toast_bytes(4000)
    assert abs(told / measured["bytes"] - 1) < MARGIN
