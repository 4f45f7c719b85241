"""A third participant, put there by the owner: what groups would be (docs/decisions/0014).

No policy breaks: three members see and write, everybody else sees nothing.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.helpers.catchup import SqlClient
from tests.helpers.migrating import findings
from tests.helpers.postgres import SERVER
from tests.helpers.world import World


@pytest.fixture
def group(world: World) -> UUID:
    """A conversation of ada and ben into which the owner has brought cleo."""
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "before cleo")
    world.db.run(
        "delete from messaging.conversation_pairs where conversation_id = %s", conversation
    )
    world.db.run(
        "insert into public.conversation_participants (conversation_id, user_id) values (%s, %s)",
        conversation,
        world.cleo,
    )
    return conversation


def ask(world: World, member: UUID, query: str, *arguments: object) -> list[dict[str, Any]]:
    with world.db.as_user(member) as connection:
        return list(connection.execute(query, arguments).fetchall())


def test_three_members_read_and_write(world: World, group: UUID) -> None:
    three = {world.ada: "ada", world.ben: "ben", world.cleo: "cleo"}
    for member, name in three.items():
        world.send(member, group, f"from {name}")
    for member in three:
        page = ask(world, member, "select content from public.get_conversation_messages(%s)", group)
        assert [row["content"] for row in page] == [
            "from cleo",
            "from ben",
            "from ada",
            "before cleo",
        ]
        counts = {
            table: ask(world, member, f"select count(*) as n from public.{table}")[0]["n"]
            for table in ("conversations", "conversation_participants", "direct_messages")
        }
        assert counts == {
            "conversations": 1,
            "conversation_participants": 3,
            "direct_messages": 4,
        }


def test_strangers_still_see_and_do_nothing(world: World, group: UUID) -> None:
    for member in (world.dora, world.edgar):
        for table in ("conversations", "conversation_participants", "direct_messages"):
            assert ask(world, member, f"select * from public.{table}") == []
        with pytest.raises(psycopg.Error, match="CONVERSATION_NOT_FOUND"):
            world.send(member, group, "let me in")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(
                world,
                member,
                "insert into public.conversation_participants (conversation_id, user_id)"
                " values (%s, %s)",
                group,
                member,
            )


def test_unread_and_receipts_are_each_members_own(world: World, group: UUID) -> None:
    for _ in range(2):
        world.send(world.ada, group, "news")
    unread = "select public.get_unread_message_count(%s) as n"
    three = (world.ada, world.ben, world.cleo)
    # cleo was put there after the first message: her last_read_at begins at that moment.
    assert [ask(world, member, unread, group)[0]["n"] for member in three] == [0, 3, 2]
    ask(world, world.ben, "select public.mark_conversation_as_read(%s)", group)
    assert [ask(world, member, unread, group)[0]["n"] for member in three] == [0, 0, 2]
    reads = ask(
        world,
        world.cleo,
        "select user_id, last_read_at from public.conversation_participants"
        " where conversation_id = %s order by last_read_at desc",
        group,
    )
    assert len(reads) == 3
    assert reads[0]["user_id"] == world.ben


def test_only_the_sender_deletes(world: World, group: UUID) -> None:
    message = world.send(world.cleo, group, "of cleo")
    for member in (world.ada, world.ben):
        with pytest.raises(psycopg.Error, match="PERMISSION_DENIED"):
            ask(world, member, "select public.delete_message(%s)", message)
    ask(world, world.cleo, "select public.delete_message(%s)", message)
    assert (
        ask(world, world.ada, "select id from public.direct_messages where id = %s", message) == []
    )


def test_all_three_catch_up_and_the_server_knows_all_three(world: World, group: UUID) -> None:
    clients = [SqlClient(world, member) for member in (world.ada, world.ben, world.cleo)]
    for client in clients:
        client.catch_up()
    world.send(world.ben, group, "while away")
    for client in clients:
        client.catch_up()
        assert client.shown() == client.fresh().shown()
        assert client.reloads == 0
    with world.db.connect(SERVER) as server:
        row = server.execute(
            "select user_ids from messaging.membership(%s)", (world.cleo,)
        ).fetchone()
    assert row == {"user_ids": sorted([world.ada, world.ben, world.cleo])}


def test_one_who_is_taken_out_sees_nothing_and_two_go_on(world: World, group: UUID) -> None:
    clients = {m: SqlClient(world, m) for m in (world.ada, world.cleo)}
    for client in clients.values():
        client.catch_up()
    world.db.run("delete from public.conversation_participants where user_id = %s", world.cleo)
    assert ask(world, world.cleo, "select * from public.direct_messages") == []
    world.send(world.ada, group, "the two of us")
    for client in clients.values():
        client.catch_up()
        client.assert_knows_everything()
    assert clients[world.cleo].positions == {}


def test_an_erased_member_leaves_two_who_go_on(world: World, group: UUID) -> None:
    world.db.run("delete from auth.users where id = %s", world.ben)
    world.send(world.ada, group, "still here")
    world.send(world.cleo, group, "me too")
    world.db.run("delete from auth.users where id = %s", world.ada)
    with pytest.raises(psycopg.Error, match="PERMISSION_DENIED"):
        world.send(world.cleo, group, "alone")


def test_the_two_may_still_have_a_conversation_of_their_own(world: World, group: UUID) -> None:
    assert world.converse(world.ada, world.ben) != group
    assert findings(world.db) == []


def test_verify_says_when_a_third_sits_in_a_pairs_conversation(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    world.db.run(
        "insert into public.conversation_participants (conversation_id, user_id) values (%s, %s)",
        conversation,
        world.cleo,
    )
    assert findings(world.db) == ["data a pair's conversation has nobody else in it is 1 wrong"]
