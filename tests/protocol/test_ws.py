"""The socket as the contract says it, against a real server, database and feed."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from uuid import uuid4

import pytest

from tests.helpers.live import Frame, Live, live, raw
from tests.helpers.server import RunningServer, token_for
from tests.helpers.world import World
from tests.protocol.conftest import Client


@pytest.fixture
def conversation(shared: World) -> str:
    return str(shared.converse(shared.ada, shared.ben))


async def send(who: Live, conversation: str, content: str, **more: object) -> Frame:
    fields = {"id": str(uuid4()), "conversation_id": conversation, "content": content, **more}
    return await who.ask("send", **fields)


async def test_ready_says_who_i_am_and_what_is_allowed(
    server: RunningServer, shared: World
) -> None:
    async with live(server.socket_url, token_for(shared.ada, ttl_s=60)) as ada:
        assert ada.ready["v"] == 1
        assert ada.ready["user_id"] == str(shared.ada)
        assert len(ada.ready["epoch"]) >= 16
        assert ada.ready["token_expires_at"].endswith(".000000Z")
        assert ada.ready["limits"]["frame_bytes"] == 65_536


async def test_a_message_reaches_both_and_is_acknowledged(
    server: RunningServer, shared: World, conversation: str
) -> None:
    async with (
        live(server.socket_url, token_for(shared.ada)) as ada,
        live(server.socket_url, token_for(shared.ben)) as ben,
    ):
        ack = await send(ada, conversation, " Hello ")
        heard = await ben.hear("message")
        assert heard["message"] == ack["message"]
        assert ack["message"]["content"] == "Hello"
        assert "sender" not in ack["message"]
        assert await ada.hear("message") == heard


async def test_nobody_else_hears_it(
    server: RunningServer, shared: World, conversation: str
) -> None:
    async with (
        live(server.socket_url, token_for(shared.cleo)) as cleo,
        live(server.socket_url, token_for(shared.ada)) as ada,
        live(server.socket_url, token_for(shared.edgar)) as edgar,
    ):
        await send(ada, conversation, "Between us")
        await ada.hear("message")
        assert await cleo.hears_nothing()
        assert await edgar.hears_nothing(for_s=0.1)


async def test_a_repeat_is_acknowledged_with_the_original_and_heard_once(
    server: RunningServer, shared: World, conversation: str
) -> None:
    async with (
        live(server.socket_url, token_for(shared.ada)) as ada,
        live(server.socket_url, token_for(shared.ben)) as ben,
    ):
        message_id = str(uuid4())
        first = await send(ada, conversation, "Once", id=message_id)
        again = await send(ada, conversation, "Once", id=message_id)
        assert first["message"] == again["message"]
        assert (await ben.hear("message"))["message"]["id"] == message_id
        assert await ben.hears_nothing("message")


async def test_deleting_and_reading_reach_the_other(
    server: RunningServer, shared: World, conversation: str
) -> None:
    async with (
        live(server.socket_url, token_for(shared.ada)) as ada,
        live(server.socket_url, token_for(shared.ben)) as ben,
    ):
        message = (await send(ada, conversation, "Soon gone"))["message"]
        read = await ben.ask("read", conversation_id=conversation, up_to_message=message["id"])
        assert read["last_read_at"] == message["sent_at"]
        seen = await ada.hear("read")
        assert (seen["user_id"], seen["last_read_at"]) == (str(shared.ben), message["sent_at"])
        ack = await ada.ask("delete", id=message["id"])
        assert set(ack) == {"type", "ref"}
        gone = await ben.hear("message_deleted")
        assert (gone["id"], gone["conversation_id"]) == (message["id"], conversation)
        assert gone["deleted_at"] > message["sent_at"]


async def test_a_new_conversation_is_heard_of_and_then_listened_to(
    server: RunningServer, own: World, client: Client, shared: World
) -> None:
    async with (
        live(server.socket_url, token_for(shared.dora)) as dora,
        live(server.socket_url, token_for(shared.cleo)) as cleo,
    ):
        started = client(server, shared.dora).post("/v1/conversations", json={"recipient": "cleo"})
        assert started.status_code == 201
        conversation = started.json()["conversation_id"]
        for one in (dora, cleo):
            frame = await one.hear("conversation")
            assert frame["conversation_id"] == conversation
            assert frame["store_id"] == str(shared.page_anchor)
            assert set(frame["user_ids"]) == {str(shared.dora), str(shared.cleo)}
        await send(dora, conversation, "Welcome")
        assert (await cleo.hear("message"))["message"]["content"] == "Welcome"


async def test_what_a_plain_sql_session_commits_is_heard_and_what_it_rolls_back_is_not(
    server: RunningServer, shared: World, conversation: str
) -> None:
    async with live(server.socket_url, token_for(shared.ben)) as ben:
        insert = (
            "insert into public.direct_messages (conversation_id, sender_id, content)"
            " values (%s, %s, %s)"
        )
        with shared.db.as_user(shared.ada) as session:
            session.execute(insert, (conversation, shared.ada, "Never"))
            session.rollback()
        with shared.db.as_user(shared.ada) as session:
            session.execute(insert, (conversation, shared.ada, "From psql"))
        assert (await ben.hear("message"))["message"]["content"] == "From psql"


async def test_a_socket_narrowed_to_one_conversation_gets_no_others_frames(
    server: RunningServer, shared: World, conversation: str
) -> None:
    other = str(shared.converse(shared.ada, shared.dora))
    async with (
        live(server.socket_url, token_for(shared.ada)) as narrow,
        live(server.socket_url, token_for(shared.ada)) as wide,
    ):
        assert (await narrow.ask("subscribe", conversation_ids=[other]))["type"] == "ack"
        await send(wide, conversation, "Elsewhere")
        await send(wide, other, "Here")
        assert (await narrow.hear("message"))["message"]["content"] == "Here"
        await narrow.ask("subscribe", conversation_ids=None)
        await send(wide, conversation, "Everywhere")
        assert (await narrow.hear("message"))["message"]["content"] == "Everywhere"


async def test_sends_of_one_socket_keep_their_order(
    server: RunningServer, shared: World, conversation: str
) -> None:
    async with (
        live(server.socket_url, token_for(shared.ada)) as ada,
        live(server.socket_url, token_for(shared.ben)) as ben,
    ):
        contents = [f"number {n}" for n in range(120)]
        for n, content in enumerate(contents):
            await ada.say(
                "send", ref=n, id=str(uuid4()), conversation_id=conversation, content=content
            )
        heard = [(await ben.hear("message"))["message"] for _ in contents]
        assert [m["content"] for m in heard] == contents
        assert [m["sent_at"] for m in heard] == sorted({m["sent_at"] for m in heard})


async def test_ping_is_answered(server: RunningServer, shared: World) -> None:
    async with live(server.socket_url, token_for(shared.ada)) as ada:
        await ada.say("ping")
        assert await ada.hear() == {"type": "pong"}


async def test_unknown_types_and_typing_are_taken_quietly(
    server: RunningServer, shared: World, conversation: str
) -> None:
    async with live(server.socket_url, token_for(shared.ada)) as ada:
        await ada.say("dance", ref=1)
        await ada.say("typing", conversation_id=conversation)
        await ada.say("ping")
        assert await ada.hear() == {"type": "pong"}


async def test_a_token_is_renewed_on_the_living_socket(
    server: RunningServer, shared: World
) -> None:
    async with live(server.socket_url, token_for(shared.ada, ttl_s=2)) as ada:
        renewed = await ada.ask("auth", v=1, token=token_for(shared.ada, ttl_s=600))
        assert renewed["token_expires_at"] > ada.ready["token_expires_at"]
        refused = await ada.ask("auth", v=1, token="x")
        assert (refused["type"], refused["code"]) == ("error", "UNAUTHENTICATED")
        await asyncio.sleep(2.2)  # the first token has ended by now
        await ada.say("ping")
        assert await ada.hear() == {"type": "pong"}


async def test_the_socket_ends_with_its_token(server: RunningServer, shared: World) -> None:
    async with live(server.socket_url, token_for(shared.ada, ttl_s=1.5)) as ada:
        started = time.monotonic()
        assert await ada.close_code() == 4401
        assert time.monotonic() - started < 3


async def test_who_comes_back_syncs_what_he_missed(
    server: RunningServer, shared: World, conversation: str, client: Client
) -> None:
    sync = partial(client(server, shared.ben).post, "/v1/sync")
    start = sync(json={"epoch": None, "positions": {}}).json()
    positions = {c["conversation_id"]: c["position"] for c in start["changes"]}
    async with live(server.socket_url, token_for(shared.ada)) as ada:
        missed = [(await send(ada, conversation, f"missed {n}"))["message"] for n in range(5)]
        async with live(server.socket_url, token_for(shared.ben)) as ben:
            answer = sync(json={"epoch": ben.ready["epoch"], "positions": positions}).json()
            (changes,) = [c for c in answer["changes"] if c["conversation_id"] == conversation]
            assert [m["id"] for m in changes["messages"]] == [m["id"] for m in missed]
            assert changes["position"] == missed[-1]["sent_at"]
            after = (await send(ada, conversation, "live again"))["message"]
            frames = [await ben.hear("message")]
            while frames[-1]["message"]["id"] != after["id"]:
                frames.append(await ben.hear("message"))
            fresh = [f for f in frames if f["message"]["sent_at"] > changes["position"]]
            assert [f["message"]["id"] for f in fresh] == [after["id"]]


async def test_a_handshake_at_another_address_is_refused(server: RunningServer) -> None:
    with pytest.raises(Exception, match="404"):
        async with raw(server.socket_url + "/x"):
            pass
