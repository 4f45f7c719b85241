"""A stage in a fresh database, on PostgreSQL 18 and on 15."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.postgres import Database
from tests.retention.clock import Clock
from tests.retention.world import Stage


@pytest.fixture
def stage(pg: Database) -> Iterator[Stage]:
    """One store and whoever a test brings into it, over one connection of the owner."""
    with pg.connect(autocommit=True) as owner:
        yield Stage(owner, pg)


@pytest.fixture
def url(pg: Database) -> Iterator[str]:
    """The retention worker's login."""
    with pg.worker_url() as url:
        yield url


@pytest.fixture
def clock(stage: Stage) -> Clock:
    """The simulated clock of the stage's database."""
    return Clock(stage.owner)
