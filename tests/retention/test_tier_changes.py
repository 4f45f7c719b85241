"""A change of tier: what is done at once, what follows in batches, and what must wait for it."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from tests.helpers.postgres import act_as
from tests.retention.clock import Clock
from tests.retention.model import ALWAYS, DAY, Change, expiry
from tests.retention.views import look
from tests.retention.world import Row, Stage

MINUTE = timedelta(minutes=1)


def _history(stage: Stage, member: UUID) -> list[Change]:
    rows = stage.run(
        "select nullif(changed_at, '-infinity') as at, tier from messaging.tier_changes"
        " where user_id = %s order by changed_at",
        member,
    )
    return [Change(row["at"] or ALWAYS, row["tier"]) for row in rows]


def _period(stage: Stage, message: Row) -> timedelta:
    period: timedelta = stage.value(
        "select retention_expires_at - sent_at from public.direct_messages where id = %s",
        message["id"],
    )
    return period


def _assert_all_is_by_the_rule(stage: Stage, member: UUID) -> None:
    history = _history(stage, member)
    for row in stage.run("select * from public.direct_messages where sender_id = %s", member):
        assert row["retention_expires_at"] == expiry(row["sent_at"], history)


def test_an_upgrade_saves_at_once_what_would_go_within_a_day(stage: Stage, clock: Clock) -> None:
    sender, recipient, conversation = stage.pair("free")
    soon = stage.send(sender, conversation, "goes soon")
    clock.pass_(2)
    later = stage.send(sender, conversation, "goes later")
    clock.pass_(27.5)  # half a day and two and a half days are left
    stage.set_tier(sender, "privileged")
    assert _period(stage, soon) == 180 * DAY
    assert _period(stage, later) == 30 * DAY
    clock.pass_(0.9)  # the first one's old end is behind us, and no worker has run
    for member in (sender, recipient):
        assert [m["content"] for m in look(stage.owner, member).page(conversation)] == [
            "goes later",
            "goes soon",
        ]
    stage.recalculate()
    assert _period(stage, later) == 180 * DAY


def test_the_sweep_leaves_members_with_pending_work_alone(stage: Stage, clock: Clock) -> None:
    sender, _, conversation = stage.pair("free")
    other, _, elsewhere = stage.pair("free")
    message = stage.send(sender, conversation)
    stage.send(other, elsewhere)
    clock.pass_(10)
    stage.set_tier(sender, "privileged_plus")
    clock.pass_(25)  # far too long without a worker: the stored expiry has passed, the true has not
    assert stage.soft_delete() == 1, "the other one's only"
    stage.recalculate()
    assert stage.soft_delete() == 0
    assert _period(stage, message) == 365 * DAY


def test_recalculation_is_bounded_restartable_and_soonest_first(stage: Stage, clock: Clock) -> None:
    sender, _, conversation = stage.pair("free")
    messages = []
    for _ in range(7):
        messages.append(stage.send(sender, conversation)["id"])
        clock.pass_(1)
    stage.set_tier(sender, "privileged_plus")

    def prolonged() -> list[bool]:
        rows = stage.run(
            "select retention_expires_at - sent_at > interval '720 hours' as it"
            " from public.direct_messages order by sent_at"
        )
        return [row["it"] for row in rows]

    assert prolonged() == [False] * 7
    for done in (2, 4, 6):
        with stage.another() as worker:  # each batch by a worker that dies after it
            assert worker.value("select messaging.recalculate_batch(2)") == 2
        assert prolonged() == [True] * done + [False] * (7 - done)
        assert stage.pending() == 1
    stage.recalculate(2)
    assert prolonged() == [True] * 7
    assert stage.pending() == 0


def test_a_second_change_during_a_pass_starts_it_again(stage: Stage, clock: Clock) -> None:
    sender, _, conversation = stage.pair("privileged_plus")
    for _ in range(5):
        stage.send(sender, conversation)
        clock.pass_(1)
    stage.set_tier(sender, "privileged")
    stage.value("select messaging.recalculate_batch(2)")
    clock.pass_(5)
    stage.set_tier(sender, "free")
    stage.recalculate(2)
    assert len(_history(stage, sender)) == 3
    _assert_all_is_by_the_rule(stage, sender)


@pytest.mark.parametrize(("old", "new"), [("free", "privileged_plus"), ("privileged_plus", "free")])
def test_a_transaction_from_before_the_change_gets_the_right_expiry_in_the_end(
    stage: Stage, clock: Clock, old: str, new: str
) -> None:
    sender, _, conversation = stage.pair(old)
    stage.send(sender, conversation)
    with stage.another() as slow, slow.acting_as(sender):
        slow.owner.execute("select public.send_message(%s, 'late')", (conversation,))
        stage.set_tier(sender, new)
        stage.recalculate()
        assert stage.pending() == 1, "a pass that may have missed something is not the last"
        assert stage.recalculate() == 0, "and the next one waits instead of spinning"
        clock_before = stage.value("select clock_timestamp()")
    late = stage.run("select * from public.direct_messages where content = 'late'")[0]
    assert late["sent_at"] < clock_before
    stage.recalculate()
    assert stage.pending() == 0
    _assert_all_is_by_the_rule(stage, sender)
    clock.pass_(29)
    assert stage.soft_delete() == 0


def test_a_transaction_younger_than_the_one_that_changes_the_tier_is_waited_for_too(
    stage: Stage,
) -> None:
    """The newest number that has ended says nothing of those that came after it.

    It sends into a conversation of its own: its lock there must not be what saves us.
    """
    sender, _, conversation = stage.pair("free")
    stage.send(sender, stage.converse(sender, stage.member("free")))
    with stage.another() as host, stage.another() as slow, slow.owner.transaction():
        with host.owner.transaction():
            host.run("select pg_current_xact_id()")
            act_as(slow.owner, sender)
            slow.owner.execute("select public.send_message(%s, 'late')", (conversation,))
            # Without the trigger, whose subtransactions take numbers of their own.
            host.run("set local session_replication_role = replica")
            host.set_tier(sender, "privileged")
            host.run("select messaging.note_tier(%s, 'privileged', null, true)", sender)
        stage.recalculate()
        assert stage.pending() == 1
    stage.recalculate()
    assert stage.pending() == 0
    _assert_all_is_by_the_rule(stage, sender)


@pytest.mark.parametrize("has_history", [True, False])
def test_a_snapshot_from_before_the_change_has_to_try_again(
    stage: Stage, has_history: bool
) -> None:
    """Into a conversation that nothing else has touched, so that nothing else stops it."""
    sender, _, conversation = stage.pair("free")
    if has_history:
        stage.send(sender, stage.converse(sender, stage.member("free")))
    with stage.another() as old:
        old.owner.execute("begin isolation level repeatable read")
        act_as(old.owner, sender)
        old.owner.execute("select 1")
        stage.set_tier(sender, "privileged_plus")
        stage.recalculate()
        with pytest.raises(psycopg.errors.SerializationFailure):
            old.owner.execute("select public.send_message(%s, 'too old')", (conversation,))
        old.owner.execute("rollback")
        row = old.send(sender, conversation, "anew")
    assert row["retention_expires_at"] - row["sent_at"] == 365 * DAY


def test_snapshots_without_a_change_are_no_hindrance(stage: Stage) -> None:
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation)
    with stage.another() as old:
        old.owner.execute("begin isolation level repeatable read")
        act_as(old.owner, sender)
        old.owner.execute("select public.send_message(%s, 'one')", (conversation,))
        old.owner.execute("select public.send_message(%s, 'two')", (conversation,))
        old.owner.execute("commit")
    assert stage.value("select count(*) from public.direct_messages") == 3


@pytest.mark.parametrize(("old", "new"), [("free", "privileged"), ("privileged_plus", "free")])
def test_a_silent_change_counts_from_the_next_message_on(
    stage: Stage, clock: Clock, old: str, new: str
) -> None:
    days = {"free": 30, "privileged": 180}[new]
    sender, _, conversation = stage.pair(old)
    stage.send(sender, conversation)
    clock.pass_(5)
    stage.set_tier_silently(sender, new)
    row = stage.send(sender, conversation)
    assert row["retention_expires_at"] - row["sent_at"] == days * DAY
    assert [change.tier for change in _history(stage, sender)] == [old, new]
    stage.recalculate()
    _assert_all_is_by_the_rule(stage, sender)


def test_the_worker_notices_silent_changes_a_bounded_number_at_a_time(stage: Stage) -> None:
    senders = [stage.pair("free") for _ in range(5)]
    for sender, _, conversation in senders:
        stage.send(sender, conversation)
        stage.set_tier_silently(sender, "privileged")
    noticed = [stage.value("select messaging.notice_tier_changes(2)") for _ in range(4)]
    assert noticed == [2, 2, 1, 0]
    stage.recalculate()
    for sender, _, _ in senders:
        _assert_all_is_by_the_rule(stage, sender)


def test_a_silent_upgrade_protects_even_before_its_transaction_ends(
    stage: Stage, clock: Clock
) -> None:
    """The sweep cannot see yet that the member has work pending; it meets locked rows instead."""
    sender, _, conversation = stage.pair("free")
    message = stage.send(sender, conversation)
    clock.pass_(by=30 * DAY - timedelta(seconds=2))
    stage.set_tier_silently(sender, "privileged")
    with stage.another() as slow, slow.acting_as(sender):
        slow.owner.execute("select public.send_message(%s, 'noticed')", (conversation,))
        stage.run("select pg_sleep(2.1)")  # the old expiry passes meanwhile
        assert stage.soft_delete() == 0
    stage.recalculate()
    assert stage.soft_delete() == 0
    assert _period(stage, message) == 180 * DAY


def test_a_deleted_message_keeps_its_expiry_through_every_change(
    stage: Stage, clock: Clock
) -> None:
    sender, _, conversation = stage.pair("privileged")
    message = stage.send(sender, conversation)
    stage.run_as(sender, "select public.delete_message(%s)", message["id"])
    for tier in ("free", "privileged_plus", "free"):
        clock.pass_(3)
        stage.set_tier(sender, tier)
        stage.recalculate()
    assert stage.expires(message["id"]) + clock.passed == message["retention_expires_at"]
    clock.pass_(177)
    assert stage.clean_up(recovery_days=7) == 0, "day 186"
    clock.pass_(2)
    assert stage.clean_up(recovery_days=7) == 1


def test_what_the_member_is_told_about_his_grace(stage: Stage, clock: Clock) -> None:
    sender, _, conversation = stage.pair("privileged_plus")
    stage.send(sender, conversation)

    def told() -> tuple[str, int, datetime | None]:
        row = stage.run_as(sender, "select * from public.get_user_retention_info()")[0]
        return row["tier"], row["retention_days"], row["grace_ends_at"]

    assert told() == ("privileged_plus", 365, None)
    before = stage.value("select clock_timestamp()")
    stage.set_tier(sender, "free")
    tier, days, ends = told()
    assert (tier, days) == ("free", 30)
    assert ends is not None
    assert timedelta() <= ends - 30 * DAY - before < MINUTE
    clock.pass_(29)
    assert told()[2] is not None
    stage.set_tier(sender, "privileged_plus")
    assert told() == ("privileged_plus", 365, None), "an upgrade ends it"
    stage.set_tier(sender, "privileged")
    clock.pass_(31)
    assert told() == ("privileged", 180, None), "and so does time"


def test_the_known_exploit_is_what_the_documents_say(stage: Stage, clock: Clock) -> None:
    """One day of the high tier every 29 days keeps a low tier's messages for the long period."""
    sender, recipient, conversation = stage.pair("free")
    stage.send(sender, conversation, "kept")
    for _ in range(12):
        clock.pass_(28)
        stage.set_tier(sender, "privileged_plus")
        clock.pass_(1)
        stage.set_tier(sender, "free")
        stage.recalculate()
        stage.soft_delete()
    assert look(stage.owner, recipient).page(conversation)[0]["content"] == "kept"
    clock.pass_(18)  # day 366: the longest period is the end of it
    assert look(stage.owner, recipient).page(conversation) == []


def test_a_host_without_a_worker_calls_the_bare_functions_until_0(
    stage: Stage, clock: Clock
) -> None:
    """They notice, recalculate and sweep: these two are all that such a host has."""
    sender, _, conversation = stage.pair("privileged_plus")
    silent, _, elsewhere = stage.pair("privileged_plus")
    for _ in range(3):
        stage.send(sender, conversation)
        stage.send(silent, elsewhere)
    clock.pass_(100)
    stage.set_tier(sender, "free")
    stage.set_tier_silently(silent, "free")
    stage.run("set role service_role")
    swept = "select public.soft_delete_expired_messages()"
    assert [stage.value(swept) for _ in range(4)] == [1, 1, 1, 0], "noticed and recalculated"
    stage.run("reset role")
    assert stage.pending() == 0
    clock.pass_(31)
    stage.run("set role service_role")
    assert [stage.value(swept) for _ in range(2)] == [6, 0]
    removed = "select public.cleanup_expired_messages()"
    assert [stage.value(removed) for _ in range(2)] == [6, 0]


def test_in_a_transaction_that_has_written_nothing_is_recalculated(stage: Stage) -> None:
    """Its number may be older than that of one which still sends with the old tier."""
    sender, _, conversation = stage.pair("free")
    message = stage.send(sender, conversation)
    stage.set_tier(sender, "privileged")
    with stage.owner.transaction():
        stage.run("select pg_current_xact_id()")
        assert stage.value("select messaging.recalculate_batch()") == 0
    assert stage.value("select messaging.recalculate_batch()") > 0
    assert _period(stage, message) == 180 * DAY


def test_a_locked_conversation_holds_up_itself_alone(stage: Stage) -> None:
    sender, _, locked = stage.pair("free")
    free = stage.converse(sender, stage.member("free"))
    in_locked, in_free = stage.send(sender, locked), stage.send(sender, free)
    stage.set_tier(sender, "privileged")
    with stage.another() as other, other.owner.transaction():
        other.run("select from public.conversations where id = %s for update", locked)
        stage.recalculate()
        assert _period(stage, in_free) == 180 * DAY
        assert _period(stage, in_locked) == 30 * DAY
        assert stage.pending() == 1
        assert stage.recalculate() == 0, "it waits for the lock to go instead of spinning"
    stage.recalculate()
    assert _period(stage, in_locked) == 180 * DAY
    assert stage.pending() == 0


@pytest.mark.parametrize("age", [1, 29.5], ids=["in a batch", "at once"])
def test_a_client_whose_copies_have_changed_loads_anew(
    stage: Stage, clock: Clock, age: float
) -> None:
    sender, recipient, conversation = stage.pair("free")
    stage.send(sender, conversation)
    clock.pass_(age)

    def position() -> str:
        changes = look(stage.owner, recipient).data["sync"]["changes"]
        return str(
            next(c["position"] for c in changes if c["conversation_id"] == str(conversation))
        )

    def is_complete(since: str) -> bool:
        rows = stage.run_as(
            recipient,
            "select (public.get_conversation_changes(%s, %s) -> 'complete')::bool as it",
            conversation,
            since,
        )
        return bool(rows[0]["it"])

    before = position()
    assert is_complete(before)
    stage.set_tier(sender, "privileged")
    assert is_complete(before) == (age == 1), "his copies are right as long as nothing moved"
    stage.recalculate()
    assert not is_complete(before), "his copies say 30 days"
    assert is_complete(position())


def test_tier_changes_sends_and_recalculation_at_the_same_time(stage: Stage) -> None:
    """Whatever the order was, in the end every stored expiry is what the history says."""
    sender, _, conversation = stage.pair("free")
    elsewhere = stage.converse(sender, stage.member("free"))
    barrier = threading.Barrier(4)
    failures: list[BaseException] = []

    def repeatedly(what: str, *arguments: object, times: int = 30) -> None:
        with stage.another() as me:
            barrier.wait()
            for number in range(times):
                try:
                    if what == "tier":
                        me.set_tier(sender, ["privileged", "free", "privileged_plus"][number % 3])
                    elif what == "send":
                        me.send(sender, arguments[0])  # type: ignore[arg-type]  # a conversation
                    else:
                        me.value("select messaging.recalculate_batch(3)")
                except psycopg.errors.DeadlockDetected as error:
                    failures.append(error)

    threads = [
        threading.Thread(target=repeatedly, args=arguments)
        for arguments in (
            ("tier",), ("send", conversation), ("send", elsewhere), ("recalculate",),
        )
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    stage.recalculate()
    assert stage.pending() == 0
    assert stage.value("select count(*) from public.direct_messages") == 60
    _assert_all_is_by_the_rule(stage, sender)
