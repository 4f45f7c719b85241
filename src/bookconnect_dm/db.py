"""The way to the database: connections, statements by name, and what its errors mean.

In charge of: a bounded set of connections, one round trip per statement, limited waits, repeating
what may be repeated, and turning SQLSTATEs into the contract's errors.
Knows about: psycopg, `sql/queries.sql`.
Does not know: what any statement is for. `store` and `writer` do.

Why not psycopg_pool: after an outage its back-off doubles for minutes, each dead connection costs a
second before the next is tried, and a request during an outage waits out its whole timeout. Here a
dead connection is seen without a round trip, and an outage is answered at once and is over with
the first connection that succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, LiteralString, cast
from uuid import UUID

import psycopg
import structlog
from psycopg import pq
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bookconnect_dm.errors import ERRORS, Problem
from bookconnect_dm.metrics import Metrics
from bookconnect_dm.shares import MemberShares

__all__ = ["Database", "Outage", "Row", "load_queries", "problem_from"]

Row = tuple[Any, ...]
"""One row. The statements give ids and times as the wire's text; a jsonb is its text as bytes."""

CONNECT_S: Final = 5.0
STATEMENT_S: Final = 10.0
WAIT_S: Final = 3.0
"""How long a caller waits for a connection to become free."""
WAITING: Final = 2_000
"""How many callers may wait; one more is told UNAVAILABLE at once."""
COOL_DOWN_S: Final = 0.25
"""After a failed connect nobody tries again for this long: an outage must stay cheap."""
LIFETIME_S: Final = 30 * 60.0
_KEEP_ALIVE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 6_000,
}
"""Unless the address says otherwise. A firewall forgets a connection that says nothing for minutes,
and a machine that vanishes says no goodbye: neither may be found out by somebody's message."""
ATTEMPTS: Final = 3

log = structlog.get_logger("db")


# --- statements by name ---------------------------------------------------------------------

_NAME: Final = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load_queries(text: str | None = None) -> Mapping[str, LiteralString]:
    """The statements of `queries.sql` by name. Raises `ValueError` if a name is given twice."""
    if text is None:
        text = (files("bookconnect_dm") / "sql" / "queries.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError("a statement's name is given twice")
    return {
        # The file is part of the package: as literal as if it stood here.
        name: cast("LiteralString", body.strip().rstrip(";"))
        for name, body in zip(names, bodies, strict=True)
    }


# --- how values come back -------------------------------------------------------------------


class _JsonLoader(Loader):
    """A jsonb value's text, undecoded: most of it goes on to the client as it is."""

    format = pq.Format.BINARY

    def load(self, data: bytes | bytearray | memoryview) -> bytes:
        return bytes(data[1:])  # the first byte is the format's version


def _prepare_adapters(connection: psycopg.AsyncConnection[Row]) -> None:
    connection.adapters.register_loader("jsonb", _JsonLoader)


# --- errors ---------------------------------------------------------------------------------

_UNAVAILABLE: Final = (
    "08",  # the connection broke
    "25006",  # read only: this was the primary a moment ago
    "28",  # the login is not accepted (yet)
    "3D000",  # the database is not there (yet)
    "40001",  # serialisation, and a deadlock below
    "40P01",
    "53",  # out of connections, memory or disk
    "55P03",  # a lock was not to be had in time
    "57",  # cancelled, or shutting down
    "58",  # the machine below failed
)
_AGAIN: Final = ("40001", "40P01")
_HELD: Final = "55P03"
"""A lock. What a migration holds is free again within a second, and nobody need hear of it."""
_LOST: Final = ("08", "57P")


def problem_from(error: Exception) -> Problem:
    """What `error`, raised while a statement ran, means to a client."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, psycopg.Error):
        return _problem_of_driver(error) if error.sqlstate is None else _problem_of_state(error)
    if isinstance(error, TimeoutError):
        return Problem("UNAVAILABLE", "The database takes too long to answer.", retry_after=1)
    if isinstance(error, UnicodeEncodeError):
        return Problem("INVALID_REQUEST", "A text holds half a character.")
    return Problem("INTERNAL")


def _problem_of_driver(error: psycopg.Error) -> Problem:
    if isinstance(error, psycopg.OperationalError):
        return Problem("UNAVAILABLE", "The database is away.", retry_after=1)
    if isinstance(error, psycopg.DataError):  # a NUL in a text parameter
        return Problem("INVALID_REQUEST", "A text holds a NUL character.")
    return Problem("INTERNAL")


def _problem_of_state(error: psycopg.Error) -> Problem:
    state = error.sqlstate or ""
    ours = error.diag.message_primary or ""
    if state.startswith("PT") and ours in ERRORS:
        detail, field = error.diag.message_detail or "", error.diag.message_hint or None
        return Problem(ours, detail, field=field)
    if state == "42501":
        return Problem("PERMISSION_DENIED")
    if state.startswith(_UNAVAILABLE):
        return Problem("UNAVAILABLE", retry_after=1)
    if state.startswith("22"):
        return Problem("INVALID_REQUEST", "A value has the wrong form or is out of range.")
    return Problem("INTERNAL")


def _is_lost(error: psycopg.Error) -> bool:
    """The connection is gone. Whether the statement was done is not known."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(_LOST)


def _is_unanswered(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or (isinstance(error, psycopg.Error) and _is_lost(error))


# --- connections ----------------------------------------------------------------------------


@dataclass(slots=True)
class _Link:
    """A connection, and the time at which it is to be replaced."""

    connection: psycopg.AsyncConnection[Row]
    until: float


@dataclass(slots=True)
class Outage:
    """What is known of a database that is away; for all who connect to the same one.

    Shared, because what one has found out holds for the others: nobody may go on answering
    UNAVAILABLE once another has reached it and the server says that it is ready.
    """

    cool_until: float = 0.0
    """Until then (monotonic seconds) nobody tries to connect."""
    is_doubted: bool = False
    """The last statement got no answer. A connection may live all the same, up to a pooler."""


class Database:
    """At most `size` connections to one database, made when needed.

    Every statement that runs through here is safe to repeat, by the way our SQL functions are
    made (a send repeats under its id): so a lost connection or a deadlock is tried again.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int,
        metrics: Metrics,
        prepared_statements: bool = True,
        name: str = "bookconnect-dm",
        outage: Outage | None = None,
    ) -> None:
        given = conninfo_to_dict(url)
        self._url = make_conninfo(url, **{k: n for k, n in _KEEP_ALIVE.items() if k not in given})
        self._name = name
        self._metrics = metrics
        self._prepare_threshold = 0 if prepared_statements else None
        self._queries = load_queries()
        self._free = asyncio.Semaphore(size)
        self.size = size
        self.used = 0
        """Connections with a statement under way."""
        self.waiting = 0
        """Callers that wait for a connection."""
        self._shares = MemberShares(size)
        self._idle: list[_Link] = []
        self._outage = outage or Outage()
        self._closed = False
        self.refusal: str | None = None
        """If set, why nothing may run here (the schema is not ours); everything is UNAVAILABLE."""

    async def close(self) -> None:
        """Close the idle connections; one in use is closed when its statement ends."""
        self._closed = True
        while self._idle:
            await _close(self._idle.pop().connection)

    async def fetch(self, query: str, /, **params: object) -> list[Row]:
        """The rows of a named statement. Raises `Problem`."""
        if self.refusal is not None:
            raise Problem("UNAVAILABLE", self.refusal, retry_after=5)
        actor = params.get("actor")
        if not isinstance(actor, UUID):
            return await self._fetch(query, params)
        async with self._shares.turn(actor):
            return await self._fetch(query, params)

    async def fetch_one(self, query: str, /, **params: object) -> Row:
        """The one row of a statement that always gives one. Raises `Problem`."""
        return (await self.fetch(query, **params))[0]

    async def fetch_whatever_the_schema(
        self, query: str, /, *, expected: Collection[str] = (), **params: object
    ) -> list[Row]:
        """As `fetch`, but also while the schema is not ours: to ask for its version.

        A SQLSTATE that is `expected` is an answer, and not worth a line in the log.
        """
        return await self._fetch(query, params, expected)

    async def is_up(self) -> bool:
        """Whether the database is there. Asks it only if the last statement got no answer."""
        try:
            async with self._connection(refresh=True):
                pass
            if self._outage.is_doubted:
                async with asyncio.timeout(WAIT_S):
                    await self._fetch("schema", {})
        except (Problem, TimeoutError):
            return False
        return True

    async def _fetch(
        self, query: str, params: Mapping[str, object], expected: Collection[str] = ()
    ) -> list[Row]:
        text = self._queries[query]
        started = time.perf_counter()
        outcome = "ok"
        try:
            return await self._attempts(query, text, params, expected)
        except Problem as problem:
            outcome = problem.code
            raise
        finally:
            self._metrics.statement(query, outcome, time.perf_counter() - started)

    async def _attempts(
        self,
        query: str,
        text: LiteralString,
        params: Mapping[str, object],
        expected: Collection[str],
    ) -> list[Row]:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._connection() as connection, asyncio.timeout(STATEMENT_S):
                    rows = await _run(connection, text, params)
                self._outage.is_doubted = False
            except (psycopg.Error, TimeoutError, UnicodeEncodeError) as error:
                self._outage.is_doubted |= _is_unanswered(error)
                if attempt == ATTEMPTS or not _may_repeat(error):
                    problem = problem_from(error)
                    if getattr(error, "sqlstate", None) not in expected:
                        _log(query, error, problem)
                    raise problem from error
                self._metrics.repeated(query)
                if _is_again(error):
                    longest_s = 0.5 if _is_held(error) else 0.05
                    await asyncio.sleep(random.uniform(0.1, 1) * longest_s * attempt)  # noqa: S311
            else:
                return rows
        raise AssertionError("unreachable")

    @contextlib.asynccontextmanager
    async def _connection(
        self, *, refresh: bool = False
    ) -> AsyncIterator[psycopg.AsyncConnection[Row]]:
        await self._take_turn()
        self.used += 1
        try:
            link = await self._ready(refresh=refresh)
            try:
                yield link.connection
            finally:
                await self._give_back(link)
        finally:
            self.used -= 1
            self._free.release()

    async def _take_turn(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        if self.waiting >= WAITING:
            raise Problem("UNAVAILABLE", "Too much is waiting for the database.", retry_after=1)
        self.waiting += 1
        try:
            async with asyncio.timeout(WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            raise Problem("UNAVAILABLE", "The database is busy.", retry_after=1) from None
        finally:
            self.waiting -= 1

    async def _ready(self, *, refresh: bool) -> _Link:
        """A connection that lives."""
        now = time.monotonic()
        while self._idle:
            link = self._idle.pop()
            if _lives(link.connection) and now < link.until:
                return link
            await _close(link.connection)
            self._metrics.connection_lost()
        if now < self._outage.cool_until and not refresh:
            raise Problem("UNAVAILABLE", "The database is away.", retry_after=1)
        until = now + LIFETIME_S * random.uniform(0.9, 1.0)  # noqa: S311  no secret
        return _Link(await self._connect(), until)

    async def _connect(self) -> psycopg.AsyncConnection[Row]:
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await psycopg.AsyncConnection[Row].connect(
                    self._url,
                    autocommit=True,
                    prepare_threshold=self._prepare_threshold,
                    application_name=self._name,
                )
        except (psycopg.Error, TimeoutError) as error:
            self._outage.cool_until = time.monotonic() + COOL_DOWN_S
            self._metrics.connect_failed()
            log.warning("database_unreachable", error=_first_line(error))
            raise Problem("UNAVAILABLE", "The database is away.", retry_after=1) from error
        self._outage.cool_until = 0.0
        self._metrics.connected()
        _prepare_adapters(connection)
        return connection

    async def _give_back(self, used: _Link) -> None:
        # A refused statement leaves the connection idle and usable. One that was cancelled half
        # way does not: what it did is not worth finding out.
        idle = used.connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
        if idle and not self._closed:
            self._idle.append(used)
        else:
            self._metrics.connection_lost()
            await _close(used.connection)


async def _run(
    connection: psycopg.AsyncConnection[Row], text: LiteralString, params: Mapping[str, object]
) -> list[Row]:
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(text, params)
        return await cursor.fetchall()


def _lives(connection: psycopg.AsyncConnection[Row]) -> bool:
    """Whether the other end is still there, as far as our own kernel knows: no round trip."""
    try:
        connection.pgconn.consume_input()
    except psycopg.Error:
        return False
    return connection.pgconn.status == pq.ConnStatus.OK


async def _close(connection: psycopg.AsyncConnection[Row]) -> None:
    with contextlib.suppress(psycopg.Error, OSError):
        await connection.close()


def _may_repeat(error: Exception) -> bool:
    return isinstance(error, psycopg.Error) and (_is_lost(error) or _is_again(error))


def _is_again(error: Exception) -> bool:
    return isinstance(error, psycopg.Error) and error.sqlstate in (*_AGAIN, _HELD)


def _is_held(error: Exception) -> bool:
    return isinstance(error, psycopg.Error) and error.sqlstate == _HELD


def _log(query: str, error: Exception, problem: Problem) -> None:
    if problem.code in {"INTERNAL", "UNAVAILABLE"}:
        # The first line only: a driver's further lines may quote the values of a statement.
        state = getattr(error, "sqlstate", None)
        log.error("statement_failed", statement=query, sqlstate=state, error=_first_line(error))


def _first_line(error: Exception) -> str:
    lines: Sequence[str] = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
