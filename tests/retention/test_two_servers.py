"""Real servers with a worker each: one leads, and when it is killed the other one does."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.server import RunningServer, running_server
from tests.helpers.world import World
from tests.retention.clock import Clock

LOOK_S = 0.3


def figure(server: RunningServer, name: str) -> float | None:
    text = httpx.get(f"{server.url}/metrics", timeout=20).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"bookconnect_dm_retention_{name}":
                return float(sample.value)
    return None


def until(condition: Callable[[], object], within_s: float = 180) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + within_s
        time.sleep(0.05)
    return time.monotonic() - began


def test_one_leads_and_when_it_is_killed_the_other_does(live_world: World, worker_url: str) -> None:
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                running_server(
                    live_world.db, RETENTION_URL=worker_url, RETENTION_LOOK_SECONDS=str(LOOK_S)
                )
            )
            for _ in range(2)
        ]
        until(lambda: [figure(s, "leader") for s in servers].count(1.0) == 1)
        until(lambda: all(figure(s, "last_complete_timestamp_seconds") for s in servers))
        leader, other = sorted(servers, key=lambda s: figure(s, "leader") or 0, reverse=True)
        assert (figure(leader, "leader"), figure(other, "leader")) == (1, 0)
        leader.kill()

        # A week goes by, and the one that is left makes up for it.
        conversation = live_world.converse(live_world.ada, live_world.cleo)
        live_world.send(live_world.cleo, conversation, "last month")
        with live_world.db.connect(autocommit=True) as owner:
            Clock(owner).pass_(38)
        took_s = until(lambda: figure(other, "leader") == 1)
        print(f"taken over after {took_s:.1f} s, looking every {LOOK_S} s")
        until(
            lambda: live_world.db.run("select id from messaging.retention_runs where skipped > 0")
        )
        assert live_world.db.run("select id from public.direct_messages where not is_deleted") == []
        until(lambda: '"event": "retention_late"' in other.log)


def test_by_default_a_look_comes_within_a_minute_and_not_more_often_than_every_30_s() -> None:
    from bookconnect_dm.schedule import Plan, _pause_s

    pauses = [_pause_s(Plan()) for _ in range(1000)]
    assert min(pauses) >= 30
    assert max(pauses) < 50
