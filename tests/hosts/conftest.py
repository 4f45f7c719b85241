"""The world of two stores and six members, on each of the three hosts and both versions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.migrating import HOSTS
from tests.helpers.postgres import Cluster
from tests.helpers.world import World, make_world


@pytest.fixture(params=HOSTS)
def host_world(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[World]:
    """Two stores and six members on each host."""
    database = cluster.database(adapter=request.param)
    yield make_world(database)
    database.drop()


@pytest.fixture(params=["bookconnect", "supabase"])
def shaped_world(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[World]:
    """The same where the tables are the original host's."""
    database = cluster.database(adapter=request.param)
    yield make_world(database)
    database.drop()
