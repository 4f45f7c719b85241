"""A database whose restore has not ended is served by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bookconnect_dm import doctor
from bookconnect_dm.config import Settings
from bookconnect_dm.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.helpers.postgres import clusters_folder, run_async
from tests.helpers.server import running_server
from tests.helpers.world import World


def test_a_server_waits_until_a_closed_database_is_opened(live_world: World) -> None:
    """What `restore` does first to a copy, and what its last step undoes."""
    db = live_world.db
    limit = f"alter database {db.name} connection limit"
    db.run(f"{limit} 0")
    with running_server(db, ready=False) as server:
        server.wait_for(503)
        checks = run_async(lambda: doctor.examine(Settings(admin_url=db.admin_url)))
        wrong = {check.name: check.what_to_do for check in checks if not check.is_well}
        assert "run bookconnect-dm restore again" in wrong["the database is open"]
        db.run(f"{limit} -1")
        server.wait_for(200)


def test_the_doctor_asks_for_a_proved_backup_where_there_is_a_folder_for_them(
    world: World, tmp_path: Path
) -> None:
    settings = Settings(admin_url=world.db.admin_url, backup_folder=str(tmp_path / "backups"))
    checks = run_async(lambda: doctor.examine(settings))
    found = [check for check in checks if "proved" in check.name]
    assert [check.is_well for check in found] == [False]
    assert "backup verify" in found[0].what_to_do


@pytest.fixture
def folder() -> Iterator[Path]:
    with clusters_folder() as base:
        yield base / "demo"


def test_a_folder_whose_restore_was_killed_does_not_start(folder: Path) -> None:
    """Between the two renames there is no cluster; an empty one must not take its place."""
    postgres = EmbeddedPostgres(folder)
    postgres.hold()
    postgres.begin_to_replace()
    postgres.stop()
    with pytest.raises(EmbeddedPostgresError, match="was not finished"):
        EmbeddedPostgres(folder).start()
    assert not postgres.cluster_folder.exists()
    postgres.destroy()
    assert not folder.exists(), "RESET=1 is the way out for whoever wants to start anew"
