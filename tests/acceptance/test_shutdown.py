"""An orderly stop under load: everybody is sent away to come back, and nothing said is untrue."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from uuid import UUID, uuid4

import pytest
from websockets.exceptions import ConnectionClosed

from tests.conftest import MakeCluster
from tests.helpers.live import Live, live
from tests.helpers.server import running_server, token_for
from tests.helpers.world import make_world

pytestmark = [pytest.mark.durability, pytest.mark.feed]

SOCKETS = 200
WRITERS = 10


async def close_code(socket: Live) -> tuple[int | None, float]:
    """Reads to the end; the code, and when it came."""
    try:
        while True:
            socket.heard.append(json.loads(await socket.connection.recv()))
    except ConnectionClosed as closed:
        return (closed.rcvd.code if closed.rcvd else None), time.monotonic()


async def write_until_closed(socket: Live, conversation: UUID) -> None:
    with contextlib.suppress(ConnectionClosed):
        for number in range(100_000):
            await socket.say(
                "send",
                ref=number,
                id=str(uuid4()),
                conversation_id=str(conversation),
                content=f"text {number}",
            )
            await asyncio.sleep(0.005)


def acknowledgements(sockets: list[Live]) -> int:
    return sum(frame["type"] == "ack" for socket in sockets for frame in socket.heard)


async def test_sigterm_sends_1012_to_everybody_and_what_it_acknowledged_is_stored(
    make_cluster: MakeCluster,
) -> None:
    world = make_world(make_cluster(18, fsync=True).database())
    conversation = world.converse(world.ada, world.ben)
    members = (world.ada, world.ben)
    with running_server(world.db) as server:
        async with contextlib.AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(live(server.socket_url, token_for(member)))
                for member in members * (SOCKETS // 2)
            ]
            async with asyncio.TaskGroup() as group, asyncio.timeout(60):
                closing = [group.create_task(close_code(socket)) for socket in sockets]
                for socket in sockets[:WRITERS]:
                    group.create_task(write_until_closed(socket, conversation))
                # In the middle of it, however slow the machine.
                while acknowledgements(sockets) < 100:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                told = time.monotonic()
                server.signal(signal.SIGTERM)
            closed = [task.result() for task in closing]
        assert server.process is not None
        assert await asyncio.to_thread(server.process.wait, 20) == 0
    assert {code for code, _ in closed} == {1012}
    assert max(moment for _, moment in closed) - told < 5
    acknowledged = [
        frame["message"]["id"]
        for socket in sockets
        for frame in socket.heard
        if frame["type"] == "ack"
    ]
    stored = {row["id"] for row in world.db.run("select id::text from public.direct_messages")}
    assert len(acknowledged) >= 100
    assert set(acknowledged) <= stored
    assert len(acknowledged) == len(set(acknowledged))
    assert world.db.run("select slot_name from pg_replication_slots") == []
