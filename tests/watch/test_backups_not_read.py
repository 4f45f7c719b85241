"""A server that cannot read the folder of backups says so, and its alarm goes off."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.helpers.postgres import Database
from tests.helpers.server import running_server

pytestmark = pytest.mark.feed

AGE = "bookconnect_dm_backup_newest_timestamp_seconds 0.0"


def test_a_folder_that_cannot_be_read_counts_as_one_without_backups(
    live_pg: Database, tmp_path: Path
) -> None:
    line = tmp_path / "backups" / "lines" / "0001"
    line.mkdir(parents=True)
    (line / "line.json").write_text('{"number": 1}')
    with running_server(live_pg, BACKUP_FOLDER=str(tmp_path / "backups")) as server:
        end = time.monotonic() + 20
        while AGE not in httpx.get(f"{server.url}/metrics").text:
            assert time.monotonic() < end, server.log
            time.sleep(0.1)
        assert "backups_not_read" in server.log
        assert "line.json is damaged" in server.log
