"""One direct connection, for commands: migrations, checks, the retention worker.

In charge of: connecting once with a clear error, scripts, named statements, transactions.
Knows about: psycopg, the statements of `sql/admin.sql` and `sql/restore.sql`.
Does not know: what they are for.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg

from bookconnect_dm.config import PREFIX, Address
from bookconnect_dm.db import load_queries

__all__ = [
    "DENIED",
    "MISSING",
    "CommandError",
    "Direct",
    "NoAnswerError",
    "Way",
    "connect",
    "lock_holder",
]

CONNECT_S: Final = 10
_BLOCK: Final = 1 << 16
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_STATEMENTS: Final = ("admin.sql", "restore.sql")
Row = tuple[Any, ...]

DENIED: Final = "42501"
MISSING: Final = frozenset({"3F000", "42P01", "42703", "42883"})
"""A schema, table, column or function is not there."""
_NEXT_STEPS: Final = {
    DENIED: f"Connect as the role that migrated ({PREFIX}ADMIN_URL), or grant that to yours.",
    **dict.fromkeys(MISSING, "If this is the right database, run bookconnect-dm migrate up."),
}

# What is said before there is a connection has no sqlstate, only words; in another language than
# English it is the last one.
_REFUSALS: Final = (
    (
        'role ".*" does not exist|no such user|authentication failed|no password|to log in|pg_hba',
        "The database refuses the login",
        "Correct user and password in {where}, and see that pg_hba.conf lets that user in",
    ),
    (
        r'database ".*" does not exist|no such database',
        "There is no such database",
        "Create it, or correct its name in {where}",
    ),
    (
        "too many c|connection slots",
        "The database has no connection free",
        "Try again later, or raise its max_connections",
    ),
    (
        "starting up|shutting down|recovery|not (currently )?accepting connections",
        "The database is not ready",
        "Try again in a moment",
    ),
    ("FATAL|SSL|certificate", "The database refuses the connection", "Look at {where}"),
)
_NO_ANSWER: Final = (
    "The database does not answer",
    "Look whether it runs, and at host and port in {where}",
)


class CommandError(Exception):
    """A command cannot go on; the text says why, and what to do."""

    def __init__(
        self, sentence: str, *, sqlstate: str | None = None, next_step: str | None = None
    ) -> None:
        super().__init__(f"{_ended(sentence)} {next_step}" if next_step else sentence)
        self.sentence = sentence
        self.sqlstate = sqlstate
        self.next_step = next_step


class NoAnswerError(CommandError):
    """Nobody is there, as far as we can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a connection goes to the database."""

    host: str
    port: int
    is_local: bool
    """It does not leave this machine."""
    is_encrypted: bool
    is_meant_plain: bool
    """Somebody has written sslmode=disable."""


class Direct:
    """A connection in autocommit; `transaction()` groups statements."""

    def __init__(self, connection: psycopg.AsyncConnection[Row]) -> None:
        self._connection = connection
        self._queries: Mapping[str, LiteralString] = load_queries(
            "\n".join(
                (files("bookconnect_dm") / "sql" / name).read_text("utf-8") for name in _STATEMENTS
            )
        )
        self.warnings: list[str] = []
        connection.add_notice_handler(self._note)

    def _note(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING" and diagnostic.message_primary:
            self.warnings.append(diagnostic.message_primary)

    @property
    def backend_pid(self) -> int:
        """The process that serves us, as the other end said when we connected."""
        return self._connection.info.backend_pid

    @property
    def way(self) -> Way:
        """How it goes to the database."""
        info = self._connection.info
        return Way(
            host=info.host,
            port=info.port,
            is_local=info.host.startswith("/") or ip_address(info.hostaddr).is_loopback,
            is_encrypted=self._connection.pgconn.ssl_in_use,
            is_meant_plain=info.get_parameters().get("sslmode") == "disable",
        )

    async def attempt(self, text: str, params: Mapping[str, object]) -> int | None:
        """Run a read of the access rules; how many rows it saw, None where it was denied."""
        try:
            async with self._connection.transaction():
                cursor = await self._connection.execute(text.encode(), params)
                return len(await cursor.fetchall())
        except psycopg.errors.InsufficientPrivilege:
            return None
        except psycopg.Error as error:
            raise _command_error(error) from error

    def transaction(self) -> contextlib.AbstractAsyncContextManager[object]:
        """Commit at the end, roll back on an error."""
        return self._connection.transaction()

    async def script(self, text: str) -> None:
        """Run the statements of a file. Raises `CommandError` with the database's own words."""
        try:
            await self._connection.execute(text)
        except psycopg.Error as error:
            raise _command_error(error) from error

    async def rows(self, query: str, **params: object) -> list[Row]:
        """The rows of a named statement; none where it gives none."""
        try:
            cursor = await self._connection.execute(self._queries[query], params or None)
            return await cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise _command_error(error) from error

    async def value(self, query: str, **params: object) -> Any:  # noqa: ANN401 - as the column's type
        """The first column of the first row."""
        return (await self.rows(query, **params))[0][0]

    async def copy_out(self, query: str, path: Path) -> None:
        """Write what a named COPY statement gives into a new file that only we can read."""
        try:
            async with self._connection.cursor().copy(self._queries[query]) as copy:
                with os.fdopen(os.open(path, _NEW_FILE, 0o600), "wb") as stream:
                    async for block in copy:
                        stream.write(block)
        except psycopg.Error as error:
            raise _command_error(error) from error

    async def copy_in(self, query: str, path: Path) -> None:
        """Give a file to a named COPY statement."""
        try:
            async with self._connection.cursor().copy(self._queries[query]) as copy:
                with path.open("rb") as stream:
                    while block := stream.read(_BLOCK):
                        await copy.write(block)
        except psycopg.Error as error:
            raise _command_error(error) from error

    async def set_password(self, role: str, password: str) -> None:
        """Give a role a password; it leaves this process as a scram verifier only.

        Waits: for commands, which have nothing else to do.
        """
        try:
            self._connection.pgconn.change_password(role.encode(), password.encode())
        except psycopg.Error as error:
            raise _command_error(error) from error


@contextlib.asynccontextmanager
async def connect(url: str, *, name: str) -> AsyncIterator[Direct]:
    """Open the connection for a command. Raises `CommandError` when there is none to be had."""
    try:
        connection = await psycopg.AsyncConnection[Row].connect(
            url, autocommit=True, connect_timeout=CONNECT_S, application_name=name
        )
    except psycopg.Error as error:
        raise _connect_error(error, url) from error
    async with connection:
        yield Direct(connection)


async def lock_holder(db: Direct, name: str) -> str:
    """A sentence about who holds the advisory lock of that name, with a space before it, or none.

    Any login of the database can take it and stay, so it is not always who it should be.
    """
    return "".join(
        f" The lock is held by process {pid} ({user}, {application or 'unnamed'}). If that is none"
        f" of yours: select pg_terminate_backend({pid});"
        for pid, user, application in await db.rows("lock_holder", name=name)
    )


def _connect_error(error: psycopg.Error, url: str) -> CommandError:
    said = _sentence(error).removeprefix("connection failed: ")
    what, next_step = next(
        (rest for pattern, *rest in _REFUSALS if re.search(pattern, said, re.IGNORECASE)),
        _NO_ANSWER,
    )
    where = url.setting if isinstance(url, Address) and url.setting else "its address"
    kind = NoAnswerError if what == _NO_ANSWER[0] else CommandError
    return kind(f"{what}: {said}", next_step=f"{next_step.format(where=where)}.")


def _command_error(error: psycopg.Error) -> CommandError:
    step = _NEXT_STEPS.get(error.sqlstate or "")
    return CommandError(
        _sentence(error, is_hinting=step is None), sqlstate=error.sqlstate, next_step=step
    )


def _sentence(error: psycopg.Error, *, is_hinting: bool = True) -> str:
    diag = error.diag
    hint = diag.message_hint if is_hinting else None
    text = " ".join(part for part in (diag.message_primary, diag.message_detail, hint) if part)
    return text or next(iter(str(error).strip().splitlines()), type(error).__name__)


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
