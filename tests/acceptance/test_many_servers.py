"""Three servers and a fourth that reads the log of a standby, on one database: they are as one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.feed import Feed
from tests.helpers.away import until
from tests.helpers.live import Frame, Live, live
from tests.helpers.postgres import FAST, FEED, SERVER, Cluster
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.standby import Standby, standby_of
from tests.helpers.world import World, make_world

pytestmark = [pytest.mark.durability, pytest.mark.feed]

SETTINGS = {**FAST, "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass(slots=True)
class Scene:
    """Three servers on the primary, and last the one that reads the standby."""

    world: World
    standby: Standby
    servers: list[RunningServer]

    async def log_standby_snapshot(self) -> None:
        """What a slot on a standby waits for."""
        await asyncio.to_thread(self.world.db.run, "select pg_log_standby_snapshot()")

    async def snapshot(self) -> str:
        """What is visible on the primary."""
        rows = await asyncio.to_thread(
            self.world.db.run, "select pg_current_snapshot()::text as text"
        )
        return str(rows[0]["text"])


@pytest.fixture(scope="module")
def scene(_clusters: Path) -> Iterator[Scene]:
    embedded = EmbeddedPostgres(_clusters / "many", settings=SETTINGS)
    embedded.start()
    cluster = Cluster(embedded, 18)
    world = make_world(cluster.database())
    world.db.run(f"grant execute on function pg_log_standby_snapshot() to {SERVER}")
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.destroy)
        standby = stack.enter_context(standby_of(cluster, _clusters / "many-standby"))
        servers = [stack.enter_context(running_server(world.db)) for _ in range(3)]
        url = standby.url(world.db, FEED)
        servers.append(stack.enter_context(running_server(world.db, FEED_URL=url)))
        yield Scene(world, standby, servers)


@contextlib.asynccontextmanager
async def everywhere(scene: Scene, member: UUID) -> AsyncIterator[list[Live]]:
    """A socket of a member on every server."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(live(server.socket_url, token_for(member)))
            for server in scene.servers
        ]


async def send(socket: Live, conversation: UUID, content: str) -> str:
    answer = await socket.ask(
        "send", id=str(uuid4()), conversation_id=str(conversation), content=content
    )
    assert answer["type"] == "ack", answer
    return str(answer["message"]["id"])


async def heard(socket: Live, count: int) -> list[str]:
    return [(await socket.hear("message"))["message"]["id"] for _ in range(count)]


def test_the_fourth_reads_the_standby(scene: Scene) -> None:
    slots = "select slot_name from pg_replication_slots where database = current_database()"
    assert len(scene.world.db.run(slots)) == 3
    assert '"on_standby": true' in scene.servers[3].log
    assert "standby_snapshot_refused" not in scene.servers[3].log


async def test_a_send_on_any_arrives_on_all_once_and_in_the_same_order(scene: Scene) -> None:
    world = scene.world
    conversation = await asyncio.to_thread(world.converse, world.ada, world.ben)
    async with everywhere(scene, world.ada) as ada, everywhere(scene, world.ben) as ben:

        async def write(socket: Live, name: str) -> list[str]:
            return [await send(socket, conversation, f"{name} {n}") for n in range(10)]

        # Everybody at once, through every server.
        sockets = [*ada, *ben]
        sent = await asyncio.gather(*(write(one, str(n)) for n, one in enumerate(sockets)))
        expected = {message_id for ids in sent for message_id in ids}
        orders = [await heard(socket, len(expected)) for socket in sockets]
        assert all(order == orders[0] for order in orders)
        assert set(orders[0]) == expected
        for socket in sockets:
            assert await socket.hears_nothing("message", for_s=0.1)


async def test_deletions_reads_and_new_conversations_cross_too(scene: Scene) -> None:
    world = scene.world
    async with everywhere(scene, world.cleo) as cleo:
        conversation = await asyncio.to_thread(world.converse, world.dora, world.cleo)
        for socket in cleo:
            assert (await socket.hear("conversation"))["conversation_id"] == str(conversation)
        async with everywhere(scene, world.dora) as dora:
            for number, socket in enumerate(dora):
                message_id = await send(socket, conversation, f"from {number}")
                for one in cleo:
                    assert (await one.hear("message"))["message"]["id"] == message_id
                other = cleo[(number + 1) % len(cleo)]
                mark = await other.ask("read", conversation_id=str(conversation))
                for one in dora:
                    read = await one.hear("read")
                    assert read["last_read_at"] == mark["last_read_at"]
                assert (await socket.ask("delete", id=message_id))["type"] == "ack"
                for one in cleo:
                    assert (await one.hear("message_deleted"))["id"] == message_id


async def test_typing_and_presence_cross_all_of_them(scene: Scene) -> None:
    world = scene.world
    conversation = str(await asyncio.to_thread(world.converse, world.ada, world.dora))
    async with everywhere(scene, world.dora) as dora:
        for socket in dora:
            assert socket.ready
        async with live(scene.servers[0].socket_url, token_for(world.ada)) as ada:
            for socket in dora:
                assert await presence(socket, world.ada) is True
            await ada.say("typing", conversation_id=conversation)
            for socket in dora:
                typing = await socket.hear("typing")
                assert (typing["conversation_id"], typing["user_id"]) == (
                    conversation,
                    str(world.ada),
                )
        for socket in dora:
            assert await presence(socket, world.ada) is False
        # From the one at the standby to the others.
        async with live(scene.servers[3].socket_url, token_for(world.ada)):
            for socket in dora:
                assert await presence(socket, world.ada) is True


async def presence(socket: Live, member: UUID) -> bool:
    """What is told next of a member's presence."""
    while True:
        frame = await socket.hear("presence")
        if frame["user_id"] == str(member):
            return bool(frame["online"])


async def test_a_narrowed_socket_gets_no_other_conversation_s_frame(scene: Scene) -> None:
    world = scene.world
    wanted = await asyncio.to_thread(world.converse, world.ada, world.ben)
    other = await asyncio.to_thread(world.converse, world.ada, world.cleo)
    async with (
        everywhere(scene, world.ada) as ada,
        live(scene.servers[1].socket_url, token_for(world.ben)) as ben,
        live(scene.servers[2].socket_url, token_for(world.cleo)) as cleo,
    ):
        for socket in ada:
            answer = await socket.ask("subscribe", conversation_ids=[str(wanted)])
            assert answer["type"] == "ack"
            socket.heard.clear()
            socket._passed_over.clear()
        secret = await send(cleo, other, "not for this window")
        await cleo.ask("read", conversation_id=str(other))
        await cleo.say("typing", conversation_id=str(other))
        await cleo.ask("delete", id=secret)
        last = await send(ben, wanted, "for this window")
        for socket in ada:
            # In commit order: whatever belonged to the other conversation would have come first.
            assert (await socket.hear("message"))["message"]["id"] == last
            assert await socket.hears_nothing("message", "typing", for_s=0.3)
            assert not [frame for frame in socket.heard if _is_about(frame, other, world.cleo)]
        for socket in ada:
            await socket.ask("subscribe", conversation_ids=None)
        widened = await send(cleo, other, "all again")
        for socket in ada:
            assert await heard(socket, 1) == [widened]


def _is_about(frame: Frame, conversation: UUID, member: UUID) -> bool:
    text = str(frame)
    return str(conversation) in text or str(member) in text


async def test_what_is_sent_while_the_standby_is_away_arrives_when_it_is_back(
    scene: Scene,
) -> None:
    """It stops with a reader connected, and its slot is still there afterwards."""
    world = scene.world
    conversation = await asyncio.to_thread(world.converse, world.ben, world.dora)
    fed = scene.servers[3]
    async with (
        live(fed.socket_url, token_for(world.dora)) as there,
        live(scene.servers[0].socket_url, token_for(world.ben)) as ben,
    ):
        await asyncio.to_thread(scene.standby.stop)
        await asyncio.to_thread(fed.wait_for, 503)
        sent = [await send(ben, conversation, f"away {n}") for n in range(5)]
        await asyncio.to_thread(scene.standby.start)
        await asyncio.to_thread(fed.wait_for, 200)
        assert await heard(there, 5) == sent
        assert not [frame for frame in there.heard if frame["type"] == "resync"]


async def test_a_standby_that_lost_its_primary_is_no_healthy_feed(scene: Scene) -> None:
    """It answers as before and has nothing new to say, which looks like a quiet evening."""
    feed = Feed(
        scene.standby.url(scene.world.db, FEED),
        instance="follower",
        on_transaction=lambda _: None,
        on_gap=lambda: None,
        primary=scene,
        follow_s=0.2,
    )
    running = asyncio.create_task(feed.run())
    try:
        assert await feed.wait_until_ready(30)
        assert feed.healthy
        await asyncio.to_thread(scene.standby.follow, is_following=False)
        await until(lambda: not feed.healthy)
        await asyncio.to_thread(scene.standby.follow, is_following=True)
        await until(lambda: feed.healthy)
    finally:
        await feed.stop()
        await asyncio.wait([running])
