"""A legal hold stops deletion in the database itself: the owner's, the cleaner's, a cascade's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from tests.retention.clock import Clock
from tests.retention.views import look
from tests.retention.world import STORE, Stage

HOLD = "select messaging.place_hold(%s, 'case 12')"


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    with pytest.raises(psycopg.Error) as caught:
        yield
    assert (caught.value.sqlstate, caught.value.diag.message_primary) == ("PT409", "LEGAL_HOLD")


def _contents(stage: Stage) -> set[str]:
    return {row["content"] for row in stage.run("select content from public.direct_messages")}


REMOVALS = [
    "delete from public.direct_messages where conversation_id = %(conversation)s",
    "delete from public.direct_messages",
    "delete from public.conversation_participants where user_id = %(sender)s",
    "delete from public.conversations where id = %(conversation)s",
    "delete from auth.users where id = %(sender)s",
    "delete from auth.users where id = %(recipient)s",
    "delete from public.stores where id = %(store)s",
    "truncate public.direct_messages",
    "truncate public.conversation_participants",
    "truncate public.conversations cascade",
    "truncate public.stores cascade",
    "truncate auth.users cascade",
]


def test_nobody_removes_what_is_held(stage: Stage) -> None:
    sender, recipient, conversation = stage.pair("free")
    stage.send(sender, conversation, "held")
    other, _, elsewhere = stage.pair("free")
    stage.send(other, elsewhere, "free to go")
    stage.run(HOLD, conversation)
    names = {"conversation": conversation, "sender": sender, "recipient": recipient, "store": STORE}
    for statement in REMOVALS:
        for isolation in ("read committed", "repeatable read", "serializable"):
            with _refused(), stage.owner.transaction():
                stage.run(f"set transaction isolation level {isolation}")
                stage.owner.execute(statement, names)
        assert _contents(stage) == {"held", "free to go"}
    stage.run("select messaging.release_hold(%s)", conversation)
    for statement in REMOVALS:
        with stage.owner.transaction(force_rollback=True):
            stage.owner.execute(statement, names)


def test_a_cleaner_with_every_right_is_stopped_too(stage: Stage) -> None:
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation, "held")
    stage.run(HOLD, conversation)
    role = sql.Identifier(f"cleaner_{uuid4().hex}")
    with _refused(), stage.owner.transaction():  # the role goes with the transaction
        stage.owner.execute(sql.SQL("create role {} bypassrls in role service_role").format(role))
        stage.owner.execute(
            sql.SQL("grant select, delete on public.direct_messages to {}").format(role)
        )
        stage.owner.execute(sql.SQL("set local role {}").format(role))
        stage.run("delete from public.direct_messages")


def test_the_cleaner_leaves_what_is_held_and_takes_the_rest(stage: Stage, clock: Clock) -> None:
    sender, _, held = stage.pair("free")
    free = stage.converse(sender, stage.member("free"))
    stage.send(sender, held, "held")
    stage.send(sender, free, "free to go")
    clock.pass_(10)
    stage.send(sender, held, "held, and swept before")
    stage.run(HOLD, held)
    clock.pass_(31)
    assert stage.soft_delete() == 1
    assert stage.clean_up() == 1
    assert _contents(stage) == {"held", "held, and swept before"}
    stage.run("select messaging.release_hold(%s)", held)
    assert stage.soft_delete() == 2
    stage.run(HOLD, held)
    assert stage.clean_up() == 0, "swept before the hold, kept by it"
    stage.run("select messaging.release_hold(%s)", held)
    assert stage.clean_up() == 2


def test_under_hold_the_sender_hides_his_message_and_the_content_stays(stage: Stage) -> None:
    sender, recipient, conversation = stage.pair("free")
    message = stage.send(sender, conversation, "regretted")
    stage.run(HOLD, conversation)
    stage.run_as(sender, "select public.delete_message(%s)", message["id"])
    for member in (sender, recipient):
        assert "regretted" not in look(stage.owner, member).text
    assert _contents(stage) == {"regretted"}


def test_a_hold_waits_for_a_batch_and_keeps_what_it_left(stage: Stage, clock: Clock) -> None:
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation, "removed before")
    stage.send(sender, conversation, "kept")
    clock.pass_(31)
    stage.soft_delete()
    with stage.another() as cleaner, stage.another() as lawyer:
        thread = threading.Thread(target=lawyer.run, args=(HOLD, conversation))
        with cleaner.owner.transaction():
            batch = "select messages from messaging.cleanup_batch('0', batch_size => 1)"
            assert cleaner.value(batch) == 1
            thread.start()
            stage.waits(lawyer)
        thread.join(10)
    assert stage.clean_up() == 0
    assert _contents(stage) == {"kept"}


def test_the_cleaner_does_not_wait_for_a_hold_that_is_being_placed(
    stage: Stage, clock: Clock
) -> None:
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation, "kept")
    other, _, elsewhere = stage.pair("free")
    stage.send(other, elsewhere, "free to go")
    clock.pass_(31)
    stage.soft_delete()
    stage.run("set lock_timeout = '1ms'")
    with stage.another() as lawyer, lawyer.owner.transaction():
        lawyer.run(HOLD, conversation)
        assert stage.clean_up() == 1
    assert _contents(stage) == {"kept"}
    assert stage.clean_up() == 0


def test_a_deletion_waits_for_a_hold_that_is_being_placed_and_fails(stage: Stage) -> None:
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation, "kept")
    outcome: list[BaseException] = []

    def delete(owner: Stage) -> None:
        try:
            owner.run("delete from public.direct_messages")
        except psycopg.Error as error:
            outcome.append(error)

    with stage.another() as lawyer, stage.another() as owner:
        thread = threading.Thread(target=delete, args=(owner,))
        with lawyer.owner.transaction():
            lawyer.run(HOLD, conversation)
            thread.start()
            stage.waits(owner)
        thread.join(10)
    assert [str(error).split("\n")[0] for error in outcome] == ["LEGAL_HOLD"]
    assert _contents(stage) == {"kept"}


@pytest.mark.parametrize("what", ["public.direct_messages", "public.conversations", "auth.users"])
def test_a_snapshot_from_before_the_hold_deletes_nothing(stage: Stage, what: str) -> None:
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation, "kept")
    with stage.another() as owner:
        owner.run("begin isolation level repeatable read")
        owner.run("select 1")
        stage.run(HOLD, conversation)
        with pytest.raises(psycopg.errors.SerializationFailure):
            owner.run(f"delete from {what}")
        owner.run("rollback")
    assert _contents(stage) == {"kept"}


def test_a_hold_has_a_reason_and_an_author_and_needs_a_conversation(stage: Stage) -> None:
    _, _, conversation = stage.pair("free")
    stage.run(HOLD, conversation)
    stage.run("select messaging.place_hold(%s, 'case 13')", conversation)
    assert stage.run("select reason, placed_by from messaging.legal_holds") == [
        {"reason": "case 13", "placed_by": "postgres"}
    ]
    with pytest.raises(psycopg.Error, match="CONVERSATION_NOT_FOUND"):
        stage.run(HOLD, UUID(int=0))
    stage.run("select messaging.release_hold(%s)", conversation)
    stage.run("select messaging.release_hold(%s)", conversation)
    assert stage.run("select from messaging.legal_holds") == []


def test_a_held_conversation_goes_on_as_before(stage: Stage) -> None:
    sender, recipient, conversation = stage.pair("free")
    stage.run(HOLD, conversation)
    stage.send(sender, conversation, "as before")
    seen = look(stage.owner, recipient)
    assert seen.data["unread"] == {str(conversation): 1}
    assert seen.page(conversation)[0]["content"] == "as before"
