"""What happened after a position: everything, in one order, or the word that it cannot be told."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.helpers.catchup import SqlClient, changes, sync
from tests.helpers.world import World

LONG_AGO = "2020-01-01T00:00:00.000000Z"


@pytest.fixture
def talk(world: World) -> UUID:
    """A conversation of ada and ben."""
    return world.converse(world.ada, world.ben)


def delete(world: World, member: UUID, message: UUID) -> None:
    with world.db.as_user(member) as connection:
        connection.execute("select public.delete_message(%s)", (message,))


def read(world: World, member: UUID, conversation: UUID) -> None:
    with world.db.as_user(member) as connection:
        connection.execute("select public.mark_conversation_as_read(%s)", (conversation,))


def clock(world: World, conversation: UUID) -> str:
    query = "select messaging.wire_time(position) as at from public.conversations where id = %s"
    return str(world.db.run(query, conversation)[0]["at"])


def expire(world: World, message: UUID, *, days_ago: int = 1) -> None:
    """Make a message as if it had been sent so long ago that it has expired."""
    world.db.run(
        "set session_replication_role = replica;"
        "update public.direct_messages set retention_expires_at = now() - make_interval(days => "
        f"{days_ago}) where id = '{message}'"
    )


def sweep(world: World) -> None:
    for step in ("soft_delete_expired_messages", "cleanup_expired_messages"):
        for _ in range(20):
            with world.db.as_service() as worker:
                done = worker.execute(f"select public.{step}() as n").fetchone()
            if done == {"n": 0}:
                break


def settle(world: World) -> None:
    """Run the worker's recalculation to its end."""
    for _ in range(20):
        with world.db.as_service() as worker:
            done = worker.execute("select messaging.recalculate_batch() as n").fetchone()
        if done == {"n": 0}:
            return


def refusal(world: World, member: UUID, state: object) -> tuple[str, str]:
    with pytest.raises(psycopg.Error) as refused:
        sync(world, member, state)
    return str(refused.value.diag.message_primary), str(refused.value.diag.message_hint)


# --- one conversation ---------------------------------------------------------------------------


def test_messages_and_deletions_come_in_one_order(world: World, talk: UUID) -> None:
    one, two = (world.send(world.ada, talk, text) for text in ("one", "two"))
    three = world.send(world.ben, talk, "three")
    delete(world, world.ada, one)
    four = world.send(world.ben, talk, "four")
    delete(world, world.ben, three)

    seen, since = [], LONG_AGO
    for _ in range(4):  # event by event, in the clock's order
        answer = changes(world, world.ada, talk, since, 1)
        assert answer["complete"] is True
        seen += [("sent", m["id"]) for m in answer["messages"]]
        seen += [("deleted", d["id"]) for d in answer["deleted"]]
        assert answer["position"] > since
        since = answer["position"]
    assert seen == [
        ("sent", str(two)),
        ("deleted", str(one)),
        ("sent", str(four)),
        ("deleted", str(three)),
    ]
    assert since == clock(world, talk)


def test_a_whole_page_is_the_same_as_its_steps(world: World, talk: UUID) -> None:
    ids = [world.send(world.ada, talk, f"message {n}") for n in range(6)]
    for gone in ids[1::2]:
        delete(world, world.ada, gone)
    whole = changes(world, world.ben, talk, LONG_AGO)
    assert [m["id"] for m in whole["messages"]] == [str(i) for i in ids[0::2]]
    assert [d["id"] for d in whole["deleted"]] == [str(i) for i in ids[1::2]]
    assert whole["position"] == clock(world, talk)
    moments = [d["deleted_at"] for d in whole["deleted"]]
    assert moments == sorted(moments)
    half = changes(world, world.ben, talk, whole["messages"][1]["sent_at"], 500)
    assert [m["id"] for m in half["messages"]] == [str(ids[4])]
    assert [d["id"] for d in half["deleted"]] == [str(i) for i in ids[1::2]]


def test_at_the_clock_there_is_nothing_to_tell(world: World, talk: UUID) -> None:
    world.send(world.ada, talk, "one")
    now = clock(world, talk)
    assert changes(world, world.ben, talk, now) == {
        "messages": [],
        "deleted": [],
        "position": now,
        "complete": True,
    }


def test_a_message_has_the_wires_shape(world: World, talk: UUID) -> None:
    message = world.send(world.ada, talk, "one")
    told = changes(world, world.ben, talk, LONG_AGO)["messages"][0]
    assert told["id"] == str(message)
    assert set(told) == {
        "id",
        "conversation_id",
        "sender_id",
        "content",
        "sent_at",
        "expires_at",
        "is_deleted",
    }
    assert told["is_deleted"] is False


@pytest.mark.parametrize(("limit", "told"), [(0, 1), (-5, 1), (3, 3), (None, 7), (10_000, 7)])
def test_the_limit_is_clamped(world: World, talk: UUID, limit: int | None, told: int) -> None:
    for n in range(7):
        world.send(world.ada, talk, f"message {n}")
    assert len(changes(world, world.ben, talk, LONG_AGO, limit)["messages"]) == told


def test_who_may_not_ask(world: World, talk: UUID) -> None:
    for member, conversation in ((world.cleo, talk), (world.edgar, talk), (world.ada, uuid4())):
        with pytest.raises(psycopg.Error, match="CONVERSATION_NOT_FOUND"):
            changes(world, member, conversation, LONG_AGO)
    with pytest.raises(psycopg.Error, match="INVALID_REQUEST"):
        changes(world, world.ada, talk, None)
    with pytest.raises(psycopg.Error, match="INVALID_REQUEST"):
        changes(world, world.ada, None, LONG_AGO)


# --- all conversations --------------------------------------------------------------------------


def test_the_first_call_lists_all_with_their_clocks_and_nothing_to_tell(
    world: World, talk: UUID
) -> None:
    world.send(world.ada, talk, "one")
    other = world.converse(world.ada, world.cleo)
    answer = sync(world, world.ada, {"epoch": None, "positions": {}})
    assert answer["reload"] is False
    assert {c["id"] for c in answer["conversations"]} == {str(talk), str(other)}
    assert {c["conversation_id"]: c["position"] for c in answer["changes"]} == {
        str(talk): clock(world, talk),
        str(other): clock(world, other),
    }
    assert all(c["complete"] and not c["messages"] and not c["deleted"] for c in answer["changes"])
    assert (answer["reads"], answer["gone"], answer["next_cursor"]) == ([], [], None)


def test_a_quiet_conversation_is_not_told_of_but_its_reads_are(world: World, talk: UUID) -> None:
    world.send(world.ada, talk, "one")
    client = SqlClient(world, world.ada)
    client.catch_up()
    read(world, world.ben, talk)
    answer = sync(world, world.ada, {"epoch": client.epoch, "positions": client.positions})
    assert (answer["conversations"], answer["changes"]) == ([], [])
    assert {r["user_id"]: r["last_read_at"] for r in answer["reads"]} == {
        str(world.ada): client.reads[str(talk), str(world.ada)],
        str(world.ben): clock(world, talk),
    }


def test_new_changed_and_gone_conversations(world: World, talk: UUID) -> None:
    leaving = world.converse(world.ada, world.cleo)
    client = SqlClient(world, world.ada)
    client.catch_up()
    message = world.send(world.ben, talk, "while away")
    new = world.converse(world.ada, world.dora)
    world.db.run(
        "delete from public.conversation_participants where conversation_id = %s and user_id = %s",
        leaving,
        world.ada,
    )
    foreign = str(uuid4())
    state = {"epoch": client.epoch, "positions": {**client.positions, foreign: LONG_AGO}}
    answer = sync(world, world.ada, state)
    assert {c["id"] for c in answer["conversations"]} == {str(talk), str(new)}
    assert sorted(answer["gone"]) == sorted([str(leaving), foreign])
    told = {c["conversation_id"]: c for c in answer["changes"]}
    assert [m["id"] for m in told[str(talk)]["messages"]] == [str(message)]
    assert told[str(new)]["messages"] == []
    client.catch_up()
    client.assert_knows_everything()


def test_a_foreign_conversation_tells_nothing_but_gone(world: World, talk: UUID) -> None:
    """Whether it exists or not."""
    world.send(world.ada, talk, "secret")
    epoch = sync(world, world.edgar, {})["epoch"]
    for foreign in (str(talk), str(uuid4())):
        answer = sync(world, world.edgar, {"epoch": epoch, "positions": {foreign: LONG_AGO}})
        assert answer == {
            "epoch": epoch,
            "reload": False,
            "conversations": [],
            "changes": [],
            "reads": [],
            "gone": [foreign],
            "next_cursor": None,
        }


def test_another_epoch_means_load_everything_anew(world: World, talk: UUID) -> None:
    world.send(world.ada, talk, "one")
    client = SqlClient(world, world.ada)
    client.catch_up()
    known = dict(client.positions)
    world.db.run("update messaging.settings set value = 'restored' where name = 'epoch_seed'")
    for epoch in (client.epoch, "nonsense", None):
        answer = sync(world, world.ada, {"epoch": epoch, "positions": known})
        assert answer["reload"] is True, epoch
        assert [c["id"] for c in answer["conversations"]] == [str(talk)]
        assert (answer["reads"], answer["gone"]) == ([], [])
        assert answer["epoch"] != client.epoch
    # Also in the middle of the pages of the last one: what comes before its cursor is not left out.
    state = {"epoch": client.epoch, "positions": known, "cursor": "f" * 8 + str(talk)[8:]}
    assert [c["id"] for c in sync(world, world.ada, state)["conversations"]] == [str(talk)]
    client.catch_up()
    client.assert_knows_everything()


STATES: dict[str, tuple[Any, str]] = {
    "not an object": ([], "state"),
    "a text": ("x", "state"),
    "nothing": (None, "state"),
    "positions as a list": ({"positions": []}, "positions"),
    "positions as a text": ({"positions": "x"}, "positions"),
    "an id that is none": ({"positions": {"x": LONG_AGO}}, "positions"),
    "a position that is none": ({"positions": {str(UUID(int=1)): "yesterday"}}, "positions"),
    "a position without its digits": (
        {"positions": {str(UUID(int=1)): "2026-01-01T00:00:00Z"}},
        "positions",
    ),
    "a position of another zone": (
        {"positions": {str(UUID(int=1)): "2026-01-01T00:00:00.000000+01:00"}},
        "positions",
    ),
    "a position that no calendar has": (
        {"positions": {str(UUID(int=1)): "2026-02-30T00:00:00.000000Z"}},
        "positions",
    ),
    "a word that PostgreSQL takes for a time": (
        {"positions": {str(UUID(int=1)): "infinity"}},
        "positions",
    ),
    "a position that is null": ({"positions": {str(UUID(int=1)): None}}, "positions"),
    "a position that is a number": ({"positions": {str(UUID(int=1)): 5}}, "positions"),
    "a cursor that is none": ({"positions": {}, "cursor": "x"}, "cursor"),
    "10,001 positions": (
        {"positions": {str(UUID(int=n)): LONG_AGO for n in range(10_001)}},
        "positions",
    ),
}


def test_a_malformed_state_is_refused_with_the_field_at_fault(world: World) -> None:
    for name, (state, field) in STATES.items():
        assert refusal(world, world.ada, state) == ("INVALID_REQUEST", field), name


def test_ids_in_another_spelling_are_the_same_conversation(world: World, talk: UUID) -> None:
    client = SqlClient(world, world.ada)
    client.catch_up()
    world.send(world.ben, talk, "one")
    position = client.positions[str(talk)]
    for spelling in (str(talk).upper(), f"{{{talk}}}", talk.hex):
        for twice in ({}, {str(talk): clock(world, talk)}):  # the older position counts
            state = {"epoch": client.epoch, "positions": {spelling: position, **twice}}
            answer = sync(world, world.ada, state)
            assert [len(c["messages"]) for c in answer["changes"]] == [1], spelling
            assert answer["gone"] == []


# --- completeness -------------------------------------------------------------------------------


def test_expiry_and_the_sweep_are_no_events(world: World, talk: UUID) -> None:
    message = world.send(world.ada, talk, "goes by itself")
    world.send(world.ada, talk, "stays")
    client = SqlClient(world, world.ben)
    client.catch_up()
    expire(world, message)
    with world.db.as_service() as worker:
        worker.execute("select public.soft_delete_expired_messages()")
    client.catch_up()
    answer = changes(world, world.ben, talk, LONG_AGO)
    assert (len(answer["messages"]), answer["deleted"], answer["complete"]) == (1, [], True)
    assert client.reloads == 0


def test_a_client_older_than_a_purge_loads_anew_and_a_newer_one_does_not(
    world: World, talk: UUID
) -> None:
    before = clock(world, talk)
    message = world.send(world.ada, talk, "goes")
    after = clock(world, talk)
    expire(world, message)
    sweep(world)
    assert changes(world, world.ben, talk, before)["complete"] is False
    assert changes(world, world.ben, talk, after)["complete"] is True


def test_a_client_older_than_a_purged_deletion_loads_anew(world: World, talk: UUID) -> None:
    """It still shows the message: what told it so is gone."""
    message = world.send(world.ada, talk, "deleted by ada")
    world.db.run(
        "set session_replication_role = replica;"
        "update public.direct_messages set retention_expires_at = now() + interval '0.5 s'"
        f" where id = '{message}'"
    )
    client = SqlClient(world, world.ben)
    client.catch_up()
    delete(world, world.ada, message)
    after = clock(world, talk)
    while world.db.run("select 1 from public.direct_messages"):
        sweep(world)
    assert changes(world, world.ben, talk, after)["complete"] is True
    client.catch_up()
    assert client.reloads == 1
    client.assert_knows_everything()


@pytest.mark.parametrize("tier", ["privileged_plus", "free"])
def test_new_expiry_times_are_loaded_once(world: World, talk: UUID, tier: str) -> None:
    old = world.send(world.ben, talk, "of long ago")
    world.send(world.ben, talk, "of today")
    world.db.run(
        "set session_replication_role = replica;"
        "update public.direct_messages set sent_at = sent_at - interval '120 days',"
        " retention_expires_at = retention_expires_at - interval '120 days'"
        f" where id = '{old}'"
    )
    client = SqlClient(world, world.ada)
    client.catch_up()
    world.set_tier(world.ben, tier)
    client.catch_up()
    waiting = client.reloads  # nothing has been rewritten yet: nothing to load
    assert waiting == 0
    settle(world)
    client.catch_up()
    assert client.reloads == 1
    client.assert_knows_everything()
    for _ in range(3):
        client.catch_up()
    assert client.reloads == 1


def test_what_is_rewritten_at_once_is_told_until_the_worker_has_told_it(
    world: World, talk: UUID
) -> None:
    message = world.send(world.ben, talk, "about to expire")
    world.db.run(
        "set session_replication_role = replica;"
        "update public.direct_messages set sent_at = sent_at - interval '180 days' + interval"
        f" '1 hour', retention_expires_at = now() + interval '1 hour' where id = '{message}'"
    )
    client = SqlClient(world, world.ada)
    client.catch_up()
    world.set_tier(world.ben, "privileged_plus")
    client.catch_up()
    assert client.reloads == 1
    client.assert_knows_everything()
    settle(world)
    client.catch_up()
    reloads = client.reloads
    client.catch_up()
    assert client.reloads == reloads
    client.assert_knows_everything()


def test_an_erased_member_takes_what_he_wrote(world: World, talk: UUID) -> None:
    world.send(world.ada, talk, "from ada")
    world.send(world.ben, talk, "from ben")
    client = SqlClient(world, world.ben)
    client.catch_up()
    world.db.run("delete from auth.users where id = %s", world.ada)
    answer = sync(world, world.ben, {"epoch": client.epoch, "positions": client.positions})
    assert [c["complete"] for c in answer["changes"]] == [False]
    assert answer["conversations"][0]["other_participant"] is None
    client.catch_up()
    client.assert_knows_everything()
    assert [len(m) for m in client.shown().values()] == [1]
    reloads = client.reloads
    client.catch_up()
    assert client.reloads == reloads


def test_a_conversation_of_two_erased_members_is_gone(world: World, talk: UUID) -> None:
    world.db.run("delete from auth.users where id in (%s, %s)", world.ada, world.ben)
    epoch = sync(world, world.cleo, {})["epoch"]
    answer = sync(world, world.cleo, {"epoch": epoch, "positions": {str(talk): LONG_AGO}})
    assert answer["gone"] == [str(talk)]


def test_a_position_that_the_clock_never_reached_is_not_believed(world: World, talk: UUID) -> None:
    world.send(world.ada, talk, "one")
    future = "2099-01-01T00:00:00.000000Z"
    answer = changes(world, world.ben, talk, future)
    assert (answer["complete"], answer["position"]) == (False, clock(world, talk))
    client = SqlClient(world, world.ben)
    client.catch_up()
    client.positions[str(talk)] = future
    client.messages[str(talk)] = {}
    client.catch_up()
    client.assert_knows_everything()


def test_a_clock_in_the_future_goes_on_and_is_repaired(world: World, talk: UUID) -> None:
    """A wrong system clock for an hour: nothing is lost, and clients follow it back."""
    world.send(world.ada, talk, "before")
    client = SqlClient(world, world.ben)
    client.catch_up()
    world.db.run("update public.conversations set position = now() + interval '1 hour'")
    world.send(world.ada, talk, "one")
    world.send(world.ben, talk, "two")
    client.catch_up()
    client.assert_knows_everything()
    assert client.reloads == 0
    moments = world.db.run("select sent_at from public.direct_messages order by sent_at")
    assert (moments[2]["sent_at"] - moments[1]["sent_at"]).total_seconds() == 1e-6
    with world.db.as_service() as operator:
        operator.execute("select messaging.repair_clock(%s)", (talk,))
    client.catch_up()
    world.send(world.ada, talk, "after")
    client.catch_up()
    client.assert_knows_everything()
