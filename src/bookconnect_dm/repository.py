"""The folder of backups: what is in it, and what may leave it.

In charge of: its layout and modes, the records of backups, which backup serves which moment, gaps
in the log, expiry, one writer at a time.
Knows about: files, and how PostgreSQL names the pieces of its log.
Does not know: how a backup is made, checked or restored.

    lines/0001/line.json         the unbroken history of one cluster: a restore begins a new line
    lines/0001/wal/              its log, piece by piece; the last one is `.partial`
    lines/0001/base/NAME/        a backup as pg_basebackup left it
    lines/0001/base/NAME.json    its record; without one it was never finished
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from bookconnect_dm.config import PREFIX

__all__ = [
    "Backup",
    "Line",
    "Repository",
    "RepositoryError",
    "State",
    "is_written",
    "say_moment",
    "segment_of",
]

LOCK_WAIT_S: Final = 60.0
_SEGMENT: Final = re.compile(r"[0-9A-F]{24}")
# How each page of the log begins: 8 bytes of other things, then its position.
_PAGE_HEAD: Final = struct.Struct("=8xQ")
_PAGE: Final = 8_192

Kind = Literal["full", "incremental"]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Position = Annotated[str, msgspec.Meta(pattern="^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$")]


class RepositoryError(Exception):
    """The folder does not hold what is asked for; the text says what to do."""


class _BusyError(RepositoryError):
    """Somebody else holds a lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One cluster's history without a gap, by PostgreSQL's names: `system` and `timeline`."""

    number: int
    system: str
    timeline: int
    begun_at: Moment
    parent: int | None = None
    branched_at: Moment | None = None
    """The moment of `parent` that was restored; None where this line goes on after a gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One finished backup."""

    name: str
    line: int
    kind: Kind
    base: str | None
    """The backup that an incremental one builds on."""
    began_at: Moment
    ended_at: Moment
    """From here on a moment can be restored from it."""
    start_lsn: Position
    stop_lsn: Position
    size: int
    verified_at: Moment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What an operator watches."""

    newest_at: datetime | None
    verified_at: datetime | None
    """When the newest backup that was ever proved by a trial restore ended."""
    log_until: datetime | None
    """When the newest piece of the log came in."""


Record = TypeVar("Record", Line, Backup)


class Repository:
    """A folder of backups. Closed to everybody but its owner: it holds all that was ever said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @classmethod
    def of(cls, folder: Path, wanted: str) -> Repository:
        """That of the database in `folder`: beside it where none is `wanted`, to outlive it."""
        return cls(
            Path(wanted) if wanted else folder.absolute().with_name(f"{folder.name}-backups")
        )

    @property
    def exists(self) -> bool:
        """Whether anything was ever backed up here. Raises `RepositoryError`."""
        with self._opened():
            return (self.folder / "lines").is_dir()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        """What the operating system refuses us in the folder becomes a sentence."""
        try:
            yield
        except OSError as error:
            raise RepositoryError(
                f"The folder of backups cannot be used: {error.strerror}, {error.filename}. Let"
                " this account read and write it, or name another in"
                f" {PREFIX}BACKUP_FOLDER (now {self.folder})."
            ) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[int]:
        """Be the only one who changes the folder; gives the descriptor that holds the lock.

        A killed backup's pg_basebackup may still be writing; it holds the lock as well.
        """
        with self._opened():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
        with self._holding("lock", fcntl.LOCK_EX) as descriptor:
            yield descriptor

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing that is in the folder now is let go meanwhile; backups go on being made."""
        with self._holding("readers", fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def _holding(self, name: str, how: int, *, wait_s: float | None = None) -> Iterator[int]:
        with self._opened():
            descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._wait_for(descriptor, how, LOCK_WAIT_S if wait_s is None else wait_s)
            yield descriptor
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int, how: int, wait_s: float) -> None:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > until:
                    raise _BusyError(
                        f"Another backup is writing into {self.folder}: let it finish."
                    ) from None
                time.sleep(0.2)
            else:
                return

    # -- lines -----------------------------------------------------------------------------------

    def lines(self) -> list[Line]:
        """All lines, oldest first. Raises `RepositoryError`."""
        if not self.exists:
            return []
        with self._opened():
            # Not by glob: it takes a folder that is closed to us for an empty one.
            found = sorted((self.folder / "lines").iterdir())
            return [
                _read(path, Line, path.parent)
                for path in (one / "line.json" for one in found)
                if path.exists()
            ]

    def line(self, number: int) -> Line:
        """The line of that number. Raises `RepositoryError`."""
        for one in self.lines():
            if one.number == number:
                return one
        raise RepositoryError(f"There is no line {number} in {self.folder}.")

    def line_of(self, system: str, timeline: int) -> Line | None:
        """The line that a running cluster writes; the newest, where a restore was repeated."""
        for one in reversed(self.lines()):
            if (one.system, one.timeline) == (system, timeline):
                return one
        return None

    def open_line(
        self,
        system: str,
        timeline: int,
        *,
        now: datetime,
        parent: int | None = None,
        branched_at: datetime | None = None,
    ) -> Line:
        """Begin a line."""
        number = max((one.number for one in self.lines()), default=0) + 1
        line = Line(
            number=number,
            system=system,
            timeline=timeline,
            begun_at=now,
            parent=parent,
            branched_at=branched_at,
        )
        place = self._folder(number)
        for folder in (place.parent, place, place / "base", place / "wal"):
            folder.mkdir(mode=0o700, exist_ok=True)
        _write(place / "line.json", asdict(line))
        return line

    def line_at(self, moment: datetime) -> Line:
        """The line that was being written at a moment. Raises `RepositoryError`."""
        for line in reversed(self.lines()):
            if line.begun_at <= moment:
                return line
        raise RepositoryError(f"Nothing was backed up before {say_moment(moment)}: {self._reach()}")

    def later_lines(self, line: Line) -> dict[int, Line | None]:
        """The lines of this database that were written after this one, in order, by number.

        None: lost, since nothing but the oldest and the newest ever goes. Not only those that came
        out of this one: another attempt to go back begins a line beside it.
        """
        known = {one.number: one for one in self.lines()}
        later = {number: known.get(number) for number in range(line.number + 1, max(known) + 1)}
        # A restored database keeps the name of its system; another name is another database.
        return {at: one for at, one in later.items() if one is None or one.system == line.system}

    def shared_until(self, line: Line, later: Line) -> datetime | None:
        """Until which moment a later line shares the past of this one; None: all of it.

        Up to where the two parted. Raises `RepositoryError` where a line between them is lost.
        """
        known = {one.number: one for one in self.lines()}
        ours, theirs = _path_to(line, known), _path_to(later, known)
        common = max(ours.keys() & theirs.keys(), default=None)
        if common is None:
            raise RepositoryError(
                f"Line {later.number} came out of a line that is not in {self.folder} any more, so"
                " what was erased in it cannot be told from what it never had"
            )
        limits = [one.branched_at for at, one in theirs.items() if at > common and one]
        # Where ours goes on from the end of the common one, it has all of that.
        limits += [
            one.branched_at or one.begun_at for at, one in ours.items() if at > common and one
        ]
        return min((moment for moment in limits if moment), default=None)

    def forget_unused_lines(self) -> None:
        """Remove the newest lines that no backup was made of: nobody has written them.

        Only where a restore was killed before its end, and under the lock.
        """
        for line in reversed(self.lines()):
            if self.backups(line):
                return
            shutil.rmtree(self._folder(line.number))

    def _folder(self, number: int) -> Path:
        return self.folder / "lines" / f"{number:04}"

    def log_folder(self, line: Line) -> Path:
        """Where the log of a line is."""
        return self._folder(line.number) / "wal"

    # -- backups ---------------------------------------------------------------------------------

    def backups(self, line: Line | None = None) -> list[Backup]:
        """The finished backups of a line, or of all, oldest first."""
        numbers = [line.number] if line else [one.number for one in self.lines()]
        with self._opened():
            found = [
                _read(path, Backup, path.with_suffix(""))
                for number in numbers
                for path in (self._folder(number) / "base").iterdir()
                if path.suffix == ".json" and path.with_suffix("").is_dir()
            ]
        return sorted(found, key=lambda one: one.ended_at)

    def path_of(self, backup: Backup) -> Path:
        """The folder of a backup's files."""
        return self._folder(backup.line) / "base" / backup.name

    def place_for(self, line: Line, name: str) -> Path:
        """Where a new backup is to be written."""
        return self._folder(line.number) / "base" / name

    def record(self, backup: Backup) -> None:
        """Write a backup's record: from here on it is one."""
        _write(self.path_of(backup).with_name(f"{backup.name}.json"), asdict(backup))

    def note_verified(self, backup: Backup, now: datetime) -> None:
        """Remember that a trial restore of this backup succeeded."""
        self.record(replace(backup, verified_at=now))

    def chain(self, backup: Backup) -> list[Backup]:
        """The full backup that this one builds on, and all up to it. Raises `RepositoryError`."""
        known = {one.name: one for one in self.backups(self.line(backup.line))}
        chain = [backup]
        while chain[0].base is not None:
            if chain[0].base not in known:
                raise RepositoryError(
                    f"Backup {backup.name} lacks {chain[0].base}, which it builds on: "
                    "restore an earlier one."
                )
            chain.insert(0, known[chain[0].base])
        return chain

    def backup_for(self, line: Line, moment: datetime | None) -> Backup:
        """The newest backup that ended before a moment (None: at all). Raises `RepositoryError`."""
        fit = [one for one in self.backups(line) if moment is None or one.ended_at <= moment]
        if not fit:
            when = say_moment(moment) if moment else "now"
            raise RepositoryError(f"There is no backup from before {when}: {self._reach()}")
        return fit[-1]

    def _reach(self) -> str:
        first = min((one.ended_at for one in self.backups()), default=None)
        if first is None:
            return "make one with bookconnect-dm backup."
        return f"the oldest moment that can be restored is {say_moment(first, fraction=True)}."

    def state(self) -> State:
        """How old the backups are. Raises `RepositoryError`."""
        backups = self.backups()
        pieces = []
        with self._opened():
            for line in self.lines():
                for path in self.log_folder(line).iterdir():
                    # A piece that is whole by now is not called `.partial` any more.
                    with contextlib.suppress(FileNotFoundError):
                        pieces.append(path.stat().st_mtime)
        return State(
            newest_at=max((one.ended_at for one in backups), default=None),
            verified_at=max((one.ended_at for one in backups if one.verified_at), default=None),
            log_until=datetime.fromtimestamp(max(pieces), UTC) if pieces else None,
        )

    # -- the log ---------------------------------------------------------------------------------

    def pieces(self, line: Line, *, since: str | None = None) -> list[Path]:
        """The pieces of a line's log in order, from the one that holds an LSN on."""
        with self._opened():
            everything = list(self.log_folder(line).iterdir())
        found = [
            path for path in everything if _SEGMENT.fullmatch(path.name.removesuffix(".partial"))
        ]
        first = segment_of(since, line.timeline, self._size(found)) if since and found else ""
        return sorted(path for path in found if path.name[:24] >= first)

    def keep_piece(self, line: Line, path: Path) -> bool:
        """Take a piece that its cluster has not finished: whole or not at all.

        False where it does not go on from what is here of it, which then stays.
        """
        kept = self.log_folder(line) / f"{path.name}.partial"
        fresh = kept.with_suffix(".new")
        try:
            found = _written(path)
        except OSError:  # its disk is damaged
            return False
        with self._opened():
            if kept.exists() and not found.startswith(_written(kept)):
                return False
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(found)
                stream.truncate(path.stat().st_size)
            fresh.replace(kept)
        return True

    def gap(self, line: Line, *, since: str) -> str | None:
        """The first piece that is missing between an LSN and the end of a line's log, if any."""
        found = self.pieces(line, since=since)
        size = self._size(found)
        wanted = segment_of(since, line.timeline, size)
        if not found:
            return wanted
        for name in dict.fromkeys(path.name[:24] for path in found):
            if name != wanted:
                return wanted
            wanted = _next(wanted, size)
        return None

    def _size(self, pieces: list[Path]) -> int:
        sizes = []
        with self._opened():
            for path in pieces:
                # A piece that is whole by now is not called `.partial` any more.
                with contextlib.suppress(FileNotFoundError):
                    sizes.append(path.stat().st_size)
        return max(sizes, default=0) or 16_777_216

    # -- expiry ----------------------------------------------------------------------------------

    def clear(self) -> None:
        """Remove what killed backups have left. Only under the lock."""
        for line in self.lines():
            for path in list((self._folder(line.number) / "base").iterdir()):
                if path.is_dir() and not path.with_name(f"{path.name}.json").exists():
                    shutil.rmtree(path)
                elif path.suffix == ".new":
                    path.unlink()

    def expire(self, days: int, now: datetime) -> list[str]:
        """Remove what no moment of the last `days` days needs; what was removed. Under the lock.

        Nothing while somebody reads: the next backup does it then.
        """
        try:
            with self._holding("readers", fcntl.LOCK_EX, wait_s=0):
                return self._expire(now - timedelta(days=days))
        except _BusyError:
            return []

    def _expire(self, oldest: datetime) -> list[str]:
        removed: list[str] = []
        lines = self.lines()
        for line, later in zip(lines, [*lines[1:], None], strict=True):
            if later is not None and later.begun_at < oldest:
                removed += [one.name for one in self.backups(line)]
                shutil.rmtree(self._folder(line.number))
            else:
                removed += self._expire_in(line, oldest)
        return removed

    def _expire_in(self, line: Line, oldest: datetime) -> list[str]:
        backups = self.backups(line)
        fulls = [one for one in backups if one.kind == "full" and one.ended_at <= oldest]
        if not fulls:
            return []
        kept = fulls[-1]
        gone = [one for one in backups if one.ended_at < kept.ended_at]
        for one in gone:
            self.path_of(one).with_name(f"{one.name}.json").unlink()
            shutil.rmtree(self.path_of(one))
        needed = set(self.pieces(line, since=kept.start_lsn))
        for path in self.pieces(line):
            if path not in needed:
                path.unlink()
        return [one.name for one in gone]


def _path_to(line: Line, known: Mapping[int, Line]) -> dict[int, Line | None]:
    """A line and all that it came out of, by number; None: the last that is told of is gone."""
    path: dict[int, Line | None] = {line.number: line}
    while line.parent is not None:
        path[line.parent] = known.get(line.parent)
        if line.parent not in known:
            break
        line = known[line.parent]
    return path


def is_written(piece: Path) -> bool:
    """Whether a piece of log in a cluster is what its name says; PostgreSQL renames old ones."""
    try:
        with piece.open("rb") as stream:
            head = stream.read(_PAGE_HEAD.size)
    except OSError:  # its disk is damaged
        return False
    if len(head) < _PAGE_HEAD.size:
        return False
    position = _PAGE_HEAD.unpack(head)[0]
    lsn = f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
    # Not its timeline: the first piece of a new one begins with a copy of the old one's.
    return segment_of(lsn, 0, piece.stat().st_size)[8:] == piece.name[8:]


def _written(piece: Path) -> bytes:
    """What is written in a piece so far, without what an old one that was renamed has left in it.

    Each page begins with its position, and is empty behind what is written.
    """
    held = piece.read_bytes()
    high, low = int(piece.name[8:16], 16), int(piece.name[16:24], 16)
    begin, end = (high << 32) + low * len(held), 0
    while end + _PAGE <= len(held) and _PAGE_HEAD.unpack_from(held, end)[0] == begin + end:
        end += _PAGE
    return held[:end].rstrip(b"\0")


def segment_of(lsn: str, timeline: int, size: int) -> str:
    """The name of the piece of log that holds a position."""
    high, low = (int(part, 16) for part in lsn.split("/"))
    return f"{timeline:08X}{high:08X}{low // size:08X}"


def _next(name: str, size: int) -> str:
    high, low = int(name[8:16], 16), int(name[16:], 16) + 1
    if low == 0x1_0000_0000 // size:
        high, low = high + 1, 0
    return f"{name[:8]}{high:08X}{low:08X}"


def say_moment(moment: datetime, *, fraction: bool = False) -> str:
    """A moment as commands take and print it: UTC, rounded up where its fraction is left out."""
    moment = moment.astimezone(UTC)
    if fraction and moment.microsecond:
        moment = moment.replace(microsecond=0) + timedelta(seconds=1)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (
        f".{moment.microsecond:06}Z" if moment.microsecond else "Z"
    )


def _read(path: Path, kind: type[Record], whole: Path) -> Record:
    """A record; `whole` is what it describes, and goes with it where it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RepositoryError(
            f"{path} is damaged ({error}): restore this file from a copy; or move {whole}"
            f"{'' if whole in path.parents else ' and this file'} to another place, then run"
            " bookconnect-dm backup --full."
        ) from error


def _write(path: Path, values: Mapping[str, Any]) -> None:
    """Whole or not at all, and on the disk before it counts."""
    plain = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in values.items()}
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(plain, stream, indent=2)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)
