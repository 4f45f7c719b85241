"""Whatever befalls the way, the servers and PostgreSQL: at the end everybody knows what is stored.

Twenty members, three servers of their own processes, one database. Calls are lost before and after
they were done, doubled and repeated seconds later; sockets are cut within frames, fall silent, give
frames twice; tokens end; servers are stopped and killed, PostgreSQL drops its connections and
crashes. Each member's client carries on through all of it.

CI size: 3 seeds of 2,000 operations; PROOF=1: 20 of 10,000. SEED=... plays one seed, OPERATIONS=...
another number. The decisions (who does what, what befalls which call, when which server dies) are
the seed's alone; the moments are the machine's.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bookconnect_dm import client as client_module
from bookconnect_dm.embedded import EmbeddedPostgres
from tests.faults.play import Play, Stage
from tests.faults.story import tell
from tests.helpers.postgres import FAST, Cluster

pytestmark = [pytest.mark.durability, pytest.mark.feed]

IS_PROOF = bool(os.environ.get("PROOF"))
OPERATIONS = int(os.environ.get("OPERATIONS", "10000" if IS_PROOF else "2000"))
SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else [*range(1, 21 if IS_PROOF else 4)]


# What was committed survives the death of every process; only a machine's would lose it.
SAFE = {**FAST, "synchronous_commit": "on", "full_page_writes": "on"}


@pytest.fixture(scope="module")
def stage(_clusters: Path) -> Iterator[Stage]:
    """Three servers on one database, for all seeds one after another."""
    embedded = EmbeddedPostgres(_clusters / "faults", settings=SAFE)
    embedded.start()
    cluster = Cluster(embedded, 18)
    try:
        with Stage.built_on(cluster) as stage:
            yield stage
    finally:
        cluster.destroy()


# uvloop may lose a connection whose making is cancelled in the moment in which it succeeds. A
# client that keeps one open is found by its own tests, which run on asyncio's loop.
@pytest.mark.filterwarnings("ignore:.*UVHandle.__dealloc__:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", SEEDS)
def test_everybody_knows_in_the_end_what_is_stored(
    stage: Stage, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shorter pauses: in the same time more comes back, and more befalls it.
    monkeypatch.setattr(client_module, "PAUSE_S", (0.05, 1.0))
    story = tell(seed, OPERATIONS)
    print(f"SEED={seed} OPERATIONS={OPERATIONS} decisions {story.digest}")
    began = time.monotonic()
    play = Play(stage, story)
    rows = play.perform()
    print(f"{play.report()} {time.monotonic() - began:.0f} s")

    assert play.faults == []
    acknowledged = [message.id for member in play.cast for message in member.acknowledged]
    assert len(acknowledged) > OPERATIONS * 0.5
    assert len(set(acknowledged)) == len(acknowledged), "each send has an id of its own"
    assert set(acknowledged) == rows.ids, "acknowledged = stored: every send has ended"
    deleted = [one for member in play.cast for one in member.deleted]
    assert set(deleted) == rows.deleted
    twice = [text for text, times in Counter(rows.contents).items() if times > 1]
    assert twice == [], "no message is stored twice"
