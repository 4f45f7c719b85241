"""What the fault injection found in the client: each has a test that is named for it."""

from __future__ import annotations

import asyncio
from uuid import UUID

import httpx
import pytest

from bookconnect_dm import client as client_module
from bookconnect_dm.client import Client
from bookconnect_dm.sync import Forget, Found
from tests.helpers.away import listening, until
from tests.helpers.server import RunningServer, token_for
from tests.helpers.world import World

pytestmark = pytest.mark.feed


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAUSE_S", (0.05, 0.2))


def say(world: World, sender: UUID, conversation: UUID, count: int) -> list[str]:
    # Not all in one transaction: each would step over all the earlier versions of one row.
    for first in range(1, count + 1, 250):
        with world.db.as_user(sender) as connection:
            connection.execute(
                "select public.send_message(%s, 'text ' || n)"
                " from generate_series(%s::int, %s::int) as n",
                (conversation, first, min(first + 249, count)),
            )
    return [f"text {n}" for n in range(1, count + 1)]


async def test_a_long_conversation_that_began_while_away_is_told_whole(
    server: RunningServer, shared: World
) -> None:
    """Only its last fifty messages were."""
    world = shared
    async with listening(server, world.ben) as ben:
        ben.go()
        await until(lambda: not ben.client.is_live)
        conversation = await asyncio.to_thread(world.converse, world.dora, world.ben)
        expected = await asyncio.to_thread(say, world, world.dora, conversation, 230)
        ben.come_back()
        await until(lambda: len(ben.texts(conversation)) == 230)
        assert ben.texts(conversation) == expected


async def test_a_connection_lost_while_a_new_conversation_is_loaded_loses_no_message(
    server: RunningServer, shared: World
) -> None:
    """Its position was known already, so nobody asked for its messages again."""
    world, failures = shared, [0]

    def hook(request: httpx.Request) -> None:
        if request.url.path.endswith("/messages") and failures[0] > 0:
            failures[0] -= 1
            raise httpx.ReadError("cut", request=request)

    async with listening(server, world.cleo, hook) as cleo:
        cleo.go()
        await until(lambda: not cleo.client.is_live)
        conversation = await asyncio.to_thread(world.converse, world.dora, world.cleo)
        expected = await asyncio.to_thread(say, world, world.dora, conversation, 3)
        reconnects, failures[0] = cleo.client.reconnects, 1_000
        cleo.come_back()
        # It gives up, and comes back, more than once.
        await until(lambda: cleo.client.reconnects >= reconnects + 3)
        failures[0] = 0
        await until(lambda: cleo.client.is_live)
        await asyncio.to_thread(world.send, world.dora, conversation, "later")
        await until(lambda: len(cleo.texts(conversation)) == 4)
        assert cleo.texts(conversation) == [*expected, "later"]


async def test_a_conversation_that_ends_while_it_is_loaded_does_not_end_the_client(
    server: RunningServer, shared: World
) -> None:
    world = shared
    leaving: list[UUID] = []

    def hook(request: httpx.Request) -> None:
        if request.url.path.endswith("/messages") and leaving:
            world.db.run(
                "delete from public.conversation_participants"
                " where user_id = %s and conversation_id = %s",
                world.cleo,
                leaving.pop(),
            )

    async with listening(server, world.cleo, hook) as cleo:
        cleo.go()
        await until(lambda: not cleo.client.is_live)
        conversation = await asyncio.to_thread(world.converse, world.ada, world.cleo)
        await asyncio.to_thread(say, world, world.ada, conversation, 1)
        leaving.append(conversation)
        cleo.come_back()
        await until(lambda: cleo.client.is_live and not leaving)
        other = await asyncio.to_thread(world.converse, world.ben, world.cleo)
        await asyncio.to_thread(world.send, world.ben, other, "still here")
        await until(lambda: cleo.texts(other) == ["still here"])
        assert cleo.texts(conversation) == []


async def test_after_a_restore_no_old_message_is_told_as_news(
    server: RunningServer, shared: World
) -> None:
    """Everything comes anew: to be loaded by pages, as at first."""
    world = shared
    conversation = await asyncio.to_thread(world.converse, world.dora, world.ada)
    await asyncio.to_thread(say, world, world.dora, conversation, 3)
    async with listening(server, world.ada) as ada:
        ada.go()
        await until(lambda: not ada.client.is_live)
        world.db.run(
            "update messaging.settings set value = gen_random_uuid()::text"
            " where name = 'epoch_seed'"
        )
        ada.come_back()
        await until(lambda: ada.client.is_live)
        await asyncio.to_thread(world.send, world.dora, conversation, "news")
        await until(lambda: ada.texts(conversation) == ["news"])
        assert any(isinstance(event, Forget) for event in ada.told)
        found = [
            event.conversation.id for event in ada.told if isinstance(event, Found) and event.is_new
        ]
        assert found.count(str(conversation)) == 2


async def test_tokens_that_have_ended_are_asked_for_anew_and_no_refusal(
    server: RunningServer, shared: World
) -> None:
    """Two closes because of ended tokens, whatever lay between them, ended the client for ever."""
    given: list[float] = []

    async def token() -> str:
        given.append(-1 if len(given) < 2 else 3600)
        return token_for(shared.ada, ttl_s=given[-1])

    async with Client(server.url, token, http=httpx.AsyncClient(verify=False)) as client:
        async with asyncio.timeout(30):
            await anext(client.events())
        assert len(given) == 3


async def test_a_client_that_lost_its_connection_is_not_live(
    server: RunningServer, shared: World
) -> None:
    async with listening(server, shared.ada) as ada:
        ada.go()
        await until(lambda: not ada.client.is_live)
        ada.come_back()
        await until(lambda: ada.client.is_live)


async def test_five_thousand_missed_events_are_caught_up_with_while_more_come(
    server: RunningServer, shared: World
) -> None:
    """Pulled page by page: nothing that was missed goes through the socket's queue of 1,000."""
    world = shared
    talks = [
        await asyncio.to_thread(world.converse, world.ada, other)
        for other in (world.ben, world.dora)
    ]
    async with listening(server, world.ada) as ada:
        ada.go()
        await until(lambda: not ada.client.is_live)
        before = [len(ada.texts(talk)) for talk in talks]
        await asyncio.to_thread(say, world, world.ada, talks[0], 4_500)
        await asyncio.to_thread(say, world, world.ada, talks[1], 500)
        gone = world.db.run(
            "select id::text from public.direct_messages where conversation_id = %s"
            " and content like 'text %%0'",
            talks[1],
        )
        with world.db.as_user(world.ada) as connection:
            connection.execute(
                "select public.delete_message(m) from unnest(%s::uuid[]) as m",
                ([row["id"] for row in gone],),
            )
        reconnects = ada.client.reconnects
        ada.come_back()
        live = 0
        while not ada.client.is_live:
            live += 1
            await asyncio.to_thread(world.send, world.ben, talks[0], f"live {live}")
        await asyncio.to_thread(world.send, world.ben, talks[0], "last")
        expected = [f"text {n}" for n in range(1, 4_501)]
        expected += [*(f"live {n}" for n in range(1, live + 1)), "last"]
        await until(lambda: ada.texts(talks[0])[before[0] :][-1:] == ["last"])
        assert ada.texts(talks[0])[before[0] :] == expected
        # What is deleted before it was heard of is not told as a message at all.
        assert ada.texts(talks[1])[before[1] :] == [
            f"text {n}" for n in range(1, 501) if n % 10 != 0
        ]
        assert ada.client.reconnects <= reconnects + 1, "it was not cut off for being slow"
