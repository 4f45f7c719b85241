"""What several do at the same moment ends as if they had done it one after the other.

Threads with a connection each meet at a barrier, so that they do it at once. Nothing sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.helpers.postgres import Connection, Database, act_as
from tests.helpers.world import World

CROWD = 8
ROUNDS = 10
SERIALIZATION_FAILURE = "40001"

Act = Callable[[Connection], Any]


@pytest.fixture
def crowd(world: World) -> Iterator[list[Connection]]:
    """Connections that are open before anybody starts."""
    connections = [world.db.connect() for _ in range(CROWD)]
    yield connections
    for connection in connections:
        connection.close()


def _at_once(connections: list[Connection], members: list[UUID], acts: list[Act]) -> list[Any]:
    """Everybody acts at once as a member, and commits; results, or the errors that they got."""
    barrier = Barrier(len(acts), timeout=20)

    def run(connection: Connection, member: UUID, act: Act) -> Any:
        try:
            with connection.transaction():
                act_as(connection, member)
                barrier.wait()
                return act(connection)
        except psycopg.Error as error:
            return error

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(run, connections, members, acts))


def _start(recipient: UUID) -> Act:
    def act(connection: Connection) -> Any:
        return connection.execute(
            "select conversation_id, is_existing from public.start_conversation(%s)", (recipient,)
        ).fetchone()

    return act


def _forget(db: Database) -> None:
    db.run("delete from public.conversations")


@pytest.mark.parametrize("isolation", list(psycopg.IsolationLevel)[1:], ids=lambda i: i.name)
def test_both_start_at_once_and_there_is_one_conversation(
    world: World, crowd: list[Connection], isolation: psycopg.IsolationLevel
) -> None:
    """Half of them one way, half the other; under one snapshot some have to try again."""
    for connection in crowd:
        connection.isolation_level = isolation
    members = [world.ada, world.ben] * (CROWD // 2)
    acts = [_start(world.ben), _start(world.ada)] * (CROWD // 2)
    for _ in range(ROUNDS):
        results = _at_once(crowd, members, acts)
        errors = [r for r in results if isinstance(r, psycopg.Error)]
        assert {e.sqlstate for e in errors} <= {SERIALIZATION_FAILURE}, [str(e) for e in errors]
        if isolation is psycopg.IsolationLevel.READ_COMMITTED:
            assert errors == []
        again = _at_once(crowd, members, acts)
        rows = [r for r in [*results, *again] if not isinstance(r, psycopg.Error)]
        assert len({row["conversation_id"] for row in rows}) == 1
        assert [row["is_existing"] for row in rows].count(False) == 1
        found = world.db.run(
            "select (select count(*) from public.conversations) as conversations,"
            " (select count(*) from public.conversation_participants) as participants,"
            " (select count(*) from messaging.conversation_pairs) as pairs"
        )
        assert found == [{"conversations": 1, "participants": 2, "pairs": 1}]
        _forget(world.db)


def test_starting_with_somebody_who_is_being_erased_finds_nobody(
    world: World, crowd: list[Connection]
) -> None:
    for _ in range(ROUNDS):
        eraser, starter = crowd[0], crowd[1]
        eraser.execute("delete from auth.users where id = %s", (world.cleo,))
        with ThreadPoolExecutor(1) as thread:
            future = thread.submit(_at_once, [starter], [world.ada], [_start(world.cleo)])
            _wait_until_blocked(world.db, starter)
            eraser.commit()
            result = future.result(timeout=20)[0]
        assert isinstance(result, psycopg.Error)
        assert (result.sqlstate, result.diag.message_primary) == ("PT404", "USER_NOT_FOUND")
        world.db.run("insert into auth.users (id) values (%s)", world.cleo)
        world.db.run("insert into public.users (id, username) values (%s, 'cleo')", world.cleo)
        world.db.run(
            "insert into public.store_members (store_id, user_id) values (%s, %s)",
            world.page_anchor,
            world.cleo,
        )


def _write_by_hand(world: World) -> UUID:
    """A conversation of ada and ben that no function started, so that no pair knows it."""
    row = world.db.run(
        "with made as (insert into public.conversations (store_id) values (%s) returning id)"
        " insert into public.conversation_participants (conversation_id, user_id)"
        " select made.id, x.id from made, unnest(%s::uuid []) as x (id) returning conversation_id",
        world.page_anchor,
        [world.ada, world.ben],
    )[0]
    return UUID(str(row["conversation_id"]))


def test_both_find_what_was_written_by_hand_at_once(world: World, crowd: list[Connection]) -> None:
    members = [world.ada, world.ben] * (CROWD // 2)
    acts = [_start(world.ben), _start(world.ada)] * (CROWD // 2)
    for _ in range(ROUNDS):
        written = _write_by_hand(world)
        results = _at_once(crowd, members, acts)
        assert [r for r in results if isinstance(r, psycopg.Error)] == []
        rows = [r for r in results if not isinstance(r, psycopg.Error)]
        assert {UUID(str(row["conversation_id"])) for row in rows} == {written}
        assert {row["is_existing"] for row in rows} == {True}
        _forget(world.db)


def test_what_was_written_by_hand_is_not_found_with_somebody_who_is_being_erased(
    world: World, crowd: list[Connection]
) -> None:
    _write_by_hand(world)
    eraser, starter = crowd[0], crowd[1]
    eraser.execute("delete from auth.users where id = %s", (world.ben,))
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(_at_once, [starter], [world.ada], [_start(world.ben)])
        _wait_until_blocked(world.db, starter)
        eraser.commit()
        result = future.result(timeout=20)[0]
    assert isinstance(result, psycopg.Error)
    assert (result.sqlstate, result.diag.message_primary) == ("PT404", "USER_NOT_FOUND")
    assert not world.db.run("select conversation_id from messaging.conversation_pairs")


def _wait_until_blocked(db: Database, connection: Connection) -> None:
    pid = connection.info.backend_pid
    with db.connect(autocommit=True) as watcher:
        for _ in range(10_000):
            row = watcher.execute(
                "select cardinality(pg_blocking_pids(%s)) > 0 as is_blocked", (pid,)
            ).fetchone()
            if row is not None and row["is_blocked"]:
                return
    raise AssertionError("it did not wait")


def _send(conversation_id: UUID, content: str) -> Act:
    def act(connection: Connection) -> Any:
        return connection.execute(
            "select id, sent_at from public.send_message(%s, %s)", (conversation_id, content)
        ).fetchone()

    return act


def _delete(message_id: UUID) -> Act:
    def act(connection: Connection) -> Any:
        connection.execute("select public.delete_message(%s)", (message_id,))
        return None

    return act


def test_sends_and_deletions_at_once_have_one_order(world: World, crowd: list[Connection]) -> None:
    """Half of the crowd sends while the other half deletes what was sent a round before."""
    conversation = world.converse(world.ada, world.ben)
    half = CROWD // 2
    senders = [world.ada, world.ben] * (half // 2)
    sent = [world.send(member, conversation, "Round 0") for member in senders]
    for n in range(1, ROUNDS + 1):
        acts = [
            *(_send(conversation, f"Round {n}") for _ in range(half)),
            *(_delete(message) for message in sent),
        ]
        results = _at_once(crowd, senders + senders, acts)
        errors = [str(r) for r in results if isinstance(r, psycopg.Error)]
        assert errors == []
        sent = [row["id"] for row in results[:half]]

    rows = world.db.run("select * from public.direct_messages")
    positions = [row["sent_at"] for row in rows]
    positions += [row["deleted_at"] for row in rows if row["deleted_at"] is not None]
    assert len(rows) == half * (ROUNDS + 1)
    assert sum(row["is_deleted"] for row in rows) == half * ROUNDS
    assert len(set(positions)) == len(positions)
    assert all(r["deleted_at"] > r["sent_at"] for r in rows if r["is_deleted"])
    clock = world.db.run("select position, updated_at from public.conversations")[0]
    assert clock["position"] == max(positions)
    assert clock["updated_at"] == max(row["sent_at"] for row in rows)


def test_a_message_that_many_delete_at_once_is_deleted_once(
    world: World, crowd: list[Connection]
) -> None:
    conversation = world.converse(world.ada, world.ben)
    for _ in range(ROUNDS):
        message = world.send(world.ada, conversation, "Oh no")
        results = _at_once(crowd, [world.ada] * CROWD, [_delete(message)] * CROWD)
        assert [r for r in results if r is not None] == []
    rows = world.db.run("select deleted_at from public.direct_messages")
    assert len({row["deleted_at"] for row in rows}) == ROUNDS
    clock = world.db.run("select position from public.conversations")[0]["position"]
    assert clock == max(row["deleted_at"] for row in rows)


def test_the_same_message_sent_by_many_at_once_is_stored_once(
    world: World, crowd: list[Connection]
) -> None:
    conversation = world.converse(world.ada, world.ben)
    message = UUID("f0000000-0000-4000-8000-000000000001")

    def act(connection: Connection) -> Any:
        return connection.execute(
            "select * from public.send_message(%s, 'Once', %s)", (conversation, message)
        ).fetchone()

    results = _at_once(crowd, [world.ada] * CROWD, [act] * CROWD)
    assert all(result == results[0] for result in results)
    assert world.db.run("select count(*) as n from public.direct_messages") == [{"n": 1}]
