"""The load generator: what it refuses, what it does, and that it stays within its bounds."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

import pytest

from bookconnect_dm.cli import main
from tests.helpers.postgres import Cluster
from tests.helpers.server import SECRET, RunningServer, running_server
from tests.helpers.world import World, make_world

pytestmark = pytest.mark.feed


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def load(world: World, *arguments: str) -> Done:
    """Run the command in this process: a dozen of its own would be a dozen imports."""
    ours = {"ADMIN_URL": world.db.admin_url, "JWT_SECRET": SECRET}
    settings = {f"BOOKCONNECT_DM_{name}": value for name, value in ours.items()}
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, settings),
        mock.patch.object(sys, "argv", ["bookconnect-dm", "load", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


def run(world: World, server: RunningServer, *more: str) -> Done:
    return load(world, "run", "--server", server.url, "--seconds", "8", *more)


def messages(world: World) -> int:
    return int(world.db.run("select count(*) as n from public.direct_messages")[0]["n"])


def counts(text: str) -> dict[str, int]:
    return {
        kind: int(count.replace(",", ""))
        for kind, count in re.findall(r"^(\w+) +([\d,]+) .*ms$", text, re.MULTILINE)
    }


def refused(done: Done, words: str) -> bool:
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    return words in done.stderr


@pytest.fixture
def server(live_world: World) -> Iterator[RunningServer]:
    with running_server(live_world.db, LIMIT_SENDS_PER_SECOND="10") as one:
        yield one


def test_an_unmarked_database_is_refused_and_a_mark_that_has_ended(live_world: World) -> None:
    assert refused(load(live_world, "run"), "not marked for load")
    assert load(live_world, "allow", "--hours", "1").returncode == 0
    live_world.db.run(
        "update messaging.settings set value = (value::float8 - 3601)::text"
        " where name = 'load_allowed_until'"
    )
    assert refused(load(live_world, "run"), "not marked for load")


def test_another_machine_is_refused_unless_it_is_meant(live_world: World) -> None:
    assert load(live_world, "allow").returncode == 0
    for elsewhere in ("https://chat.example", "http://10.0.0.1:8080", "http://127.0.0.1.example"):
        done = load(live_world, "run", "--server", elsewhere)
        assert refused(done, "is not this machine"), elsewhere


def test_a_server_of_another_database_is_refused(
    live_world: World, server: RunningServer, live_cluster: Cluster
) -> None:
    other = make_world(live_cluster.database())
    assert load(other, "allow").returncode == 0
    assert refused(run(other, server), "serves another database")
    assert messages(other) == messages(live_world) == 0
    other.db.drop()


def test_members_chat_as_people_do_and_everything_is_heard(
    live_world: World, server: RunningServer
) -> None:
    assert load(live_world, "allow", "--members", "12").returncode == 0
    done = run(live_world, server, "--members", "12", "--messages", "36000", "--rate", "50")
    assert done.returncode == 0, done.stdout + done.stderr
    seen = counts(done.stdout)
    assert seen["send"] == messages(live_world) > 10
    assert 0 < seen["delivery"] <= seen["send"]
    assert {"me", "inbox", "start", "page"} <= seen.keys()
    assert "every message reached its reader" in done.stdout
    senders = live_world.db.run(
        "select count(distinct sender_id) as n, min(username) like 'load%%' as ours"
        " from public.direct_messages join public.users as u on u.id = sender_id"
    )[0]
    assert senders["n"] > 1
    assert senders["ours"], "the store's own members are left alone"
    assert "load end" in load(live_world, "allow").stdout
    assert "12 members" in load(live_world, "end").stdout
    assert messages(live_world) == 0
    assert live_world.db.run("select count(*) as n from public.users")[0]["n"] == 6
    assert refused(run(live_world, server), "not marked for load")


def test_the_rate_and_the_time_are_bounds(live_world: World, server: RunningServer) -> None:
    assert load(live_world, "allow", "--members", "20").returncode == 0
    began = time.monotonic()
    done = run(live_world, server, "--members", "20", "--messages", "36000", "--rate", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert 1 <= counts(done.stdout)["send"] <= 5 * 8 + 20, "20 may be under way at the end"
    assert time.monotonic() - began < 60


def test_what_fails_is_told_and_the_status_is_1(live_world: World) -> None:
    assert load(live_world, "allow", "--members", "6").returncode == 0
    with running_server(live_world.db, LIMIT_STARTS_PER_HOUR="1") as strict:
        done = run(live_world, strict, "--members", "6", "--messages", "3600")
    assert done.returncode == 1
    assert "failed: " in done.stdout
    assert "start: RATE_LIMIT_EXCEEDED" in done.stdout
