"""The reader of the write-ahead log: each committed transaction, once, in order, to a callback.

In charge of: the replication connection, this process's slot, what PostgreSQL is told of our
progress, noticing that the stream is dead, coming back, and saying so when something was lost.
Knows about: psycopg, the replication protocol's conversation, `sql/feed.sql`.
Does not know: who listens, what events mean, sockets.

One process has one feed, and one persistent slot named after its `INSTANCE`. A reconnect goes on
where the stream broke off, so nothing is missed. A fresh process has no clients yet: it takes its
old slot over from the log's current end. A clean stop drops the slot; a slot whose process never
came back is dropped by the other servers' feeds, since a slot that nobody reads keeps the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from importlib.resources import files
from typing import Any, Final, cast

import psycopg
import structlog
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from bookconnect_dm import notes, pgoutput
from bookconnect_dm.db import load_queries
from bookconnect_dm.events import STALE_S, Assembler, Transaction
from bookconnect_dm.pgoutput import format_lsn, parse_lsn
from bookconnect_dm.progress import FeedFacts, Progress
from bookconnect_dm.standby import FOLLOW_S, Following, Primary, ask_for_snapshots
from bookconnect_dm.visibility import Visibility

__all__ = ["Feed", "FeedError", "FeedFacts", "slot_name"]

PREFIX: Final = "bookconnect_dm_"
PUBLICATIONS: Final = ("bookconnect_dm", "bookconnect_dm_starts")

TICK_S: Final = 1.0
LOST_S: Final = 10.0
"""No frame for so long: the connection is dead, whatever TCP thinks. We ask each 5 s."""
CONNECT_S: Final = 5.0
COMMAND_S: Final = 10.0
CREATE_S: Final = 300.0
"""Making a slot waits for every transaction of the cluster that writes at that moment."""
TAKEOVER_S: Final = 15.0
"""How long a slot that somebody still reads is waited for."""
LOOK_S: Final = 600.0
FIRST_LOOK_S: Final = 30.0
PAUSE_S: Final = (0.05, 5.0)
STEADY_S: Final = 5.0
"""A stream that lived this long was no failed attempt: the next pause is the shortest again."""
PG_EPOCH_S: Final = 946_684_800
HUGE: Final = 1 << 20
"""A message in the log that is worth a warning: it takes memory here that nobody asked for."""
SLICE: Final = 200
"""Messages taken before other tasks have their turn (about 3 ms)."""

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

log = structlog.get_logger("feed")


class FeedError(Exception):
    """The stream cannot be had, or ended; the text says why and what to do."""


def slot_name(instance: str) -> str:
    """The slot of the server called `instance`."""
    plain = re.sub(r"[^a-z0-9_]", "_", instance.lower())
    room = 63 - len(PREFIX)
    if len(plain) > room:
        plain = f"{plain[: room - 9]}_{hashlib.sha256(instance.encode()).hexdigest()[:8]}"
    return PREFIX + plain


class Feed:
    """Gives every committed transaction to `on_transaction`, which neither waits nor blocks.

    `on_gap` is called when transactions were lost or left out: everybody has to read anew.
    `on_note` takes what was put into the log under our name, and when PostgreSQL sent it (its
    clock, in seconds): anybody may do that, so nothing in it can be trusted. `primary` is asked for
    what a slot on a standby waits for, and whether others see a conversation that began: until they
    do, nobody is told of it. Start `run` in a task of its own and call `stop` in the end; a `run`
    that is cancelled instead leaves the slot for the next process.
    """

    def __init__(
        self,
        feed_url: str,
        *,
        instance: str,
        on_transaction: Callable[[Transaction], None],
        on_gap: Callable[[], None],
        on_note: Callable[[bytes, float], None] | None = None,
        primary: Primary | None = None,
        look_s: float = LOOK_S,
        follow_s: float = FOLLOW_S,
    ) -> None:
        self._url = feed_url
        self._slot = slot_name(instance)
        self._on_transaction = on_transaction
        self._on_gap = on_gap
        self._on_note = on_note
        self._primary = primary
        self._visibility = Visibility(primary.snapshot) if primary else None
        self._look_s = look_s
        self._following = Following(follow_s)
        self._is_standby = False
        self._queries = load_queries(
            (files("bookconnect_dm") / "sql" / "feed.sql").read_text("utf-8")
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._is_ready = asyncio.Event()
        self._progress = Progress()
        self._system: tuple[str, str] | None = None  # whose log we followed last
        self._backend_pid = 0
        self._failed_lsn: int | None = None
        self._skip_lsn: int | None = None
        self._reconnects = self._gaps = self._foreign = 0
        self._retained_bytes = self._idle_slots = 0
        self._last_error: str | None = None

    # -- what others ask

    @property
    def healthy(self) -> bool:
        """True while the stream flows: what is committed now is delivered now."""
        flows = self._is_ready.is_set() and self._progress.silent_s(time.monotonic()) < LOST_S
        return flows and self._following.is_true

    @property
    def lag(self) -> FeedFacts:
        """The facts of this moment."""
        progress = self._progress
        return FeedFacts(
            healthy=self.healthy,
            transactions=progress.transactions,
            confirmed_lsn=format_lsn(progress.confirmed),
            behind_bytes=max(0, progress.wal_end - progress.confirmed),
            lag_s=progress.lag_s,
            reconnects=self._reconnects,
            gaps=self._gaps,
            foreign=self._foreign,
            retained_bytes=self._retained_bytes,
            idle_slots=self._idle_slots,
            last_error=self._last_error,
        )

    async def wait_until_ready(self, timeout_s: float) -> bool:
        """True once the stream flows; False if it does not in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._is_ready.wait()
        return self._is_ready.is_set()

    # -- life

    async def run(self) -> None:
        """Stays connected until `stop`, whatever happens to the database."""
        async with asyncio.TaskGroup() as group:
            self._tasks = [
                group.create_task(self._supervise(), name="feed"),
                group.create_task(self._reap(), name="feed-reaper"),
                group.create_task(self._following.watch(self._follows_primary)),
            ]

    async def stop(self) -> None:
        """Ends `run` and drops the slot. Never raises; gives up on a database that is away."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CONNECT_S)
        try:
            async with asyncio.timeout(CONNECT_S), self._connect() as connection:
                # The other end of the stream needs a moment to notice that we are gone.
                while not await self._drop_slot(connection):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except (psycopg.Error, OSError, TimeoutError) as error:
            log.warning("slot_left_behind", slot=self._slot, error=_first_line(error))

    async def _supervise(self) -> None:
        pause_s = PAUSE_S[0]
        while True:
            began = time.monotonic()
            try:
                await self._connect_and_stream()
            except (FeedError, psycopg.Error, OSError, TimeoutError) as error:
                self._last_error = _first_line(error)
                log.warning("feed_lost", slot=self._slot, error=self._last_error)
            except Exception as error:
                self._last_error = _first_line(error)
                log.exception("feed_failed", slot=self._slot)
            finally:
                self._is_ready.clear()
            self._reconnects += 1
            if time.monotonic() - began > STEADY_S:
                pause_s = PAUSE_S[0]
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause_s = min(pause_s * 2, PAUSE_S[1])

    async def _connect_and_stream(self) -> None:
        async with self._connect(replication=True) as connection:
            is_first = self._system is None
            was_lost = await self._start(connection)
            self._is_ready.set()
            log.info("feed_started", slot=self._slot, lsn=format_lsn(self._progress.confirmed))
            if is_first:
                self._on_gap()  # for whoever was here before the stream
            elif was_lost:
                self._say_gap("the slot was lost")
            await self._stream(connection)

    @contextlib.asynccontextmanager
    async def _connect(self, *, replication: bool = False) -> AsyncIterator[Connection]:
        settings: dict[str, Any] = {**conninfo_to_dict(self._url), "client_encoding": "UTF8"}
        if replication:
            # What the stream's text form of times depends on, and nobody's time limits.
            ours = "-c TimeZone=UTC -c DateStyle=ISO,YMD -c statement_timeout=0 -c lock_timeout=0"
            settings |= {
                "replication": "database",
                "application_name": self._slot,
                "options": f"{settings.get('options') or ''} {ours}".strip(),
            }
        async with asyncio.timeout(CONNECT_S):
            connection = await psycopg.AsyncConnection.connect(
                **settings,
                autocommit=True,
                prepare_threshold=None,
                cursor_factory=psycopg.AsyncClientCursor,
            )
        try:
            yield connection
        finally:
            await connection.close()

    async def _ask(self, connection: Connection, name: str, **values: object) -> list[Any]:
        async with asyncio.timeout(COMMAND_S):
            cursor = await connection.execute(
                self._queries[name], cast("Mapping[str, Any]", values)
            )
            return await cursor.fetchall()

    # -- the slot

    async def _start(self, connection: Connection) -> bool:
        """Starts the stream where it has to go on. True when something was lost in between."""
        system, log_end = await self._identify(connection)
        if await self._ask(connection, "publications", publications=list(PUBLICATIONS)) != [(2,)]:
            raise FeedError("The publications are missing: run `bookconnect-dm migrate up`.")
        ((self._is_standby,),) = await self._ask(connection, "is_standby")
        start, was_lost = await self._take_slot(connection, system, log_end)
        names = ",".join(f'"{name}"' for name in PUBLICATIONS)
        command = (
            f'START_REPLICATION SLOT "{self._slot}" LOGICAL {format_lsn(start)}'
            f" (proto_version '1', publication_names '{names}'"
            + (", messages 'true')" if self._on_note else ")")
        )
        async with asyncio.timeout(COMMAND_S):
            await connection.execute(command)
        self._system = system
        if self._visibility:
            self._visibility.forget()
        self._backend_pid = connection.pgconn.backend_pid
        self._progress.start_at(start, time.monotonic())
        return was_lost

    async def _identify(self, connection: Connection) -> tuple[tuple[str, str], int]:
        async with asyncio.timeout(COMMAND_S):
            row = await (await connection.execute("IDENTIFY_SYSTEM")).fetchone()
        if row is None:
            raise FeedError("PostgreSQL does not say who it is.")
        system, timeline, log_end, _database = row
        return (system, f"{timeline}"), parse_lsn(log_end)

    async def _take_slot(
        self, connection: Connection, system: tuple[str, str], log_end: int
    ) -> tuple[int, bool]:
        """Where to start, and whether what lies between the last stream and this one is lost."""
        found = await self._inactive_slot(connection)
        if found is None:
            return await self._create_slot(connection), True
        if self._system is None:
            return log_end, False
        confirmed = self._progress.confirmed
        is_other_log = system != self._system or log_end < confirmed
        if is_other_log or found > confirmed:
            return log_end, True
        return confirmed, False

    async def _inactive_slot(self, connection: Connection) -> int | None:
        """How far our slot was confirmed, once nobody reads it; None when there is none."""
        until = time.monotonic() + TAKEOVER_S
        while True:
            rows = await self._ask(connection, "slot", slot=self._slot)
            if not rows:
                return None
            plugin, is_here, active_pid, is_lost, confirmed = rows[0]
            if plugin != "pgoutput" or not is_here:
                raise FeedError(
                    f"Slot {self._slot} belongs to another database: set BOOKCONNECT_DM_INSTANCE."
                )
            if active_pid is None:
                if not is_lost and confirmed:
                    return parse_lsn(confirmed)
                await self._drop_slot(connection)
                continue
            if time.monotonic() > until:
                raise FeedError(
                    f"Another server reads slot {self._slot}: give each its own"
                    " BOOKCONNECT_DM_INSTANCE."
                )
            if active_pid == self._backend_pid:  # ours, not yet aware that we are gone
                await self._ask(connection, "terminate", slot=self._slot, pid=active_pid)
            await asyncio.sleep(0.1)

    async def _create_slot(self, connection: Connection) -> int:
        command = f'CREATE_REPLICATION_SLOT "{self._slot}" LOGICAL pgoutput NOEXPORT_SNAPSHOT'
        asking = None
        if self._is_standby and self._primary is not None:
            asking = asyncio.create_task(ask_for_snapshots(self._primary))
        try:
            async with asyncio.timeout(CREATE_S):
                row = await (await connection.execute(command)).fetchone()
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.wait([asking])
        if row is None:
            raise FeedError(f"Slot {self._slot} was not made.")
        log.info("slot_made", slot=self._slot, on_standby=self._is_standby)
        return parse_lsn(row[1])

    async def _drop_slot(self, connection: Connection, slot: str | None = None) -> bool:
        """Drops a slot that nobody reads. True when there is none of that name afterwards."""
        name = slot or self._slot
        with contextlib.suppress(psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
            await self._ask(connection, "drop_slot", slot=name)
        return not await self._ask(connection, "slot", slot=name)

    async def _reap(self) -> None:
        """Drops our slots that nobody has read between two looks."""
        before: dict[str, str] = {}
        pause_s = min(FIRST_LOOK_S, self._look_s)
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self._look_s
            try:
                before = await self._look(before)
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("reaper_failed", error=_first_line(error))

    async def _look(self, before: dict[str, str]) -> dict[str, str]:
        async with self._connect() as connection:
            rows = await self._ask(connection, "look_at_slots", prefix=PREFIX, slot=self._slot)
            now = {name: str(confirmed) for name, confirmed, _ in rows if name != self._slot}
            self._retained_bytes = sum(kept for name, _, kept in rows if name == self._slot)
            self._idle_slots = len(now)
            for name in [name for name in now if before.get(name) == now[name]]:
                if await self._drop_slot(connection, name):
                    log.warning("slot_reaped", slot=name)
        return now

    async def _follows_primary(self) -> bool:
        """False for a standby that lost its primary; an error is the stream's affair."""
        if self._is_standby:
            with contextlib.suppress(psycopg.Error, OSError, TimeoutError):
                async with self._connect() as connection:
                    return (await self._ask(connection, "follows_primary"))[0][0] is True
        return True

    # -- the stream

    async def _stream(self, connection: Connection) -> None:
        loop, pgconn = asyncio.get_running_loop(), connection.pgconn
        assembler = Assembler(skip_lsn=self._skip_lsn)
        readable = asyncio.Event()
        # Kept, because a connection that breaks forgets its descriptor, which then stays with the
        # loop; uvloop refuses whatever connection gets the same number next, for ever.
        descriptor = pgconn.socket
        loop.add_reader(descriptor, readable.set)
        try:
            while True:
                readable.clear()
                await self._drain(pgconn, assembler)
                self._tick(pgconn)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await readable.wait()
        finally:
            loop.remove_reader(descriptor)

    async def _drain(self, pgconn: pq.abc.PGconn, assembler: Assembler) -> None:
        pgconn.consume_input()
        taken = 0
        while True:
            size, data = pgconn.get_copy_data(1)
            if size == 0:
                return
            if size < 0:
                raise FeedError(_why_ended(pgconn))
            await self._take(pgconn, data, assembler)
            taken += 1
            if taken % SLICE == 0:
                self._tick(pgconn)
                await asyncio.sleep(0)

    async def _take(self, pgconn: pq.abc.PGconn, data: memoryview, assembler: Assembler) -> None:
        self._progress.heard(time.monotonic())
        if pgoutput.is_emitted(data):
            self._take_note(data)
            return
        frame = pgoutput.decode_frame(data)
        if isinstance(frame, pgoutput.WalData):
            at = assembler.current_lsn
            try:
                transaction = assembler.take(pgoutput.decode(frame.payload))
                if transaction is not None:
                    if transaction.membership and self._visibility:
                        await self._visibility.wait(transaction.xid)
                    self._deliver(transaction, frame.sent_at, is_skipped=at == self._skip_lsn)
            except Exception:
                # Twice at the same place: no accident. It is left out, and everybody told.
                self._skip_lsn = at if at == self._failed_lsn else self._skip_lsn
                self._failed_lsn = at
                raise
            return
        is_idle = not assembler.is_within_transaction
        self._progress.kept_alive(frame, is_idle=is_idle)
        if is_idle:
            self._settle_gap()
        if frame.reply_requested or self._progress.may_report(time.monotonic()):
            self._report(pgconn)

    def _take_note(self, data: memoryview) -> None:
        """Hands a note on; whatever else somebody put into the log is dropped before it is read."""
        if len(data) > HUGE:
            log.warning("huge_message_in_log", bytes=len(data))
        found = pgoutput.emitted_content(data, notes.PREFIX.encode(), most=notes.LIMIT)
        if found is None or self._on_note is None:
            self._foreign += 1
            return
        content, sent_at = found
        try:
            self._on_note(content, sent_at / 1e6 + PG_EPOCH_S)
        except Exception:
            log.exception("note_failed", slot=self._slot)  # messages matter more than who types

    def _deliver(self, transaction: Transaction, sent_at: int, *, is_skipped: bool) -> None:
        if is_skipped:
            log.error("transaction_left_out", lsn=format_lsn(transaction.end_lsn))
            self._say_gap("a transaction could not be read")
        elif sent_at - transaction.committed_at > STALE_S * 1_000_000:
            self._progress.owes_gap = True  # no news any more: once caught up, all read anew
        else:
            self._settle_gap()
            self._on_transaction(transaction)
        self._progress.done(transaction, sent_at)

    def _settle_gap(self) -> None:
        if self._progress.owes_gap:
            self._progress.owes_gap = False
            self._say_gap("the stream was too far behind")

    def _say_gap(self, why: str) -> None:
        self._gaps += 1
        log.warning("feed_gap", slot=self._slot, why=why)
        self._on_gap()

    def _tick(self, pgconn: pq.abc.PGconn) -> None:
        now = time.monotonic()
        if self._progress.silent_s(now) > LOST_S:
            raise FeedError("PostgreSQL has gone silent.")
        if self._progress.must_report(now):
            self._report(pgconn)

    def _report(self, pgconn: pq.abc.PGconn) -> None:
        pg_now = int((time.time() - PG_EPOCH_S) * 1e6)
        pgconn.put_copy_data(self._progress.report(time.monotonic(), pg_now))
        pgconn.flush()


def _why_ended(pgconn: pq.abc.PGconn) -> str:
    result = pgconn.get_result()
    said = result.get_error_message() if result else ""
    return _line(said) or "PostgreSQL ended the stream."


def _first_line(error: Exception) -> str:
    return _line(str(error)) or type(error).__name__


def _line(text: str) -> str:
    return text.strip().split("\n", 1)[0]
