"""Backups of the embedded PostgreSQL: made, proved, let go.

In charge of: base backups and increments, bringing the log into the archive, trial restores.
Knows about: the repository, PostgreSQL's backup programs, the slot that keeps the log for us.
Does not know: how a moment is restored for good.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bookconnect_dm import machine, migrate, recovery
from bookconnect_dm.direct import CommandError, connect
from bookconnect_dm.embedded import DATABASE, EmbeddedPostgres
from bookconnect_dm.machine import MachineError
from bookconnect_dm.repository import Backup, Line, Repository, RepositoryError

__all__ = [
    "SLOT",
    "Identity",
    "Made",
    "identity",
    "is_full_due",
    "look",
    "make",
    "prove",
    "receive_command",
    "running",
]

NAME: Final = "bookconnect-dm backup"
SLOT: Final = "bookconnect_dm_archive"
FULL_EVERY: Final = timedelta(days=7)
EARLY: Final = timedelta(hours=12)
"""The run of a week later is still that when it begins a little sooner in its hour."""
ARCHIVE_S: Final = 120.0
INCREMENTAL_SINCE: Final = 17

Tell = Callable[[str], None]
Grow = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which history a running cluster writes."""

    system: str
    timeline: int
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a backup came to."""

    backup: Backup
    expired: tuple[str, ...]
    took_s: float


@contextmanager
def running(postgres: EmbeddedPostgres) -> Iterator[None]:
    """See that the cluster runs: already, held by another process, or by us until the end."""
    if postgres.pid is not None:
        yield
        return
    with postgres:
        yield


def make(
    postgres: EmbeddedPostgres,
    repository: Repository,
    *,
    keep_days: int,
    is_full: bool = False,
    tell: Tell,
    grow: Grow,
) -> Made:
    """Make a backup, bring the log into the archive, and let go what is no longer needed.

    An increment where there is a backup to build on, else a full one; each week a full one. A
    killed one leaves nothing that counts. Raises `MachineError`, `RepositoryError`,
    `CommandError`.
    """
    began = time.monotonic()
    with repository.lock() as lock:
        repository.clear()
        seen = asyncio.run(identity(postgres.admin_url))
        line = _line_for(repository, seen, asyncio.run(_hold_log(postgres.admin_url)))
        backup = _write(
            postgres, repository, line, lock=lock, is_full=is_full, tell=tell, grow=grow
        )
        asyncio.run(_bring_log(postgres, repository, line, lock=lock))
        expired = repository.expire(keep_days, datetime.now(UTC))
    return Made(backup=backup, expired=tuple(expired), took_s=time.monotonic() - began)


def is_full_due(newest: datetime | None, now: datetime) -> bool:
    """Whether the newest full one is so old that another is due: only then an older one can go."""
    return newest is None or now - newest >= FULL_EVERY - EARLY


async def identity(url: str) -> Identity:
    """Ask a cluster which history it writes. Raises `CommandError`."""
    async with connect(url, name=NAME) as db:
        system, timeline, _, now = (await db.rows("identity"))[0]
    return Identity(system=system, timeline=timeline, now=now)


async def _hold_log(url: str) -> bool:
    """Have the cluster keep its log until we have it; whether it did so without a break."""
    async with connect(url, name=NAME) as db:
        if await db.value("tablespaces"):
            raise CommandError("This database has tablespaces: back it up with pgBackRest.")
        found = await db.rows("archive_slot")
        if found and found[0][1]:
            await db.rows("drop_archive_slot")
        if not found or found[0][1]:
            await db.rows("make_archive_slot")
            return False
        return True


def _line_for(repository: Repository, seen: Identity, is_unbroken: bool) -> Line:  # noqa: FBT001
    """The line that the cluster writes; a new one for a new cluster, and after a gap in the log."""
    line = repository.line_of(seen.system, seen.timeline)
    if line is not None and (is_unbroken or not repository.pieces(line)):
        return line
    return repository.open_line(
        seen.system, seen.timeline, now=datetime.now(UTC), parent=line.number if line else None
    )


def _write(
    postgres: EmbeddedPostgres,
    repository: Repository,
    line: Line,
    *,
    lock: int,
    is_full: bool,
    tell: Tell,
    grow: Grow,
) -> Backup:
    earlier = repository.backups(line)
    fulls = [one for one in earlier if one.kind == "full"]
    version = machine.program_version(postgres.programs / "postgres")
    if (
        not is_full
        and fulls
        and version >= INCREMENTAL_SINCE
        and not is_full_due(fulls[-1].began_at, datetime.now(UTC))
    ):
        try:
            return _take(postgres, repository, line, earlier[-1], lock=lock, grow=grow)
        except MachineError as error:
            tell(f"No increment is possible, so a full backup is made ({str(error)[-120:]}).")
            repository.clear()
    return _take(postgres, repository, line, None, lock=lock, grow=grow)


def _take(
    postgres: EmbeddedPostgres,
    repository: Repository,
    line: Line,
    base: Backup | None,
    *,
    lock: int,
    grow: Grow,
) -> Backup:
    kind: Any = "incremental" if base else "full"
    began_at = datetime.now(UTC)
    name = f"{began_at:%Y%m%dT%H%M%SZ}-{kind}"
    target = repository.place_for(line, name)
    command = [
        str(postgres.programs / "pg_basebackup"),
        f"--pgdata={target}",
        "--checkpoint=fast",
        "--wal-method=stream",
        "--manifest-checksums=SHA256",
        "--no-password",
    ]
    if base is not None:
        command.append(f"--incremental={repository.path_of(base) / 'backup_manifest'}")
    machine.run_program(
        command,
        env=postgres.client_env,
        timeout_s=None,
        meanwhile=_size_watch(target, grow),
        keep_open=(lock,),
    )
    manifest = json.loads((target / "backup_manifest").read_text("utf-8"))
    span = manifest["WAL-Ranges"][0]
    backup = Backup(
        name=name,
        line=line.number,
        kind=kind,
        base=base.name if base else None,
        began_at=began_at,
        ended_at=datetime.now(UTC),
        start_lsn=span["Start-LSN"],
        stop_lsn=span["End-LSN"],
        size=_size(target),
    )
    machine.give_to(None, target)
    repository.record(backup)
    return backup


def _size(folder: Path) -> int:
    return sum(
        os.path.getsize(Path(where) / name)  # noqa: PTH202 - a stat object for each would be slow
        for where, _, names in os.walk(folder)
        for name in names
    )


def _size_watch(folder: Path, grow: Grow) -> Callable[[], None]:
    """Show how much is copied; looking at all files takes a moment, so once a second at most."""
    seen = 0
    looked = time.monotonic()

    def look() -> None:
        nonlocal seen, looked
        if time.monotonic() - looked < 1:
            return
        try:
            size = _size(folder) >> 20
        except OSError:  # a file was renamed under our eyes
            return
        grow("MB copied", max(size - seen, 0))
        seen, looked = max(size, seen), time.monotonic()

    return look


async def _bring_log(
    postgres: EmbeddedPostgres, repository: Repository, line: Line, *, lock: int
) -> None:
    """Bring the log into the archive up to this moment; where somebody does so already, wait."""
    async with connect(postgres.admin_url, name=NAME) as db:
        upto, last = (await db.rows("switch_log"))[0]
        deadline = time.monotonic() + ARCHIVE_S
        while not await db.value("log_is_away", lsn=upto):
            if time.monotonic() > deadline:
                raise CommandError("The log does not reach the archive: is the disk full?")
            if not (await db.rows("archive_slot"))[0][0]:
                try:
                    await asyncio.to_thread(_receive, postgres, repository, line, last, lock)
                except MachineError:
                    # Whoever follows the log may have begun at this very moment.
                    if not (await db.rows("archive_slot"))[0][0]:
                        raise
                else:
                    return
            await asyncio.sleep(0.1)


def _receive(
    postgres: EmbeddedPostgres, repository: Repository, line: Line, last: str, lock: int
) -> None:
    machine.run_program(
        [*receive_command(postgres, repository, line), f"--endpos={last}"],
        env=postgres.client_env,
        timeout_s=None,
        keep_open=(lock,),
    )


def receive_command(postgres: EmbeddedPostgres, repository: Repository, line: Line) -> list[str]:
    """The program that follows a cluster's log into the archive."""
    return [
        str(postgres.programs / "pg_receivewal"),
        f"--directory={repository.log_folder(line)}",
        f"--slot={SLOT}",
        "--synchronous",
        "--no-loop",  # when the database goes it ends; whoever runs it decides about the next
        "--no-password",
    ]


# -- proofs --------------------------------------------------------------------------------------


def prove(
    postgres: EmbeddedPostgres,
    repository: Repository,
    backup: Backup,
    *,
    is_quick: bool,
    adapter: str,
    tell: Tell,
    meanwhile: Callable[[], None],
) -> None:
    """Check a backup and, unless `is_quick`, restore it on trial up to the end of its log.

    Raises with one sentence at the first thing that is wrong.
    """
    with repository.reading():
        line = repository.line(backup.line)
        chain = repository.chain(backup)
        for number, one in enumerate(chain):
            try:
                _verify_files(postgres, repository, one, meanwhile=meanwhile)
            except MachineError as error:
                cure = _way_without(repository, line, chain[number:])
                why = f"{one.name} is not as it was written: {error} {cure}"
                raise RepositoryError(why) from error
            tell(f"{one.name}: every data file is as it was written")
        missing = repository.gap(line, since=backup.start_lsn)
        if missing:
            raise RepositoryError(
                f"The log lacks {missing}: moments after it cannot be restored; make a backup now."
            )
        tell(f"the log goes on from it without a gap ({len(repository.pieces(line))} pieces)")
        if is_quick:
            return
        found = _try(postgres, repository, chain, line, adapter=adapter, meanwhile=meanwhile)
        repository.note_verified(backup, datetime.now(UTC))
        tell(f"a trial restore came up with {found:,} messages and the schema as it should be")


def _verify_files(
    postgres: EmbeddedPostgres,
    repository: Repository,
    backup: Backup,
    *,
    meanwhile: Callable[[], None],
) -> None:
    machine.run_program(
        [
            str(postgres.programs / "pg_verifybackup"),
            "--exit-on-error",
            "--quiet",
            str(repository.path_of(backup)),
        ],
        timeout_s=None,
        meanwhile=meanwhile,
    )


def _way_without(repository: Repository, line: Line, lost: list[Backup]) -> str:
    """What to do where a backup is damaged, and with it those that build on it."""
    earlier = [one for one in repository.backups(line) if one.ended_at < lost[0].ended_at]
    if not earlier:
        return "Run bookconnect-dm backup --full now: there is no earlier one to restore from."
    names = ", ".join(one.name for one in lost)
    return (
        "Run bookconnect-dm backup --full now. To restore a moment from before that, first move"
        f" {names}, each with its .json, out of {repository.path_of(lost[0]).parent}:"
        f" {earlier[-1].name} serves then, with the log since."
    )


def _try(
    postgres: EmbeddedPostgres,
    repository: Repository,
    chain: list[Backup],
    line: Line,
    *,
    adapter: str,
    meanwhile: Callable[[], None],
) -> int:
    account = machine.unprivileged_account()
    scratch = postgres.place_beside("trial")
    pieces = repository.pieces(line, since=chain[-1].start_lsn)
    recovery.assemble(
        [repository.path_of(one) for one in chain],
        pieces,
        scratch,
        programs=postgres.programs,
        account=account,
        meanwhile=meanwhile,
    )
    with recovery.PrivateCopy(
        scratch, programs=postgres.programs, account=account, is_scratch=True
    ) as copy:
        copy.recover(None, meanwhile=meanwhile)
        if broken := copy.broken_piece(pieces):
            raise RepositoryError(
                f"The log is damaged in {broken}: moments after it cannot be restored; make a"
                " backup now, bookconnect-dm backup --full."
            )
        return asyncio.run(look(copy.url(DATABASE), adapter))


async def look(url: str, adapter: str) -> int:
    """Look at a restored copy: how many messages, and that its schema is whole. Raises if not."""
    async with connect(url, name=NAME) as db:
        if not await db.value("has_schema"):
            raise CommandError("The backup holds no schema of ours: is it the right database?")
        messages = int((await db.rows("counts"))[0][2])
    findings = await migrate.verify(url, adapter=adapter)
    if findings:
        raise CommandError(f"The restored schema differs: {'; '.join(map(str, findings[:3]))}.")
    return messages
