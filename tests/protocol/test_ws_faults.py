"""What goes wrong on a socket: each fault has its error or its close code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.helpers.live import Live, live, raw
from tests.helpers.postgres import Cluster
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World, make_world

NOBODY = UUID("b0000000-0000-4000-8000-000000000099")


@pytest.fixture
def conversation(shared: World) -> str:
    return str(shared.converse(shared.ada, shared.ben))


# --- before the socket is signed in ---------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        '{"type":"auth","v":1,"token":"x"}',
        '{"type":"auth","v":1,"token":""}',
        '{"type":"auth","v":1}',
        '{"type":"ping"}',
        '{"type":"send"}',
        "no json",
        "",
        "[]",
    ],
)
async def test_what_is_not_a_good_auth_frame_ends_it(server: RunningServer, first: str) -> None:
    async with raw(server.socket_url) as stranger:
        await stranger.connection.send(first)
        assert await stranger.close_code() == 4401
        assert stranger.heard == []


async def test_ended_and_forged_tokens_end_it(server: RunningServer, shared: World) -> None:
    for token in (
        token_for(shared.ada, ttl_s=-1),
        token_for(shared.ada, secret="another secret of thirty-two bytes"),
    ):
        async with raw(server.socket_url) as stranger:
            await stranger.say("auth", v=1, token=token)
            assert await stranger.close_code() == 4401


async def test_a_frame_that_is_too_large_ends_it(server: RunningServer, shared: World) -> None:
    async with raw(server.socket_url) as stranger:
        await stranger.connection.send("x" * 65_537)
        assert await stranger.close_code() == 1009
    async with live(server.socket_url, token_for(shared.ada)) as ada:
        await ada.connection.send(json.dumps({"type": "ping", "x": "x" * 65_400}))
        assert (await ada.hear())["type"] == "pong"
        await ada.connection.send(json.dumps({"type": "ping", "x": "x" * 65_600}))
        assert await ada.close_code() == 1009


async def test_another_version_of_the_protocol_is_said_and_ours_may_follow(
    server: RunningServer, shared: World
) -> None:
    async with raw(server.socket_url) as newer:
        error = await newer.ask("auth", v=2, token=token_for(shared.ada))
        assert (error["type"], error["code"], error["field"]) == ("error", "INVALID_REQUEST", "v")
        assert "v: 1" in error["detail"]
        assert (await newer.authenticate(token_for(shared.ada)))["v"] == 1


# --- frames that cannot be done -------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code"),
    [("", "INVALID_CONTENT"), (" \n\u3000", "INVALID_CONTENT"), ("x" * 1001, "INVALID_CONTENT"),
     ("a\0b", "INVALID_CONTENT"), ("half \ud83d", "INVALID_CONTENT")],
)  # fmt: skip
async def test_content_that_cannot_be_stored(
    server: RunningServer, shared: World, conversation: str, content: str, code: str
) -> None:
    async with live(server.socket_url, token_for(shared.ada)) as ada:
        error = await ada.ask(
            "send", id=str(uuid4()), conversation_id=conversation, content=content
        )
        assert (error["type"], error["code"], error["field"]) == ("error", code, "content")


async def test_each_error_names_its_frame_and_the_socket_lives_on(
    server: RunningServer, shared: World, conversation: str
) -> None:
    mine = shared.send(shared.ada, UUID(conversation), "Mine")
    cases: list[tuple[str, dict[str, object], str]] = [
        ("send", {"id": "x", "conversation_id": conversation, "content": "x"}, "INVALID_REQUEST"),
        ("send", {"conversation_id": conversation, "content": "x"}, "INVALID_REQUEST"),
        ("send", {"id": str(uuid4()), "conversation_id": str(NOBODY), "content": "x"},
         "CONVERSATION_NOT_FOUND"),
        ("send", {"id": str(mine), "conversation_id": conversation, "content": "x"}, "CONFLICT"),
        ("delete", {"id": str(NOBODY)}, "MESSAGE_NOT_FOUND"),
        ("delete", {"id": str(mine)}, "PERMISSION_DENIED"),
        ("read", {"conversation_id": str(NOBODY)}, "CONVERSATION_NOT_FOUND"),
        ("read", {"conversation_id": conversation, "up_to": "x"}, "INVALID_REQUEST"),
        ("read", {"conversation_id": conversation, "up_to_message": str(NOBODY)},
         "MESSAGE_NOT_FOUND"),
        ("subscribe", {"conversation_ids": ["x"]}, "INVALID_REQUEST"),
        ("subscribe", {}, "INVALID_REQUEST"),
    ]  # fmt: skip
    async with live(server.socket_url, token_for(shared.ben)) as ben:
        for kind, fields, code in cases:
            error = await ben.ask(kind, **fields)
            assert (error["type"], error["code"]) == ("error", code), (kind, fields)
            assert error["detail"].endswith(".")
        await ben.connection.send("{")
        assert (await ben.hear("error"))["code"] == "INVALID_REQUEST"
        await ben.say("ping")
        assert (await ben.hear())["type"] == "pong"


async def test_a_renewal_for_another_member_ends_it(server: RunningServer, shared: World) -> None:
    async with live(server.socket_url, token_for(shared.ada)) as ada:
        await ada.say("auth", v=1, token=token_for(shared.ben))
        assert await ada.close_code() == 4403


async def test_access_that_ends_is_heard_and_ends(server: RunningServer, own: World) -> None:
    with running_server(own.db) as here:
        conversation = own.converse(own.ada, own.ben)
        async with (
            live(here.socket_url, token_for(own.ada)) as ada,
            live(here.socket_url, token_for(own.ben)) as ben,
        ):
            own.db.run(
                "delete from public.conversation_participants"
                " where conversation_id = %s and user_id = %s",
                conversation,
                own.ben,
            )
            gone = await ben.hear("conversation_removed")
            assert gone["conversation_id"] == str(conversation)
            assert (await ada.hear("reload"))["conversation_id"] == str(conversation)
            error = await ben.ask(
                "send", id=str(uuid4()), conversation_id=str(conversation), content="x"
            )
            assert error["code"] == "CONVERSATION_NOT_FOUND"


# --- limits ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(edge_cluster: Cluster) -> Iterator[tuple[RunningServer, World]]:
    """A server with narrow limits, and its world."""
    database = edge_cluster.database()
    world = make_world(database)
    with running_server(
        database,
        LIMIT_AUTH_SECONDS="1",
        LIMIT_FRAMES_PER_SECOND="5",
        LIMIT_FRAME_BURST="20",
        LIMIT_SENDS_PER_SECOND="1",
        LIMIT_SEND_BURST="3",
        LIMIT_SOCKETS="2",
        LIMIT_SOCKET_QUEUE="200",
        ORIGINS="https://shop.example",
    ) as server:
        yield server, world
    database.drop()


async def test_who_says_nothing_is_sent_away(strict: tuple[RunningServer, World]) -> None:
    server, _ = strict
    async with raw(server.socket_url) as quiet:
        started = time.monotonic()
        assert await quiet.close_code() == 4408
        assert 0.8 < time.monotonic() - started < 3


async def test_too_many_frames_end_it(strict: tuple[RunningServer, World]) -> None:
    server, world = strict
    async with live(server.socket_url, token_for(world.ada)) as ada:
        for _ in range(40):
            await ada.say("ping")
        assert await ada.close_code() == 4429


async def test_frames_are_counted_over_all_sockets_of_a_member(
    strict: tuple[RunningServer, World],
) -> None:
    server, world = strict
    token = token_for(world.cleo)
    async with live(server.socket_url, token) as one, live(server.socket_url, token) as other:
        for _ in range(15):
            await one.say("ping")
            await other.say("ping")
        async with asyncio.timeout(20):
            done, _ = await asyncio.wait(
                [asyncio.ensure_future(socket.close_code()) for socket in (one, other)],
                return_when=asyncio.FIRST_COMPLETED,
            )
        assert {task.result() for task in done} == {4429}


async def test_a_limit_of_0_is_none_and_is_shown_as_none(own: World) -> None:
    with running_server(
        own.db,
        LIMIT_AUTH_SECONDS="0",
        LIMIT_FRAMES_PER_SECOND="1",
        LIMIT_FRAME_BURST="0",
        LIMIT_SENDS_PER_SECOND="1",
        LIMIT_SEND_BURST="0",
    ) as server:
        conversation = str(own.converse(own.ada, own.ben))
        async with raw(server.socket_url) as ada:
            await asyncio.sleep(0.3)  # a limit of 0 seconds would be over
            limits = (await ada.authenticate(token_for(own.ada)))["limits"]
            for _ in range(20):
                await ada.say("ping")
            for _ in range(20):
                assert (await ada.hear())["type"] == "pong"
            for _ in range(3):
                answer = await ada.ask(
                    "send", id=str(uuid4()), conversation_id=conversation, content="x"
                )
                assert answer["type"] == "ack"
    for name in ("frames_per_second", "frame_burst", "sends_per_second", "send_burst"):
        assert limits[name] == 0, name


async def test_too_many_sends_are_refused_one_by_one(
    strict: tuple[RunningServer, World],
) -> None:
    server, world = strict
    conversation = str(world.converse(world.ada, world.ben))
    async with live(server.socket_url, token_for(world.ben)) as ben:
        answers = [
            await ben.ask("send", id=str(uuid4()), conversation_id=conversation, content="x")
            for _ in range(5)
        ]
        assert [a["type"] for a in answers] == ["ack"] * 3 + ["error"] * 2
        assert answers[-1]["code"] == "RATE_LIMIT_EXCEEDED"
        assert 0 < answers[-1]["retry_after"] <= 2


async def test_a_member_has_so_many_sockets(strict: tuple[RunningServer, World]) -> None:
    server, world = strict
    token = token_for(world.dora)
    async with live(server.socket_url, token):
        async with live(server.socket_url, token), raw(server.socket_url) as third:
            await third.say("auth", v=1, token=token)
            assert await third.close_code() == 4429
        await asyncio.sleep(0.1)
        async with live(server.socket_url, token) as again:
            assert again.ready


async def test_another_origin_is_refused(strict: tuple[RunningServer, World]) -> None:
    server, world = strict
    async with live(server.socket_url, token_for(world.cleo), origin="https://shop.example") as one:
        assert one.ready
    with pytest.raises(Exception, match="403"):
        async with raw(server.socket_url, origin="https://evil.example"):
            pass


@contextlib.asynccontextmanager
async def deaf(server: RunningServer, token: str) -> AsyncIterator[int]:
    """Somebody who signs in with a tiny window and then reads nothing; gives his port."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(slow, ("127.0.0.1", server.port))
    connection = await connect(server.socket_url, sock=slow, compression=None)
    await connection.send(json.dumps({"type": "auth", "v": 1, "token": token}))
    assert json.loads(await connection.recv())["type"] == "ready"
    connection.transport.pause_reading()
    try:
        yield int(slow.getsockname()[1])
    finally:
        connection.transport.abort()


def is_held(server: RunningServer, port: int) -> bool:
    """Whether the server's process still has its end of the connection from that port."""
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        local, remote, inode = (line.split()[n] for n in (1, 2, 9))
        if local.endswith(f":{server.port:04X}") and remote.endswith(f":{port:04X}"):
            return inode != "0"
    return False


def figure(server: RunningServer, name: str) -> int:
    text = httpx.get(server.url + "/metrics", verify=False).text
    found = re.search(rf"^bookconnect_dm_{name} (\d+)", text, re.MULTILINE)
    assert found, name
    return int(found[1])


@dataclass
class Talk:
    """One who writes and one who hears him; what was sent and what was heard."""

    writer: Live
    reader: Live
    conversation: str
    sent: list[str] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)

    async def go_on(self, messages: int) -> None:
        """Send so many; each is acknowledged, and each is heard."""
        for _ in range(messages):
            self.sent.append(str(uuid4()))
            await self.writer.say(
                "send", ref=len(self.sent), id=self.sent[-1], conversation_id=self.conversation,
                content="x" * 1000,
            )  # fmt: skip
        for _ in range(messages):
            await self.writer.hear("ack")
            self.heard.append((await self.reader.hear("message"))["message"])


async def test_a_socket_that_stops_reading_is_gone_within_10_s_and_costs_the_others_nothing(
    server: RunningServer, shared: World, conversation: str
) -> None:
    """From when nothing more goes out to it until the server's process has let go of it.

    Of one that is written to all the time, and of one that gets a few messages and then no more.
    """
    aside = str(shared.converse(shared.ada, shared.cleo))
    async with (
        deaf(server, token_for(shared.ben)) as busy,
        deaf(server, token_for(shared.cleo)) as quiet,
        live(server.socket_url, token_for(shared.ada)) as ada,
        live(server.socket_url, token_for(shared.ben)) as reader,
        live(server.socket_url, token_for(shared.cleo)) as other,
    ):
        since, gone = {quiet: time.monotonic()}, dict[int, float]()
        await Talk(ada, other, aside).go_on(8)
        talk, listeners = Talk(ada, reader, conversation), figure(server, "subscribers")
        while busy not in since:
            before, began = figure(server, "frames_sent_total"), time.monotonic()
            await talk.go_on(100)
            # An acknowledgement, and the message to the writer, the reader and the deaf one.
            if figure(server, "frames_sent_total") - before < 399:
                since[busy] = began
            assert len(talk.sent) < 1_000, "kept for him, though he takes nothing"
        assert is_held(server, busy)
        until_blocked = len(talk.sent)

        async def watch(port: int) -> None:
            while is_held(server, port):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
            gone[port] = time.monotonic() - since[port]

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for port in since:
                group.create_task(watch(port))
            while len(gone) < 2:
                await talk.go_on(1)
                await asyncio.sleep(0.05)
        print(f"gone after {gone[busy]:.1f} and {gone[quiet]:.1f} s; {len(talk.sent)} messages")
        assert max(gone.values()) < 10
        assert figure(server, "subscribers") == listeners - 2
        # Nothing is kept from the others, or brought to them late or out of order.
        assert len(talk.sent) > until_blocked, "it went on meanwhile"
        assert [message["id"] for message in talk.heard] == talk.sent
        positions = [message["sent_at"] for message in talk.heard]
        assert positions == sorted(positions)
        assert not [frame for frame in reader.heard if frame["type"] == "resync"]
        await ada.say("ping")
        assert (await ada.hear("pong"))["type"] == "pong"


async def test_members_who_come_and_go_quickly_cost_no_connections(
    server: RunningServer, shared: World, conversation: str
) -> None:
    def connects() -> int:
        return figure(server, r'\w*connects_total\{\w+="ok"\}')

    async def come_and_go() -> None:
        async with live(server.socket_url, token_for(shared.ada)) as ada:
            for _ in range(10):
                await ada.say("read", ref=1, conversation_id=conversation)

    await asyncio.gather(*(come_and_go() for _ in range(10)))
    before = connects()
    for _ in range(5):
        await asyncio.gather(*(come_and_go() for _ in range(10)))
    assert connects() - before <= 10  # the pool's size


async def test_a_member_who_has_too_much_under_way_is_let_in_when_it_is_done(
    own: World,
) -> None:
    """His line is full of what waits for a lock; another device of his comes meanwhile."""
    with running_server(own.db) as server:
        token = token_for(own.ada)
        async with live(server.socket_url, token) as one, live(server.socket_url, token) as two:
            with own.db.as_superuser() as migration:
                migration.execute("lock table public.direct_messages")
                for socket in (one, two):
                    for n in range(64):
                        await socket.say("delete", ref=n, id=str(uuid4()))
                waits = "select 1 from pg_locks where not granted"
                while not own.db.run(waits):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                third = asyncio.create_task(_is_let_in(server.socket_url, token))
                await asyncio.sleep(0.3)
                migration.rollback()
            assert await third


async def _is_let_in(url: str, token: str) -> bool:
    async with live(url, token) as socket:
        return bool(socket.ready["type"] == "ready")
