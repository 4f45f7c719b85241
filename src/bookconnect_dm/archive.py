"""Following the log of the embedded PostgreSQL into the archive, and backing it up every day.

In charge of: pg_receivewal for as long as the database runs, the daily backup, starting again.
Knows about: the repository, and that nothing is archived before somebody made a first backup.
Does not know: how a backup is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog

from bookconnect_dm import backup
from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.repository import Line, Repository, RepositoryError
from bookconnect_dm.schedule import last_due

__all__ = ["keep"]

LOOK_S: Final = 1.0
DUE_S: Final = 60.0
STOP_S: Final = 10.0
GRACE_S: Final = 10.0
"""A backup that brings the log in itself, or a database that starts again, is over by then."""
WORDS: Final = 300

log = structlog.get_logger("archive")


async def keep(
    postgres: EmbeddedPostgres, repository: Repository, *, schedule: tuple[str, ...], keep_days: int
) -> None:
    """Follow the log of a running cluster, and back it up at the times of `schedule`.

    Until cancelled. Begins once there is a first backup of this cluster; without one there is
    no archive. After a restore that was killed before it made that backup, it is made here.
    """
    seen = await backup.identity(postgres.admin_url)

    def line() -> Line | None:
        return repository.line_of(seen.system, seen.timeline) if repository.exists else None

    while True:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_follow(postgres, repository, line))
                group.create_task(_every_day(postgres, repository, line, schedule, keep_days))
        except* RepositoryError as group_of_one:  # somebody may mend the folder meanwhile
            log.warning("archive_not_read", reason=str(group_of_one.exceptions[0]))
        await asyncio.sleep(DUE_S)


async def _follow(
    postgres: EmbeddedPostgres, repository: Repository, line: Callable[[], Line | None]
) -> None:
    """One receiver at a time; it ends with the line, with the database, or by an accident."""
    well_at = time.monotonic()
    warned_at = float("-inf")
    while True:
        found = line()
        if found is None or not repository.backups(found):
            well_at = time.monotonic()
            await asyncio.sleep(LOOK_S)
            continue
        log.info("archive_follows", line=found.number)
        began_at = time.monotonic()
        command = backup.receive_command(postgres, repository, found)
        status, reason = await _receive(
            command, postgres.client_env, partial(_is_still, found, line)
        )
        now = time.monotonic()
        if status is None or now - began_at >= GRACE_S:
            well_at = now
        # It is tried again each second; that it goes on failing is said each minute.
        if now - well_at >= GRACE_S and now - warned_at >= DUE_S:
            warned_at = now
            log.warning("archive_interrupted", line=found.number, status=status, reason=reason)
        else:
            log.info("archive_interrupted", line=found.number, status=status)
        await asyncio.sleep(LOOK_S)


def _is_still(found: Line, line: Callable[[], Line | None]) -> bool:
    return line() == found


async def _receive(
    command: list[str], env: Mapping[str, str], is_wanted: Callable[[], bool]
) -> tuple[int | None, str]:
    """Run a receiver for as long as it is wanted; its status and last words if it ended sooner."""
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=said,
            env={"PATH": os.defpath, "LC_ALL": "C", **env},
            start_new_session=True,
        )
        try:
            while is_wanted() and process.returncode is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await process.wait()
            status = process.returncode
        finally:
            await _end(process)
        said.seek(0)
        return status, said.read().decode("utf-8", "replace").strip()[-WORDS:]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()


async def _every_day(
    postgres: EmbeddedPostgres,
    repository: Repository,
    line: Callable[[], Line | None],
    schedule: tuple[str, ...],
    keep_days: int,
) -> None:
    while True:
        found = line()
        backups = repository.backups(found) if found else []
        now = datetime.now(UTC)
        # A line that came out of another has lost its first backup only by an accident.
        is_bare = found is not None and not backups and found.parent is not None
        if is_bare or (backups and backups[-1].began_at < last_due(schedule, now)):
            try:
                made = await asyncio.to_thread(
                    backup.make,
                    postgres,
                    repository,
                    keep_days=keep_days,
                    tell=lambda words: log.info("backup", note=words),
                    grow=lambda _kind, _count: None,
                )
            except Exception as error:  # noqa: BLE001  the outer edge of a task: tomorrow again
                log.warning("backup_failed", reason=str(error)[-300:])
            else:
                log.info("backup_made", name=made.backup.name, took_s=round(made.took_s, 1))
        await asyncio.sleep(DUE_S)
