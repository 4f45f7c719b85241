"""Typing and presence across two servers on one database."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator

import psycopg
import pytest

from bookconnect_dm import notes
from bookconnect_dm.notes import Note
from bookconnect_dm.presence import GRACE_S
from tests.helpers.live import Live, live, raw
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World

SOON_S = 0.5


@pytest.fixture(scope="module")
def servers(shared: World) -> Iterator[tuple[RunningServer, RunningServer]]:
    with running_server(shared.db) as one, running_server(shared.db) as other:
        yield one, other


@pytest.fixture
def conversation(shared: World) -> str:
    return str(shared.converse(shared.ada, shared.ben))


async def presence_of(who: Live, user: object, *, online: bool, within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while True:
            frame = await who.hear("presence")
            if frame["user_id"] == str(user) and frame["online"] is online:
                return


async def test_typing_crosses_servers_and_is_told_once_in_3_s(
    servers: tuple[RunningServer, RunningServer], shared: World, conversation: str
) -> None:
    one, other = servers
    async with (
        live(one.socket_url, token_for(shared.ada)) as ada,
        live(other.socket_url, token_for(shared.ben)) as ben,
        live(other.socket_url, token_for(shared.cleo)) as cleo,
    ):
        began = time.monotonic()
        for _ in range(5):
            await ada.say("typing", conversation_id=conversation)
        frame = await ben.hear("typing", timeout_s=2)
        assert time.monotonic() - began < SOON_S
        assert frame == {
            "type": "typing",
            "conversation_id": conversation,
            "user_id": str(shared.ada),
        }
        assert await ben.hears_nothing("typing")
        assert await ada.hears_nothing("typing", for_s=0.1)
        # Not a member of it: dropped here, where he is known.
        await cleo.say("typing", conversation_id=conversation)
        assert await ben.hears_nothing("typing")


async def test_presence_crosses_servers_to_those_who_share_a_conversation(
    servers: tuple[RunningServer, RunningServer], shared: World, conversation: str
) -> None:
    one, other = servers
    async with (
        live(other.socket_url, token_for(shared.ben)) as ben,
        live(other.socket_url, token_for(shared.cleo)) as cleo,
        live(other.socket_url, token_for(shared.edgar)) as edgar,
    ):
        await asyncio.sleep(GRACE_S + 0.3)
        ben._passed_over.clear()
        began = time.monotonic()
        async with live(one.socket_url, token_for(shared.ada)) as ada:
            await presence_of(ben, shared.ada, online=True)
            assert time.monotonic() - began < 2 * SOON_S  # with the connecting
            await presence_of(ada, shared.ben, online=True)
        await presence_of(ben, shared.ada, online=False)
        assert await cleo.hears_nothing("presence")
        assert await edgar.hears_nothing("presence", for_s=0.1)


async def test_who_could_not_be_let_in_was_never_online(own: World) -> None:
    own.converse(own.ben, own.ada)
    own.converse(own.ben, own.cleo)
    with running_server(own.db) as server:
        async with live(server.socket_url, token_for(own.ben)) as ben:
            own.db.run("alter function messaging.membership(uuid) rename to membership_away")
            async with raw(server.socket_url) as ada:
                await ada.say("auth", v=1, token=token_for(own.ada))
                assert await ada.close_code() == 1012
            own.db.run("alter function messaging.membership_away(uuid) rename to membership")
            async with live(server.socket_url, token_for(own.cleo)):
                await presence_of(ben, own.cleo, online=True)
                assert str(own.ada) not in {frame.get("user_id") for frame in ben.heard}
            async with live(server.socket_url, token_for(own.ada)):
                await presence_of(ben, own.ada, online=True)
            await presence_of(ben, own.ada, online=False)


async def test_a_crashed_server_s_place_is_taken_by_its_next_life(own: World) -> None:
    own.converse(own.ada, own.ben)
    with running_server(own.db) as one, running_server(own.db) as other:
        async with live(other.socket_url, token_for(own.ben)) as ben:
            async with live(one.socket_url, token_for(own.ada)):
                await presence_of(ben, own.ada, online=True)
                one.kill()
            one.start()
            await presence_of(ben, own.ada, online=False, within_s=10)
            async with live(one.socket_url, token_for(own.ada)) as ada:
                # Asked for at its start: nobody has said anything new.
                await presence_of(ada, own.ben, online=True)


async def test_a_starting_server_learns_who_is_online(own: World) -> None:
    own.converse(own.ada, own.ben)
    with running_server(own.db) as one:
        async with live(one.socket_url, token_for(own.ada)):
            await asyncio.sleep(3)
            with running_server(own.db) as other:
                async with live(other.socket_url, token_for(own.ben)) as ben:
                    await presence_of(ben, own.ada, online=True)


async def test_forged_messages_are_dropped(
    servers: tuple[RunningServer, RunningServer], shared: World, conversation: str
) -> None:
    """Even where anybody may put messages into the log, which is taken away where it can be."""
    _, other = servers
    forged = Note(
        server="forger", boot="1", at=time.time(), seq=1, full=True,
        online=[str(shared.ada)], typing=[(conversation, str(shared.ada))],
    )  # fmt: skip
    body = notes.sign(forged, b"no key of ours")
    contents = [
        body,
        hashlib.sha256(body).digest() + body[32:],
        body[32:],
        b"",
        b"x" * 40,
        b"x" * 2_000_000,
    ]
    emit = "select pg_logical_emit_message(%s, %s, %s::bytea)"
    functions = "pg_logical_emit_message(boolean, text, bytea, boolean)"
    async with live(other.socket_url, token_for(shared.ben)) as ben:
        await asyncio.sleep(GRACE_S + 0.5)
        ben._passed_over.clear()
        with shared.db.as_user(shared.cleo) as cleo, pytest.raises(
            psycopg.errors.InsufficientPrivilege
        ):  # fmt: skip
            cleo.execute(emit, (False, "bookconnect_dm", body))
        shared.db.run(f"grant execute on function {functions} to public")
        try:
            for content in contents:
                for prefix in ("bookconnect_dm", "bookconnect_dm_", "other"):
                    for transactional in (False, True):
                        with shared.db.as_user(shared.cleo) as cleo:
                            cleo.execute(emit, (transactional, prefix, content))
        finally:
            shared.db.run(f"revoke execute on function {functions} from public")
        assert await ben.hears_nothing("typing", "presence")
        # The feed goes on as if nothing had been there.
        message = shared.send(shared.ada, conversation, "Really from me")  # type: ignore[arg-type]
        assert (await ben.hear("message"))["message"]["id"] == str(message)
    assert "huge_message_in_log" in other.log
    assert "feed_lost" not in other.log


async def test_it_can_be_switched_off(own: World) -> None:
    conversation = str(own.converse(own.ada, own.ben))
    with running_server(own.db, EPHEMERAL="off") as server:
        async with (
            live(server.socket_url, token_for(own.ada)) as ada,
            live(server.socket_url, token_for(own.ben)) as ben,
        ):
            await ada.say("typing", conversation_id=conversation)
            assert await ben.hears_nothing()
            assert await ada.hears_nothing("presence", for_s=0.1)
