"""`kill -9` of the server and of PostgreSQL while messages flow.

Whatever was acknowledged is stored once, and clients that come back see all of it, once and in
order. Real processes, fsync on. CI size: five kills of each; `PROOF=1`: fifty of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from bookconnect_dm import client as client_module
from bookconnect_dm import wire
from bookconnect_dm.client import Client
from bookconnect_dm.wire import ReloadFrame
from tests.conftest import MakeCluster
from tests.helpers.postgres import Cluster
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World, make_world

pytestmark = [pytest.mark.durability, pytest.mark.feed]

IS_PROOF = bool(os.environ.get("PROOF"))
KILLS = 50 if IS_PROOF else 5
BETWEEN_S = 1.0 if IS_PROOF else 0.2


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    if not IS_PROOF:  # the full size waits as clients do in earnest
        monkeypatch.setattr(client_module, "PAUSE_S", (0.05, 0.5))


class Member:
    """A client that writes without pause and keeps all that it is told."""

    def __init__(self, server: RunningServer, user: UUID, conversation: UUID) -> None:
        async def token() -> str:
            return token_for(user)

        self.client = Client(server.url, token, give_up_s=120, http=httpx.AsyncClient(verify=False))
        self.conversation = conversation
        self.acknowledged: list[wire.DMMessage] = []
        self.heard: list[wire.DMMessage] = []
        self.is_done = False

    async def write(self) -> None:
        number = 0
        while not self.is_done:
            number += 1
            self.acknowledged.append(await self.client.send(self.conversation, f"text {number}"))

    async def listen(self) -> None:
        async for event in self.client.events():
            assert not isinstance(event, ReloadFrame), "nothing was lost, so nothing is reloaded"
            if isinstance(event, wire.MessageFrame):
                self.heard.append(event.message)


@contextlib.asynccontextmanager
async def chatting(server: RunningServer, world: World) -> AsyncIterator[list[Member]]:
    """Two writers and a second device of one of them; ends when all their sends have ended."""
    conversation = await asyncio.to_thread(world.converse, world.ada, world.ben)
    members = [Member(server, user, conversation) for user in (world.ada, world.ben, world.ben)]
    listeners = [asyncio.create_task(member.listen()) for member in members]
    await until(lambda: all(member.client.is_live for member in members))
    writers = [asyncio.create_task(member.write()) for member in members[:2]]
    try:
        yield members
        for member in members:
            member.is_done = True
        async with asyncio.timeout(150):
            await asyncio.gather(*writers)
        stored = rows(world)
        await until(lambda: all(len(member.heard) >= len(stored) for member in members))
    finally:
        for task in (*writers, *listeners):
            task.cancel()
        await asyncio.wait((*writers, *listeners))
        for member in members:
            await member.client.close()
    for task in listeners:
        assert task.cancelled(), task.exception()


async def until(is_true: object, timeout_s: float = 60) -> None:
    assert callable(is_true)
    end = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < end, "it did not come to pass in time"
        await asyncio.sleep(0.05)


def rows(world: World) -> list[str]:
    """The messages that are stored, in the order of the conversation's clock."""
    found = world.db.run("select id::text from public.direct_messages order by sent_at")
    return [row["id"] for row in found]


async def keep_writing(members: list[Member]) -> None:
    """Lets messages flow for a while."""
    before = sum(len(member.acknowledged) for member in members)
    await until(lambda: sum(len(member.acknowledged) for member in members) > before + 10)
    await asyncio.sleep(BETWEEN_S)


def judge(world: World, members: list[Member]) -> None:
    stored = rows(world)
    acknowledged = [message.id for member in members for message in member.acknowledged]
    assert len(acknowledged) > KILLS * 10
    twice = [message_id for message_id, times in Counter(acknowledged).items() if times > 1]
    assert twice == [], "each send has an id of its own"
    assert set(acknowledged) == set(stored), "acknowledged = stored (all sends have ended)"
    for member in members:
        assert [message.id for message in member.heard] == stored, "once each, and in order"


def slot_names(world: World) -> list[str]:
    found = world.db.run(
        "select slot_name from pg_replication_slots where database = current_database()"
    )
    return [row["slot_name"] for row in found]


async def test_a_killed_server_loses_and_doubles_nothing(make_cluster: MakeCluster) -> None:
    world = make_world(make_cluster(18, fsync=True).database())
    with running_server(world.db) as server:
        async with chatting(server, world) as members:
            for _ in range(KILLS):
                await keep_writing(members)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            await keep_writing(members)
        judge(world, members)
        assert len(slot_names(world)) == 1, "however many kills, one slot"
    assert slot_names(world) == []


async def test_a_killed_postgresql_loses_and_doubles_nothing(make_cluster: MakeCluster) -> None:
    cluster: Cluster = make_cluster(18, fsync=True)
    world = make_world(cluster.database())
    with running_server(world.db) as server:
        async with chatting(server, world) as members:
            for _ in range(KILLS):
                await keep_writing(members)
                await asyncio.to_thread(cluster.crash)
                await asyncio.to_thread(server.wait_for, 200)
            await keep_writing(members)
        judge(world, members)
        assert len(slot_names(world)) == 1, "it is the same slot before and after"
    assert slot_names(world) == []
