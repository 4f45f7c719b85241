"""What a send and a delivery may cost: counts, which a slow machine does not change.

Speed itself is measured by `make bench`; these say at once when something on the way of a message
has become twice the work.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from uuid import uuid4

import httpx
import pytest

from bookconnect_dm import hub as hub_module
from bookconnect_dm.db import load_queries
from bookconnect_dm.events import Event, MessageSent, Transaction
from bookconnect_dm.hub import Hub
from bookconnect_dm.metrics import Metrics
from tests.helpers.live import live
from tests.helpers.server import running_server, token_for
from tests.helpers.world import World

CONTENT = "Have you read the one about the lighthouse? " * 2
SERVER = "bookconnect_dm_server"


def rows(world: World, count: int) -> list[list[object]]:
    """Arguments of a batch: members of two conversations, in turns."""
    talks = (world.converse(world.ada, world.ben), world.converse(world.ada, world.cleo))
    senders = (world.ada, world.ada)
    return [
        [senders[n % 2] for n in range(count)],
        [uuid4() for _ in range(count)],
        [talks[n % 2] for n in range(count)],
        [CONTENT] * count,
    ]


def calls(world: World) -> dict[str, int]:
    """How often each of our functions was called, as PostgreSQL counts."""
    return {
        row["funcname"]: row["calls"]
        for row in world.db.run("select funcname, calls from pg_stat_user_functions")
    }


def test_a_batch_that_goes_well_is_one_statement(world: World) -> None:
    """Row by row is for what is refused: a statement a row would cost two thirds more."""
    with world.db.connect(world.db.cluster.superuser, autocommit=True) as db:
        db.execute("set track_functions = 'all'")
        db.execute(f"set session authorization {SERVER}")
        results = db.execute(
            "select * from messaging.send_batch(%s, %s, %s, %s)", rows(world, 50)
        ).fetchall()
        db.execute("reset session authorization")
        db.execute("select pg_stat_force_next_flush()")
    assert [row["code"] for row in results] == [None] * 50
    seen = calls(world)
    assert "send_one" not in seen
    # A row: may he write (the policy), the two triggers, the host's word. Not whether he may read
    # it: what was stored is read back in one look.
    per_row = {name: count for name, count in seen.items() if count >= 50}
    assert seen["just_stored"] == 1
    assert per_row == dict.fromkeys(
        ("can_send", "host_tier", "set_message_clock", "set_message_retention"), 50
    )


def test_a_refused_row_sends_the_batch_row_by_row_and_costs_no_other_its_message(
    world: World,
) -> None:
    arguments = rows(world, 10)
    arguments[0][3] = world.dora
    with world.db.connect(SERVER, autocommit=True) as db:
        results = db.execute(
            "select * from messaging.send_batch(%s, %s, %s, %s) order by n", arguments
        ).fetchall()
    codes = [row["code"] for row in results]
    assert codes == [None] * 3 + ["CONVERSATION_NOT_FOUND"] + [None] * 6
    stored = world.db.run("select id from public.direct_messages")
    assert {row["id"] for row in stored} == set(arguments[1]) - {arguments[1][3]}


def test_a_message_costs_a_bounded_log_and_few_blocks(world: World) -> None:
    """A send alone and one in a batch of 50, once every page of the log has its first image."""
    with world.db.connect(SERVER, autocommit=True) as db:
        for count, most_bytes, most_blocks in ((1, 1_400, 110), (50, 800, 75)):
            log, blocks = [], []
            for _ in range(5):
                before = world.db.run("select pg_current_wal_insert_lsn() as at")[0]["at"]
                plan = db.execute(
                    "explain (analyze, buffers, format json)"
                    " select * from messaging.send_batch(%s, %s, %s, %s)",
                    rows(world, count),
                ).fetchone()
                assert plan is not None
                after = world.db.run("select pg_current_wal_insert_lsn() - %s::pg_lsn as n", before)
                top = plan["QUERY PLAN"][0]["Plan"]
                blocks.append((top["Shared Hit Blocks"] + top["Shared Read Blocks"]) / count)
                log.append(float(after[0]["n"]) / count)
            # The least of five: others' pages and a vacuum are not the send's.
            print(f"{count} rows: {min(log):.0f} bytes of log, {min(blocks):.0f} blocks a message")
            assert min(log) < most_bytes
            assert min(blocks) < most_blocks


def test_an_inbox_is_counted_once_whatever_its_page_holds(world: World) -> None:
    """Counted for each row of the page, it took ten times as long."""
    for other in (world.ben, world.cleo, world.dora):
        world.send(world.ada, world.converse(world.ada, other), "Hello")
    asked = {"actor": world.ada, "page_limit": 20, "before_updated_at": None, "before_id": None}
    with world.db.connect(world.db.cluster.superuser, autocommit=True) as db:
        db.execute("set track_functions = 'all'")
        db.execute(f"set session authorization {SERVER}")
        assert len(db.execute(load_queries()["conversations"], asked).fetchall()) == 3
        db.execute("reset session authorization")
        db.execute("select pg_stat_force_next_flush()")
    seen = calls(world)
    assert seen["inbox"] == 1
    assert "unread_conversation_count" not in seen


def test_a_delivery_is_encoded_once_however_many_hear_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = hub_module._encode

    def count(event: Event) -> bytes:
        encoded.append(event)
        return encode(event)

    monkeypatch.setattr(hub_module, "_encode", count)
    one, users = uuid4(), [uuid4() for _ in range(2)]
    room = Hub()
    listeners = [room.register(users[n % 2], lambda: None) for n in range(10)]
    for listener in listeners:
        room.admit(listener, "100:100:", {one: frozenset(users)})
    at = "2026-11-22T10:00:00.000000Z"
    message = MessageSent(str(uuid4()), str(one), str(users[0]), "Hello", at, at)
    room.publish(Transaction(xid=200, end_lsn=1, committed_at=0, events=(message,)))
    assert all(len(listener.pop_all()) == 1 for listener in listeners)
    assert encoded == [message]


@pytest.mark.feed
async def test_a_message_is_one_statement_of_the_server(live_world: World) -> None:
    """From frame to delivery: no look-up before the send, none for the delivery."""
    world = live_world
    conversation = world.converse(world.ada, world.ben)
    with running_server(world.db) as server:
        async with (
            live(server.socket_url, token_for(world.ada)) as ada,
            live(server.socket_url, token_for(world.ben)) as ben,
        ):
            before = await statements(server.url)
            for n in range(10):
                id_ = str(uuid4())
                await ada.ask("send", id=id_, conversation_id=str(conversation), content=f"no {n}")
                await ben.hear("message")
            after = await statements(server.url)
    assert {
        name: after[name] - before.get(name, 0)
        for name in after
        if after[name] != before.get(name, 0)
    } == {"send_one": 10}


@pytest.mark.feed
async def test_nothing_is_asked_of_the_database_while_nothing_happens(live_world: World) -> None:
    """No polling: not for messages, not for presence, not for anybody's token."""
    world = live_world
    world.converse(world.ada, world.ben)
    with running_server(world.db) as server:
        async with (
            live(server.socket_url, token_for(world.ada)),
            live(server.socket_url, token_for(world.ben)),
        ):
            async with asyncio.timeout(30):
                before = await statements(server.url)
                while (after := await statements(server.url)) != before:
                    before = after  # the last of what their coming has begun
                    await asyncio.sleep(0.5)
            await asyncio.sleep(3)
            assert await statements(server.url) == before


async def statements(url: str) -> dict[str, int]:
    """How often the server has run each statement, as it counts itself."""
    text = (await asyncio.to_thread(httpx.get, f"{url}/metrics")).text
    found = re.findall(r'bookconnect_dm_statements_total\{.*?statement="(\w+)".*?\} (\S+)', text)
    return {name: int(float(count)) for name, count in found if name != "emit"}


def test_counters_are_looked_up_once() -> None:
    """The library's own look-up of labels takes ten times as long, and each message has four."""
    metrics = Metrics()
    for _ in range(3):
        metrics.sent("ok", 0.1)
        metrics.frame("SendFrame")
    text = metrics.text().decode()
    assert 'bookconnect_dm_sends_total{outcome="ok"} 3.0' in text
    assert 'bookconnect_dm_frames_received_total{type="SendFrame"} 3.0' in text
    assert len(metrics._known) == 2


def test_a_server_does_not_load_what_it_does_not_use() -> None:
    """Each is a tenth of its start; they come with libraries that it does use."""
    program = (
        "import sys\n"
        "from bookconnect_dm.commands import serving\n"
        "serving.leave_out_what_is_unused()\n"
        "from bookconnect_dm import app, config\n"
        "url = 'postgresql://a@b/c'\n"
        "given = config.Settings(database_url=url, feed_url=url, jwt_secret='x' * 32)\n"
        "app.create_app(given)\n"
        "print({name.partition('.')[0] for name, module in sys.modules.items() if module})\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert "litestar" in loaded
    assert "structlog" in loaded
    assert "'rich'" not in loaded
    assert "'pydantic'" not in loaded
