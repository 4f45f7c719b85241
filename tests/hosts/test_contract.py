"""The whole SQL contract, the same on every host."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.helpers.postgres import SERVER
from tests.helpers.world import World

PLUS, PRIVILEGED, FREE = timedelta(days=365), timedelta(days=180), timedelta(days=30)


def as_member(world: World, member: UUID, query: str, *arguments: object) -> list[dict[str, Any]]:
    with world.db.as_user(member) as connection:
        return list(connection.execute(query, arguments).fetchall())


def refusal(world: World, member: UUID, query: str, *arguments: object) -> str:
    with pytest.raises(psycopg.Error) as refused:
        as_member(world, member, query, *arguments)
    return str(refused.value.diag.message_primary)


def test_who_somebody_is(host_world: World) -> None:
    def me(member: UUID) -> dict[str, Any]:
        return dict(as_member(host_world, member, "select public.get_me() as me")[0]["me"])

    ada, dora, fern = me(host_world.ada), me(host_world.dora), me(host_world.fern)
    assert (ada["username"], ada["tier"], ada["can_start_conversations"]) == (
        "ada",
        "privileged_plus",
        True,
    )
    assert ada["stores"] == [
        {"id": str(host_world.page_anchor), "name": "Page & Anchor", "role": "member"}
    ]
    assert (dora["tier"], dora["can_start_conversations"], dora["stores"][0]["role"]) == (
        "free",
        True,
        "manager",
    )
    assert (fern["tier"], fern["can_start_conversations"]) == ("free", False)


def test_whom_somebody_finds(host_world: World) -> None:
    found = as_member(
        host_world, host_world.cleo, "select username, can_message from public.search_members('')"
    )
    assert found == [{"username": name, "can_message": False} for name in ("ada", "ben", "dora")]
    mine = as_member(
        host_world, host_world.ada, "select username, can_message from public.search_members('c')"
    )
    assert {"username": "cleo", "can_message": True} in mine
    assert refusal(host_world, host_world.ada, "select public.find_member('edgar')") == (
        "USER_NOT_FOUND"
    )
    assert as_member(host_world, host_world.ada, "select public.find_member('ben') as id") == [
        {"id": host_world.ben}
    ]


def test_who_starts_a_conversation_with_whom(host_world: World) -> None:
    start = "select * from public.start_conversation(%s)"
    world = host_world
    made = as_member(world, world.ada, start, world.cleo)[0]
    assert made["is_existing"] is False
    again = as_member(world, world.cleo, start, world.ada)[0]
    assert again == {"conversation_id": made["conversation_id"], "is_existing": True}
    assert as_member(world, world.dora, start, world.ben)[0]["is_existing"] is False
    assert refusal(world, world.cleo, start, world.ben) == "PERMISSION_DENIED"
    assert refusal(world, world.ada, start, world.edgar) == "USER_NOT_FOUND"
    world.db.run("update public.users set allow_direct_messages = false where username = 'dora'")
    assert refusal(world, world.ada, start, world.dora) == "PERMISSION_DENIED"


def test_each_tier_keeps_messages_for_its_time(host_world: World) -> None:
    world = host_world
    with_ada = {world.ben: PRIVILEGED, world.cleo: FREE, world.dora: FREE}
    for other, period in with_ada.items():
        conversation = world.converse(world.ada, other)
        world.send(world.ada, conversation, "from ada")
        world.send(other, conversation, "to ada")
        rows = as_member(
            world,
            world.ada,
            "select sender_id, retention_expires_at - sent_at as kept"
            " from public.get_conversation_messages(%s)",
            conversation,
        )
        assert {row["sender_id"]: row["kept"] for row in rows} == {world.ada: PLUS, other: period}


def test_a_change_of_tier_is_noticed_and_given_grace(host_world: World) -> None:
    world = host_world
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ben, conversation, "sent while privileged")
    world.set_tier(world.ben, "free")
    info = as_member(world, world.ben, "select * from public.get_user_retention_info()")[0]
    assert (info["tier"], info["retention_days"]) == ("free", 30)
    assert info["grace_ends_at"] is not None
    history = "select tier from messaging.tier_changes where user_id = %s order by changed_at"
    assert [row["tier"] for row in world.db.run(history, world.ben)] == ["privileged", "free"]
    world.set_tier(world.ben, "privileged_plus")
    assert [row["tier"] for row in world.db.run(history, world.ben)][-1] == "privileged_plus"


def test_two_members_talk(host_world: World) -> None:
    world = host_world
    conversation = world.converse(world.ada, world.ben)
    one, two = uuid4(), uuid4()
    send = "select id, content from public.send_message(%s, %s, %s)"
    assert as_member(world, world.ada, send, conversation, " Hello ", one) == [
        {"id": one, "content": "Hello"}
    ]
    assert as_member(world, world.ada, send, conversation, "Hello", one)[0]["id"] == one
    assert refusal(world, world.ada, send, conversation, "Other", one) == "CONFLICT"
    assert refusal(world, world.cleo, send, conversation, "Hi", two) == "CONVERSATION_NOT_FOUND"
    as_member(world, world.ada, send, conversation, "Two", two)

    inbox = as_member(world, world.ben, "select * from public.get_user_conversations()")
    assert [row["id"] for row in inbox] == [conversation]
    assert inbox[0]["unread_count"] == 2
    assert inbox[0]["last_message"]["content"] == "Two"
    assert inbox[0]["other_participant"]["displayname"] == "Ada Lindqvist"
    shown = as_member(world, world.ben, "select public.get_conversation(%s) as c", conversation)
    assert shown[0]["c"]["unread_count"] == 2
    counts = (
        "select public.get_unread_message_count(%s) as m,"
        " public.get_unread_conversation_count() as c"
    )
    assert as_member(world, world.ben, counts, conversation) == [{"m": 2, "c": 1}]
    as_member(world, world.ben, "select public.mark_conversation_as_read(%s)", conversation)
    assert as_member(world, world.ben, counts, conversation) == [{"m": 0, "c": 0}]

    assert refusal(world, world.ben, "select public.delete_message(%s)", two) == "PERMISSION_DENIED"
    as_member(world, world.ada, "select public.delete_message(%s)", two)
    page = as_member(
        world, world.ben, "select content from public.get_conversation_messages(%s)", conversation
    )
    assert page == [{"content": "Hello"}]
    changes = as_member(
        world,
        world.ben,
        "select public.get_conversation_changes(%s, '2020-01-01Z') as c",
        conversation,
    )[0]["c"]
    assert [m["id"] for m in changes["messages"]] == [str(one)]
    assert [d["id"] for d in changes["deleted"]] == [str(two)]
    state = as_member(
        world, world.ben, "select public.sync_conversations('{\"positions\": {}}') as s"
    )[0]["s"]
    assert [c["id"] for c in state["conversations"]] == [str(conversation)]
    assert state["changes"][0]["position"] == changes["position"]


def test_tables_show_members_their_own_rows_only(host_world: World) -> None:
    world = host_world
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "for ben")
    tables = ("conversations", "conversation_participants", "direct_messages")
    seen = {
        member: [
            as_member(world, member, f"select count(*) as n from public.{table}")[0]["n"]
            for table in tables
        ]
        for member in (world.ben, world.cleo, world.edgar)
    }
    assert seen == {world.ben: [1, 2, 1], world.cleo: [0, 0, 0], world.edgar: [0, 0, 0]}
    for table in tables:
        with world.db.as_anon() as anon, pytest.raises(psycopg.errors.InsufficientPrivilege):
            anon.execute(f"select * from public.{table}")
        with world.db.as_service() as service, pytest.raises(psycopg.errors.InsufficientPrivilege):
            service.execute(f"select * from public.{table}")


def test_the_servers_login_does_what_it_needs(host_world: World) -> None:
    world = host_world
    conversation = world.converse(world.ada, world.ben)
    ids = [uuid4(), uuid4()]
    with world.db.connect(SERVER) as server:
        rows = server.execute(
            "select n, code, is_new from messaging.send_batch(%s, %s, %s, %s)",
            ([world.ada, world.cleo], ids, [conversation] * 2, ["from ada", "from a stranger"]),
        ).fetchall()
        assert sorted((row["n"], row["code"], row["is_new"]) for row in rows) == [
            (1, None, True),
            (2, "CONVERSATION_NOT_FOUND", False),
        ]
        facts = server.execute(
            "select messaging.find_user('ben') as id, messaging.profile(%s) ->> 'username' as name,"
            " length(messaging.epoch()) as epoch, messaging.schema_version() as version,"
            " length(messaging.ephemeral_key()) as key",
            (world.ada,),
        ).fetchone()
        assert facts == {"id": world.ben, "name": "ada", "epoch": 32, "version": 1, "key": 64}
        members = server.execute(
            "select user_ids from messaging.membership(%s)", (world.ada,)
        ).fetchone()
        assert members == {"user_ids": sorted([world.ada, world.ben])}


def test_the_worker_sweeps_and_clients_may_not(host_world: World) -> None:
    world = host_world
    conversation = world.converse(world.ada, world.ben)
    message = world.send(world.ada, conversation, "old")
    with world.db.as_superuser() as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute(
            "update public.direct_messages set retention_expires_at = now() - interval '1 day',"
            " sent_at = now() - interval '31 days' where id = %s",
            (message,),
        )
    for function in ("soft_delete_expired_messages", "cleanup_expired_messages"):
        with (
            world.db.as_user(world.ada) as member,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            member.execute(f"select public.{function}()")
        with world.db.as_service() as service:
            done = service.execute(f"select public.{function}() as n").fetchone()
        assert done == {"n": 1}
    assert world.db.run("select count(*) from public.direct_messages") == [{"count": 0}]


def test_erasing_an_account_takes_its_messages(host_world: World) -> None:
    """By whoever owns auth.users: at Supabase that is another role than ours."""
    world = host_world
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "goes")
    world.send(world.ben, conversation, "stays")
    role = "supabase_auth_admin" if world.db.adapter == "supabase" else "postgres"
    with world.db.connect(role) as accounts:
        accounts.execute("delete from auth.users where id = %s", (world.ada,))
    shown = as_member(world, world.ben, "select public.get_conversation(%s) as c", conversation)
    assert shown[0]["c"]["other_participant"] is None
    page = as_member(
        world, world.ben, "select content from public.get_conversation_messages(%s)", conversation
    )
    assert page == [{"content": "stays"}]
