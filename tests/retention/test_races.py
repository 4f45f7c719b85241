"""Readers, senders and deleters while messages go: what they see is right at every moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import psycopg

from tests.helpers.postgres import Database
from tests.retention.clock import Clock
from tests.retention.model import DAY
from tests.retention.views import look
from tests.retention.world import Stage


def _run_together(*works: Callable[[], None]) -> None:
    """Run all at once; the first failure is raised here."""
    barrier = threading.Barrier(len(works))
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        barrier.wait(10)
        try:
            work()
        except BaseException as error:  # noqa: BLE001  raised again by whoever waits
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failures:
        raise failures[0]


def test_reading_while_messages_expire_and_are_swept(stage: Stage, clock: Clock) -> None:
    """Expiries are a few milliseconds apart, so that they fall between any two looks."""
    sender, reader, conversation = stage.pair("free")
    for number in range(60):
        stage.send(sender, conversation, f"<message {number}>")
    stage.run(
        "update public.direct_messages as m set retention_expires_at ="
        " clock_timestamp() + make_interval(secs => 0.4 + 0.02 * n.n)"
        " from (select id, row_number() over (order by sent_at) as n from public.direct_messages)"
        " as n where m.id = n.id"
    )
    ends = {
        row["content"]: row["retention_expires_at"]
        for row in stage.run("select content, retention_expires_at from public.direct_messages")
    }
    swept = threading.Event()

    def read() -> None:
        with stage.another() as me:
            while not swept.is_set():
                seen = look(me.owner, reader)
                alive = {content for content, end in ends.items() if end > seen.now}
                assert {m["content"] for m in seen.page(conversation)} == alive
                assert seen.data["unread"] == {str(conversation): len(alive)}
                assert not [c for c in ends if c not in alive and c in seen.text]

    def sweep() -> None:
        with stage.another() as me:
            try:
                gone = 0
                while gone < len(ends):
                    me.value("select messages from messaging.soft_delete_batch(batch_size => 3)")
                    gone += int(
                        me.value(
                            "select messages from messaging.cleanup_batch('0', batch_size => 3)"
                        )
                    )
            finally:
                swept.set()

    _run_together(read, read, sweep)
    assert stage.run("select from public.direct_messages") == []


def test_a_deletion_by_the_sender_against_the_sweep(stage: Stage, clock: Clock) -> None:
    """Whoever is first, the message is gone once, and is counted as what it was."""
    sender, _, conversation = stage.pair("free")
    messages = [stage.send(sender, conversation)["id"] for _ in range(40)]
    clock.pass_(by=30 * DAY - timedelta(milliseconds=300))
    refusals: set[str | None] = set()

    def delete() -> None:
        with stage.another() as me:
            for message in messages:
                try:
                    me.run_as(sender, "select public.delete_message(%s)", message)
                except psycopg.Error as error:
                    refusals.add(error.diag.message_primary)

    def sweep() -> None:
        with stage.another() as me:
            while me.value(
                "select exists (select from public.direct_messages where not is_deleted)"
            ):
                me.value("select messages from messaging.soft_delete_batch(batch_size => 3)")

    _run_together(delete, sweep)
    swept = stage.run("select from public.direct_messages where deleted_at >= retention_expires_at")
    counted = stage.value(
        "select coalesce(sum(messages), 0)::int from messaging.cleanup_ledger"
        " where step = 'soft_delete'"
    )
    assert counted == len(swept)
    assert refusals <= {"MESSAGE_NOT_FOUND"}


def test_two_cleaners_without_the_workers_lock_take_each_message_once(
    stage: Stage, pg: Database, clock: Clock
) -> None:
    sender, _, conversation = stage.pair("free")
    for _ in range(60):
        stage.send(sender, conversation)
    clock.pass_(31)

    def sweep() -> None:
        with stage.another() as me:
            while me.value("select exists (select from public.direct_messages)"):
                me.value("select messages from messaging.soft_delete_batch(batch_size => 7)")
                me.value("select messages from messaging.cleanup_batch('0', batch_size => 7)")

    _run_together(sweep, sweep, sweep)
    ledger = stage.run(
        "select step, sum(messages)::int as messages from messaging.cleanup_ledger group by step"
        " order by step"
    )
    assert ledger == [
        {"step": "cleanup", "messages": 60},
        {"step": "soft_delete", "messages": 60},
    ]


def test_sends_are_not_held_up_by_a_sweep_of_their_conversation(stage: Stage, clock: Clock) -> None:
    sender, recipient, conversation = stage.pair("free")
    stage.send(sender, conversation)
    clock.pass_(31)
    young = stage.send(sender, conversation)
    with stage.another() as cleaner, cleaner.owner.transaction():
        assert cleaner.value("select messages from messaging.soft_delete_batch()") == 1
        assert cleaner.value("select messages from messaging.cleanup_batch('0')") == 1
        stage.run("set lock_timeout = '1ms'")
        stage.send(sender, conversation, "not held up")
        stage.run_as(sender, "select public.delete_message(%s)", young["id"])
        stage.run_as(recipient, "select public.mark_conversation_as_read(%s)", conversation)
