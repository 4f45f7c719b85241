"""A backup of a database in which nothing happens."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import psycopg
import pytest

from bookconnect_dm import backup
from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.repository import Repository
from tests.helpers.postgres import clusters_folder

BACKGROUND_WRITER = "select pid from pg_stat_activity where backend_type = 'background writer'"


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    with clusters_folder(in_memory=True) as base:
        made = EmbeddedPostgres(base / "demo", settings={"checkpoint_timeout": "1h"})
        made.start()
        yield made
        made.destroy()


def test_a_backup_of_an_idle_database_does_not_wait_for_somebody_to_write(
    postgres: EmbeddedPostgres,
) -> None:
    """It waited for a byte of log after its own, which came with a quarter of a minute's note."""
    repository = Repository.of(postgres.data_dir, "")

    def make() -> None:
        backup.make(postgres, repository, keep_days=1, tell=print, grow=lambda *_: None)

    make()
    # Nobody writes, and the one who would note that every 15 seconds is held, for a minute at most.
    with psycopg.connect(postgres.admin_url) as connection:
        row = connection.execute(BACKGROUND_WRITER).fetchone()
    assert row is not None
    os.kill(row[0], signal.SIGSTOP)
    release = threading.Timer(60, os.kill, (row[0], signal.SIGCONT))
    release.start()
    try:
        make()
        assert release.is_alive()
    finally:
        release.cancel()
        os.kill(row[0], signal.SIGCONT)
