"""How each hot query is answered at full size: by which index, and how many rows it looks at.

A year of 200,000 messages, 20,000 participants, a member with 1,000 conversations, a conversation
with 50,000 messages (load.sql), as `authenticated`, with arguments known to the planner and not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from uuid import UUID

import pytest

from bookconnect_dm.db import load_queries
from tests.helpers.plans import Explained, PlanMode, explain
from tests.helpers.postgres import Cluster, Database

LOAD = Path(__file__).with_name("load.sql")


def made(kind: str, number: int) -> UUID:
    """Return an id as load.sql makes it."""
    return UUID(hashlib.md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest())


BUSY, USUAL = made("user", 0), made("user", 1100)
LONG, SHORT, UNREAD = (made("conversation", n) for n in (0, 1000, 3))
ONE_DAY, DEEP = "now() - interval '1 day'", "now() - interval '100 days'"

# Reads never need them: they are the sweep's and the recalculation's.
FOR_RETENTION = {"idx_messages_retention_expires", "idx_messages_sender_id"}


@dataclass(frozen=True, slots=True)
class Query:
    """A hot query, and the most that it may touch."""

    statement: str
    arguments: tuple[object, ...] = ()
    by: frozenset[str] = frozenset()
    """Indexes that it must use."""
    rows: int = 0
    blocks: int = 0
    member: UUID = BUSY
    whole: frozenset[str] = frozenset()
    """Tables that it may read whole: a tenth of the conversations is read faster so."""


def by(*names: str) -> frozenset[str]:
    return frozenset(names)


ADMIN = load_queries((files("bookconnect_dm") / "sql" / "admin.sql").read_text("utf-8"))
HISTORY = by("idx_messages_conversation_sent")
INBOX = by("idx_participants_user_id", "idx_messages_conversation_sent")
CONVERSATIONS = by("conversations")

QUERIES = {
    "inbox": Query(
        "select * from public.get_user_conversations()",
        (),
        INBOX,
        11_500,
        6_000,
        BUSY,
        CONVERSATIONS,
    ),
    "inbox, a later page": Query(
        f"select * from public.get_user_conversations(20, {ONE_DAY}, %s)",
        (LONG,),
        INBOX,
        11_500,
        6_000,
        BUSY,
        CONVERSATIONS,
    ),
    "inbox of a usual member": Query(
        "select * from public.get_user_conversations()", (), INBOX, 20, 60, USUAL
    ),
    "unread conversations": Query(
        "select public.get_unread_conversation_count()",
        (),
        INBOX,
        11_500,
        6_000,
        BUSY,
        CONVERSATIONS,
    ),
    "one conversation": Query("select public.get_conversation(%s)", (LONG,), HISTORY, 30, 80),
    "newest page of 50,000": Query(
        "select * from public.get_conversation_messages(%s)", (LONG,), HISTORY, 110, 120
    ),
    "deep page": Query(
        f"select * from public.get_conversation_messages(%s, 50, {DEEP})",
        (LONG,),
        HISTORY,
        110,
        120,
    ),
    "page after a position": Query(
        f"select * from public.get_conversation_messages(%s, 50, null, {DEEP})",
        (LONG,),
        HISTORY,
        120,
        120,
    ),
    "unread messages": Query(
        "select public.get_unread_message_count(%s)", (UNREAD,), HISTORY, 20, 30
    ),
    "unread messages, 100 of many": Query(
        "select public.get_unread_message_count(%s)", (LONG,), HISTORY, 20, 30
    ),
    "send": Query(
        "select public.send_message(%s, 'hello')", (LONG,), by("conversations_pkey"), 20, 120
    ),
    "mark as read": Query(
        "select public.mark_conversation_as_read(%s)", (UNREAD,), by("conversations_pkey"), 15, 60
    ),
    "changes at the end": Query(
        f"select public.get_conversation_changes(%s, {ONE_DAY})",
        (LONG,),
        by("idx_messages_conversation_sent", "idx_messages_deletions"),
        320,
        120,
    ),
    "changes, a full page from far back": Query(
        f"select public.get_conversation_changes(%s, {DEEP})",
        (LONG,),
        by("idx_messages_conversation_sent", "idx_messages_deletions"),
        1_400,
        500,
    ),
    "sync of a new client": Query(
        "select public.sync_conversations('{}')",
        (),
        by("idx_participants_user_id", "idx_messages_conversation_sent"),
        16_000,
        12_000,
        BUSY,
        CONVERSATIONS,
    ),
    "search": Query("select * from public.search_members('da 1')", (), frozenset(), 0, 6_000),
    "find a member": Query("select public.find_member('member_5')", (), frozenset(), 0, 60),
    "start what exists": Query(
        "select * from public.start_conversation(%s)",
        (made("user", 1),),
        by("conversation_pairs_pkey"),
        0,
        60,
    ),
    # Nobody's pair: what both share is looked through once, here a busy member's and nobody's.
    "start what is new": Query(
        "select * from public.start_conversation(%s)",
        (BUSY,),
        by("conversation_pairs_pkey", "idx_participants_user_id"),
        1_300,
        500,
        made("user", 1051),
    ),
    # What a PostgREST client writes: the tables themselves.
    "table: newest page": Query(
        "select * from public.direct_messages where conversation_id = %s"
        " order by sent_at desc limit 50",
        (LONG,),
        HISTORY,
        220,
        500,
    ),
    "table: older page": Query(
        f"select * from public.direct_messages where conversation_id = %s and sent_at < {DEEP}"
        " order by sent_at desc limit 50",
        (LONG,),
        HISTORY,
        220,
        500,
    ),
    "table: one message": Query(
        "select * from public.direct_messages where id ="
        " (select m.id from public.direct_messages as m where m.conversation_id = %s"
        " order by m.sent_at desc limit 1)",
        (LONG,),
        by("direct_messages_pkey"),
        10,
        40,
    ),
    "table: conversations": Query(
        "select * from public.conversations order by updated_at desc limit 20",
        (),
        by("idx_participants_user_id", "conversations_pkey"),
        2_100,
        5_500,
    ),
    "table: my participations": Query(
        "select * from public.conversation_participants where user_id = (select auth.uid())",
        (),
        by("idx_participants_user_id"),
        2_100,
        6_000,
    ),
    "table: who is in it": Query(
        "select * from public.conversation_participants where conversation_id = %s",
        (LONG,),
        by("conversation_participants_pkey"),
        10,
        40,
    ),
    "table: mark as read": Query(
        "update public.conversation_participants set last_read_at = now()"
        " where conversation_id = %s and user_id = (select auth.uid()) returning last_read_at",
        (UNREAD,),
        frozenset(),
        15,
        60,
    ),
    "table: send": Query(
        "insert into public.direct_messages (conversation_id, sender_id, content)"
        f" values (%s, '{BUSY}', 'hello') returning id",
        (LONG,),
        by("conversations_pkey"),
        20,
        120,
    ),
}


@pytest.fixture(scope="session")
def year(cluster: Cluster) -> Iterator[Database]:
    """A year of a busy installation, once a version; tests change nothing in it."""
    database = cluster.database()
    database.run_script(LOAD.read_text("utf-8"))
    with database.connect(autocommit=True) as connection:
        connection.execute("vacuum analyze")
    yield database
    database.drop()


def faults(query: Query, explained: Explained) -> list[str]:
    """Say what is wrong with how it was answered."""
    found = []
    if missing := query.by - explained.indexes:
        found.append(f"does not use {', '.join(sorted(missing))}")
    if whole := explained.whole_tables - query.whole:
        found.append(f"reads all of {', '.join(sorted(whole))}")
    if wrong := explained.indexes & FOR_RETENTION:
        found.append(f"uses {', '.join(sorted(wrong))}")
    if explained.rows > query.rows:
        found.append(f"looks at {explained.rows} rows, not {query.rows}")
    if explained.blocks > query.blocks:
        found.append(f"looks at {explained.blocks} blocks, not {query.blocks}")
    return found


@pytest.mark.parametrize("mode", ["custom", "generic"])
def test_hot_queries_touch_what_they_need_and_no_more(year: Database, mode: PlanMode) -> None:
    wrong = {}
    for name, query in QUERIES.items():
        # Autovacuum may have caches thrown away meanwhile, whose blocks would count; not twice.
        for _ in range(2):
            explained = explain(year, query.member, query.statement, *query.arguments, mode=mode)
            print(f"{name}: {explained}")
            assert explained.answer, name
            wrong[name] = faults(query, explained)
            if not wrong[name]:
                break
    assert {name: found for name, found in wrong.items() if found} == {}


def positions(db: Database, member: UUID) -> str:
    """Return what a client of this member that is caught up would send."""
    rows = db.run(
        "select jsonb_build_object('epoch', messaging.epoch(), 'positions', ("
        "  select jsonb_object_agg(c.id, messaging.wire_time(c.position))"
        "  from public.conversations as c inner join public.conversation_participants as p"
        "  on c.id = p.conversation_id where p.user_id = %s"
        "))::text as state",
        member,
    )
    return str(rows[0]["state"])


@pytest.mark.parametrize("mode", ["custom", "generic"])
def test_catching_up_with_1000_quiet_conversations_looks_at_no_message(
    year: Database, mode: PlanMode
) -> None:
    """A look at each conversation's row and two participants; 10 to 14 ms on an idle core."""
    explained = explain(
        year, BUSY, "select public.sync_conversations(%s)", positions(year, BUSY), mode=mode
    )
    answer = explained.answer[0][0]
    assert (answer["changes"], answer["conversations"], len(answer["reads"])) == ([], [], 2_000)
    assert not explained.indexes & {"idx_messages_conversation_sent", "idx_messages_deletions"}
    assert explained.rows <= 1_000 + 10_000 + 3 * 1_000 + 1_000
    assert explained.blocks <= 15_000


def test_row_sources_are_merged_into_the_queries_that_use_them(year: Database) -> None:
    """One plan for an inbox, not one a conversation and source; the same for a page of sync."""
    for statement, most in (
        ("select * from public.get_user_conversations(100)", 4),
        ("select public.sync_conversations('{}')", 12),
        ("select public.get_conversation_changes('" + str(LONG) + "', now())", 12),
    ):
        assert len(explain(year, BUSY, statement).plans) <= most, statement


NEEDED_BY = {
    "idx_messages_conversation_sent": "newest page of 50,000",
    "idx_messages_deletions": "changes at the end",
    "idx_participants_user_id": "inbox of a usual member",
}


@pytest.mark.parametrize("index", NEEDED_BY)
def test_an_index_is_missed_when_it_is_gone(year: Database, index: str) -> None:
    query = QUERIES[NEEDED_BY[index]]
    explained = explain(year, query.member, query.statement, *query.arguments, without=index)
    assert explained.rows > 2 * query.rows
    assert faults(query, explained)


def test_cascades_use_the_indexes_made_for_them(year: Database) -> None:
    """Erasing a member and removing a store: no foreign key without an index."""
    with year.connect() as owner:
        owner.execute("set enable_seqscan = off")  # small tables are read whole anyway
        for statement, index in (
            ("direct_messages where sender_id", "idx_messages_sender_id"),
            ("direct_messages where conversation_id", "idx_messages_conversation_sent"),
            ("conversation_participants where user_id", "idx_participants_user_id"),
            ("conversations where store_id", "idx_conversations_store_id"),
        ):
            plan = owner.execute(
                f"explain (format json) delete from public.{statement} = %s", (BUSY,)
            ).fetchone()
            assert index in str(plan)


def test_the_sweep_uses_the_index_made_for_it(year: Database) -> None:
    """And the rounded time in it, not its first column alone. As in the cleaner's functions."""
    with year.connect() as owner:
        for name, index, arguments in (
            ("plan_sweep", "idx_messages_retention_expires", None),
            ("plan_recalculation", "idx_messages_sender_id", {"id": BUSY}),
        ):
            plan = owner.execute(ADMIN[name], arguments).fetchone()
            assert index in str(plan)
            conditions = re.findall(r"'Index Cond': (.+?)(?:, '[A-Z]|})", str(plan))
            assert any("date_bin" in one for one in conditions), plan
