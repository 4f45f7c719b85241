"""The demo: everything at once, in one folder, with one command.

In charge of: the order in which a database of our own, its schema, its passwords, its members and
the server come up, and in which they go down again.
Knows about: the embedded PostgreSQL, the migrations, the demo's SQL, the server.
Does not know: how any of these does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Final

import uvloop

from bookconnect_dm import app, archive, machine, migrate
from bookconnect_dm.config import PREFIX, Settings, SettingsError
from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.repository import Repository

__all__ = ["DEFAULT_FOLDER", "run", "settings_of"]

DEFAULT_FOLDER: Final = Path(".demo")
_LOGINS: Final = ("bookconnect_dm_server", "bookconnect_dm_feed", "bookconnect_dm_retention")
_SEEDS: Final = ("members.sql", "conversations.sql", "seeded.sql")
_LOOK_S: Final = 2.0
"""Whoever changes a member's tier here wants to see at once what it does."""
_READY_S: Final = 30
_SIGNING: Final = "signing of tokens"


def run(
    folder: Path, *, port: int, reset: bool, env: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Serve the demo from `folder` until it is interrupted; then stop everything in order.

    Starting again keeps the data; `reset` removes it first. Raises what the parts raise, each
    with one sentence that says what to do.
    """
    _require_free(port)
    postgres = EmbeddedPostgres(folder)
    with machine.interruptible():
        try:
            if reset:
                postgres.destroy()
            say("Starting PostgreSQL ...")
            postgres.start()
            _prepare(postgres, say)
            settings = _settings(postgres, port=port, env=env)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(postgres, settings, say))
        except KeyboardInterrupt:
            pass
        finally:
            # A second Ctrl-C must not leave PostgreSQL behind.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            say("Stopping ...")
            postgres.stop()


def settings_of(folder: Path) -> Settings | None:
    """Return the settings of the demo in `folder`, running or not; None when there is none."""
    if not (folder / "secrets.json").exists():
        return None
    return _settings(EmbeddedPostgres(folder), port=0, env={})


async def _serve(
    postgres: EmbeddedPostgres, settings: Settings, say: Callable[[str], None]
) -> None:
    telling = asyncio.create_task(_tell_when_ready(settings.port, say))
    keeping = asyncio.create_task(
        archive.keep(
            postgres,
            Repository(Path(settings.backup_folder)),
            schedule=settings.backup_schedule,
            keep_days=settings.backup_keep_days,
        )
    )
    try:
        await app.serve(settings, demo=True)
    finally:
        telling.cancel()
        keeping.cancel()
        await asyncio.wait([keeping])


async def _tell_when_ready(port: int, say: Callable[[str], None]) -> None:
    """Print the address once somebody who opens it sees the page, live delivery included."""
    import httpx

    address = f"http://127.0.0.1:{port}/"
    async with httpx.AsyncClient(timeout=2) as client:
        for _ in range(_READY_S * 20):
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(f"{address}readyz")).status_code == httpx.codes.OK:
                    say(f"\n  Two bookstores are open at {address}   (Ctrl-C closes them)\n")
                    return
            await asyncio.sleep(0.05)
    say(f"The server is not ready after {_READY_S} seconds: {address}readyz says why.")


def _prepare(postgres: EmbeddedPostgres, say: Callable[[str], None]) -> None:
    """Bring schema, passwords and data to where they should be; nothing of it harms twice."""
    asyncio.run(migrate.up(postgres.admin_url, adapter="standalone"))
    postgres.run_script(_sql("worker.sql"))
    for login in _LOGINS:
        postgres.set_password(login)
    if postgres.answers(_sql("is_seeded.sql")):
        return
    say("Filling the shelves ...")
    # One transaction: a first start that is interrupted leaves nothing, and the next one fills.
    postgres.run_script("\n".join(_sql(name) for name in _SEEDS))


def _sql(name: str) -> str:
    return (files("bookconnect_dm") / "sql" / "demo" / name).read_text("utf-8")


def _settings(postgres: EmbeddedPostgres, *, port: int, env: Mapping[str, str]) -> Settings:
    """Our own addresses and secrets; of the environment only limits, backups and the log level."""
    passed = {
        name: value
        for name, value in env.items()
        if name.startswith((f"{PREFIX}LIMIT_", f"{PREFIX}BACKUP_")) or name == f"{PREFIX}LOG_LEVEL"
    }
    server, feed, retention = _LOGINS
    found = Settings.from_env({f"{PREFIX}LOG_LEVEL": "warning", **passed})
    return replace(
        found,
        backup_folder=str(Repository.of(postgres.data_dir, found.backup_folder).folder),
        database_url=postgres.url_for(server),
        admin_url=postgres.admin_url,
        feed_url=postgres.url_for(feed),
        retention_url=postgres.url_for(retention),
        retention_look_seconds=_LOOK_S,
        jwt_secret=postgres.secret(_SIGNING),
        instance="demo",
        port=port,
    )


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(
                f"Port {port} is not free ({os.strerror(error.errno or 0)}): "
                f"choose another, such as make demo PORT={port + 1 if port < 65_535 else 8080}."
            ) from error
