"""Pages of catch-up: 500 events or 200 conversations, and a cursor that goes on where one ended."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from tests.helpers.catchup import SqlClient, sync
from tests.helpers.world import World


def many_members(world: World, count: int) -> None:
    """Put so many more members into ada's store, each in a conversation with her."""
    world.db.run(
        "insert into auth.users"
        " select md5('more' || n)::uuid from generate_series(1, %(count)s) as n;"
        "insert into public.users (id, username)"
        " select md5('more' || n)::uuid, 'more_' || n from generate_series(1, %(count)s) as n;"
        "insert into public.store_members (store_id, user_id)"
        " select %(store)s, md5('more' || n)::uuid from generate_series(1, %(count)s) as n".replace(
            "%(count)s", str(count)
        ).replace("%(store)s", f"'{world.page_anchor}'")
    )
    with world.db.as_user(world.ada) as connection:
        connection.execute(
            "select s.conversation_id from generate_series(1, %s) as n"
            " cross join lateral public.start_conversation(md5('more' || n)::uuid) as s",
            (count,),
        )


def send_many(world: World, sender: UUID, conversation: UUID, count: int) -> None:
    """In transactions of 100: one of 1,200 would walk 1,200 versions of its conversation's row."""
    for begin in range(0, count, 100):
        with world.db.as_user(sender) as connection:
            connection.execute(
                "select public.send_message(%s, 'message ' || n)"
                " from generate_series(%s::int, %s::int) as n",
                (conversation, begin + 1, min(begin + 100, count)),
            )


def events(answer: dict[str, Any]) -> int:
    return sum(len(c["messages"]) + len(c["deleted"]) for c in answer["changes"])


def all_pages(client: SqlClient) -> list[dict[str, Any]]:
    """Ask page by page, moving the positions as the contract says."""
    pages: list[dict[str, Any]] = []
    positions, cursor = dict(client.positions), None
    while True:
        state = {"epoch": client.epoch, "positions": positions, "cursor": cursor}
        pages.append(sync(client.world, client.member, state))
        positions |= {c["conversation_id"]: c["position"] for c in pages[-1]["changes"]}
        cursor = pages[-1]["next_cursor"]
        if cursor is None:
            return pages


@pytest.fixture
def talk(world: World) -> UUID:
    return world.converse(world.ada, world.ben)


def test_new_conversations_come_200_a_page_each_once(world: World) -> None:
    many_members(world, 450)
    pages = all_pages(SqlClient(world, world.ada))
    assert [len(page["conversations"]) for page in pages] == [200, 200, 50]
    ids = [c["id"] for page in pages for c in page["conversations"]]
    assert ids == sorted(ids)
    assert len(set(ids)) == 450
    assert [page["next_cursor"] for page in pages] == [ids[200], ids[400], None]


def test_changed_conversations_come_200_a_page_with_their_reads_and_quiet_ones_between(
    world: World,
) -> None:
    many_members(world, 300)
    client = SqlClient(world, world.ada)
    client.catch_up()
    world.db.run(  # one message in each of 250
        "select public.send_message(c.id, 'hello') from (select set_config('request.jwt.claims',"
        f" '{json.dumps({'sub': str(world.ada)})}', true)) as me"
        " cross join (select id from public.conversations order by id limit 250) as c"
    )
    pages = all_pages(client)
    assert [len(page["changes"]) for page in pages] == [200, 50]
    told = [c["conversation_id"] for page in pages for c in page["changes"]]
    assert told == sorted(told)
    read = [(r["conversation_id"], r["user_id"]) for page in pages for r in page["reads"]]
    assert len(read) == len(set(read)) == 600
    client.catch_up()
    client.assert_knows_everything()


def test_one_conversation_with_1200_events_takes_three_pages(world: World, talk: UUID) -> None:
    client = SqlClient(world, world.ben)
    client.catch_up()
    send_many(world, world.ada, talk, 1200)
    pages = all_pages(client)
    assert [events(page) for page in pages] == [500, 500, 200]
    assert [page["next_cursor"] for page in pages] == [str(talk), str(talk), None]
    told = [m["content"] for page in pages for m in page["changes"][0]["messages"]]
    assert told == [f"message {n}" for n in range(1, 1201)]
    assert all(page["changes"][0]["complete"] for page in pages)
    assert all(page["gone"] == [] for page in pages)
    client.catch_up()
    client.assert_knows_everything()


def test_a_page_has_never_more_than_500_events_over_many_conversations(
    world: World, talk: UUID
) -> None:
    talks = [talk, world.converse(world.ada, world.cleo), world.converse(world.ada, world.dora)]
    client = SqlClient(world, world.ada)
    client.catch_up()
    for each in talks:
        send_many(world, world.ada, each, 300)
    with world.db.as_user(world.ada) as connection:
        connection.execute("select public.delete_message(m.id) from public.direct_messages as m")
    for each in talks:
        send_many(world, world.ada, each, 150)
    pages = all_pages(client)
    assert [events(page) for page in pages] == [500, 500, 350]
    assert sum(len(c["deleted"]) for page in pages for c in page["changes"]) == 900
    client.catch_up()
    client.assert_knows_everything()


def test_what_happens_between_two_pages_is_told_too(world: World, talk: UUID) -> None:
    many_members(world, 210)
    client = SqlClient(world, world.ada)
    client.catch_up()
    send_many(world, world.ben, talk, 501)
    positions = dict(client.positions)
    first = sync(world, world.ada, {"epoch": client.epoch, "positions": positions})
    assert first["next_cursor"] == str(talk)
    positions |= {c["conversation_id"]: c["position"] for c in first["changes"]}
    message = world.send(world.ben, talk, "between")
    with world.db.as_user(world.ben) as connection:
        connection.execute(
            "select public.delete_message(m.id) from public.direct_messages as m"
            " order by m.sent_at limit 1"
        )
    second = sync(
        world,
        world.ada,
        {"epoch": client.epoch, "positions": positions, "cursor": first["next_cursor"]},
    )
    assert [m["id"] for m in second["changes"][0]["messages"]][-1] == str(message)
    assert len(second["changes"][0]["deleted"]) == 1
    client.catch_up()
    client.assert_knows_everything()


def test_reads_and_gone_of_quiet_pages_come_once(world: World, talk: UUID) -> None:
    client = SqlClient(world, world.ada)
    client.catch_up()
    send_many(world, world.ben, talk, 600)
    foreign = str(UUID(int=7))
    client.positions[foreign] = "2026-01-01T00:00:00.000000Z"
    pages = all_pages(client)
    assert [page["gone"] for page in pages] == [[foreign], []]
    assert [len(page["reads"]) for page in pages] == [0, 2]
