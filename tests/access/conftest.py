"""The scene, one for each host and version, and the count of attempts at the end of the run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from bookconnect_dm import access
from bookconnect_dm.access import Rules
from tests.access.attempts import Stage
from tests.access.scene import Scene, make_scene
from tests.helpers.postgres import Cluster

HOSTS = ("standalone", "bookconnect", "supabase")
PROPERTY = "attempts"

Count = Callable[[Stage], None]


@pytest.fixture(scope="session")
def rules() -> Rules:
    return access.load()


@pytest.fixture(scope="session", params=HOSTS)
def scene(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Scene]:
    """One clone for each host and version, with the scene in it; nobody commits anything to it."""
    database = cluster.database(adapter=request.param)
    yield make_scene(database)
    database.drop()


@pytest.fixture
def stage(
    scene: Scene, rules: Rules, record_property: Callable[[str, object], None]
) -> Iterator[Stage]:
    """A transaction on the scene in which anything can be tried; counted."""
    with Stage(scene, rules).open() as opened:
        yield opened
    record_property(PROPERTY, (scene.db.adapter, scene.db.version, opened.made))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many attempts and mutants there were, wherever they ran."""
    counts: Counter[tuple[str, int]] = Counter()
    mutants: list[str] = []
    for report in terminalreporter.getreports(""):  # the property is recorded at the teardown
        for name, value in getattr(report, "user_properties", ()):
            if name == PROPERTY:
                adapter, version, made = value
                counts[adapter, version] += made
            elif name == "mutants":
                mutants += value
    for (adapter, version), made in sorted(counts.items()):
        terminalreporter.write_line(f"access: {made:,} attempts on {adapter}, PostgreSQL {version}")
    if mutants:
        terminalreporter.write_line(f"access: {len(mutants):,} mutants of the schema")
    if os.environ.get("PROOF"):
        for mutant in mutants:
            terminalreporter.write_line(f"  {mutant}")
