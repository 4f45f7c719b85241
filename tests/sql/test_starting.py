"""Starting: with whom, in which store, and what is found instead of made."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.helpers.world import World


def start(world: World, caller: UUID, *arguments: UUID | None) -> dict[str, Any]:
    marks = ", ".join(["%s"] * len(arguments))
    with world.db.as_user(caller) as db:
        rows = db.execute(f"select * from start_conversation({marks})", arguments).fetchall()
    return dict(rows[0])


def refusal(world: World, caller: UUID, *arguments: UUID | None) -> tuple[str | None, str | None]:
    """The code, and the field at fault."""
    with pytest.raises(psycopg.Error) as refused:
        start(world, caller, *arguments)
    return refused.value.diag.message_primary, refused.value.diag.message_hint


def test_without_a_store_it_is_the_one_that_both_share(world: World) -> None:
    made = start(world, world.ada, world.ben)
    assert made["is_existing"] is False
    assert start(world, world.ben, world.ada, world.page_anchor) == {**made, "is_existing": True}
    (row,) = world.db.run("select store_id from conversations")
    assert row["store_id"] == world.page_anchor


def test_of_several_shared_stores_one_must_be_named_and_each_has_its_conversation(
    world: World,
) -> None:
    for member in (world.ada, world.ben):
        world.db.run(
            "insert into store_members (store_id, user_id) values (%s, %s)", world.night_owl, member
        )
    assert refusal(world, world.ada, world.ben) == ("INVALID_REQUEST", "store_id")
    stores = (world.page_anchor, world.night_owl)
    made = [start(world, world.ada, world.ben, store) for store in stores]
    assert made[0]["conversation_id"] != made[1]["conversation_id"]
    again = [start(world, world.ben, world.ada, store) for store in stores]
    assert again == [{**one, "is_existing": True} for one in made]


def test_what_is_said_of_whom(world: World) -> None:
    """Somebody elsewhere is nobody; a store that is not mine is said to be so, whoever it is."""
    nobody = ("USER_NOT_FOUND", "recipient_id")
    assert refusal(world, world.ada, world.edgar) == nobody
    assert refusal(world, world.ada, uuid4()) == nobody
    assert refusal(world, world.ada, world.edgar, world.page_anchor) == nobody
    for recipient in (world.ben, world.edgar, uuid4()):
        for store in (world.night_owl, uuid4()):
            assert refusal(world, world.ada, recipient, store) == (
                "STORE_CONTEXT_ERROR",
                "store_id",
            )
    assert refusal(world, world.ada, world.ada) == ("INVALID_REQUEST", "recipient_id")
    assert refusal(world, world.ada, None) == ("INVALID_REQUEST", "recipient_id")


def test_free_members_find_what_there_is_and_start_nothing(world: World) -> None:
    assert refusal(world, world.cleo, world.ada)[0] == "PERMISSION_DENIED"
    made = start(world, world.ada, world.cleo)
    assert start(world, world.cleo, world.ada) == {**made, "is_existing": True}
    # Free, and a manager of the store: there, and nowhere else.
    assert start(world, world.dora, world.cleo)["is_existing"] is False
    world.db.run(
        "insert into store_members (store_id, user_id) values (%s, %s)", world.night_owl, world.dora
    )
    assert refusal(world, world.dora, world.fern)[0] == "PERMISSION_DENIED"


def test_who_takes_no_messages_is_reached_by_those_he_talks_with(world: World) -> None:
    made = start(world, world.ada, world.ben)
    world.db.run("update users set allow_direct_messages = false where id = %s", world.ben)
    assert start(world, world.ada, world.ben) == {**made, "is_existing": True}
    assert refusal(world, world.dora, world.ben)[0] == "PERMISSION_DENIED"
    assert start(world, world.ben, world.dora)["is_existing"] is False  # he may begin himself


def test_under_an_old_snapshot_there_is_still_one_conversation(world: World) -> None:
    """The pair's key is unique whatever a snapshot shows; the second one tries again."""
    with world.db.connect(world.db.cluster.gate) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("select 1 from conversations")  # the snapshot
        start(world, world.ben, world.ada)
        old.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)",
            (f'{{"sub": "{world.ada}"}}', "authenticated"),
        )
        with pytest.raises(psycopg.errors.SerializationFailure):
            old.execute("select start_conversation(%s)", (world.ben,))
    assert len(world.db.run("select id from conversations")) == 1
