"""The parts that a scenario is played with: a PostgreSQL, servers, a load from another process.

In charge of: starting and stopping them, and what they have used of the processor.
Knows about: the product's embedded PostgreSQL, its command line and its settings.
Does not know: what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen
from uuid import UUID

import psycopg

from bench import stores
from bench.facts import Cpu
from bench.stores import Store
from bookconnect_dm import migrate
from bookconnect_dm.auth import Rules, sign
from bookconnect_dm.config import PREFIX
from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.machine import pick_port

__all__ = ["SECRET", "Bench", "Server"]

SECRET = "a secret of thirty-two bytes or more, for the bench"
SERVER, FEED = "bookconnect_dm_server", "bookconnect_dm_feed"
UNLIMITED = ("SENDS_PER_SECOND", "STARTS_PER_HOUR", "SOCKETS", "FRAMES_PER_SECOND")
FOLDER = Path(os.environ.get("BENCH_FOLDER", ".bench"))

# The embedded server's own settings, and room for a store that is larger than a demo's. Baselines
# run on the same PostgreSQL.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    # A server that has been up for a while reuses the files of its log. A fresh one fills each new
    # one with zeros first: 44 ms in which nobody commits.
    "wal_init_zero": "off",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "off",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A `bookconnect-dm serve` of its own process."""

    port: int
    pid: int
    start_s: float

    @property
    def url(self) -> str:
        """Where its HTTP is."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything."""

    name: str
    store_share: float
    """Of the mission's year."""
    seconds: float
    pairs: int

    @property
    def is_full(self) -> bool:
        """Whether this is the mission's whole year."""
        return self.store_share >= 1


class Bench:
    """One PostgreSQL with fsync, databases in it, and servers for them."""

    def __init__(self, size: Size, folder: Path = FOLDER) -> None:
        self.size = size
        folder.mkdir(parents=True, exist_ok=True)
        self.postgres = EmbeddedPostgres(folder / "postgres", settings=SETTINGS)

    def __enter__(self) -> Self:
        """Start PostgreSQL."""
        self.postgres.start()
        asyncio.run(migrate.up(self.postgres.admin_url, adapter="standalone"))
        for role in (SERVER, FEED):
            self.postgres.set_password(role)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it; its folder stays, with the stores in it."""
        self.postgres.stop()

    @property
    def postmaster(self) -> int:
        """The process id of PostgreSQL."""
        pid = self.postgres.pid
        assert pid is not None
        return pid

    def store(self, kind: str = "year", share: float | None = None) -> Store:
        """A store of the mission's shape, loaded when it is not there yet; as loaded or used."""
        share = self.size.store_share if share is None else share
        return stores.open_store(self.postgres, kind, share)

    def admin_url(self, database: str) -> str:
        """The owner's address of a database."""
        return self.postgres.url_for("postgres", database=database)

    def server_url(self, database: str) -> str:
        """The server login's address of a database."""
        return self.postgres.url_for(SERVER, database=database)

    @contextlib.contextmanager
    def admin(self, database: str) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the owner's, in autocommit."""
        with psycopg.connect(self.admin_url(database), autocommit=True) as db:
            yield db

    @contextlib.contextmanager
    def server(self, database: str, **settings: str) -> Iterator[Server]:
        """Run `serve` for a database."""
        process, server = self.start_server(database, **settings)
        try:
            yield server
        finally:
            process.terminate()
            process.wait(20)

    def start_server(
        self, database: str, **settings: str
    ) -> tuple[subprocess.Popen[bytes], Server]:
        """Start `serve`; ends the process itself when the server does not become ready."""
        port = pick_port(0)
        ours = {
            "DATABASE_URL": self.server_url(database),
            "FEED_URL": self.postgres.url_for(FEED, database=database),
            "JWT_SECRET": SECRET,
            "PORT": str(port),
            "INSTANCE": f"bench_{port}",
            "LOG_LEVEL": "warning",
            **{f"LIMIT_{name}": "0" for name in UNLIMITED},
            **settings,
        }
        plain = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "bookconnect-dm"), "serve"],
            env=plain | {PREFIX + name: value for name, value in ours.items()},
        )
        try:
            _wait_until_ready(port, process)
        except BaseException:
            process.kill()
            raise
        return process, Server(port, process.pid, time.perf_counter() - began)

    def cpu(self, *servers: Server) -> Cpu:
        """A clock of the processor time that servers and database use from now on."""
        return Cpu([one.pid for one in servers], self.postmaster)

    def load(
        self,
        servers: list[Server],
        *,
        on_begin: Callable[[], None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
        **spec: Any,
    ) -> dict[str, Any]:
        """Run a load against servers from a process of its own; give what it saw and what it cost.

        `cpu` has the seconds of server and database during the measured window, the load's own, and
        the machine's; `window_s` how long that was.
        """
        spec |= {"ports": [one.port for one in servers], "secret": SECRET}
        with tempfile.TemporaryFile() as given:
            given.write(json.dumps(spec, default=str).encode())
            given.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.loadgen"], stdin=given, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            try:
                return self._follow(process, servers, on_begin, on_end)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait(10)

    def _follow(
        self,
        process: subprocess.Popen[bytes],
        servers: list[Server],
        on_begin: Callable[[], None],
        on_end: Callable[[], None],
    ) -> dict[str, Any]:
        """It says `begin` and `end` around its window: read the clocks there."""
        assert process.stdout is not None
        clock, used = None, {}
        for line in process.stdout:
            said = json.loads(line)
            if said["says"] == "begin":
                on_begin()
                clock = self.cpu(*servers)
            elif said["says"] == "end" and clock is not None:
                used = clock.so_far()
                on_end()
            elif said["says"] == "result":
                found: dict[str, Any] = said["result"]
                found["cpu"] = {**used, "load": found.pop("load_cpu_s", 0.0)}
                return found
        raise SystemExit("The load ended without a result.")


def token(user_id: UUID | str) -> str:
    """A member's token, good for an hour."""
    return sign(UUID(str(user_id)), SECRET, rules=Rules(), ttl_s=3600, now=time.time())


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit("The server has ended before it was ready.")
        with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return
        time.sleep(0.01)
    raise SystemExit("The server is not ready after 90 seconds.")
