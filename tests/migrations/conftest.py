"""Databases to migrate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.migrating import HOSTS
from tests.helpers.postgres import Cluster, Database


@pytest.fixture(params=HOSTS)
def fresh(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Database]:
    """A database of each host before direct messaging came."""
    database = cluster.empty_database(host=request.param)
    yield database
    database.drop()
