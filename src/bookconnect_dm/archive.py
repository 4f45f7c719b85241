"""Following the log of the embedded PostgreSQL into the archive, and backing it up every day.

In charge of: pg_receivewal for as long as the database runs, the daily backup, starting again.
Knows about: the repository, and that nothing is archived before somebody made a first backup.
Does not know: how a backup is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
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
    while True:
        found = line()
        if found is None or not repository.backups(found):
            await asyncio.sleep(LOOK_S)
            continue
        process = await asyncio.create_subprocess_exec(
            *backup.receive_command(postgres, repository, found),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.defpath, "LC_ALL": "C", **postgres.client_env},
            start_new_session=True,
        )
        log.info("archive_follows", line=found.number)
        try:
            while line() == found and process.returncode is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await process.wait()
        finally:
            await _end(process)
        log.info("archive_interrupted", line=found.number, status=process.returncode)
        await asyncio.sleep(LOOK_S)


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
