"""Stores of the mission's size, loaded once and kept for the next run.

In charge of: making databases with them, as a template that scenarios get a copy of.
Knows about: `loader` (the rows), stores.sql (the rest).
Does not know: scenarios.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from bench import loader
from bookconnect_dm import migrate
from bookconnect_dm.db import load_queries
from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.terminal import Progress

__all__ = ["STORE_ID", "Store", "conversation_id", "member_id", "open_empty", "open_store"]

STORE_ID = "5704e000-0000-4000-8000-000000000001"
FRESH_S = 20 * 3_600
"""After so long what was young is old: load again."""
SETTLE_S = 120
"""How long to wait at most until the database's own work on a new copy is done."""

Db = psycopg.Connection[Any]


def member_id(number: int) -> str:
    """The id of a member by his number."""
    return f"e0000000-0000-4000-8000-{number:012x}"


def conversation_id(number: int) -> str:
    """The id of a conversation by its number."""
    return f"c0000000-0000-4000-8000-{number:012x}"


@dataclass(frozen=True, slots=True)
class Store:
    """A database with a store in it."""

    database: str
    messages: int
    shape: loader.Shape

    def members(self, count: int, *, friends: int = 5) -> list[dict[str, Any]]:
        """Who sends in a load, and where: `count` members and at most `friends` of each's friends.

        Both members of each conversation are among them, so that every message has a reader.
        """
        who: dict[int, list[str]] = {n: [] for n in range(1, count + 1)}
        pairs = list(enumerate(zip(self.shape.ones, self.shape.others, strict=True), start=1))
        random.Random(7).shuffle(pairs)
        for number, (one, other) in pairs:
            both_here = one in who and other in who
            if both_here and min(len(who[one]), len(who[other])) < friends:
                who[one].append(conversation_id(number))
                who[other].append(conversation_id(number))
        return [{"id": member_id(n), "conversations": found} for n, found in who.items() if found]


def open_store(postgres: EmbeddedPostgres, kind: str, share: float) -> Store:
    """A copy of a store, loaded if need be; the copy is made anew each time."""
    template = f"{kind}_{round(share * 1000)}"
    shape = loader.make_shape()
    with psycopg.connect(postgres.admin_url, autocommit=True) as db:
        if not _is_fresh(db, template):
            _drop(db, template)
            db.execute(_sql(f"create database {template}"))
            _load(postgres.url_for("postgres", database=template), kind, share, shape)
            db.execute(_sql(f"comment on database {template} is '{time.time():.0f}'"))
        copy = f"{template}_run"
        _drop(db, copy)
        db.execute(_sql(f"create database {copy} template {template} strategy file_copy"))
        db.execute("checkpoint")
    url = postgres.url_for("postgres", database=copy)
    asyncio.run(migrate.up(url, adapter="standalone"))  # it may have been loaded by older code
    with psycopg.connect(url) as db:
        row = db.execute("select count(*) from public.direct_messages").fetchone()
    assert row is not None
    _settle(postgres)
    return Store(copy, int(row[0]), shape)


def open_empty(postgres: EmbeddedPostgres, name: str) -> str:
    """A migrated database with nothing in it; its name."""
    database = f"{name}_run"
    with psycopg.connect(postgres.admin_url, autocommit=True) as db:
        _drop(db, database)
        db.execute(_sql(f"create database {database}"))
    asyncio.run(migrate.up(postgres.url_for("postgres", database=database), adapter="standalone"))
    return database


def _settle(postgres: EmbeddedPostgres) -> None:
    """Wait until the copy is on the disk and nobody tidies it up any more.

    A copy of the whole year leaves gigabytes for the system to write, beside whatever is measured
    next: the slowest hundredth of sends took two and three times as long.
    """
    os.sync()
    until = time.monotonic() + SETTLE_S
    tidying = "select from pg_stat_activity where backend_type = 'autovacuum worker'"
    with psycopg.connect(postgres.admin_url, autocommit=True) as db:
        while db.execute(tidying).fetchone():
            if time.monotonic() > until:
                print(f"autovacuum works beside it, after {SETTLE_S:.0f} s", file=sys.stderr)
                return
            time.sleep(0.5)


def _is_fresh(db: Db, database: str) -> bool:
    row = db.execute(
        "select shobj_description(oid, 'pg_database') from pg_database where datname = %s",
        (database,),
    ).fetchone()
    return row is not None and row[0] is not None and time.time() - float(row[0]) < FRESH_S


def _drop(db: Db, database: str) -> None:
    db.execute(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
        " where database = %s and not active",
        (database,),
    )
    db.execute(_sql(f"drop database if exists {database} with (force)"))


def _load(url: str, kind: str, share: float, shape: loader.Shape) -> None:
    asyncio.run(migrate.up(url, adapter="standalone"))
    parts = load_queries(Path(__file__).with_suffix(".sql").read_text("utf-8"))
    now_s = loader.loaded_at()
    values = {
        "people": loader.PEOPLE,
        "ones": shape.ones,
        "others": shape.others,
        "since": datetime.fromtimestamp(now_s - 366 * 86_400, UTC),
    }
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as db:
        db.execute("set session_replication_role = replica")
        db.execute("set maintenance_work_mem = '1GB'")
        db.execute("set synchronous_commit = off")
        db.execute(parts["people"], values)
        db.execute(parts["conversations"], values)
        indexes = list(_without_indexes(db))
        _copy(db, loader.rows(shape, share=share, now_s=now_s, steady=kind == "steady"))
        for definition in indexes:
            db.execute(_sql(definition))
        db.execute("analyze")
        db.execute(parts["clocks"], values)
        db.execute(parts["mission"], values)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("create extension if not exists pg_stat_statements")
        db.execute("vacuum (freeze, analyze)")


def _without_indexes(db: Db) -> Iterator[str]:
    """Take them off the table of messages; give the statements that make them again."""
    key = db.execute(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = 'direct_messages_pkey'"
    ).fetchone()
    assert key is not None
    db.execute("alter table public.direct_messages drop constraint direct_messages_pkey")
    yield f"alter table public.direct_messages add constraint direct_messages_pkey {key[0]}"
    found = db.execute(
        "select indexname, indexdef from pg_indexes"
        " where schemaname = 'public' and tablename = 'direct_messages'"
    ).fetchall()
    for name, definition in found:
        db.execute(_sql(f"drop index public.{name}"))
        yield definition


def _copy(db: Db, pieces: Iterator[tuple[int, bytes]]) -> None:
    columns = (
        "id, conversation_id, sender_id, content, sent_at, is_deleted, deleted_at,"
        " retention_expires_at"
    )
    statement = f"copy public.direct_messages ({columns}) from stdin (format binary)"
    with (
        Progress() as progress,
        psycopg.Cursor(db).copy(_sql(statement)) as copy,
    ):
        for count, piece in pieces:
            copy.write(piece)
            progress.add("messages loaded", count)


def _sql(text: str) -> Any:
    """A statement of our own making, which the driver wants to be literal."""
    return text
