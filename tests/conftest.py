"""PostgreSQL for the run: one cluster a version, one migrated template, one clone a test.

`pg` is a fresh, migrated database, once on PostgreSQL 18 and once on 15; `world` is the same with
two stores and six members. `empty_pg` was never migrated. Tests with a feed or a slot take
`live_pg` or `live_world` (a cluster of its own, since making a slot waits for every transaction of
its cluster). Tests that kill PostgreSQL, or change roles, take `make_cluster`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest

from bookconnect_dm.embedded import EmbeddedPostgres
from tests.helpers import through
from tests.helpers.postgres import FAST, Cluster, Database, clusters_folder, pg15_bin_dir
from tests.helpers.world import World, make_world

VERSIONS = {"pg18": 18, "pg15": 15}

# Node comes in a wheel, beside the Python that runs the tests.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

# Programs that are started inherit what is ignored: SIGHUP, where this runs under nohup.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# `make proof` looks a hundred times harder. No deadline: machines of all kinds run this.
hypothesis.settings.register_profile("test", deadline=None)
hypothesis.settings.register_profile("proof", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile("proof" if os.environ.get("PROOF") else "test")

MakeCluster = Callable[..., Cluster]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run browser tests last: Playwright leaves a loop behind, and asyncio tests trip over it."""
    items.sort(key=lambda item: "browser" in getattr(item, "fixturenames", ()))
    if through.is_asked_for():
        through.leave_out(items)


@pytest.fixture(scope="session", autouse=True)
def _way_in() -> Iterator[None]:
    """Where it is asked for, servers reach PostgreSQL through PgBouncer."""
    if not through.is_asked_for():
        yield
        return
    with through.Through.installed():
        yield


@pytest.fixture(scope="session")
def _clusters() -> Iterator[Path]:
    with clusters_folder() as folder:
        yield folder


def _start(folder: Path, version: int, settings: Mapping[str, str]) -> Cluster:
    bin_dir = None
    if version == VERSIONS["pg15"]:
        bin_dir = pg15_bin_dir()
        if bin_dir is None:
            message = "PostgreSQL 15 is not here: install postgresql-15 or set PG15_BIN"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
    embedded = EmbeddedPostgres(folder, bin_dir=bin_dir, settings=settings)
    embedded.start()
    return Cluster(embedded, version)


@pytest.fixture(scope="session", params=list(VERSIONS))
def cluster(request: pytest.FixtureRequest, _clusters: Path) -> Iterator[Cluster]:
    """A fast cluster of each version, shared by the run."""
    made = _start(_clusters / request.param, VERSIONS[request.param], FAST)
    yield made
    made.destroy()


@pytest.fixture
def pg(cluster: Cluster) -> Iterator[Database]:
    """A fresh migrated database, on PostgreSQL 18 and on 15."""
    database = cluster.database()
    yield database
    database.drop()


@pytest.fixture
def empty_pg(cluster: Cluster) -> Iterator[Database]:
    """A fresh database that was never migrated, on PostgreSQL 18 and on 15."""
    database = cluster.empty_database()
    yield database
    database.drop()


@pytest.fixture
def world(pg: Database) -> World:
    """Two stores and six members in `pg`."""
    return make_world(pg)


@pytest.fixture(scope="session")
def live_cluster(_clusters: Path) -> Iterator[Cluster]:
    """A fast PostgreSQL 18 of its own for tests with slots."""
    made = _start(_clusters / "live", VERSIONS["pg18"], FAST)
    yield made
    made.destroy()


@pytest.fixture
def live_pg(live_cluster: Cluster) -> Iterator[Database]:
    """A fresh migrated database in which a feed may open slots; dropped with its slots."""
    database = live_cluster.database()
    yield database
    database.drop()


@pytest.fixture
def worker_url(live_pg: Database) -> Iterator[str]:
    """The retention worker's login in `live_pg`."""
    with live_pg.worker_url() as url:
        yield url


@pytest.fixture
def live_world(live_pg: Database) -> World:
    """Two stores and six members in `live_pg`."""
    return make_world(live_pg)


@pytest.fixture
def make_cluster(_clusters: Path) -> Iterator[MakeCluster]:
    """Make clusters that only this test has: `make_cluster(18, fsync=True)`.

    For what would disturb others: killing PostgreSQL (with fsync), changing roles and grants.
    """
    made: list[Cluster] = []

    def make(version: int = 18, *, fsync: bool = False, **settings: str) -> Cluster:
        folder = _clusters / f"own-{os.urandom(4).hex()}"
        base = {} if fsync else FAST
        made.append(_start(folder, version, {**base, **settings}))
        return made[-1]

    yield make
    for one in made:
        one.destroy()
