"""Databases to migrate."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from bookconnect_dm import migrations
from tests.helpers.migrating import HOSTS
from tests.helpers.postgres import Cluster, Database


@pytest.fixture(params=HOSTS)
def fresh(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Database]:
    """A database of each host before direct messaging came."""
    database = cluster.empty_database(host=request.param)
    yield database
    database.drop()


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's SQL as a copy to change."""
    copy = tmp_path / "sql"
    shutil.copytree(str(files("bookconnect_dm") / "sql"), copy)
    monkeypatch.setattr(migrations, "SQL", copy)
    return copy
