"""The cleaner is off for sixty days, and whoever looks finds nothing that has expired."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.helpers.postgres import Connection
from tests.retention.clock import Clock
from tests.retention.model import ALWAYS, DAY, Change, expiry
from tests.retention.views import look
from tests.retention.world import Row, Stage


class _Days:
    """A conversation of a free and a privileged member, written into on many days."""

    def __init__(self, stage: Stage, clock: Clock) -> None:
        self.stage = stage
        self.clock = clock
        self.free, self.plus = stage.member("free"), stage.member("privileged_plus")
        self.conversation = stage.converse(self.plus, self.free)
        self.sent: list[tuple[Row, timedelta]] = []

    def write(self, day: int) -> None:
        for name, sender in (("free", self.free), ("plus", self.plus)):
            row = self.stage.send(sender, self.conversation, f"<{name} on day {day}>")
            self.sent.append((row, self.clock.passed))

    def history(self, member: UUID) -> list[Change]:
        rows = self.stage.run(
            "select nullif(changed_at, '-infinity') as at, tier from messaging.tier_changes"
            " where user_id = %s order by changed_at",
            member,
        )
        return [Change(row["at"] or ALWAYS, row["tier"]) for row in rows]

    def check(self) -> None:
        histories = {member: self.history(member) for member in (self.free, self.plus)}
        for reader in (self.free, self.plus):
            seen = look(self.stage.owner, reader)
            alive = []
            for row, passed in self.sent:
                sent_at = row["sent_at"] - (self.clock.passed - passed)
                is_alive = expiry(sent_at, histories[row["sender_id"]]) > seen.now
                assert (row["content"] in seen.text) == is_alive, (row["content"], seen.now)
                alive += [row] if is_alive else []
            page = [m["content"] for m in seen.page(self.conversation)]
            assert page == [row["content"] for row in reversed(alive)][:100]
            last = seen.inbox(self.conversation)["last_message"]
            assert (last and last["content"]) == (alive[-1]["content"] if alive else None)
            unread = min(100, sum(row["sender_id"] != reader for row in alive))
            assert seen.data["unread"] == {str(self.conversation): unread}
            assert seen.data["unread_conversations"] == (unread > 0)


@pytest.mark.parametrize("tiers_change", [False, True], ids=["nothing runs", "no sweep runs"])
def test_sixty_days_without_a_cleaner(stage: Stage, clock: Clock, tiers_change: bool) -> None:
    days = _Days(stage, clock)
    for day in range(0, 40, 2):
        days.write(day)
        clock.pass_(2)
    if tiers_change:  # the graces end while the cleaner is off; only expiry times are computed
        stage.set_tier(days.plus, "free")
        stage.recalculate()
    days.check()
    for day in range(0, 60, 2):
        clock.pass_(2)
        if day % 8 == 0:
            days.write(40 + day)
        days.check()
    assert stage.run("select from public.direct_messages where is_deleted") == []
    assert stage.value("select count(*) from public.direct_messages") == len(days.sent)


def _swept(stage: Stage, clock: Clock) -> tuple[UUID, UUID, Row]:
    sender, recipient, conversation = stage.pair("free")
    message = stage.send(sender, conversation, "swept, but there")
    clock.pass_(by=30 * DAY + timedelta(hours=1))
    assert stage.soft_delete() == 1
    return sender, recipient, message


def test_inside_the_recovery_window_an_operator_can_look_and_members_cannot(
    stage: Stage, clock: Clock
) -> None:
    sender, recipient, message = _swept(stage, clock)
    clock.pass_(6.9)
    assert stage.clean_up(recovery_days=7) == 0
    rows = stage.run("select content from public.direct_messages where id = %s", message["id"])
    assert rows == [{"content": "swept, but there"}]
    for member in (sender, recipient):
        assert "swept" not in look(stage.owner, member).text
    clock.pass_(0.2)
    assert stage.clean_up(recovery_days=7) == 1


def test_a_repeated_send_and_a_late_deletion_tell_nothing(stage: Stage, clock: Clock) -> None:
    sender, _, message = _swept(stage, clock)
    again: Any = stage.run_as(
        sender, "select * from public.send_message(%s, %s, %s)",
        message["conversation_id"], "swept, but there", message["id"],
    )[0]  # fmt: skip
    assert (again["content"], again["is_deleted"]) == ("", True)
    with pytest.raises(Exception, match="MESSAGE_NOT_FOUND"):
        stage.run_as(sender, "select public.delete_message(%s)", message["id"])


def test_the_window_counts_from_the_sweep_when_that_was_late(stage: Stage, clock: Clock) -> None:
    """The worker was away for a month; what it then hides can still be looked at for a week."""
    sender, _, conversation = stage.pair("free")
    stage.send(sender, conversation)
    clock.pass_(60)
    assert stage.soft_delete() == 1
    assert stage.clean_up(recovery_days=7) == 0
    clock.pass_(7)
    assert stage.clean_up(recovery_days=7) == 1


def test_the_newest_message_goes_too_and_the_inbox_stays_in_order(
    stage: Stage, clock: Clock
) -> None:
    """No conversation is too quiet to be swept, and a purge moves no inbox."""
    one, other, conversation = stage.pair("free")
    later = stage.converse(one, stage.member("free"))
    stage.send(one, conversation, "first")
    stage.send(one, later, "second")
    clock.pass_(31)

    def inbox() -> list[str]:
        return [row["id"] for row in look(stage.owner, one).data["inbox"]]

    before = inbox()
    clock_before = _clocks(stage.owner)
    assert (stage.soft_delete(), stage.clean_up()) == (2, 2)
    assert inbox() == before == [str(later), str(conversation)]
    assert _clocks(stage.owner) == clock_before, "the sweep never touches the clock"
    assert look(stage.owner, other).inbox(conversation)["last_message"] is None


def _clocks(owner: Connection) -> list[Row]:
    return owner.execute(
        "select id, position, updated_at from public.conversations order by id"
    ).fetchall()
