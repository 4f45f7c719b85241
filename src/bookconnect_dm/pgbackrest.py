"""Backups of an operator's own server, by pgBackRest.

In charge of: which of its commands does what we promise, and what is done between two of its
restores.
Knows about: pgBackRest's command line and what its `info` says, private copies, removals.
Does not know: where the repository is or how the log gets there; pgBackRest's configuration does.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
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
from bookconnect_dm.direct import CommandError, NoAnswerError, connect
from bookconnect_dm.machine import MachineError
from bookconnect_dm.removals import Applied, Gone, Note
from bookconnect_dm.repository import RepositoryError, State, say_moment

__all__ = ["Stanza"]

VERIFIED: Final = "bookconnect-dm-verified"
TRIALS: Final = Path("/var/tmp")  # noqa: S108 - folders of our own are made in it
TRIAL_PREFIX: Final = "bookconnect-dm-trial-"
TRIAL: Final = "trial"
AS_ARCHIVED: Final = "To go by what the archive holds now, add --as-archived."

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stanza:
    """One installation as pgBackRest knows it. As root it is called as PostgreSQL's account."""

    name: str

    def make(
        self,
        *,
        is_full: bool,
        tell: Tell,
        meanwhile: Callable[[], None],
        now: datetime | None = None,
    ) -> None:
        """Make a backup, a full one each week at least, and expire old ones as configured.

        pgBackRest lets increments go with the full one that they build on, so without another
        full one nothing would ever go.
        """
        before = self._backups()
        fulls = [one for one in before if one["type"] == "full"]
        newest = _began(fulls[-1]) if fulls else None
        if not is_full and backup.is_full_due(newest, now or datetime.now(UTC)):
            is_full = True
            if newest is not None:
                tell(f"The newest full backup is of {say_moment(newest)}, so a full one is made.")
        self._run("backup", f"--type={'full' if is_full else 'incr'}", meanwhile=meanwhile)
        after = self._backups()
        kind = {"full": "full", "incr": "incremental"}.get(after[-1]["type"], after[-1]["type"])
        tell(f"{after[-1]['label']} is made: {kind}.")
        left = {one["label"] for one in after}
        for one in before:
            if one["label"] not in left:
                tell(f"{one['label']} was older than needed, and is gone.")

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
        with (
            _trial_folder() as folder,
            self._copy(folder / TRIAL, None, programs, is_scratch=True, meanwhile=meanwhile) as (
                copy,
                _,
            ),
        ):
            found = asyncio.run(backup.look(copy.url(database), adapter))
        tell(f"a trial restore came up with {found:,} messages and the schema as it should be")
        now = say_moment(datetime.now(UTC).replace(microsecond=0))
        self._run("annotate", f"--set={newest['label']}", f"--annotation={VERIFIED}={now}")

    def end_log(self, live_url: str, *, tell: Tell, meanwhile: Callable[[], None]) -> None:
        """See that the running server's log is in the archive to its end, and goes no further.

        Whatever a restore does not find there it can neither bring back nor keep away.
        """
        try:
            sessions = asyncio.run(_at_work(live_url))
        except NoAnswerError as error:
            try:
                self._run("check", meanwhile=meanwhile)
            except MachineError:
                tell(
                    "The server does not answer, so the archive is taken as it is. If it died,"
                    " what it had not put there yet is lost (archive_timeout at most, when the"
                    " archive kept pace), and what was erased or deleted in that time comes back."
                )
                return
            raise RepositoryError(
                f"The server runs, and pgBackRest reaches it, but we do not. {error} {AS_ARCHIVED}"
            ) from error
        except CommandError as error:
            raise RepositoryError(
                f"The server runs, but cannot be asked for the end of its log. {error}"
                f" {AS_ARCHIVED}"
            ) from error
        if ours := [f"{login} ({count})" for login, count, is_ours in sessions if is_ours]:
            raise RepositoryError(
                f"Members are being served: {', '.join(ours)}. What they write from now on would"
                " be lost, and what they delete or erase would come back: stop their servers and"
                f" the retention worker first. {AS_ARCHIVED}"
            )
        if others := [f"{login} ({count})" for login, count, _ in sessions]:
            tell(f"Also connected: {', '.join(others)}. What they change from now on is not kept.")
        tell("Waiting until the archive has all of the log ...")
        try:
            self._run("check", meanwhile=meanwhile)
        except MachineError as error:
            raise RepositoryError(
                f"The archive has not got the end of the log: {error} Mend that, or wait until"
                f" the archive has caught up, and repeat. {AS_ARCHIVED}"
            ) from error

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

        Without what was erased, removed or deleted since, as far as the archive goes: see
        `end_log`. The running server is not touched. Whether the log reached the moment.
        """
        scratch = into.with_name(f"{into.name}-end")
        for place in (into, scratch):
            _see_that_it_is_free(place, into)
        notes: list[Note] = []
        with tempfile.TemporaryDirectory(prefix="bookconnect-dm-") as folder:
            if moment is not None:
                end = removals_until if isinstance(removals_until, datetime) else None
                words = f"as it was at {say_moment(end)}" if end else "at the end of its log"
                tell(f"Looking at it {words}: what is gone by then stays gone ...")
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
        proved = [one for one in backups if _proved(one)]
        return State(
            newest_at=_stopped(backups[-1]) if backups else None,
            verified_at=_stopped(proved[-1]) if proved else None,
            log_until=None,
        )

    def lines(self) -> list[str]:
        """The backups in words, oldest first."""
        return [
            f"{one['label']:36} until {say_moment(_stopped(one))}"
            + (f"  proved {proved}" if (proved := _proved(one)) else "")
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
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            place.chmod(0o700)
            if account is not None:
                os.chown(place, account.uid, account.gid)
            target = ["--type=default"]
            if moment is not None:
                text = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
                target = ["--type=time", f"--target={text}", "--target-action=promote"]
            # Asked for first: a server that goes on is not missed for what it adds from now on.
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
            " moment before it too. Its price: what was erased or deleted after that second moment"
            " comes back, and has to be erased again."
        )


@contextmanager
def _trial_folder() -> Iterator[Path]:
    """A folder for a trial, locked for as long as we live; what killed trials have left goes."""
    account = machine.unprivileged_account()
    for left in TRIALS.glob(f"{TRIAL_PREFIX}*"):
        with contextlib.suppress(OSError), _locked(left):
            recovery.clear(left / TRIAL)
            shutil.rmtree(left)
    with (
        tempfile.TemporaryDirectory(prefix=TRIAL_PREFIX, dir=TRIALS) as name,
        _locked(Path(name)),
    ):
        machine.give_to(account, Path(name))
        yield Path(name)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises `OSError` where somebody else holds it, or it is none of ours."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        account = machine.unprivileged_account()
        if os.fstat(descriptor).st_uid not in {os.geteuid(), account.uid if account else None}:
            raise PermissionError(folder)
        yield
    finally:
        os.close(descriptor)


def _see_that_it_is_free(place: Path, into: Path) -> None:
    """Never clear what may be somebody else's."""
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    wants = "name a folder that is" if place == into else f"beside {into} it is needed: move it"
    raise RepositoryError(
        f"{place} is not empty: {wants}, or, where a restore that was killed has left it, remove"
        " it and repeat."
    )


def _proved(one: dict[str, Any]) -> str | None:
    """When a backup was proved; annotations of others are none of ours."""
    return (one.get("annotation") or {}).get(VERIFIED)


def _began(one: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(one["timestamp"]["start"]), UTC)


def _stopped(one: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(one["timestamp"]["stop"]), UTC)


async def _at_work(url: str) -> list[tuple[str, int, bool]]:
    """Who else is connected to the running server, how often, and whether it is a login of ours."""
    async with connect(url, name=removals.NAME) as db:
        return [
            (str(login), int(count), bool(ours)) for login, count, ours in await db.rows("at_work")
        ]


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
