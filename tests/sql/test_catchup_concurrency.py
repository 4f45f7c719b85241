"""Catching up while others write: nothing commits behind a reader's position."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest

from tests.helpers.catchup import SqlClient, changes
from tests.helpers.postgres import act_as
from tests.helpers.world import World

WRITERS, ROUNDS = 6, 25

SEND = "select id from public.send_message(%s, %s)"
RETRY = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)


class Writer:
    """Sends, deletes, rolls back to savepoints, aborts; remembers nothing."""

    def __init__(self, world: World, member: UUID, conversations: list[UUID], seed: int) -> None:
        self.world, self.member, self.conversations = world, member, conversations
        self.random = random.Random(seed)
        self.level = psycopg.IsolationLevel.REPEATABLE_READ if seed % 3 == 0 else None

    def run(self, barrier: threading.Barrier) -> None:
        with self.world.db.connect("postgres") as connection:
            connection.isolation_level = self.level
            barrier.wait(timeout=30)
            for _ in range(ROUNDS):
                try:
                    self.round(connection)
                except RETRY:
                    connection.rollback()

    def round(self, connection: psycopg.Connection[dict[str, object]]) -> None:
        act_as(connection, self.member)
        # One transaction in two conversations locks them in one order, as the batches do.
        for conversation in sorted(self.random.sample(self.conversations, 2), key=str):
            self.step(connection, conversation)
        if self.random.random() < 0.2:
            connection.rollback()
        else:
            connection.commit()

    def step(self, connection: psycopg.Connection[dict[str, object]], conversation: UUID) -> None:
        text = f"{self.member} {self.random.random()}"
        chance = self.random.random()
        if chance < 0.2:
            connection.execute("savepoint before")
            connection.execute(SEND, (conversation, text))
            connection.execute("rollback to savepoint before")
        elif chance < 0.4:
            connection.execute(
                "select public.delete_message(m.id) from (select id from public.direct_messages"
                " where conversation_id = %s and sender_id = %s"
                " order by random() limit 1) as m",
                (conversation, self.member),
            )
        else:
            connection.execute(SEND, (conversation, text))


class Reader:
    """Catches up again and again, and checks what it was told against the end."""

    def __init__(self, client: SqlClient) -> None:
        self.client = client
        self.rounds = 0

    def run(self, barrier: threading.Barrier, done: threading.Event) -> None:
        barrier.wait(timeout=30)
        while not done.is_set():
            self.client.catch_up()
            self.rounds += 1


def test_no_row_commits_behind_a_readers_position(world: World) -> None:
    """Six writers in three conversations, two readers that only ever catch up step by step."""
    talks = [world.converse(world.ada, other) for other in (world.ben, world.cleo, world.dora)]
    both = [world.converse(world.ben, world.dora), *talks[:1]]
    writers = [
        Writer(world, member, conversations, seed)
        for seed, (member, conversations) in enumerate(
            [(world.ada, talks)] * 4 + [(world.ben, both)] * 2
        )
    ]
    readers = [Reader(SqlClient(world, member)) for member in (world.ada, world.ben)]
    for reader in readers:
        reader.client.catch_up()
    barrier, done = threading.Barrier(WRITERS + len(readers)), threading.Event()
    with ThreadPoolExecutor(WRITERS + len(readers)) as threads:
        reading = [threads.submit(reader.run, barrier, done) for reader in readers]
        writing = [threads.submit(writer.run, barrier) for writer in writers]
        try:
            for future in writing:
                future.result(timeout=120)
        finally:
            done.set()
        for future in reading:
            future.result(timeout=30)
    for reader in readers:
        assert reader.client.reloads == 0
        reader.client.catch_up()
        reader.client.assert_knows_everything()
    doubles = world.db.run(
        "select from (select conversation_id, sent_at as at from public.direct_messages union all"
        " select conversation_id, deleted_at from public.direct_messages where is_deleted) as e"
        " group by conversation_id, at having count(*) > 1"
    )
    assert doubles == []
    assert world.db.run("select count(*) from public.direct_messages where is_deleted") != [
        {"count": 0}
    ]


def wait_until(condition: Callable[[], object], *, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_long_transaction_holds_the_clock_and_is_not_passed(world: World) -> None:
    talk, other = world.converse(world.ada, world.ben), world.converse(world.ada, world.cleo)
    world.send(world.ada, other, "her first: it also begins her tier history")
    client = SqlClient(world, world.ben)
    client.catch_up()
    with ThreadPoolExecutor(1) as thread, world.db.connect() as slow:
        act_as(slow, world.ada)
        slow.execute(SEND, (talk, "begun first"))
        behind = thread.submit(world.send, world.ben, talk, "begun second")
        wait_until(
            lambda: world.db.run(
                "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
                " and datname = current_database()"
            )
        )
        world.send(world.ada, other, "elsewhere nobody waits")
        position = client.positions[str(talk)]
        client.catch_up()
        assert client.positions[str(talk)] == position
        assert client.shown()[str(talk)] == {}
        slow.commit()
        behind.result(timeout=30)
    client.catch_up()
    assert [text for text, _ in client.shown()[str(talk)].values()] == [
        "begun first",
        "begun second",
    ]
    assert client.reloads == 0


def test_an_aborted_transaction_leaves_no_gap_to_wait_for(world: World) -> None:
    talk = world.converse(world.ada, world.ben)
    client = SqlClient(world, world.ben)
    client.catch_up()
    with world.db.connect() as slow:
        act_as(slow, world.ada)
        slow.execute(SEND, (talk, "never was"))
        slow.rollback()
    world.send(world.ada, talk, "was")
    client.catch_up()
    client.assert_knows_everything()
    assert [text for text, _ in client.shown()[str(talk)].values()] == ["was"]


def test_messages_and_clock_are_of_one_moment(world: World) -> None:
    """An answer's position never lies beyond a message that it does not tell."""
    talk = world.converse(world.ada, world.ben)
    done = threading.Event()

    def write() -> None:
        with world.db.connect("postgres", autocommit=True) as connection:
            while not done.is_set():
                with connection.transaction():
                    act_as(connection, world.ada)
                    connection.execute(SEND, (talk, "x"))

    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(write)
        since, told = "2020-01-01T00:00:00.000000Z", 0
        try:
            for _ in range(60):
                answer = changes(world, world.ben, talk, since)
                told += len(answer["messages"])
                assert (
                    not answer["messages"]
                    or answer["position"] == (answer["messages"][-1]["sent_at"])
                )
                since = answer["position"]
        finally:
            done.set()
        writing.result(timeout=30)
    told += len(changes(world, world.ben, talk, since)["messages"])
    assert world.db.run("select count(*) from public.direct_messages") == [{"count": told}]


@pytest.mark.parametrize("function", ["get_conversation_changes", "sync_conversations"])
def test_all_that_catches_up_reads_one_snapshot(world: World, function: str) -> None:
    """A VOLATILE function in it would look at a later moment than the others."""
    rows = world.db.run(
        "with recursive used as ("
        "  select p.oid from pg_proc as p where p.pronamespace = 'public'::regnamespace"
        "  and p.proname = %s"
        "  union"
        "  select c.oid from used as u inner join pg_proc as f on u.oid = f.oid"
        "  inner join pg_proc as c on c.pronamespace = 'messaging'::regnamespace"
        "  and strpos(pg_get_functiondef(f.oid), 'messaging.' || c.proname || '(') > 0"
        ") select p.proname from used inner join pg_proc as p on used.oid = p.oid"
        " where p.provolatile = 'v'",
        function,
    )
    assert [row["proname"] for row in rows] in ([], ["fail"])
