"""PgBouncer in transaction mode, in front of a database of a test."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from tests.helpers.server import free_port

__all__ = ["POOL", "Pooler", "pooled_url", "pooler"]

EXAMPLE = Path(__file__).resolve().parents[2] / "ops" / "pgbouncer" / "pgbouncer.ini"
POOL = 3
"""Connections to PostgreSQL: fewer than a server process opens, so that they are shared."""


def binary() -> str:
    """Find PgBouncer: PGBOUNCER, else the path, else Debian's folder. Skips where it is not."""
    found = os.environ.get("PGBOUNCER") or shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if found is None:
        message = "PgBouncer is not here: install pgbouncer or set PGBOUNCER"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


class Pooler:
    """One that runs, in front of every database of a PostgreSQL, for one login."""

    def __init__(self, direct: str, door: str) -> None:
        self._direct = direct
        self._door = door

    def url(self, database: str) -> str:
        """The way through it to a database."""
        return f"{self._door}/{database}"

    def show(self, what: str) -> list[dict[str, Any]]:
        """What it tells of itself: `SHOW STATS`, `SHOW SERVERS` ..."""
        url = self.url("pgbouncer")
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as console:
            return console.execute(f"show {what}".encode()).fetchall()

    def strangers(self, database: str) -> tuple[int, list[dict[str, Any]]]:
        """How many backends of the server's login are the pooler's own; and those that are not.

        The tests' own, by the same login, have no name.
        """
        with psycopg.connect(self._direct, dbname=database, row_factory=dict_row) as db:
            seen = db.execute(
                "select client_port, application_name from pg_stat_activity"
                " where usename = current_user and datname = %s and pid <> pg_backend_pid()",
                (database,),
            ).fetchall()
        ours = {row["local_port"] for row in self.show("servers")}
        others = [row for row in seen if row["client_port"] not in ours]
        return len(seen) - len(others), [row for row in others if row["application_name"]]


@contextlib.contextmanager
def pooler(url: str) -> Iterator[Pooler]:
    """PgBouncer in front of the PostgreSQL of `url`, with its login.

    The password at its door is another than PostgreSQL's: who has it cannot go past.
    """
    program, port = binary(), free_port()
    password = secrets.token_urlsafe(16)
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    folder.chmod(0o755)  # it gives up root, and reads its files then
    target = conninfo_to_dict(url)
    users = folder / "users.txt"
    users.write_text(f'"{target["user"]}" "{password}"\n')
    settings = folder / "pgbouncer.ini"
    settings.write_text(_example(target, port, users))
    command = [program, "--quiet", str(settings)]
    if os.getuid() == 0:
        command[1:1] = ["--user", "nobody"]
    log_path = folder / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(port, process, log_path)
        yield Pooler(url, f"postgresql://{target['user']}:{password}@127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def pooled_url(url: str) -> Iterator[str]:
    """The way to the database of `url`, with its login, through a PgBouncer of our own."""
    with pooler(url) as one:
        yield one.url(str(conninfo_to_dict(url)["dbname"]))


def _example(target: Mapping[str, object], port: int, users: Path) -> str:
    """The example that we ship, with other databases, port, file and number of connections."""
    text = EXAMPLE.read_text("utf-8")
    where = " ".join(f"{name}={target[name]}" for name in ("host", "port", "user", "password"))
    for old, new in (
        ("app = host=127.0.0.1 port=5432", f"* = {where}"),
        ("listen_port = 6432", f"listen_port = {port}\nunix_socket_dir ="),
        ("/etc/pgbouncer/userlist.txt", str(users)),
        ("default_pool_size = 20", f"default_pool_size = {POOL}\nstats_users = {target['user']}"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    return text


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())
