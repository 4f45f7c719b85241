"""Erasing a member: the DELETE of his row in auth.users, and nothing of him is left."""

from __future__ import annotations

import threading
from uuid import UUID

import psycopg
import pytest

from tests.helpers.postgres import Database
from tests.retention.clock import Clock
from tests.retention.views import look
from tests.retention.world import STORE, Stage

OUR_TABLES = """
    select c.oid::regclass::text as name
    from pg_class as c
    where c.relkind = 'r'
        and (
            c.relnamespace = 'messaging'::regnamespace
            and c.relname not in ('migrations', 'expected_objects')
            or c.relnamespace in ('public'::regnamespace, 'auth'::regnamespace)
        )
"""


def _tables_that_know(stage: Stage, what: object) -> set[str]:
    """Every table of ours and the host's in which a text or an id still stands somewhere."""
    names = [row["name"] for row in stage.run(OUR_TABLES)]
    assert "public.direct_messages" in names or "direct_messages" in names
    found = f"select exists (select from %s as t where strpos(t::text, '{what}') > 0)"
    return {name for name in names if stage.value(found % name)}


def test_both_sides_after_one_is_erased(stage: Stage) -> None:
    gone, left, conversation = stage.pair("privileged")
    stage.send(gone, conversation, "words of the one who is gone")
    stage.send(left, conversation, "words of the one who is left")
    stage.send(gone, conversation, "more words of the one who is gone")
    before = look(stage.owner, left).data["sync"]["changes"][0]["position"]
    stage.run("delete from auth.users where id = %s", gone)

    seen = look(stage.owner, left)
    assert "who is gone" not in seen.text
    assert seen.inbox(conversation)["other_participant"] is None
    assert seen.inbox(conversation)["last_message"]["content"] == "words of the one who is left"
    assert seen.data["unread"] == {str(conversation): 0}
    with pytest.raises(psycopg.Error, match="PERMISSION_DENIED"):
        stage.send(left, conversation, "hello?")
    changes = stage.run_as(
        left, "select public.get_conversation_changes(%s, %s) as it", conversation, before
    )
    assert not changes[0]["it"]["complete"], "he holds copies of what is gone"
    assert _tables_that_know(stage, gone) == set()


def test_the_last_one_to_go_takes_the_conversation_along(stage: Stage) -> None:
    one, other, conversation = stage.pair("privileged")
    third = stage.member("privileged")
    elsewhere = stage.converse(one, third)
    for place in (conversation, elsewhere):
        stage.send(one, place, "a word")
    stage.send(third, elsewhere, "another word")
    stage.run("delete from auth.users where id = %s", one)
    assert _tables_that_know(stage, conversation) != set()
    stage.run("delete from auth.users where id = %s", other)
    assert _tables_that_know(stage, conversation) == set()
    assert _tables_that_know(stage, other) == set()
    assert [m["content"] for m in look(stage.owner, third).page(elsewhere)] == ["another word"]


def test_one_who_never_wrote_is_missed_too(stage: Stage) -> None:
    silent, left, conversation = stage.pair("privileged")
    stage.send(left, conversation, "hello?")
    before = look(stage.owner, left).data["sync"]["changes"][0]["position"]
    stage.run("delete from auth.users where id = %s", silent)
    changes = stage.run_as(
        left, "select public.get_conversation_changes(%s, %s) as it", conversation, before
    )
    assert not changes[0]["it"]["complete"], "there is nobody to write to any more"


def test_one_statement_erases_both(stage: Stage) -> None:
    one, other, conversation = stage.pair("privileged")
    stage.send(one, conversation)
    stage.send(other, conversation)
    stage.run("delete from auth.users where id in (%s, %s)", one, other)
    assert _tables_that_know(stage, conversation) == set()


def test_two_members_erased_at_the_same_moment(stage: Stage) -> None:
    """In several conversations, whose rows they meet in any order: no deadlock, nothing is left."""
    second_store = stage.value(
        "insert into public.stores (name) values ('The Second Stage') returning id"
    )
    for _ in range(8):
        one, other, conversation = stage.pair("privileged")
        for member in (one, other):
            stage.run(
                "insert into public.store_members values (%s, %s, 'manager')",
                second_store, member,
            )  # fmt: skip
        rows = stage.run_as(
            other, "select conversation_id from public.start_conversation(%s, %s)",
            one, second_store,
        )  # fmt: skip
        places = [conversation, UUID(str(rows[0]["conversation_id"]))]
        for place in places:
            stage.send(one, place)
            stage.send(other, place)
        _at_the_same_moment(stage, one, other)
        for place in places:
            assert _tables_that_know(stage, place) == set()


def _at_the_same_moment(stage: Stage, *members: UUID) -> None:
    barrier = threading.Barrier(len(members))
    failures: list[psycopg.Error] = []

    def erase(member: UUID) -> None:
        with stage.another() as host:
            barrier.wait(10)
            try:
                host.run("delete from auth.users where id = %s", member)
            except psycopg.Error as error:
                failures.append(error)

    threads = [threading.Thread(target=erase, args=(member,)) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []


def test_the_second_of_two_waits_for_the_first_and_finds_himself_the_last(stage: Stage) -> None:
    one, other, conversation = stage.pair("privileged")
    stage.send(one, conversation)
    with stage.another() as first, stage.another() as second:
        thread = threading.Thread(
            target=second.run, args=("delete from auth.users where id = %s", other)
        )
        with first.owner.transaction():
            first.run("delete from auth.users where id = %s", one)
            thread.start()
            stage.waits(second)
        thread.join(10)
    assert _tables_that_know(stage, conversation) == set()


def test_erasure_waits_for_a_batch_and_the_cleaner_never_for_an_erasure(
    stage: Stage, clock: Clock
) -> None:
    sender, recipient, conversation = stage.pair("free")
    for number in range(20):
        stage.send(sender, conversation, f"old {number}")
    clock.pass_(31)
    stage.send(recipient, conversation, "young")
    stage.soft_delete()
    batch = "select messages from messaging.cleanup_batch('0', batch_size => 5)"
    with stage.another() as cleaner, stage.another() as host:
        for one in (cleaner, host):
            one.run("set deadlock_timeout = '10ms'")
        with host.owner.transaction(force_rollback=True):
            host.run("delete from auth.users where id = %s", sender)
            cleaner.run("set lock_timeout = '1ms'")
            assert cleaner.value(batch) == 0
        thread = threading.Thread(
            target=host.run, args=("delete from auth.users where id = %s", sender)
        )
        with cleaner.owner.transaction():
            assert cleaner.value(batch) == 5
            thread.start()
            stage.waits(host)
            assert cleaner.value(batch) == 5
        thread.join(10)
    assert _tables_that_know(stage, "old ") == set()
    assert _tables_that_know(stage, sender) == set()
    assert "young" in look(stage.owner, recipient).text


def test_the_ledger_counts_and_carries_no_content(stage: Stage, clock: Clock) -> None:
    sender, recipient, conversation = stage.pair("free")
    words = ["the first secret", "the second secret"]
    for word in words:
        stage.send(sender, conversation, word)
    clock.pass_(31)
    stage.soft_delete()
    stage.clean_up()
    stage.send(sender, conversation, words[0])
    stage.run("delete from auth.users where id = %s", sender)
    rows = stage.run("select step, messages from messaging.cleanup_ledger order by id")
    assert [(row["step"], row["messages"]) for row in rows] == [
        ("soft_delete", 2), ("cleanup", 2), ("erase", 1),
    ]  # fmt: skip
    columns = stage.run(
        "select attname::text as name, format_type(atttypid, null) as type from pg_attribute"
        " where attrelid = 'messaging.cleanup_ledger'::regclass and attnum > 0"
    )
    # `step` is one of four words (a check); nothing else could hold a text or an id of anybody.
    assert {
        column["name"] for column in columns if column["type"] in ("text", "uuid", "jsonb")
    } == {"step"}
    for secret in (*words, sender, recipient, conversation):
        ledger = stage.value("select coalesce(string_agg(l::text, ''), '')"
                             " from messaging.cleanup_ledger as l")  # fmt: skip
        assert str(secret) not in ledger


def test_a_store_that_goes_takes_its_conversations_along(pg: Database, stage: Stage) -> None:
    sender, _, conversation = stage.pair("privileged")
    stage.send(sender, conversation)
    stage.set_tier(sender, "free")
    stage.run("delete from public.stores where id = %s", STORE)
    assert _tables_that_know(stage, conversation) == set()
    assert stage.recalculate() <= 1
    assert stage.pending() == 0
