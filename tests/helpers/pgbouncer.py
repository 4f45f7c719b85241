"""PgBouncer in transaction mode, in front of a database of a test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.helpers.server import free_port

__all__ = ["pooled_url"]

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


@contextlib.contextmanager
def pooled_url(url: str) -> Iterator[str]:
    """The way to the database of `url`, with its login, through a PgBouncer of our own."""
    program, port = binary(), free_port()
    target = conninfo_to_dict(url)
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    folder.chmod(0o755)  # it gives up root, and reads its files then
    users = folder / "users.txt"
    users.write_text(f'"{target["user"]}" "{target["password"]}"\n')
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
        yield make_conninfo(url, host="127.0.0.1", port=port)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _example(target: Mapping[str, object], port: int, users: Path) -> str:
    """The example that we ship, with another database, port, file and number of connections."""
    text = EXAMPLE.read_text("utf-8")
    where = f"{target['dbname']} = host={target['host']} port={target['port']}"
    for old, new in (
        ("app = host=127.0.0.1 port=5432", where),
        ("listen_port = 6432", f"listen_port = {port}\nunix_socket_dir ="),
        ("/etc/pgbouncer/userlist.txt", str(users)),
        ("default_pool_size = 20", f"default_pool_size = {POOL}"),
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
