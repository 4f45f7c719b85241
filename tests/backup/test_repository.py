"""The folder of backups: which backup serves which moment, what may go, what is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bookconnect_dm import recovery
from bookconnect_dm.repository import (
    Backup,
    Line,
    Repository,
    RepositoryError,
    say_moment,
    segment_of,
)
from tests.helpers.postgres import clusters_folder

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
PIECE = 1 << 20
Add = Callable[..., Backup]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "backups")


@pytest.fixture
def line(repository: Repository) -> Line:
    with repository.lock():
        return repository.open_line("7", 1, now=START)


def _branch(
    repository: Repository, parent: Line, *, timeline: int, day: float, at: float | None = None
) -> Line:
    """A line that begins on that day; it left its parent on day `at`, or else at its end."""
    return repository.open_line(
        "7",
        timeline,
        now=START + day * DAY,
        parent=parent.number,
        branched_at=None if at is None else START + at * DAY,
    )


def _add(
    repository: Repository,
    line: Line,
    day: float,
    base: Backup | None = None,
    *,
    piece: int | None = None,
) -> Backup:
    """A backup of that day; the log of the same number begins with it."""
    at = START + day * DAY
    number = int(day) if piece is None else piece
    backup = Backup(
        name=f"{at:%Y%m%dT%H%M%SZ}-{'incremental' if base else 'full'}",
        line=line.number,
        kind="incremental" if base else "full",
        base=base.name if base else None,
        began_at=at - timedelta(minutes=1),
        ended_at=at,
        start_lsn=f"0/{number * PIECE + 40:X}",
        stop_lsn=f"0/{number * PIECE + 400:X}",
        size=1,
    )
    repository.path_of(backup).mkdir()
    repository.record(backup)
    return backup


def _log(repository: Repository, line: Line, *numbers: int, partial: int | None = None) -> None:
    folder = repository.log_folder(line)
    for number in numbers:
        (folder / f"{line.timeline:08X}00000000{number:08X}").write_bytes(b"\0" * PIECE)
    if partial is not None:
        (folder / f"{line.timeline:08X}00000000{partial:08X}.partial").write_bytes(b"\0" * PIECE)


def test_a_record_comes_back_as_it_was_written(repository: Repository, line: Line) -> None:
    backup = _add(repository, line, 1)
    assert repository.lines() == [line]
    assert repository.backups() == [backup]
    repository.note_verified(backup, START + 2 * DAY)
    assert repository.state().verified_at == backup.ended_at


def test_the_newest_backup_before_the_moment_serves_it(repository: Repository, line: Line) -> None:
    full = _add(repository, line, 1)
    first = _add(repository, line, 2, full)
    second = _add(repository, line, 3, first)
    assert repository.backup_for(line, START + 2.5 * DAY) == first
    assert repository.backup_for(line, START + 2 * DAY) == first
    assert repository.backup_for(line, None) == second
    assert repository.chain(second) == [full, first, second]
    with pytest.raises(RepositoryError, match=r"oldest moment .* 2026-03-02T00:00:00Z"):
        repository.backup_for(line, START + 0.5 * DAY)
    with pytest.raises(RepositoryError, match="before 2026-02"):
        repository.line_at(START - DAY)


def test_an_increment_without_its_base_is_refused(repository: Repository, line: Line) -> None:
    full = _add(repository, line, 1)
    increment = _add(repository, line, 2, full)
    repository.path_of(full).rmdir()
    with pytest.raises(RepositoryError, match=f"lacks {full.name}"):
        repository.chain(increment)


def test_what_a_killed_backup_has_left_is_none_and_goes(repository: Repository, line: Line) -> None:
    full = _add(repository, line, 1)
    half = repository.place_for(line, "20260303T000000Z-full")
    (half / "base").mkdir(parents=True)
    assert repository.backups() == [full]
    repository.clear()
    assert not half.exists()
    assert repository.path_of(full).exists()


def test_expiry_keeps_every_moment_of_the_window(repository: Repository, line: Line) -> None:
    old = _add(repository, line, 1)
    increment = _add(repository, line, 2, old)
    kept = _add(repository, line, 8)
    later = _add(repository, line, 9, kept)
    newest = _add(repository, line, 15)
    _log(repository, line, *range(20), partial=20)
    # The window begins on the 14th: the full backup before it, of the 8th, is needed.
    assert repository.expire(6, START + 20 * DAY) == [old.name, increment.name]
    assert repository.backups() == [kept, later, newest]
    assert [int(path.name[16:24], 16) for path in repository.pieces(line)] == list(range(8, 21))
    assert repository.gap(line, since=kept.start_lsn) is None
    assert repository.backup_for(line, START + 14 * DAY) == later
    # With one day to keep, the window begins on the 19th.
    assert repository.expire(1, START + 20 * DAY) == [kept.name, later.name]


def test_the_only_full_backup_stays_however_old(repository: Repository, line: Line) -> None:
    full = _add(repository, line, 1)
    assert repository.expire(1, START + 900 * DAY) == []
    assert repository.backups() == [full]


def test_a_line_that_ended_before_the_window_goes(repository: Repository, line: Line) -> None:
    gone = _add(repository, line, 1)
    second = _branch(repository, line, timeline=2, day=2)
    kept = _add(repository, second, 3)
    assert repository.expire(14, START + 10 * DAY) == []
    assert repository.expire(14, START + 30 * DAY) == [gone.name]
    assert repository.lines() == [second]
    assert repository.backups() == [kept]
    third = repository.open_line("8", 1, now=START + 31 * DAY)
    assert third.number == 3, "a number is never used again while a later one is there"


@pytest.mark.parametrize(
    ("have", "partial", "missing"),
    [((3, 4, 5), 6, None), ((3, 5), None, 4), ((4, 5), None, 3), ((3, 4), 6, 5), ((), None, 3)],
)
def test_a_gap_in_the_log_is_found(
    repository: Repository,
    line: Line,
    have: tuple[int, ...],
    partial: int | None,
    missing: int | None,
) -> None:
    _log(repository, line, *have, partial=partial)
    if not have:  # an empty archive says nothing of the size of its pieces
        assert repository.gap(line, since="0/3000028") == segment_of("0/3000028", 1, 1 << 24)
        return
    wanted = None if missing is None else segment_of(f"0/{missing * PIECE:X}", 1, PIECE)
    assert repository.gap(line, since=f"0/{3 * PIECE + 40:X}") == wanted


def test_pieces_are_named_as_postgresql_names_them() -> None:
    assert segment_of("0/4000028", 1, 1 << 24) == "000000010000000000000004"
    assert segment_of("2/FF000000", 3, 1 << 24) == "0000000300000002000000FF"


def test_a_later_line_shares_the_past_up_to_where_it_branched(
    repository: Repository, line: Line
) -> None:
    second = _branch(repository, line, timeline=2, day=5, at=4)
    third = _branch(repository, second, timeline=3, day=7, at=6)
    goes_on = _branch(repository, third, timeline=3, day=8)
    foreign = repository.open_line("9", 1, now=START + 9 * DAY)
    assert repository.later_lines(line) == {2: second, 3: third, 4: goes_on}
    assert {repository.shared_until(line, one) for one in (second, third, goes_on)} == {
        START + 4 * DAY
    }
    assert repository.later_lines(third) == {4: goes_on}
    assert repository.shared_until(third, goes_on) is None
    assert repository.line_of("7", 3) == goes_on
    assert repository.line_at(START + 8.5 * DAY) == goes_on
    assert foreign in repository.lines(), "another database, of which nothing was ever here"


def test_a_line_that_branched_off_beside_this_one_is_later_too(
    repository: Repository, line: Line
) -> None:
    """Twice gone back: what was erased in the second attempt is not to come back in the first."""
    first = _branch(repository, line, timeline=2, day=10, at=9)
    second = _branch(repository, line, timeline=2, day=15, at=8)
    third = _branch(repository, second, timeline=3, day=20, at=17)
    assert repository.later_lines(first) == {3: second, 4: third}
    assert repository.shared_until(first, second) == START + 8 * DAY
    assert repository.shared_until(first, third) == START + 8 * DAY
    assert repository.shared_until(second, third) == START + 17 * DAY
    # A line that goes on from the end of another has all of that one.
    latest = _branch(repository, third, timeline=4, day=21)
    beside = _branch(repository, third, timeline=5, day=22, at=20.5)
    assert repository.shared_until(latest, beside) == START + 20.5 * DAY
    assert repository.shared_until(first, beside) == START + 8 * DAY
    # Known to have parted there, also where the common one has expired.
    shutil.rmtree(repository.log_folder(line).parent)
    assert repository.shared_until(first, third) == START + 8 * DAY


def test_a_line_that_is_lost_between_two_leaves_nothing_to_compare(
    repository: Repository, line: Line
) -> None:
    second = _branch(repository, line, timeline=2, day=5, at=4)
    third = _branch(repository, second, timeline=3, day=7, at=6)
    shutil.rmtree(repository.log_folder(second).parent)
    assert repository.later_lines(line) == {2: None, 3: third}
    with pytest.raises(RepositoryError, match="Line 3 came out of a line that is not in"):
        repository.shared_until(line, third)


def _piece(number: int, *pages: bytes, rest: bytes = b"") -> bytes:
    """A piece of log of that number: pages with their heads, and behind them what an old one had.

    The last page is empty behind its words.
    """
    begin = number * PIECE
    written = b"".join(
        (b"\1" * 8 + (begin + at * 8_192).to_bytes(8, sys.byteorder) + words).ljust(8_192, b"\0")
        for at, words in enumerate(pages)
    )
    return (written + rest).ljust(PIECE, b"\0")


def test_the_old_clusters_piece_is_taken_where_it_goes_on_from_the_archives(
    repository: Repository, line: Line, tmp_path: Path
) -> None:
    name = f"{line.timeline:08X}00000000{3:08X}"
    old, kept = tmp_path / name, repository.log_folder(line) / f"{name}.partial"

    def keep(content: bytes) -> bool:
        old.write_bytes(content)
        return repository.keep_piece(line, old)

    assert keep(_piece(3, b"one", rest=b"\2" * 8_192)), "where the archive has nothing of it"
    assert kept.read_bytes() == _piece(3, b"one"), "without what an older piece had left there"
    assert kept.stat().st_mode & 0o077 == 0
    assert keep(_piece(3, b"one two", b"three"))
    good = kept.read_bytes()
    assert good == _piece(3, b"one two", b"three")
    for bad in (
        _piece(3, b"one"),  # an older copy of its disk
        _piece(3, b"one two", b"threw", b"more"),  # one that went on otherwise
        _piece(3, b"one two"),
        b"\0" * PIECE,  # damage
    ):
        assert not keep(bad)
        assert kept.read_bytes() == good
    old.unlink()
    assert not repository.keep_piece(line, old)
    kept.write_bytes(b"\0" * PIECE)  # as pg_receivewal begins one
    assert keep(good)


def test_nothing_is_let_go_while_somebody_reads(repository: Repository, line: Line) -> None:
    old = _add(repository, line, 1)
    _add(repository, line, 8)
    with repository.reading(), repository.reading(), repository.lock():
        assert repository.expire(1, START + 20 * DAY) == []
        assert len(repository.backups()) == 2
    assert repository.expire(1, START + 20 * DAY) == [old.name]


def test_a_piece_that_becomes_whole_meanwhile_is_still_found(
    repository: Repository, line: Line, tmp_path: Path
) -> None:
    (base := tmp_path / "base").mkdir()
    (base / "pg_wal").mkdir()
    _log(repository, line, 1, partial=2)
    listed = repository.pieces(line)
    listed[-1].rename(listed[-1].with_suffix(""))
    assert repository._size(listed) == PIECE
    recovery.assemble([base], listed, tmp_path / "copy", programs=tmp_path, account=None)
    assert {path.name[-1] for path in (tmp_path / "copy" / "pg_wal").iterdir()} == {"1", "2"}
    # One that is gone altogether leaves no half of a copy behind.
    listed[0].unlink()
    with pytest.raises(FileNotFoundError):
        recovery.assemble([base], listed, tmp_path / "copy", programs=tmp_path, account=None)
    assert not (tmp_path / "copy").exists()


def test_the_folder_is_its_owners_alone(repository: Repository, line: Line) -> None:
    _add(repository, line, 1)
    for path in (repository.folder, *repository.folder.rglob("*.json")):
        assert path.stat().st_mode & 0o077 == 0


def test_the_lock_outlives_a_killed_backup_whose_copy_goes_on(repository: Repository) -> None:
    """The program that copies inherits the lock: the next backup waits for it too."""
    with repository.lock() as descriptor:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor]
        )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bookconnect_dm.repository.LOCK_WAIT_S", 0.0)
            with pytest.raises(RepositoryError, match="Another backup"), repository.lock():
                pass
    finally:
        child.communicate(b"\n", timeout=30)
    with repository.lock():
        pass


def test_a_moment_is_said_as_it_is_taken() -> None:
    moment = datetime(2026, 11, 27, 14, 3, 5, 120, tzinfo=UTC)
    assert say_moment(moment) == "2026-11-27T14:03:05.000120Z"
    assert say_moment(moment, fraction=True) == "2026-11-27T14:03:06Z"
    assert datetime.fromisoformat(say_moment(moment)) == moment


DAMAGE = {
    "cut short": '{"number": 1, "sys',
    "no object": "[1]",
    "a key is missing": "{}",
    "no moment": '{"begun_at": "yesterday", "began_at": "yesterday"}',
    "not text": "\0\1\2",
}


@pytest.mark.parametrize("text", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_named_with_its_cure(
    repository: Repository, line: Line, text: str
) -> None:
    backup = _add(repository, line, 1)
    _log(repository, line, 1)
    record = repository.path_of(backup).with_name(f"{backup.name}.json")
    record.write_text(text)
    cure = rf"{record} is damaged .*: restore this file from a copy; or move .*backup --full"
    for ask in (repository.backups, repository.state):
        with pytest.raises(RepositoryError, match=cure):
            ask()
    # The cure works: without it and its files everything goes on.
    repository.path_of(backup).rename(repository.folder / "aside")
    record.unlink()
    assert repository.state().newest_at is None

    head = repository.log_folder(line).with_name("line.json")
    head.write_text(text)
    with pytest.raises(RepositoryError, match=rf"{head} is damaged .* move {head.parent} to"):
        repository.lines()
    head.parent.rename(repository.folder / "line aside")
    assert repository.open_line("7", 1, now=START).number == 1


def test_a_position_or_a_moment_that_is_none_is_damage(repository: Repository, line: Line) -> None:
    """Each would be met much later, by a restore."""
    backup = _add(repository, line, 1)
    record = repository.path_of(backup).with_name(f"{backup.name}.json")
    good = record.read_text()
    for right, wrong in ((backup.start_lsn, "somewhere"), ("+00:00", "")):
        assert right in good
        record.write_text(good.replace(right, wrong))
        with pytest.raises(RepositoryError, match="is damaged"):
            repository.backups()
    record.write_text(good)
    assert repository.backups() == [backup]


def test_a_folder_that_cannot_be_made_or_read_is_one_sentence(tmp_path: Path) -> None:
    cure = "cannot be used: .* BOOKCONNECT_DM_BACKUP_FOLDER"
    (tmp_path / "file").write_text("")
    for place in (Path("/proc/backups"), tmp_path / "file" / "backups"):
        with pytest.raises(RepositoryError, match=cure), Repository(place).lock():
            pass
    assert not Repository(tmp_path / "file").exists
    # What is no folder, and what is closed to this account: neither is an empty one.
    (tmp_path / "backups" / "lines" / "0001").mkdir(parents=True)
    (tmp_path / "backups" / "lines" / "0001" / "line.json").mkdir()
    with pytest.raises(RepositoryError, match="Is a directory"):
        Repository(tmp_path / "backups").lines()


CLOSED = """
import os, sys
from pathlib import Path
from bookconnect_dm.repository import Repository, RepositoryError
if os.geteuid() == 0:  # to whom nothing is closed
    os.setuid(65534)
try:
    print(Repository(Path(sys.argv[1])).lines())
except RepositoryError as error:
    print(error)
"""


def test_a_folder_that_is_closed_to_this_account_is_not_taken_for_an_empty_one() -> None:
    with clusters_folder() as folder:
        lines = folder / "lines"
        lines.mkdir()
        folder.chmod(0o755)
        for mode, words in ((0o755, "[]"), (0, f"cannot be used: Permission denied, {lines}")):
            lines.chmod(mode)
            done = subprocess.run(
                [sys.executable, "-c", CLOSED, str(folder)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert words in done.stdout, done.stderr
        lines.chmod(0o700)
