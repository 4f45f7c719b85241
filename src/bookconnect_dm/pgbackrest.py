"""Backups of an operator's own server, by pgBackRest.

In charge of: which of its commands does what we promise, and what is done between two of its
restores.
Knows about: pgBackRest's command line and what its `info` says, private copies, removals.
Does not know: where the repository is or how the log gets there; pgBackRest's configuration does.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bookconnect_dm import backup, machine, recovery, removals
from bookconnect_dm.direct import connect
from bookconnect_dm.machine import MachineError
from bookconnect_dm.removals import Applied, Gone, Note
from bookconnect_dm.repository import RepositoryError, State, say_moment

__all__ = ["Stanza"]

VERIFIED: Final = "bookconnect-dm-verified"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stanza:
    """One installation as pgBackRest knows it. As root it is called as PostgreSQL's account."""

    name: str

    def make(self, *, is_full: bool, meanwhile: Callable[[], None]) -> str:
        """Make a backup and expire old ones as configured; the new one's label."""
        self._run("backup", f"--type={'full' if is_full else 'incr'}", meanwhile=meanwhile)
        return str(self._backups()[-1]["label"])

    def prove(
        self,
        database: str,
        *,
        programs: Path | None,
        is_quick: bool,
        adapter: str,
        tell: Tell,
        meanwhile: Callable[[], None],
    ) -> None:
        """Let pgBackRest check its files and, unless `is_quick`, restore the newest on trial."""
        newest = self._newest()
        self._run("verify", meanwhile=meanwhile)
        tell(f"{newest['label']}: pgBackRest finds every file as it was written")
        if is_quick:
            return
        with tempfile.TemporaryDirectory(prefix="bookconnect-dm-", dir="/var/tmp") as folder:
            machine.give_to(machine.unprivileged_account(), Path(folder))
            place = Path(folder) / "trial"
            with self._copy(place, None, programs, is_scratch=True, meanwhile=meanwhile) as (
                copy,
                _,
            ):
                found = asyncio.run(backup.look(copy.url(database), adapter))
        tell(f"a trial restore came up with {found:,} messages and the schema as it should be")
        now = say_moment(datetime.now(UTC).replace(microsecond=0))
        self._run("annotate", f"--set={newest['label']}", f"--annotation={VERIFIED}={now}")

    def restore(
        self,
        database: str,
        moment: datetime | None,
        *,
        into: Path,
        programs: Path | None,
        removals_until: datetime | str | None,
        tell: Tell,
        meanwhile: Callable[[], None],
    ) -> tuple[Applied, bool]:
        """Make a cluster in a new folder that is as the installation was at a moment.

        Without what was erased, removed or deleted since. The running server is not touched.
        Whether the log reached the moment.
        """
        if into.exists() and any(into.iterdir()):
            raise RepositoryError(f"{into} is not empty: name a folder that is.")
        notes: list[Note] = []
        with tempfile.TemporaryDirectory(prefix="bookconnect-dm-") as folder:
            if moment is not None:
                end = removals_until if isinstance(removals_until, datetime) else None
                words = f"as it was at {say_moment(end)}" if end else "at the end of its log"
                tell(f"Looking at it {words}: what is gone by then stays gone ...")
                scratch = into.with_name(f"{into.name}-end")
                with self._copy(scratch, end, programs, is_scratch=True, meanwhile=meanwhile) as (
                    copy,
                    _,
                ):
                    asyncio.run(removals.note(copy.url(database), Path(folder) / "end"))
                notes.append(Note(folder=Path(folder) / "end"))
            tell(f"Going back to {say_moment(moment) if moment else 'the end of the log'} ...")
            with self._copy(into, moment, programs, is_scratch=False, meanwhile=meanwhile) as (
                copy,
                is_reached,
            ):
                applied = asyncio.run(
                    _settle(copy.url(database), notes, bool(removals_until), tell)
                )
        return applied, is_reached

    def state(self) -> State:
        """How old the backups are."""
        backups = self._backups()
        proved = [one for one in backups if VERIFIED in (one.get("annotation") or {})]
        return State(
            newest_at=_stopped(backups[-1]) if backups else None,
            verified_at=_stopped(proved[-1]) if proved else None,
            log_until=None,
        )

    def lines(self) -> list[str]:
        """The backups in words, oldest first."""
        return [
            f"{one['label']:36} until {say_moment(_stopped(one))}"
            + (f"  proved {one['annotation'][VERIFIED]}" if one.get("annotation") else "")
            for one in self._backups()
        ]

    @contextmanager
    def _copy(
        self,
        place: Path,
        moment: datetime | None,
        programs: Path | None,
        *,
        is_scratch: bool,
        meanwhile: Callable[[], None],
    ) -> Iterator[tuple[recovery.PrivateCopy, bool]]:
        account = machine.unprivileged_account()
        recovery.clear(place)
        place.mkdir(mode=0o700, parents=True)
        try:
            if account is not None:
                os.chown(place, account.uid, account.gid)
            target = ["--type=default"]
            if moment is not None:
                text = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
                target = ["--type=time", f"--target={text}", "--target-action=promote"]
            # Asked for first: the server goes on, and what it adds from now on is not missed.
            newest = self._newest_piece()
            self._run("restore", f"--pg1-path={place}", *target, meanwhile=meanwhile)
            version = (place / "PG_VERSION").read_text("ascii").strip()
            bin_dir = programs or Path(f"/usr/lib/postgresql/{version}/bin")
            with recovery.PrivateCopy(
                place, programs=bin_dir, account=account, is_scratch=is_scratch, fetches=True
            ) as copy:
                is_reached = copy.recover(moment, meanwhile=meanwhile)
                if moment is None or not is_reached:
                    _complain_of_short(copy, newest)
                yield copy, is_reached
        except BaseException:
            recovery.clear(place)
            raise

    def _newest(self) -> dict[str, Any]:
        backups = self._backups()
        if not backups:
            raise RepositoryError(f"Stanza {self.name} has no backup: run bookconnect-dm backup.")
        return backups[-1]

    def _newest_piece(self) -> str | None:
        """The newest piece of log in the archive."""
        found = json.loads(self._run("info", "--output=json"))
        archives = found[0].get("archive") or [] if found else []
        return max((one["max"] for one in archives if one.get("max")), default=None)

    def _backups(self) -> list[dict[str, Any]]:
        found = json.loads(self._run("info", "--output=json"))
        return list(found[0].get("backup") or []) if found else []

    def _run(self, command: str, *options: str, meanwhile: Callable[[], None] | None = None) -> str:
        program = shutil.which("pgbackrest")
        if program is None:
            raise MachineError("pgBackRest is not installed: apt-get install pgbackrest.")
        passed = {k: v for k, v in os.environ.items() if k.startswith("PGBACKREST_")}
        return machine.run_program(
            [program, f"--stanza={self.name}", *options, command],
            account=machine.unprivileged_account(),
            env=passed,
            timeout_s=None,
            meanwhile=meanwhile or (lambda: time.sleep(0)),
        )


def _complain_of_short(copy: recovery.PrivateCopy, newest: str | None) -> None:
    """What was removed after the place is unknown, and would come back unnoticed."""
    if newest and copy.is_short_of(newest):
        raise RepositoryError(
            f"The log was read to its end before {newest}, so a piece is missing or damaged: run"
            " pgbackrest verify, and choose a moment before that piece, with --removals-until a"
            " moment before it too."
        )


def _stopped(one: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(one["timestamp"]["stop"]), UTC)


async def _settle(url: str, notes: list[Note], is_certain: bool, tell: Tell) -> Applied:  # noqa: FBT001
    def say(gone: Gone) -> None:
        for words in gone.lines():
            tell(f"  {words}")

    async with connect(url, name=removals.NAME) as db:
        await db.rows("close_database")
    applied = await removals.apply(url, notes, is_certain=is_certain, tell=say)
    async with connect(url, name=removals.NAME) as db:
        await db.rows("checkpoint")
    return applied
