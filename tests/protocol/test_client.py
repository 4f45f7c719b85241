"""The Python client against a real server: the whole API, events, and coming back by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from bookconnect_dm import client as client_module
from bookconnect_dm import wire
from bookconnect_dm.client import Client
from bookconnect_dm.errors import Problem
from bookconnect_dm.sync import Change, Found
from tests.helpers.postgres import Cluster
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World, make_world

pytestmark = pytest.mark.feed


def plain_http(**options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=False, timeout=10, **options)


class Listening(Client):
    """A client with what it was told, and how many tokens it asked for."""

    def __init__(self, server: RunningServer, user: UUID, **options: Any) -> None:
        self.tokens: list[str] = []
        self.ttl_s = float(options.pop("ttl_s", 3600.0))

        async def token() -> str:
            self.tokens.append(token_for(user, ttl_s=self.ttl_s))
            return self.tokens[-1]

        super().__init__(server.url, token, **{"http": plain_http(), **options})
        self.told: list[Change] = []
        self.listening: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        async for event in self.events():
            self.told.append(event)

    @property
    def contents(self) -> list[str]:
        return [e.message.content for e in self.told if isinstance(e, wire.MessageFrame)]


@contextlib.asynccontextmanager
async def listening(server: RunningServer, user: UUID, **options: Any) -> AsyncIterator[Listening]:
    async with Listening(server, user, **options) as client:
        client.listening = asyncio.create_task(client.listen())
        await until(lambda: client.is_live)
        yield client
        client.listening.cancel()
        await asyncio.wait([client.listening])


async def until(is_true: Callable[[], object], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not is_true():  # noqa: ASYNC110 - a condition of somebody else's making
            await asyncio.sleep(0.02)


async def test_every_call_of_the_api(server: RunningServer, shared: World) -> None:
    async with Listening(server, shared.ada) as ada, Listening(server, shared.cleo) as cleo:
        me = await ada.me()
        assert (me.username, me.tier) == ("ada", "privileged_plus")
        found = await ada.members("cle")
        assert [member.username for member in found] == ["cleo"]
        start = await ada.start("cleo")
        assert (await ada.start(recipient_id=shared.cleo)).conversation_id == start.conversation_id
        message_id = uuid4()
        sent = await ada.send(start.conversation_id, "Hello, Cleo", message_id=message_id)
        again = await ada.send(start.conversation_id, "Hello, Cleo", message_id=message_id)
        assert sent.id == again.id == str(message_id)
        page = await cleo.messages(start.conversation_id)
        assert [message.content for message in page.messages] == ["Hello, Cleo"]
        assert (await cleo.conversations()).unread_conversations >= 1
        assert await cleo.read(start.conversation_id) == sent.sent_at
        assert (await cleo.conversation(start.conversation_id)).unread_count == 0
        await ada.delete(sent.id)
        assert (await ada.messages(start.conversation_id, limit=5)).messages == []
        answer = await ada.sync(wire.SyncRequest())
        assert start.conversation_id in [change.conversation_id for change in answer.changes]


async def test_final_answers_are_problems(server: RunningServer, shared: World) -> None:
    async with Listening(server, shared.cleo) as cleo:
        for call, code in (
            (cleo.start("nobody-of-that-name"), "USER_NOT_FOUND"),
            (cleo.send(uuid4(), "hello"), "CONVERSATION_NOT_FOUND"),
            (cleo.delete(uuid4()), "MESSAGE_NOT_FOUND"),
            (cleo.conversations(limit=0), "INVALID_REQUEST"),
        ):
            with pytest.raises(Problem) as caught:
                await call
            assert caught.value.code == code
            assert caught.value.detail


async def test_events_come_once_in_order_to_both(server: RunningServer, shared: World) -> None:
    async with (
        listening(server, shared.ada) as ada,
        listening(server, shared.ben) as ben,
    ):
        conversation = (await ada.start("ben")).conversation_id
        for number in range(5):
            await (ada, ben)[number % 2].send(conversation, f"text {number}")
        expected = [f"text {number}" for number in range(5)]
        await until(lambda: ada.contents == ben.contents == expected)
        last = await ada.send(conversation, "not for long")
        await ada.delete(last.id)
        await ben.read(conversation)
        for member in (ada, ben):
            await until(lambda m=member: isinstance(m.told[-1], wire.ReadEventFrame))  # type: ignore[misc]
            kinds = [type(event) for event in member.told[-3:]]
            assert kinds == [wire.MessageFrame, wire.MessageDeletedFrame, wire.ReadEventFrame]


async def test_concurrent_sends_of_one_client_keep_their_order(
    server: RunningServer, shared: World
) -> None:
    async with Listening(server, shared.ada) as ada:
        conversation = (await ada.start("dora")).conversation_id
        texts = [f"text {number}" for number in range(20)]
        await asyncio.gather(*(ada.send(conversation, text) for text in texts))
        page = await ada.messages(conversation)
        assert [message.content for message in page.messages] == texts


@pytest.fixture
def alone(edge_cluster: Cluster) -> Any:
    """A server and a world that one test may treat badly."""
    database = edge_cluster.database()
    with running_server(database) as server:
        yield server, make_world(database)
    database.drop()


async def test_what_happens_while_the_server_is_away_is_told_on_return(
    alone: tuple[RunningServer, World],
) -> None:
    server, world = alone
    conversation = await asyncio.to_thread(world.converse, world.ada, world.ben)
    async with listening(server, world.ben) as ben:
        await asyncio.to_thread(world.send, world.ada, conversation, "before")
        await until(lambda: ben.contents == ["before"])
        await asyncio.to_thread(server.kill)
        first = await asyncio.to_thread(world.send, world.ada, conversation, "while away")
        with world.db.as_user(world.ada) as connection:
            connection.execute("select public.delete_message(%s)", (first,))
        await asyncio.to_thread(world.send, world.ada, conversation, "later")
        new = await asyncio.to_thread(world.converse, world.dora, world.ben)
        await asyncio.to_thread(world.send, world.dora, new, "a new conversation")
        sending = asyncio.create_task(ben.send(conversation, "sent while it was away"))
        await asyncio.to_thread(server.start)
        assert (await sending).content == "sent while it was away"
        await until(lambda: len(ben.contents) == 4)
        await until(lambda: ben.is_live)
        assert sorted(ben.contents) == sorted(
            ["before", "later", "sent while it was away", "a new conversation"]
        )
        assert any(isinstance(event, wire.MessageDeletedFrame) for event in ben.told)
        founds = [e.conversation.id for e in ben.told if isinstance(e, Found) and e.is_new]
        assert founds == [str(conversation), str(new)]


async def test_a_token_is_renewed_before_it_ends(
    server: RunningServer, shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "RENEW", 0.3)
    async with listening(server, shared.ada, ttl_s=4.0) as ada:
        await until(lambda: len(ada.tokens) >= 3)
        await asyncio.sleep(2)  # beyond the end of the first
        assert ada.reconnects == 0
        assert ada.is_live


async def test_a_member_who_is_not_accepted_is_told_so(server: RunningServer) -> None:
    asked: list[int] = []

    async def forged() -> str:
        asked.append(1)
        return token_for(uuid4(), secret="another secret of thirty-two bytes or more")

    async with Client(server.url, forged, http=plain_http()) as client:
        with pytest.raises(Problem) as caught:
            await client.me()
        assert caught.value.code == "UNAUTHENTICATED"
        with pytest.raises(Problem) as caught:
            await asyncio.wait_for(anext(client.events()), 15)
        assert caught.value.code == "UNAUTHENTICATED"
        assert len(asked) <= 6


async def test_a_token_that_cannot_be_had_for_a_moment_is_asked_for_again(
    server: RunningServer, shared: World
) -> None:
    asked: list[int] = []

    async def flaky() -> str:
        asked.append(1)
        if len(asked) < 3:
            raise RuntimeError("the host is restarting")
        return token_for(shared.ada)

    async with Client(server.url, flaky, http=plain_http()) as client:
        assert (await client.me()).username == "ada"
    assert len(asked) == 3


async def test_a_server_that_stays_away_is_given_up_on(shared: World) -> None:
    async def token() -> str:
        return token_for(shared.ada)

    async with Client("http://127.0.0.1:9", token, give_up_s=0.5, http=plain_http()) as client:
        with pytest.raises(Problem) as caught:
            await client.me()
        assert caught.value.code == "UNAVAILABLE"


async def test_a_lost_answer_is_asked_for_again_under_the_same_id(
    server: RunningServer, shared: World
) -> None:
    """The first attempt is done by the server, and its answer lost on the way."""
    lost: list[bytes] = []

    class Losing(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            self.inner = httpx.AsyncHTTPTransport(verify=False)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await self.inner.handle_async_request(request)
            if request.method == "POST" and request.url.path.endswith("messages") and not lost:
                lost.append(await answer.aread())
                raise httpx.ReadError("cut", request=request)
            return answer

        async def aclose(self) -> None:
            await self.inner.aclose()

    async with Listening(server, shared.ada, http=plain_http(transport=Losing())) as ada:
        conversation = (await ada.start("ben")).conversation_id
        before = len((await ada.messages(conversation, limit=100)).messages)
        sent = await ada.send(conversation, "only once")
        assert len(lost) == 1
        page = await ada.messages(conversation, limit=100)
        assert len(page.messages) == before + 1
        assert page.messages[-1].id == sent.id
