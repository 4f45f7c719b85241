"""A stage in a fresh database, on PostgreSQL 18 and on 15."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.postgres import Database
from tests.retention.clock import Clock
from tests.retention.world import Stage

WORKER = "retention_worker"


@pytest.fixture
def stage(pg: Database) -> Iterator[Stage]:
    """One store and whoever a test brings into it, over one connection of the owner."""
    with pg.connect(autocommit=True) as owner:
        yield Stage(owner, pg)


@pytest.fixture
def url(pg: Database) -> Iterator[str]:
    """A login that has service_role's grants and nothing else, as RETENTION_URL wants it."""
    pg.run(f"create role {WORKER} login in role service_role")
    pg.cluster.embedded.set_password(WORKER)
    yield pg.url(WORKER)
    pg.run(f"drop role {WORKER}")


@pytest.fixture
def clock(stage: Stage) -> Clock:
    """The simulated clock of the stage's database."""
    return Clock(stage.owner)
