"""The feed against a real PostgreSQL, 18 and 15: what it promises, fault by fault."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bookconnect_dm import feed as feed_module
from bookconnect_dm import progress, visibility
from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.events import (
    EVENTS_LIMIT,
    MembershipChange,
    MessageDeleted,
    MessageSent,
    ReadMoved,
    TooMuch,
    Transaction,
)
from bookconnect_dm.feed import Feed, slot_name
from tests.helpers.postgres import FAST, Cluster, Database, pg15_bin_dir
from tests.helpers.world import World, make_world

pytestmark = pytest.mark.feed

# The log is read as far as it is flushed, so commits have to flush it (fsync stays off).
SETTINGS = {
    **FAST,
    "max_slot_wal_keep_size": "64MB",
    "max_wal_size": "64MB",
    "synchronous_commit": "on",
}


@pytest.fixture(scope="module", params=[18, 15])
def feed_cluster(request: pytest.FixtureRequest, _clusters: Path) -> Iterator[Cluster]:
    """A cluster of each version whose slots are these tests' own."""
    bin_dir = pg15_bin_dir() if request.param == 15 else None
    if request.param == 15 and bin_dir is None:
        pytest.skip("PostgreSQL 15 is not here: install postgresql-15 or set PG15_BIN")
    embedded = EmbeddedPostgres(
        _clusters / f"feed-{request.param}", bin_dir=bin_dir, settings=SETTINGS
    )
    embedded.start()
    cluster = Cluster(embedded, request.param)
    yield cluster
    cluster.destroy()


@pytest.fixture
def here(feed_cluster: Cluster) -> Iterator[World]:
    database = feed_cluster.database()
    yield make_world(database)
    database.drop()


class Listener:
    """A feed with what it delivered."""

    def __init__(self, db: Database, instance: str = "test", **options: Any) -> None:
        self.transactions: list[Transaction] = []
        self.gap_calls = 0
        self.feed = Feed(
            options.pop("url", db.feed_url),
            instance=instance,
            on_transaction=self.take,
            on_gap=self._gap,
            **options,
        )

    def take(self, transaction: Transaction) -> None:
        if not transaction.is_empty:
            self.transactions.append(transaction)

    def _gap(self) -> None:
        self.gap_calls += 1

    @property
    def gaps(self) -> int:
        """What was lost, as it counts it; the start is told as well, and is none."""
        assert self.gap_calls == self.feed.lag.gaps + 1
        return self.feed.lag.gaps

    @property
    def events(self) -> list[Any]:
        return [event for transaction in self.transactions for event in transaction.events]

    @property
    def contents(self) -> list[str]:
        return [event.content for event in self.events if isinstance(event, MessageSent)]


@contextlib.asynccontextmanager
async def listening(
    db: Database, instance: str = "test", **options: Any
) -> AsyncIterator[Listener]:
    listener = Listener(db, instance, **options)
    task = asyncio.create_task(listener.feed.run())
    try:
        assert await listener.feed.wait_until_ready(15), listener.feed.lag
        yield listener
    finally:
        await listener.feed.stop()
        async with asyncio.timeout(10):
            await task


async def until(true: Callable[[], bool], timeout_s: float = 10) -> None:
    """Wait for a condition."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come to pass in time"
        await asyncio.sleep(0.01)


async def in_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(call, *arguments)


def slots(db: Database) -> list[dict[str, Any]]:
    return db.run(
        "select slot_name, active, active_pid, wal_status from pg_replication_slots"
        " where database = current_database() order by 1"
    )


async def test_a_committed_message_is_seen_and_a_rolled_back_one_never(here: World) -> None:
    conversation = here.converse(here.ada, here.ben)
    async with listening(here.db) as heard:
        message = await in_thread(here.send, here.ada, conversation, "Grüße, 📚")
        with contextlib.suppress(ZeroDivisionError), here.db.as_user(here.ada) as connection:
            connection.execute("select public.send_message(%s, 'never')", (conversation,))
            raise ZeroDivisionError
        await in_thread(here.send, here.ben, conversation, "the end")
        await until(lambda: len(heard.contents) == 2)
        assert heard.contents == ["Grüße, 📚", "the end"]
        (row,) = here.db.run(
            "select to_char(sent_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') s,"
            " to_char(retention_expires_at at time zone 'UTC',"
            ' \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\') e from direct_messages where id = %s',
            message,
        )
        assert heard.events[0] == MessageSent(
            str(message), str(conversation), str(here.ada), "Grüße, 📚", row["s"], row["e"]
        )
        assert heard.feed.lag.lag_s < 1


async def test_a_start_brings_members_store_and_first_message(here: World) -> None:
    async with listening(here.db) as heard:
        conversation = await in_thread(here.converse, here.ada, here.ben)
        await until(lambda: bool(heard.transactions))
        (start,) = heard.transactions
        assert set(start.membership) == {
            MembershipChange(str(conversation), str(here.ada), is_member=True),
            MembershipChange(str(conversation), str(here.ben), is_member=True),
        }
        assert start.stores == {str(conversation): str(here.page_anchor)}


async def test_a_start_is_told_when_others_see_it_and_not_before(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is ahead of what is visible; a standby that does not answer keeps it there."""
    monkeypatch.setattr(visibility, "LIMIT_S", 60)
    cluster, snapshots = here.db.cluster, list[str]()

    def wait_for_standby(name: str) -> None:
        cluster.execute(f"alter system set synchronous_standby_names = '{name}'")
        cluster.execute("select pg_reload_conf()")

    class Primary:
        async def snapshot(self) -> str:
            rows = await in_thread(here.db.run, "select pg_current_snapshot()::text as text")
            snapshots.append(rows[0]["text"])
            return snapshots[-1]

    async with listening(here.db, primary=Primary()) as heard:
        try:
            wait_for_standby("nobody")
            waits = "select 1 from pg_stat_activity where wait_event = 'SyncRep'"
            starting = asyncio.create_task(in_thread(here.converse, here.ada, here.ben))
            await until(lambda: len(snapshots) > 1)
            assert cluster.execute(waits) != []
            assert heard.transactions == []
        finally:
            wait_for_standby("")
        conversation = await starting
        await until(lambda: heard.transactions != [])
    told = {change.conversation_id for change in heard.transactions[0].membership}
    assert told == {str(conversation)}


async def test_deletes_reads_and_leaving_are_events(here: World) -> None:
    conversation = here.converse(here.ada, here.ben)
    message = here.send(here.ada, conversation, "soon gone")
    async with listening(here.db) as heard:
        with here.db.as_user(here.ben) as connection:
            connection.execute("select public.mark_conversation_as_read(%s)", (conversation,))
        with here.db.as_user(here.ada) as connection:
            connection.execute("select public.delete_message(%s)", (message,))
        here.db.run("delete from auth.users where id = %s", here.ben)
        await until(lambda: len(heard.transactions) >= 3)
        read, deleted = heard.events[:2]
        assert isinstance(read, ReadMoved)
        assert (read.conversation_id, read.user_id) == (str(conversation), str(here.ben))
        assert isinstance(deleted, MessageDeleted)
        assert deleted.id == str(message)
        assert heard.transactions[2].membership == (
            MembershipChange(str(conversation), str(here.ben), is_member=False),
        )


async def test_sweep_and_purge_are_silent(here: World) -> None:
    conversation = here.converse(here.ada, here.ben)
    for number in range(50):
        here.send(here.ada, conversation, f"old {number}")
    with here.db.as_owner() as connection:
        connection.execute("set local session_replication_role = replica")
        connection.execute(
            "update direct_messages set sent_at = sent_at - interval '400 days',"
            " retention_expires_at = retention_expires_at - interval '400 days'"
        )
    async with listening(here.db) as heard:
        with here.db.as_service() as connection:
            connection.execute("select public.soft_delete_expired_messages()")
        with here.db.as_service() as connection:
            connection.execute("select public.cleanup_expired_messages()")
        (left,) = here.db.run("select count(*) as n from direct_messages")
        await in_thread(here.send, here.ada, conversation, "a new one")
        await until(lambda: bool(heard.contents))
        assert left["n"] == 0
        assert [type(event) for event in heard.events] == [MessageSent]


async def test_an_import_is_told_once_for_its_conversation(here: World) -> None:
    conversation = here.converse(here.ada, here.ben)
    async with listening(here.db) as heard:
        with here.db.as_owner() as connection:
            connection.execute("set local session_replication_role = replica")
            connection.execute(
                "insert into direct_messages"
                " (id, conversation_id, sender_id, content, sent_at, retention_expires_at)"
                " select gen_random_uuid(), %s, %s, 'imported', now() - interval '1 hour'"
                " - n * interval '1 ms', now() + interval '1 day' from generate_series(1, 500) n",
                (conversation, here.ada),
            )
        await in_thread(here.send, here.ada, conversation, "live")
        await until(lambda: bool(heard.contents))
        assert heard.contents == ["live"]
        much = [event for event in heard.events if isinstance(event, TooMuch)]
        assert much == [TooMuch(str(conversation))]


async def test_what_commits_while_the_connection_is_down_is_delivered(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "PAUSE_S", (1.0, 1.0))
    conversation = here.converse(here.ada, here.ben)
    async with listening(here.db) as heard:
        here.db.run(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where slot_name = %s",
            slot_name("test"),
        )
        await until(lambda: not heard.feed.healthy)
        for number in range(20):
            await in_thread(here.send, here.ada, conversation, f"gap {number}")
        await until(lambda: len(heard.contents) == 20)
        assert heard.contents == [f"gap {number}" for number in range(20)]
        assert heard.feed.healthy
        assert heard.gaps == 0


async def test_a_killed_connection_is_back_within_a_second(here: World) -> None:
    conversation = here.converse(here.ada, here.ben)
    async with listening(here.db) as heard:
        for number in range(3):
            here.db.run(
                "select pg_terminate_backend(active_pid) from pg_replication_slots"
                " where slot_name = %s",
                slot_name("test"),
            )
            await until(lambda: not heard.feed.healthy)
            await until(lambda: heard.feed.healthy, 2)
            await in_thread(here.send, here.ada, conversation, f"{number}")
        await until(lambda: heard.contents == ["0", "1", "2"])


async def test_a_lost_slot_is_made_anew_and_said_to_be_a_gap(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "PAUSE_S", (1.0, 1.0))
    conversation = here.converse(here.ada, here.ben)
    async with listening(here.db) as heard:
        here.db.run(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where slot_name = %s",
            slot_name("test"),
        )
        await until(lambda: not heard.feed.healthy)
        here.db.cluster.execute("select pg_drop_replication_slot(%s)", slot_name("test"))
        await in_thread(here.send, here.ada, conversation, "missed")
        assert heard.gaps == 0
        await until(lambda: heard.feed.healthy)
        await until(lambda: heard.gaps == 1)
        await in_thread(here.send, here.ada, conversation, "after")
        await until(lambda: heard.contents == ["after"])


async def test_a_slot_that_exceeded_the_limit_is_replaced_with_a_gap(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "PAUSE_S", (3.0, 3.0))
    here.db.run("create table filler (t text)")
    async with listening(here.db) as heard:
        here.db.run(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where slot_name = %s",
            slot_name("test"),
        )
        await until(lambda: not heard.feed.healthy)
        for _ in range(10):
            here.db.run(
                "insert into filler select repeat('x', 1000) from generate_series(1, 16000)"
            )
            here.db.cluster.execute("select pg_switch_wal()")
        here.db.cluster.execute("checkpoint")
        assert slots(here.db)[0]["wal_status"] == "lost"
        await until(lambda: heard.gaps == 1, 15)
        await until(lambda: heard.feed.healthy)
        assert slots(here.db)[0]["wal_status"] == "reserved"


async def test_a_fresh_process_takes_its_slot_over_from_now_on(here: World) -> None:
    conversation = here.converse(here.ada, here.ben)
    first = Listener(here.db)
    task = asyncio.create_task(first.feed.run())
    assert await first.feed.wait_until_ready(15)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [slot["slot_name"] for slot in slots(here.db)] == [slot_name("test")]
    here.send(here.ada, conversation, "nobody was there")
    async with listening(here.db) as heard:
        await in_thread(here.send, here.ada, conversation, "now")
        await until(lambda: bool(heard.contents))
        assert heard.contents == ["now"]
        assert heard.gaps == 0


async def test_a_clean_stop_drops_the_slot_and_two_feeds_have_two(here: World) -> None:
    conversation = here.converse(here.ada, here.ben)
    async with listening(here.db, "one") as one:
        async with listening(here.db, "Two.example:8080") as two:
            names = [slot["slot_name"] for slot in slots(here.db)]
            assert names == ["bookconnect_dm_one", "bookconnect_dm_two_example_8080"]
            await in_thread(here.send, here.ada, conversation, "both")
            await until(lambda: one.contents == two.contents == ["both"])
        assert [slot["slot_name"] for slot in slots(here.db)] == ["bookconnect_dm_one"]
    assert slots(here.db) == []


async def test_a_second_process_of_the_same_name_is_refused(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "TAKEOVER_S", 0.3)
    async with listening(here.db) as heard:
        second = Listener(here.db)
        task = asyncio.create_task(second.feed.run())
        await until(lambda: second.feed.lag.last_error is not None)
        assert "INSTANCE" in (second.feed.lag.last_error or "")
        assert heard.feed.healthy
        assert not second.feed.healthy
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_reaper_drops_what_it_saw_idle_twice_and_nothing_else(here: World) -> None:
    for name in ("bookconnect_dm_dead", "somebody_else"):
        here.db.run("select pg_create_logical_replication_slot(%s, 'pgoutput')", name)
    started = time.monotonic()
    async with listening(here.db, "alive", look_s=0.5), listening(here.db, "other"):
        await until(lambda: "bookconnect_dm_dead" not in [s["slot_name"] for s in slots(here.db)])
        assert time.monotonic() - started > 1.0
        await asyncio.sleep(1.2)  # two more looks, and nothing else may go
        names = [slot["slot_name"] for slot in slots(here.db)]
        assert names == ["bookconnect_dm_alive", "bookconnect_dm_other", "somebody_else"]


async def test_writes_to_other_tables_do_not_retain_the_log(here: World) -> None:
    here.db.run("create table unrelated (t text)")
    async with listening(here.db) as heard:
        for _ in range(4):
            await in_thread(
                here.db.run,
                "insert into unrelated select repeat('x', 1000) from generate_series(1, 8000)",
            )

        def retained() -> int:
            (row,) = here.db.run(
                "select pg_current_wal_lsn() - confirmed_flush_lsn as n from pg_replication_slots"
                " where slot_name = %s",
                slot_name("test"),
            )
            return int(row["n"])

        await until(lambda: retained() < 100_000, 5)
        assert heard.transactions == []


async def test_a_big_transaction_passes_and_others_have_their_turn(here: World) -> None:
    conversation = here.converse(here.ada, here.ben)
    async with listening(here.db) as heard:
        with here.db.as_owner() as connection:
            connection.execute("set local session_replication_role = replica")
            connection.execute(
                "insert into direct_messages"
                " (id, conversation_id, sender_id, content, sent_at, retention_expires_at)"
                " select gen_random_uuid(), %s, %s, 'bulk', now() + n * interval '1 us',"
                " now() + interval '1 day' from generate_series(1, 60000) n",
                (conversation, here.ada),
            )
            connection.execute(
                "update direct_messages set is_deleted = true, deleted_at = retention_expires_at"
            )
        longest, began = 0.0, time.monotonic()
        while not heard.transactions:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)
        # Others had many turns in between; how long one takes is the machine's affair.
        assert longest < max(0.5, (time.monotonic() - began) / 5)
        (bulk,) = heard.transactions
        assert len(bulk.events) <= EVENTS_LIMIT + 1
        await in_thread(here.send, here.ada, conversation, "after")
        await until(lambda: heard.contents[-1:] == ["after"])
        assert heard.feed.healthy


async def test_a_callback_that_fails_is_tried_again_then_left_out_with_a_gap(
    here: World,
) -> None:
    conversation = here.converse(here.ada, here.ben)
    async with listening(here.db) as heard:
        calls: list[str] = []

        def fails(transaction: Transaction) -> None:
            for event in transaction.events:
                assert isinstance(event, MessageSent)
                calls.append(event.content)
                if event.content == "poison":
                    raise RuntimeError("cannot take it")
            heard.take(transaction)

        heard.feed._on_transaction = fails
        for content in ("before", "poison", "after"):
            await in_thread(here.send, here.ada, conversation, content)
        await until(lambda: heard.contents == ["before", "after"])
        assert calls.count("poison") == 2
        assert heard.gaps == 1


async def test_whoever_was_here_before_the_stream_is_told_to_sync(here: World) -> None:
    async with listening(here.db) as heard:
        assert heard.gap_calls == 1
        assert heard.gaps == 0


class Wire:
    """A wire to PostgreSQL that can be cut so that neither end notices, or so that both do."""

    def __init__(self, port: int) -> None:
        self.far_port = port
        self.port = 0
        self.pumps: list[asyncio.Task[None]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None

    async def connect(self) -> None:
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.far_port)
        self.writers += [writer, far_writer]
        for source, target in ((reader, far_writer), (far_reader, writer)):
            self.pumps.append(asyncio.create_task(self.pump(source, target)))

    async def pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
        target.close()

    def tear(self) -> None:
        """Both ends notice at once, and new connections are refused."""
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    def cut(self) -> None:
        """What is connected now stays so and hears nothing more; new connections work."""
        for pump in self.pumps:
            pump.cancel()


@contextlib.asynccontextmanager
async def wire_to(db: Database) -> AsyncIterator[tuple[Wire, str]]:
    port = db.cluster.embedded.port
    wire = Wire(port)
    await wire.connect()
    try:
        yield wire, db.feed_url.replace(f":{port}/", f":{wire.port}/")
    finally:
        wire.tear()
        await asyncio.wait(wire.pumps)


async def test_a_stream_that_falls_silent_is_left_and_taken_up_again(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL keeps the slot busy for the dead connection, for a minute if nobody ends it."""
    monkeypatch.setattr(feed_module, "LOST_S", 1.5)
    monkeypatch.setattr(progress, "ASK_S", 0.5)
    monkeypatch.setattr(feed_module, "TICK_S", 0.2)
    conversation = here.converse(here.ada, here.ben)
    async with wire_to(here.db) as (wire, url), listening(here.db, url=url) as heard:
        await asyncio.sleep(2)
        assert heard.feed.healthy, "a quiet stream answers when it is asked"
        wire.cut()
        await in_thread(here.send, here.ada, conversation, "meanwhile")
        await until(lambda: not heard.feed.healthy, 5)
        await until(lambda: heard.feed.healthy, 10)
        await until(lambda: heard.contents == ["meanwhile"])
        assert heard.gaps == 0


async def test_a_connection_that_breaks_leaves_no_descriptor_with_the_loop(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left behind, it made uvloop refuse every later connection that got the same number."""
    monkeypatch.setattr(feed_module, "PAUSE_S", (2.0, 2.0))
    loop: Any = asyncio.get_running_loop()
    async with wire_to(here.db) as (wire, url), listening(here.db, url=url) as heard:
        wire.tear()
        await until(lambda: not heard.feed.healthy)
        for descriptor in list(loop._selector.get_map()):
            os.fstat(descriptor)  # raises for one that is closed
        await wire.connect()
        await until(lambda: heard.feed.healthy)


async def test_what_is_older_than_ten_minutes_when_it_comes_is_a_gap(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "STALE_S", 0.5)
    monkeypatch.setattr(feed_module, "PAUSE_S", (1.5, 1.5))
    conversation = here.converse(here.ada, here.ben)
    async with listening(here.db) as heard:
        here.db.run(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where slot_name = %s",
            slot_name("test"),
        )
        await until(lambda: not heard.feed.healthy)
        await in_thread(here.send, here.ada, conversation, "too late")
        await until(lambda: heard.gaps == 1)
        await in_thread(here.send, here.ada, conversation, "in time")
        await until(lambda: heard.contents == ["in time"])


async def test_missing_publications_are_named(feed_cluster: Cluster) -> None:
    database = feed_cluster.empty_database()
    listener = Listener(database)
    task = asyncio.create_task(listener.feed.run())
    try:
        await until(lambda: listener.feed.lag.last_error is not None)
        assert "migrate up" in (listener.feed.lag.last_error or "")
    finally:
        await listener.feed.stop()
        await task
        database.drop()


async def test_postgresql_stops_and_starts_with_the_feed_connected(feed_cluster: Cluster) -> None:
    """`stop -m fast` waits for every walsender to have been confirmed to the end."""
    database = feed_cluster.database()
    world = make_world(database)
    conversation = world.converse(world.ada, world.ben)
    database.run("create table unrelated (t text)")
    async with listening(database) as heard:
        database.run("insert into unrelated select repeat('x', 1000) from generate_series(1, 9000)")
        started = time.monotonic()
        await in_thread(feed_cluster.embedded.stop, "fast")
        assert time.monotonic() - started < 10
        await until(lambda: not heard.feed.healthy)
        await in_thread(feed_cluster.embedded.start)
        await until(lambda: heard.feed.healthy, 15)
        assert heard.gaps == 0
        await in_thread(world.send, world.ada, conversation, "back")
        await until(lambda: heard.contents == ["back"])
    database.drop()
