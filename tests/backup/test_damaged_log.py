"""A damaged byte in a backup or in the log is found, and the way out that is named works.

Nothing that was removed after the damage comes back.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from bookconnect_dm import backup, migrate, restore
from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.repository import Backup, Repository, RepositoryError
from tests.helpers.postgres import clusters_folder

pytestmark = pytest.mark.durability

SAY = (
    "insert into public.direct_messages (conversation_id, sender_id, content)"
    " select conversation_id, user_id, '{}' from public.conversation_participants limit 1"
)


class Archive:
    """A backup, and three pieces of log after it with words in each."""

    def __init__(self, folder: Path) -> None:
        self.postgres = EmbeddedPostgres(folder)
        self.repository = Repository.of(folder, "")
        with self.postgres:
            asyncio.run(migrate.up(self.postgres.admin_url, adapter="standalone"))
            for name in ("members.sql", "conversations.sql"):
                script = files("bookconnect_dm") / "sql" / "demo" / name
                self.postgres.run_script(script.read_text("utf-8"))
            self.first = self._make()
            self.moment = datetime.now(UTC)
            for words in ("the first words", "the second words", "the third words"):
                with psycopg.connect(self.postgres.admin_url, autocommit=True) as connection:
                    connection.execute(SAY.format(words))
                    connection.execute("select pg_switch_wal()")
            # It brings the log; as a backup it would make what is before it unneeded.
            second = self._make()
        record = self.repository.path_of(second)
        record.with_name(f"{record.name}.json").unlink()
        self.repository.clear()

    def _make(self) -> Backup:
        return backup.make(
            self.postgres, self.repository, keep_days=14, tell=print, grow=lambda *_: None
        ).backup

    @property
    def whole(self) -> list[Path]:
        line = self.repository.lines()[-1]
        return [p for p in self.repository.pieces(line) if p.suffix != ".partial"]

    def prove(self) -> None:
        backup.prove(
            self.postgres, self.repository, self.first, is_quick=False, adapter="standalone",
            tell=print, meanwhile=lambda: None,
        )  # fmt: skip

    def restore(self, moment: datetime | None, *, until: datetime | None = None) -> int:
        return restore.restore(
            self.postgres, self.repository, moment, removals_until=until, tell=print,
            meanwhile=lambda: None,
        ).messages  # fmt: skip


@pytest.fixture
def archive() -> Iterator[Archive]:
    with clusters_folder(in_memory=True) as base:
        made = Archive(base / "demo")
        yield made
        made.postgres.destroy()


def flip(piece: Path, at: int) -> None:
    with piece.open("r+b") as file:
        file.seek(at)
        found = file.read(6)
        file.seek(at)
        file.write(bytes(byte ^ 0xFF for byte in found))


def prove_quickly(archive: Archive, one: Backup) -> None:
    backup.prove(
        archive.postgres, archive.repository, one, is_quick=True, adapter="standalone",
        tell=print, meanwhile=lambda: None,
    )  # fmt: skip


def see_that_a_damaged_file_is_told_with_a_way_out(archive: Archive) -> None:
    first, repository = archive.first, archive.repository
    second = replace(first, name="copy-full", ended_at=first.ended_at + timedelta(seconds=1))
    shutil.copytree(repository.path_of(first), repository.path_of(second))
    repository.record(second)
    prove_quickly(archive, second)
    damaged = repository.path_of(second) / "global" / "pg_filenode.map"
    flip(damaged, 20)
    with pytest.raises(RepositoryError) as refused:
        prove_quickly(archive, second)
    said = str(refused.value)
    assert "copy-full is not as it was written" in said
    assert "global/pg_filenode.map" in said
    assert "Run bookconnect-dm backup --full now." in said
    place = repository.path_of(second).parent
    assert f"move copy-full, each with its .json, out of {place}: {first.name} serves" in said
    # As it says.
    shutil.move(repository.path_of(second), repository.folder / "aside")
    (place / "copy-full.json").unlink()
    line = repository.lines()[-1]
    assert repository.backup_for(line, None) == first
    damaged = repository.path_of(first) / "global" / "pg_filenode.map"
    flip(damaged, 20)
    with pytest.raises(RepositoryError, match="there is no earlier one to restore from"):
        prove_quickly(archive, first)
    flip(damaged, 20)


def see_that_a_damaged_disk_does_not_spoil_the_archive(archive: Archive) -> None:
    told: list[str] = []
    work = restore._Work(archive.postgres, archive.repository, None, told.append, lambda: None)
    work.keep_tail()
    kept = archive.repository.pieces(archive.repository.lines()[-1])[-1]
    assert kept.suffix == ".partial"
    good = kept.read_bytes()
    its_own = archive.postgres.cluster_folder / "pg_wal" / kept.stem
    assert good.rstrip(b"\0") in its_own.read_bytes()
    flip(its_own, 100)
    work.keep_tail()
    assert kept.read_bytes() == good
    assert f"{kept.stem} does not go on from what is in the archive" in told[-1]
    flip(its_own, 100)
    told.clear()
    work.keep_tail()
    assert told == []


def test_a_damaged_log_is_no_end_of_it(archive: Archive) -> None:
    see_that_a_damaged_file_is_told_with_a_way_out(archive)
    see_that_a_damaged_disk_does_not_spoil_the_archive(archive)
    archive.prove()
    last = archive.whole[-1]
    flip(last, 200)
    with pytest.raises(RepositoryError, match=f"damaged in {last.name}"):
        archive.prove()
    flip(last, 200)
    archive.prove()

    words = b"the second words"
    (piece,) = [path for path in archive.whole if words in path.read_bytes()]
    flip(piece, piece.read_bytes().index(words))
    damaged = f"damaged in {piece.name}"
    with pytest.raises(RepositoryError, match=damaged):
        archive.prove()
    for moment in (None, archive.moment):
        with pytest.raises(RepositoryError, match=f"{damaged}.* has to be erased again"):
            archive.restore(moment)
    with archive.postgres, psycopg.connect(archive.postgres.admin_url) as connection:
        said = connection.execute(
            "select count(*) from public.direct_messages where content like 'the % words'"
        ).fetchone()
    assert said == (3,), "the old one is untouched"

    # A piece that is lost likewise; and as it says.
    piece.unlink()
    (archive.postgres.cluster_folder / "pg_wal" / piece.name).unlink(missing_ok=True)
    cure = "--removals-until a moment before it too.* has to be erased again"
    with pytest.raises(RepositoryError, match=f"lacks {piece.name}.*{cure}"):
        archive.restore(archive.moment)
    assert archive.restore(archive.moment, until=archive.moment) > 0
