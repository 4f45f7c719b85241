"""Which histories a restore looks at: none passes without a word whose erasures would come back."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bookconnect_dm import restore
from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.removals import RemovalsError
from bookconnect_dm.repository import Backup, Line, Repository, RepositoryError, say_moment

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Folder:
    """A folder of backups; what a restore of its first line says and looks at."""

    base: Path
    said: list[str] = field(default_factory=list)

    @property
    def repository(self) -> Repository:
        return Repository(self.base / "backups")

    def open(self, day: float, *, parent: Line | None = None, back_to: float | None = None) -> Line:
        return self.repository.open_line(
            "7",
            1,
            now=START + day * DAY,
            parent=parent.number if parent else None,
            branched_at=None if back_to is None else START + back_to * DAY,
        )

    def back_up(self, line: Line) -> None:
        at = line.begun_at + timedelta(minutes=1)
        backup = Backup(
            name="one", line=line.number, kind="full", base=None, began_at=at, ended_at=at,
            start_lsn="0/1000028", stop_lsn="0/1000100", size=1,
        )  # fmt: skip
        self.repository.path_of(backup).mkdir()
        self.repository.record(backup)

    def look(
        self, line: Line, *, until: datetime | None = None
    ) -> list[tuple[int, datetime | None]]:
        self.said.clear()
        postgres = EmbeddedPostgres(self.base / "demo")
        work = restore._Work(postgres, self.repository, None, self.said.append, lambda: None)
        return [(one.number, limit) for one, limit in restore._lines_to_look_at(work, line, until)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    with made.repository.lock():
        return made


def test_a_second_attempt_beside_the_first_is_looked_at(folder: Folder) -> None:
    line = folder.open(0)
    first = folder.open(10, parent=line, back_to=9)
    second = folder.open(15, parent=line, back_to=8)
    for one in (line, first, second):
        folder.back_up(one)
    assert folder.look(first) == [(2, None), (3, START + 8 * DAY)]
    assert folder.look(line) == [(1, None), (2, START + 9 * DAY), (3, START + 8 * DAY)]
    assert folder.said == []
    # What is not looked at since somebody said so is said again.
    assert folder.look(first, until=START + 14 * DAY) == [(2, None)]
    assert folder.said == [
        "What was erased, removed or deleted after 2026-03-15T00:00:00Z comes back.",
        "Line 3, written after that, is not looked at.",
    ]


def test_a_restored_database_without_a_backup_is_not_passed_over(folder: Folder) -> None:
    """Its first backup failed, and the service went on: nobody else knows what was erased in it."""
    line = folder.open(0)
    folder.back_up(line)
    bare = folder.open(10, parent=line, back_to=9)
    at = say_moment(bare.begun_at)
    cure = f"Line 2 has no backup yet.* run bookconnect-dm backup first.* --removals-until {at}"
    with pytest.raises(RepositoryError, match=cure):
        folder.look(line)
    assert folder.look(line, until=bare.begun_at) == [(1, None)]
    assert "Line 2, written after that, is not looked at." in folder.said
    # Once another has taken its place, nobody can know; it is said.
    folder.back_up(folder.open(15, parent=line, back_to=8))
    assert folder.look(line) == [(1, None), (3, START + 8 * DAY)]
    assert len(folder.said) == 1
    assert "Line 2 has no backup: what was erased" in folder.said[0]
    folder.back_up(bare)
    assert len(folder.look(line)) == 3


def test_a_line_that_is_lost_is_not_passed_over(folder: Folder) -> None:
    line = folder.open(0)
    lost = folder.open(10, parent=line, back_to=9)
    beside = folder.open(15, parent=line, back_to=8)
    out_of_it = folder.open(20, parent=lost, back_to=12)
    for one in (line, lost, beside, out_of_it):
        folder.back_up(one)
    assert len(folder.look(line)) == 4
    shutil.rmtree(folder.repository.log_folder(lost).parent)
    at = say_moment(beside.begun_at)
    with pytest.raises(RepositoryError, match=f"Line 2 is not in .* --removals-until {at}"):
        folder.look(line)
    assert folder.look(line, until=beside.begun_at) == [(1, None)]
    at = say_moment(out_of_it.begun_at)
    with pytest.raises(RepositoryError, match=f"Line 4 came out of .* --removals-until {at}"):
        folder.look(beside)
    assert folder.look(beside, until=out_of_it.begun_at) == [(3, None)]


def test_removals_are_not_counted_up_to_before_the_moment(folder: Folder) -> None:
    """All that was written in between would be "removed", and removed unasked."""
    moment = START + DAY
    with pytest.raises(RemovalsError, match=r"is before --to 2026-03-02.*Name the same moment"):
        restore.restore(
            EmbeddedPostgres(folder.base / "demo"), folder.repository, moment,
            removals_until=moment - timedelta(seconds=1), tell=print, meanwhile=lambda: None,
        )  # fmt: skip
    assert not (folder.base / "demo").exists(), "nothing is touched"
