"""A copy of a cluster that nobody but this process reaches, brought to a moment.

In charge of: putting the files together, running PostgreSQL on them behind a private socket,
waiting until it has replayed its log, stopping it and clearing up.
Knows about: PostgreSQL's programs and how recovery is asked for.
Does not know: where backups are kept, or what is done with the copy.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from bookconnect_dm import log_end, machine
from bookconnect_dm.machine import Account, MachineError

__all__ = ["MomentNotReachedError", "PrivateCopy", "RecoveryError", "assemble", "clear"]

STOP_S: Final = 60
_SUPERUSER: Final = "postgres"
_NOT_REACHED: Final = "recovery ended before configured recovery target was reached"
# What a copied cluster must not do: be found, run jobs, fetch from others, put away its log.
_ALONE: Final = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_logical_replication_workers": "0",
    "shared_preload_libraries": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "hot_standby": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # no statement, so no content
    "log_startup_progress_interval": "1s",
    "ssl": "off",
}


class RecoveryError(MachineError):
    """A copy could not be brought to where it should be; the text says what to do."""


class MomentNotReachedError(RecoveryError):
    """The log ended before the moment that was asked for."""


def assemble(
    chain: Sequence[Path],
    log: Sequence[Path],
    target: Path,
    *,
    programs: Path,
    account: Account | None,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Make a cluster of a full backup, the increments after it, and the log up to its end.

    Half of one is none: it is removed where this fails.
    """
    clear(target)
    try:
        _assemble(chain, log, target, programs=programs, account=account, meanwhile=meanwhile)
    except BaseException:
        clear(target)
        raise


def _assemble(
    chain: Sequence[Path],
    log: Sequence[Path],
    target: Path,
    *,
    programs: Path,
    account: Account | None,
    meanwhile: Callable[[], None] | None,
) -> None:
    if len(chain) == 1:
        shutil.copytree(chain[0], target, symlinks=True)
    else:
        machine.run_program(
            [str(programs / "pg_combinebackup"), "--output", str(target), *map(str, chain)],
            timeout_s=None,
            meanwhile=meanwhile,
        )
    for name in ("postgresql.log", "postmaster.pid", "postmaster.opts"):
        (target / name).unlink(missing_ok=True)
    # Later ones win: a piece of the archive that is whole over one that is not.
    for piece in sorted(log, key=lambda path: path.suffix != ".partial"):
        if meanwhile is not None:
            meanwhile()
        _copy_piece(piece, target / "pg_wal" / piece.name.removesuffix(".partial"))
    (target / "recovery.signal").touch()
    machine.give_to(account, target)


def _copy_piece(piece: Path, target: Path) -> None:
    """One that has become whole since it was listed is called otherwise by now."""
    try:
        shutil.copyfile(piece, target)
    except FileNotFoundError:
        if piece.suffix != ".partial":
            raise
        shutil.copyfile(piece.with_suffix(""), target)


def clear(cluster: Path) -> None:
    """Remove a copy that a killed restore has left, with the server that may still run on it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int((cluster / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
        if machine.is_server_of(pid, cluster):
            machine.kill_with_children(pid)
    shutil.rmtree(cluster, ignore_errors=True)


class PrivateCopy:
    """PostgreSQL on a copied cluster. It listens on a socket in a folder of ours and nowhere else.

    Only the account that it runs as, root and we can enter that folder, and the server asks the
    kernel who is calling: no password is needed, and none is believed.
    """

    def __init__(
        self,
        cluster: Path,
        *,
        programs: Path,
        account: Account | None,
        is_scratch: bool,
        fetches: bool = False,
    ) -> None:
        """`fetches`: the copy is set up to fetch its log, and to put away what it writes later."""
        self.cluster = cluster
        self._programs = programs
        self._account = account
        self._is_scratch = is_scratch
        self._fetches = fetches
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()

    def __enter__(self) -> Self:
        """Make the folder of the socket."""
        self._folder = Path(tempfile.mkdtemp(prefix="bookconnect-dm-"))
        us = pwd.getpwuid(os.geteuid()).pw_name
        them = self._account.name if self._account else us
        (self._folder / "hba").write_text("local all all peer map=us\n", "utf-8")
        lines = [f"us {name} {_SUPERUSER}\n" for name in sorted({us, them})]
        (self._folder / "ident").write_text("".join(lines), "utf-8")
        machine.give_to(self._account, self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server, and remove the cluster where it was scratch only."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._is_scratch:
                shutil.rmtree(self.cluster, ignore_errors=True)

    def url(self, database: str) -> str:
        """The URL of the owner, for this process only."""
        host = quote(str(self._folder), safe="")
        return f"postgresql://{_SUPERUSER}@/{quote(database, safe='')}?host={host}&port=5432"

    def broken_piece(self, pieces: Sequence[Path]) -> str | None:
        """Once it came to the end of its log: the piece of these at which it broke off, if any."""
        left_at = log_end.left_at(self.cluster)
        return None if left_at is None else log_end.broken_piece(pieces, left_at)

    def is_short_of(self, piece: str) -> bool:
        """Once it came to the end of its log: whether that was before it read of this piece."""
        return log_end.is_short_of(piece, self.cluster)

    def recover(
        self, moment: datetime | None, *, meanwhile: Callable[[], None] | None = None
    ) -> bool:
        """Replay the log up to a moment (None: to its end); then the copy is open for writing.

        False where the log ended before the moment, which is then as far as it came.
        """
        try:
            self._start(moment, meanwhile)
        except MomentNotReachedError:
            self._start(None, meanwhile)
            return False
        return True

    def stop(self) -> None:
        """Stop in order, or at once where it is scratch."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        if self._is_scratch:
            machine.kill_with_children(process.pid)
            process.wait(STOP_S)
            return
        process.send_signal(2)  # SIGINT: fast
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise RecoveryError("The restored copy did not stop: restore again.") from error

    def _start(self, moment: datetime | None, meanwhile: Callable[[], None] | None) -> None:
        program = machine.reachable_programs(self._programs, self._account) / "postgres"
        settings = {
            **_ALONE,
            "recovery_target_time": moment.astimezone(UTC).isoformat() if moment else "",
            "recovery_target_action": "promote",
            "recovery_target_timeline": "latest" if self._fetches else "current",
            "unix_socket_directories": str(self._folder),
            "hba_file": str(self._folder / "hba"),
            "ident_file": str(self._folder / "ident"),
            **({} if self._fetches else {"restore_command": "exit 1"}),
            **self._puts_away(),
            **({"fsync": "off", "full_page_writes": "off"} if self._is_scratch else {}),
        }
        if not (self.cluster / "postgresql.conf").exists():  # Debian keeps it elsewhere
            (self._folder / "conf").touch()
            settings["config_file"] = str(self._folder / "conf")
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = self._folder / "log"
        with log.open("wb") as stream:
            self._process = subprocess.Popen(  # noqa: S603 - PostgreSQL's own program
                [str(program), "-D", str(self.cluster), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={"PATH": os.defpath, "LC_ALL": "C", **self._passed_on()},
                cwd="/",
                start_new_session=True,
                user=self._account.uid if self._account else None,
                group=self._account.gid if self._account else None,
                extra_groups=[] if self._account else None,
            )
        self._wait_until_open(self._process, log, meanwhile)

    def _passed_on(self) -> dict[str, str]:
        """What the program that fetches the log has to know; no secret of ours is among it."""
        if not self._fetches:
            return {}
        return {name: value for name, value in os.environ.items() if name.startswith("PGBACKREST_")}

    def _puts_away(self) -> dict[str, str]:
        """Scratch leaves no log behind. What is to live marks its log, and puts it away later."""
        if self._is_scratch or not self._fetches:
            return {"archive_mode": "off"}
        return {"archive_mode": "on", "archive_command": "exit 1", "archive_library": ""}

    def _wait_until_open(
        self, process: subprocess.Popen[bytes], log: Path, meanwhile: Callable[[], None] | None
    ) -> None:
        """Replaying a week may take an hour: wait as long as the server works at it."""
        while process.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                lines = (self.cluster / "postmaster.pid").read_text("utf-8").splitlines()
                if int(lines[0]) == process.pid and lines[7].strip() == "ready":
                    return
            if meanwhile is not None:
                meanwhile()
            time.sleep(0.05)
        self._process = None
        said = log.read_text("utf-8", "replace")
        if _NOT_REACHED in said:
            raise MomentNotReachedError("The log ends before that moment.")
        words = [line for line in said.splitlines() if "FATAL" in line or "PANIC" in line]
        raise RecoveryError(
            f"The copy could not be recovered: {' | '.join(words[-2:]) or said[-300:]}"
        )
