"""Going back to a moment, without what was erased since.

In charge of: the order: which backups, which copies, what is taken out of them, and the step that
makes a copy the cluster again. Until that step the old cluster is untouched.
Knows about: the repository, private copies, what is noted and applied between two of them.
Does not know: how a server recovers, or what is erased how.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bookconnect_dm import backup, machine, recovery, removals
from bookconnect_dm.direct import CommandError, connect
from bookconnect_dm.embedded import DATABASE, EmbeddedPostgres
from bookconnect_dm.machine import Account, MachineError
from bookconnect_dm.removals import Applied, Gone, Note
from bookconnect_dm.repository import (
    Backup,
    Line,
    Repository,
    RepositoryError,
    is_written,
    say_moment,
)

__all__ = ["Restored", "restore"]

END: Final = "end"
LOGINS: Final = ("postgres", "bookconnect_dm_server", "bookconnect_dm_feed")

# The end is looked at for every moment, so an earlier moment alone does not help.
HOW_TO_DO_WITHOUT: Final = (
    "choose a moment before it, and --removals-until a moment before it too. Whatever was erased,"
    " removed or deleted after that one then comes back, and has to be erased again."
)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came of it."""

    messages: int
    kept_accounts: tuple[str, ...]
    is_reached: bool
    """False: the log ended before the moment; all of it is there."""
    newest: datetime | None
    backup: Backup
    took_s: float


@dataclass(frozen=True, slots=True)
class _Work:
    """What all steps of one restore need."""

    postgres: EmbeddedPostgres
    repository: Repository
    account: Account | None
    tell: Tell
    meanwhile: Callable[[], None]

    @contextmanager
    def copy(
        self, line: Line, moment: datetime | None, name: str, *, is_scratch: bool
    ) -> Iterator[tuple[recovery.PrivateCopy, bool]]:
        """A private copy at a moment (None: the end), and whether the log reached it."""
        chosen = self.repository.backup_for(line, moment)
        pieces = self.repository.pieces(line, since=chosen.start_lsn)
        place = self.postgres.place_beside(name)
        recovery.assemble(
            [self.repository.path_of(one) for one in self.repository.chain(chosen)],
            pieces,
            place,
            programs=self.postgres.programs,
            account=self.account,
            meanwhile=self.meanwhile,
        )
        with recovery.PrivateCopy(
            place, programs=self.postgres.programs, account=self.account, is_scratch=is_scratch
        ) as copy:
            try:
                is_reached = copy.recover(moment, meanwhile=self.meanwhile)
                if moment is None or not is_reached:
                    self._complain_of_gap(line, chosen)
                    _complain_of_damage(line, copy.broken_piece(pieces))
                yield copy, is_reached
            except BaseException:
                copy.stop()
                recovery.clear(place)
                raise

    def keep_tail(self) -> None:
        """Put into the archive what only the old cluster has: its last moments.

        First of all, since a restore that is killed later may leave no old cluster to ask.
        """
        line = self._line_of_old()
        archived = self.repository.pieces(line) if line else []
        if line is None or not archived:
            return
        whole = {path.name for path in archived if path.suffix != ".partial"}
        pieces = (self.postgres.cluster_folder / "pg_wal").glob(f"{line.timeline:08X}" + "?" * 16)
        for path in sorted(pieces):
            is_missing = path.name not in whole and path.name >= archived[0].name[:24]
            if is_missing and is_written(path) and not self.repository.keep_piece(line, path):
                self.tell(
                    f"The old database's {path.name} does not go on from what is in the archive, as"
                    " after damage to its disk or on an older copy of it: the archive's counts."
                )
                return

    def _line_of_old(self) -> Line | None:
        """The line that the old cluster was writing."""
        old = self.postgres.cluster_folder
        if not (old / "global" / "pg_control").exists():
            return None
        try:
            said = machine.run_program([str(self.postgres.programs / "pg_controldata"), str(old)])
        except MachineError:
            return None
        known = dict(row.split(":", 1) for row in said.splitlines() if ":" in row)
        try:
            return self.repository.line_of(
                known["Database system identifier"].strip(),
                int(known["Latest checkpoint's TimeLineID"]),
            )
        except (KeyError, ValueError):
            return None

    def _complain_of_gap(self, line: Line, chosen: Backup) -> None:
        missing = self.repository.gap(line, since=chosen.start_lsn)
        if missing:
            raise RepositoryError(
                f"The log of line {line.number} lacks {missing}, and nothing after that place can"
                f" be read: {HOW_TO_DO_WITHOUT}"
            )


def _complain_of_damage(line: Line, broken: str | None) -> None:
    """What was removed after the damage is unknown, and would come back unnoticed."""
    if broken:
        raise RepositoryError(
            f"The log of line {line.number} is damaged in {broken}, and nothing after that place"
            f" can be read: {HOW_TO_DO_WITHOUT}"
        )


def restore(
    postgres: EmbeddedPostgres,
    repository: Repository,
    moment: datetime | None,
    *,
    removals_until: datetime | str | None = None,
    tell: Tell,
    meanwhile: Callable[[], None],
) -> Restored:
    """Bring the cluster back to a moment (None: as far as the log goes).

    What was erased, removed or deleted afterwards stays so, up to `removals_until` (`end`: to the
    end of the log, however much it is). The old cluster stays where it is until the new one is
    whole; then a first backup of the new one is made. Raises with one sentence.
    """
    began = time.monotonic()
    removals.require_later(removals_until, moment)
    if not repository.exists:
        raise RepositoryError(f"There are no backups in {repository.folder}.")
    account = postgres.hold()
    try:
        if postgres.is_half_replaced:
            with repository.lock():
                repository.forget_unused_lines()
        line = repository.line_at(moment) if moment else repository.lines()[-1]
        repository.chain(repository.backup_for(line, moment))  # before anything is touched
        work = _Work(postgres, repository, account, tell, meanwhile)
        work.keep_tail()
        with tempfile.TemporaryDirectory(prefix="bookconnect-dm-") as folder:
            notes = _note_removals(work, line, moment, removals_until, Path(folder))
            restored = _bring_back(work, line, moment, notes, is_certain=bool(removals_until))
        made = _begin_anew(work)
    finally:
        postgres.stop()
    applied, is_reached, newest = restored
    return Restored(
        messages=applied.messages,
        kept_accounts=applied.kept_accounts,
        is_reached=is_reached,
        newest=newest,
        backup=made,
        took_s=time.monotonic() - began,
    )


def _note_removals(
    work: _Work,
    line: Line,
    moment: datetime | None,
    removals_until: datetime | str | None,
    folder: Path,
) -> list[Note]:
    """Look at the end of this line and of all that were written after it."""
    if moment is None:
        return []
    until = removals_until if isinstance(removals_until, datetime) else None
    notes: list[Note] = []
    for one, shared_until in _lines_to_look_at(work, line, until):
        end = until if until is not None and work.repository.line_at(until) == one else None
        words = f"as it was at {say_moment(end)}" if end else "at the end of its log"
        work.tell(f"Looking at line {one.number} {words}: what is gone by then stays gone ...")
        with work.copy(one, end, "end", is_scratch=True) as (copy, _):
            here = folder / str(one.number)
            asyncio.run(removals.note(copy.url(DATABASE), here))
        # What branched off after the moment shares all of its past.
        is_shared = shared_until is None or moment <= shared_until
        notes.append(Note(folder=here, shared_until=None if is_shared else shared_until))
    return notes


def _lines_to_look_at(
    work: _Work, line: Line, until: datetime | None
) -> list[tuple[Line, datetime | None]]:
    """This line and the later ones, and until which moment each shares its past (None: all of it).

    Says what comes back since nobody looks for it. Raises where that was not asked for.
    """
    if until is not None:
        work.tell(f"What was erased, removed or deleted after {say_moment(until)} comes back.")
    found: list[tuple[Line, datetime | None]] = [(line, None)]
    later = work.repository.later_lines(line)
    for number, one in later.items():
        begun_at = one.begun_at if one else _begun_by(work.repository, number)
        if until is not None and begun_at >= until:
            work.tell(f"Line {number}, written after that, is not looked at.")
        elif one is None:
            raise RepositoryError(
                f"Line {number} is not in {work.repository.folder}, and what was erased in it would"
                f" come back: put it back, {_how_to_pass_over(begun_at)}"
            )
        elif work.repository.backups(one):
            found.append((one, _shared_until(work.repository, line, one)))
        elif one == work.repository.lines()[-1]:
            raise RepositoryError(
                f"Line {number} has no backup yet, so what was erased in it is known to its"
                " database alone: if that is still in its place, run bookconnect-dm backup first,"
                f" {_how_to_pass_over(begun_at)}"
            )
        else:
            work.tell(
                f"Line {number} has no backup: what was erased, removed or deleted in it, between"
                f" {say_moment(begun_at)} and the restore after that, comes back."
            )
    return found


def _shared_until(repository: Repository, line: Line, later: Line) -> datetime | None:
    try:
        return repository.shared_until(line, later)
    except RepositoryError as error:
        raise RepositoryError(
            f"{error}: put that one back, {_how_to_pass_over(later.begun_at)}"
        ) from error


def _begun_by(repository: Repository, number: int) -> datetime:
    """By when a line that is lost had begun, since the next one did."""
    return next(one.begun_at for one in repository.lines() if one.number > number)


def _how_to_pass_over(begun_at: datetime) -> str:
    return (
        f"or add --removals-until {say_moment(begun_at)}: whatever was erased, removed or deleted"
        " after that then comes back, and has to be erased again."
    )


def _bring_back(
    work: _Work, line: Line, moment: datetime | None, notes: list[Note], *, is_certain: bool
) -> tuple[Applied, bool, datetime | None]:
    """Recover to the moment, take out what is gone, and put the copy into the cluster's place."""

    def tell(gone: Gone) -> None:
        for words in gone.lines():
            work.tell(f"  {words}")

    when = say_moment(moment) if moment else "the end of the log"
    work.tell(f"Going back to {when} ...")
    with work.copy(line, moment, "new", is_scratch=False) as (copy, is_reached):
        url = copy.url(DATABASE)
        newest = asyncio.run(_close(url))
        applied = asyncio.run(removals.apply(url, notes, is_certain=is_certain, tell=tell))
        seen = asyncio.run(_settle(work.postgres, url))
        copy.stop()
        work.postgres.begin_to_replace()
        with work.repository.lock():
            work.repository.open_line(
                seen.system,
                seen.timeline,
                now=datetime.now(UTC),
                parent=line.number,
                branched_at=moment,
            )
        work.postgres.replace_cluster(copy.cluster)
    return applied, is_reached, newest


async def _close(url: str) -> datetime | None:
    """Close the copy to all but us, from its first moment; when something last happened in it."""
    async with connect(url, name=removals.NAME) as db:
        await db.rows("close_database")
        if not await db.value("has_schema"):
            return None
        found: datetime | None = await db.value("newest_change")
        return found


async def _settle(postgres: EmbeddedPostgres, url: str) -> backup.Identity:
    """The passwords of this folder, which may be newer than the copy, or new altogether."""
    async with connect(url, name=removals.NAME) as db:
        for login in LOGINS:
            if await db.value("has_role", role=login):
                await db.set_password(login, postgres.password_of(login))
        await db.rows("checkpoint")  # its control file names the new timeline from now on
    return await backup.identity(url)


def _begin_anew(work: _Work) -> Backup:
    """A first backup of what was restored, before anybody writes to it.

    Killed or interrupted before that, the restore is repeated. Where a backup is not possible, the
    service goes on without: it is made when it is.
    """
    work.tell("Making the first backup of what was restored ...")
    work.postgres.start()
    try:
        made = backup.make(
            work.postgres,
            work.repository,
            keep_days=36_500,  # a restore lets nothing go: it may have to be repeated
            tell=work.tell,
            grow=lambda _kind, _count: None,
        ).backup
    except (CommandError, MachineError, RepositoryError, OSError) as error:
        work.postgres.end_replacing()
        raise RepositoryError(
            "It is restored, and the demo may be started again. But its first backup failed, so "
            f"nothing later can be restored: run bookconnect-dm backup. {error}"
        ) from error
    work.postgres.end_replacing()
    return made
