"""Fifty connections of its two members write in one conversation at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from bookconnect_dm import pgoutput
from bookconnect_dm.events import Assembler, MessageSent
from tests.conftest import MakeCluster
from tests.helpers.live import Live, live
from tests.helpers.postgres import Database
from tests.helpers.server import running_server, token_for
from tests.helpers.world import make_world

pytestmark = [pytest.mark.feed]

BY_SQL, BY_SOCKET, EACH = 20, 30, 8
SLOT = "commit_order"


async def write_by_sql(
    db: Database, user: UUID, conversation: UUID, started: asyncio.Event
) -> None:
    """Writes as PostgREST would: claims for one transaction, one statement."""
    claims = json.dumps({"sub": str(user), "role": "authenticated", "aud": "authenticated"})
    async with await psycopg.AsyncConnection.connect(db.admin_url) as connection:
        await started.wait()
        for number in range(EACH):
            async with connection.transaction():
                await connection.execute(
                    "select set_config('request.jwt.claims', %s, true),"
                    " set_config('role', 'authenticated', true)",
                    (claims,),
                )
                await connection.execute(
                    "select public.send_message(%s, %s)", (conversation, f"sql {number}")
                )


async def write_by_socket(socket: Live, conversation: UUID, started: asyncio.Event) -> None:
    """Sends one after another without waiting for acknowledgements, as an eager client may."""
    await started.wait()
    for number in range(EACH):
        await socket.say(
            "send",
            ref=number,
            id=str(uuid4()),
            conversation_id=str(conversation),
            content=f"socket {number}",
        )


async def hear_messages(socket: Live, count: int) -> list[tuple[str, str]]:
    """Reads until so many messages have come; what they are, and when they were sent."""
    heard: list[tuple[str, str]] = []
    acks = 0
    while len(heard) < count or acks < EACH:
        frame = await socket.hear("message", "ack", "error", timeout_s=60)
        assert frame["type"] != "error", frame
        if frame["type"] == "ack":
            acks += 1
        else:
            heard.append((frame["message"]["id"], frame["message"]["sent_at"]))
    return heard


def commit_order(db: Database) -> list[tuple[str, str]]:
    """The messages in the order of the log, read from a slot of the test's own."""
    assembler = Assembler()
    order: list[tuple[str, str]] = []
    with db.connect(autocommit=True) as connection:
        connection.execute("set timezone to 'UTC'")
        connection.execute("set datestyle to 'ISO'")
        rows: list[Any] = connection.execute(
            "select data from pg_logical_slot_get_binary_changes(%s, null, null,"
            " 'proto_version', '1', 'publication_names', 'bookconnect_dm')",
            (SLOT,),
        ).fetchall()
    for row in rows:
        transaction = assembler.take(pgoutput.decode(bytes(row["data"])))
        for event in transaction.events if transaction else ():
            assert isinstance(event, MessageSent)
            order.append((event.id, event.sent_at))
    return order


async def test_order_is_one_and_the_same_for_everybody(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(18, synchronous_commit="on", max_connections="150")
    world = make_world(cluster.database())
    conversation = world.converse(world.ada, world.ben)
    world.db.run("select pg_create_logical_replication_slot(%s, 'pgoutput')", SLOT)
    total = (BY_SQL + BY_SOCKET) * EACH
    members = (world.ada, world.ben)
    started = asyncio.Event()
    with running_server(world.db) as server:
        async with contextlib.AsyncExitStack() as stack, asyncio.timeout(100):
            sockets = [
                await stack.enter_async_context(live(server.socket_url, token_for(member)))
                for member in members * (BY_SOCKET // 2)
            ]
            async with asyncio.TaskGroup() as group:
                readers = [group.create_task(hear_messages(s, total)) for s in sockets]
                for socket in sockets:
                    group.create_task(write_by_socket(socket, conversation, started))
                for member in members * (BY_SQL // 2):
                    group.create_task(write_by_sql(world.db, member, conversation, started))
                started.set()
        orders = [reader.result() for reader in readers]
    order = commit_order(world.db)
    positions = [sent_at for _, sent_at in order]
    assert len(order) == total
    assert positions == sorted(set(positions)), "sent_at must be unique and rise in commit order"
    for heard in orders:
        assert heard == order
    (row,) = world.db.run(
        "select count(*) as n, count(distinct sent_at) as times, max(sent_at) = max(c.position)"
        " as is_clock from direct_messages m join conversations c on c.id = m.conversation_id"
    )
    assert row == {"n": total, "times": total, "is_clock": True}
    (stats,) = world.db.run(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    assert stats["deadlocks"] == 0
