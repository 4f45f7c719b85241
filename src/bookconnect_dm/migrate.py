"""Migrations: apply, roll back, say what is wrong.

In charge of: what has been applied to a database, what is to be done, doing it in one transaction.
Knows about: the list of `migrations`, `messaging.migrations`, what `drift` finds.
Does not know: what the files say.

Tables and indexes are versioned: applied once, never edited. Code (roles, host adapter, policies,
functions, triggers) is applied again, all of it together, whenever any of its text has changed.
One run is one transaction: an interrupted migration has not happened.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from bookconnect_dm import drift, migrations
from bookconnect_dm.direct import DENIED, MISSING, CommandError, Direct, connect, lock_holder
from bookconnect_dm.drift import Difference, Finding
from bookconnect_dm.migrations import Migration, export_supabase, plan

__all__ = ["State", "down", "export_supabase", "plan", "status", "up", "verify"]

OLDEST_POSTGRES: Final = 15
MIGRATIONS_LOCK: Final = "bookconnect_dm migrate"
LOCK_POLL_S: Final = 0.1
LOCK_ATTEMPTS: Final = 600
TABLE_PATIENCE_S: Final = 60.0
"""How long the tables are tried for, in short attempts of which each locks all or none."""
TABLE_WAIT_MS: Final = 200
TABLE_LONG_WAIT_MS: Final = 1_600
TABLE_LONG_WAIT_EVERY: Final = 5
"""How long an attempt waits for its first table, with nothing held. Members queue behind it, so
most waits are short; but only one longer than deadlock_timeout sends PostgreSQL's vacuum away."""
TABLE_HOLD_MS: Final = (15, 400)
"""How long it then holds some and waits for others, at first and at most. Who holds one of those
may need one of ours, and PostgreSQL would end either of us after deadlock_timeout."""
LOCK_WAIT_MS: Final = 5_000
"""For any other lock, such as that on the host's users table."""
IN_USE: Final = frozenset({"55P03", "40P01"})
NOT_IN_PLACE: Final = frozenset({"42P13", "42P16"})
"""A function's result or a view's columns cannot be replaced by others."""


@dataclass(frozen=True, slots=True)
class State:
    """What `status` says of one file.

    `applied`; `changed`: code to be applied again, or a table file edited after its release;
    `pending`; `unknown`: applied by a newer package.
    """

    name: str
    state: str
    applied_at: str | None


def _say_warning(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


async def up(
    admin_url: str, *, adapter: str, warn: Callable[[str], None] = _say_warning
) -> list[str]:
    """Apply what is missing or changed; give the names of what was applied. Idempotent.

    All code is made again, too, where the catalog differs from what the last migration left: a
    policy that is gone comes back. What that does not put right stays what `verify` names.
    `adapter` is the name of a host adapter or the path of one's own. Any number of these may run at
    once: one works, the others wait and find nothing to do. `warn` gets what an administrator has
    still to do. Raises `CommandError` on a database that is too old, newer than this package,
    somebody else's, or locked.
    """
    wanted = plan(adapter)
    async with _session(admin_url) as (db, facts):
        try:
            todo, wrong = await _up(db, facts, wanted, anew=False)
        except CommandError as error:
            if error.sqlstate not in NOT_IN_PLACE:
                raise
            todo, wrong = await _up(db, facts, wanted, anew=True)
        for warning in dict.fromkeys(db.warnings):
            warn(warning)
        if wrong:
            more = f", and {len(wrong) - 1} more" if wrong[1:] else ""
            warn(
                f"Not as the migrations made it: {wrong[0].finding}{more}. What to do about it"
                " says bookconnect-dm migrate verify."
            )
    return [migration.name for migration in todo]


async def _up(
    db: Direct, facts: _Facts, wanted: list[Migration], *, anew: bool
) -> tuple[list[Migration], list[Difference]]:
    """Apply in one transaction; code replaces the last release's in place, or is made `anew`.

    Gives what was applied, and what is wrong all the same.
    """
    async with db.transaction():
        await db.script(migrations.runner())
        applied = await _applied(db)
        _refuse_strangers(applied, wanted)
        again = await _was_upgraded(db, facts)
        # Another version spells definitions differently: then everything would differ.
        wrong = [] if again or not _has_tables(applied) else await drift.differences_before(db)
        todo = _todo(applied, wanted, again=again or any(one.is_for_up for one in wrong))
        if not todo:
            return [], wrong
        changes_tables = any(migration.is_versioned for migration in todo)
        damaged: list[Finding] = []
        if _has_tables(applied):
            await _take_tables(db)
            damaged = await drift.damage(db) if changes_tables else []
        if anew:
            await _clear(db, "all")
        for migration in todo:
            await _apply(db, migration)
        await _clear(db, "leftovers")
        await db.rows("record_catalog")
        if changes_tables:
            await _refuse_damage(db, damaged)
        return todo, await drift.still_wrong(db, wrong)


async def down(admin_url: str, *, to: int = 0, force: bool = False) -> list[str]:
    """Roll back to migration `to` (0: everything) in reverse order; give the names of what went.

    With anything in the tables, rolling these back is refused unless `force`, and under a legal
    hold always. Host tables and roles stay. Raises `CommandError`.
    """
    async with _session(admin_url) as (db, facts):
        if not facts.is_migrated:
            return []
        async with db.transaction():
            await db.script(migrations.runner())
            applied = await _applied(db)
            undone = _undone(applied, to)
            if undone and _has_tables(applied):
                await _take_tables(db)
            if any(migrations.number_of(name) == 1 for name in undone):
                await _refuse_loss(db, force=force)
            for name in undone:
                await _undo(db, name)
            if to == 0:
                await db.script(migrations.rollback_of("messaging") or "")
    return undone


async def status(admin_url: str, *, adapter: str) -> list[State]:
    """Say of each file whether it is applied, changed since, pending or unknown."""
    wanted = plan(adapter)
    async with connect(admin_url, name="bookconnect-dm status") as db:
        applied = await _applied(db) if (await _facts(db)).is_migrated else {}
    known = [
        State(m.name, _state_of(m, applied), applied[m.name].at if m.name in applied else None)
        for m in wanted
    ]
    strangers = sorted(set(applied) - {migration.name for migration in wanted})
    return known + [State(name, "unknown", applied[name].at) for name in strangers]


async def verify(admin_url: str, *, adapter: str) -> list[Finding]:
    """Compare catalog and rows with what the migrations left; nothing found means as it was."""
    states = await status(admin_url, adapter=adapter)
    findings = [Finding("migration", s.name, s.state) for s in states if s.state != "applied"]
    if not any(s.name == "catalog" and s.applied_at for s in states):
        return findings
    async with connect(admin_url, name="bookconnect-dm verify") as db:
        if await _was_upgraded(db, await _facts(db)):
            # Another version spells definitions differently: comparing would name everything.
            state = "another one than at the last migration: run bookconnect-dm migrate up"
            return [*findings, Finding("server", "PostgreSQL", state)]
        findings += [one.finding for one in await drift.differences(db)]
        return findings + await drift.damage(db)


# --- the connection ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Facts:
    """What must be known of a database before anything is done to it."""

    version: int
    encoding: str
    is_migrated: bool
    me: str
    owner: str | None


async def _facts(db: Direct) -> _Facts:
    return _Facts(*(await db.rows("facts"))[0])


@asynccontextmanager
async def _session(admin_url: str) -> AsyncIterator[tuple[Direct, _Facts]]:
    """Connect, be the only migration here, and look where we are."""
    async with connect(admin_url, name="bookconnect-dm migrate") as db:
        await db.rows("set_up_session", lock_wait=f"{LOCK_WAIT_MS}ms")
        await _lock(db)
        facts = await _facts(db)
        _check(facts)
        try:
            yield db, facts
        except CommandError as error:
            if error.sqlstate in IN_USE:
                raise await _in_the_way(db, "A table") from error
            raise


async def _lock(db: Direct) -> None:
    """Hold the migrations' lock for this connection. A query that waits holds a snapshot: poll."""
    for _ in range(LOCK_ATTEMPTS):
        if await db.value("try_lock_migrations"):
            return
        await asyncio.sleep(LOCK_POLL_S)
    who = await lock_holder(db, MIGRATIONS_LOCK)
    raise CommandError(f"Another migration has been running for a minute: try again later.{who}")


def _check(facts: _Facts) -> None:
    major = facts.version // 10_000
    if major < OLDEST_POSTGRES:
        raise CommandError(f"PostgreSQL {major} is too old: use {OLDEST_POSTGRES} or newer.")
    if facts.encoding != "UTF8":
        raise CommandError(f"The database's encoding is {facts.encoding}: messages need UTF8.")
    if facts.owner not in {None, facts.me}:
        raise CommandError(
            f"Schema messaging belongs to {facts.owner}: migrate as that role, not as {facts.me},"
            " so that everything has one owner."
        )


async def _was_upgraded(db: Direct, facts: _Facts) -> bool:
    recorded = await db.rows("recorded_server")
    return bool(recorded) and int(recorded[0][0]) != facts.version // 10_000


# --- what is applied --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Record:
    checksum: str
    at: str


Applied = dict[str, _Record]


async def _applied(db: Direct) -> Applied:
    rows = await db.rows("applied_migrations")
    return {name: _Record(checksum, at) for name, checksum, at in rows}


def _state_of(migration: Migration, applied: Applied) -> str:
    if migration.name not in applied:
        return "pending"
    return "applied" if applied[migration.name].checksum == migration.checksum else "changed"


def _has_tables(applied: Applied) -> bool:
    return any(migrations.number_of(name) == 1 for name in applied)


def _todo(applied: Applied, wanted: list[Migration], *, again: bool) -> list[Migration]:
    """What is pending; and all code, if anything is pending or any code has changed."""
    edited = [m.name for m in wanted if m.is_versioned and _state_of(m, applied) == "changed"]
    if edited:
        raise CommandError(
            f"{edited[0]} differs from what was applied here: a released table migration is never"
            " edited. Install the package that made this database, or a newer one."
        )
    if all(_state_of(m, applied) == "applied" for m in wanted) and not again:
        return []
    return [m for m in wanted if not m.is_versioned or m.name not in applied]


def _undone(applied: Applied, to: int) -> list[str]:
    strangers = [name for name in applied if migrations.rollback_of(name) is None]
    if strangers:
        raise _newer(strangers)
    newest = migrations.newest_of(applied)
    if to > newest:
        raise CommandError(f"There is no migration {to} here: the newest is {newest}.")
    return migrations.undone(applied, to=to)


def _refuse_strangers(applied: Applied, wanted: list[Migration]) -> None:
    strangers = sorted(set(applied) - {m.name for m in wanted})
    hosts = [name.removeprefix("host/") for name in strangers if name.startswith("host/")]
    if hosts:
        raise CommandError(
            f"This database was set up with the host adapter {hosts[0]}: set"
            f" BOOKCONNECT_DM_HOST_ADAPTER to it (your own: to its file)."
        )
    if strangers:
        raise _newer(strangers)


def _newer(strangers: list[str]) -> CommandError:
    return CommandError(
        f"This database is newer than this package (it has {max(strangers)}): install the package"
        " version that migrated it, or roll back with that version (bookconnect-dm migrate down)."
    )


# --- doing ------------------------------------------------------------------------------------


async def _apply(db: Direct, migration: Migration) -> None:
    await _run(db, migration.name, migration.text)
    await db.rows("record_migration", name=migration.name, checksum=migration.checksum)


async def _clear(db: Direct, what: str) -> None:
    await db.rows("choose_what_to_clear", what=what)
    await _run(db, "clear", migrations.clear())


async def _undo(db: Direct, name: str) -> None:
    await _run(db, f"rollback of {name}", migrations.rollback_of(name) or "")
    await db.rows("forget_migration", name=name)


async def _run(db: Direct, name: str, text: str) -> None:
    try:
        await db.script(text)
    except CommandError as error:
        raise CommandError(
            f"{name}: {error.sentence}", sqlstate=error.sqlstate, next_step=_next_step(name, error)
        ) from error


def _next_step(name: str, error: CommandError) -> str | None:
    if error.sqlstate == DENIED:
        return "Migrate as the owner of the database, or as a superuser; nothing was changed."
    if error.sqlstate in MISSING and migrations.number_of(name) <= 1:
        return (
            "The host adapter (BOOKCONNECT_DM_HOST_ADAPTER) reads tables of the application that"
            " this database lacks: migrate the application first, choose the adapter that fits it,"
            " or write one (docs/how-to/adapters.md). Nothing was changed."
        )
    return None


async def _take_tables(db: Direct) -> None:
    """Lock our tables against everybody, all or none.

    Each attempt begins with the table that the last one failed on, and members then have their turn
    for about as long as it lasted: on a slow machine they would else never come to an end.
    """
    end = time.monotonic() + TABLE_PATIENCE_S
    missing = ""
    shortest, longest = TABLE_HOLD_MS
    for attempt in itertools.count(1):
        started = time.monotonic()
        is_long = attempt % TABLE_LONG_WAIT_EVERY == 0
        await db.rows(
            "choose_how_to_lock",
            first=missing,
            wait_ms=str(TABLE_LONG_WAIT_MS if is_long else TABLE_WAIT_MS),
            hold_ms=str(min(shortest + shortest * attempt // 3, longest)),
        )
        await db.rows("lock_tables")
        missing = await db.value("table_not_locked")
        if not missing:
            break
        now = time.monotonic()
        if now > end:
            raise await _in_the_way(db, f"Table {missing}")
        await asyncio.sleep((now - started) * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
    await db.rows("limit_lock_waits", lock_wait=f"{LOCK_WAIT_MS}ms")


async def _refuse_loss(db: Direct, *, force: bool) -> None:
    conversations, messages, tier_changes, holds = (await db.rows("what_would_be_lost"))[0]
    if holds:
        raise CommandError(
            f"{holds:,} conversations are under a legal hold: nothing is rolled back until each is"
            " released (select messaging.release_hold(conversation_id))."
        )
    if (conversations or messages or tier_changes) and not force:
        raise CommandError(
            f"This would remove {messages:,} messages in {conversations:,} conversations, and"
            f" {tier_changes:,} changes of tier, for good. Back up first"
            ' (pg_dump --format=custom --file=before-rollback.dump "$BOOKCONNECT_DM_ADMIN_URL"),'
            " then repeat with --force."
        )


async def _refuse_damage(db: Direct, before: list[Finding]) -> None:
    """After a change of tables: it must have put nothing wrong that was right, or is undone."""
    damage = await drift.new_damage(db, before)
    if damage:
        raise CommandError(
            f"After the migration {damage[0]}; nothing was changed. Look at these rows first."
        )


async def _in_the_way(db: Direct, table: str) -> CommandError:
    rows = await db.rows("oldest_transaction")
    who = "".join(
        f" The oldest transaction is that of process {pid} ({user}, {name or 'unnamed'}, since"
        f" {since} UTC)."
        for pid, user, name, since in rows
    )
    return CommandError(
        f"{table} was in use all the time, so nothing was changed: try again when the database is"
        f" quieter.{who}"
    )
