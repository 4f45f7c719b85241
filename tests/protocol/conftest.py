"""A server process and its database for the tests of one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from bookconnect_dm.embedded import EmbeddedPostgres
from tests.helpers.postgres import FAST, Cluster
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World, make_world

Client = Callable[..., httpx.Client]

# The feed reads the log as far as it is flushed, so commits flush it (to no disk: fsync is off).
LIVE = {**FAST, "synchronous_commit": "on", "max_slot_wal_keep_size": "256MB"}


@pytest.fixture(scope="session")
def edge_cluster(_clusters: Path) -> Iterator[Cluster]:
    """A cluster of the files that run a server."""
    embedded = EmbeddedPostgres(_clusters / "edge", settings=LIVE)
    embedded.start()
    cluster = Cluster(embedded, 18)
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="module")
def shared(edge_cluster: Cluster) -> Iterator[World]:
    """Two stores and six members for one file."""
    database = edge_cluster.database()
    yield make_world(database)
    database.drop()


@pytest.fixture(scope="module")
def server(shared: World) -> Iterator[RunningServer]:
    """A server for one file, without rate limits."""
    with running_server(shared.db) as running:
        yield running


@pytest.fixture
def own(edge_cluster: Cluster) -> Iterator[World]:
    """Two stores and six members for one test."""
    database = edge_cluster.database()
    yield make_world(database)
    database.drop()


@pytest.fixture
def client() -> Iterator[Client]:
    """Makes HTTP clients that are signed in as a member (or as nobody)."""
    made: list[httpx.Client] = []

    def make(server: RunningServer, user_id: UUID | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {token_for(user_id)}"} if user_id else {}
        # No TLS here, and reading the authorities takes longer than a test.
        one = httpx.Client(base_url=server.url, headers=headers, timeout=20, verify=False)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()
