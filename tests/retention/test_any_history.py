"""Any history of sends, deletions, reads, tiers, time, holds and sweeps, against a small model.

After each step, for every member and by every way of looking: nothing that the policy still
promises is missing, nothing that has ended can be read, unread and previews are what a recount
gives, and a client that catches up has what a client that loads anew has.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.helpers.postgres import Connection, Database
from tests.retention.clock import Clock
from tests.retention.model import ALWAYS, DAY, PERIODS, Change, expiry
from tests.retention.views import look
from tests.retention.world import Stage

PROOF = os.environ.get("PROOF") == "1"
HOUR = timedelta(hours=1)
# At each change of tier, what would end within a day is rewritten at once; for the rest the worker
# has this long.
WORKER_IS_BACK_WITHIN = 23 * HOUR

_PASSES = [HOUR, 12 * HOUR, *(n * DAY for n in (1, 7, 29, 30, 31, 60, 150, 180, 335, 365))]
# Either side of a message's end, and of the recovery window after it.
_NEAR_AN_END = [-HOUR, -HOUR, HOUR, 7 * DAY - HOUR, 7 * DAY + HOUR]
_any = st.integers(0, 10**6)


@dataclass(slots=True)
class Message:
    """What the model knows of one message; its times are simulated ones."""

    id: UUID
    conversation: UUID
    sender: UUID
    content: str
    sent: datetime
    kept_expiry: datetime | None = None
    """Set when its sender has deleted it: no recalculation moves that one."""
    is_swept: bool = False
    is_gone: bool = False


@dataclass(slots=True)
class Client:
    """One member's device: what it holds of a conversation, and up to where it has come."""

    position: datetime
    copies: dict[str, tuple[str, datetime]] = field(default_factory=dict)


class Histories(RuleBasedStateMachine):
    """Drives the database and the model side by side."""

    owner: Connection
    db: Database

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(self.owner, self.db)
        self.clock = Clock(self.owner)
        self.contents = itertools.count(1)
        self.messages: list[Message] = []
        self.read_to: dict[tuple[UUID, UUID], datetime] = {}
        self.noted: dict[UUID, list[str]] = {}
        self.held: set[UUID] = set()
        self.clients: dict[tuple[UUID, UUID], Client] = {}
        self.unsettled = timedelta()
        self.histories: dict[UUID, list[Change]] | None = None

    def teardown(self) -> None:
        """Leave no rows to the next run; what is under hold too."""
        with self.owner.transaction():
            self.owner.execute("set local session_replication_role = replica")
            self.owner.execute("delete from messaging.legal_holds")
        self.owner.execute("delete from public.stores")
        self.owner.execute("delete from auth.users")

    # -- time and history ----------------------------------------------------------------------

    def simulated(self, moment: datetime) -> datetime:
        return moment + self.clock.passed

    def real(self, moment: datetime) -> datetime:
        return moment - self.clock.passed

    def now(self) -> datetime:
        return self.simulated(self.stage.value("select clock_timestamp()"))

    def history(self, member: UUID) -> list[Change]:
        """The recorded history; that the right tiers are recorded is checked in `record`."""
        if self.histories is None:
            self.histories = {}
            for row in self.stage.run(
                "select user_id, nullif(changed_at, '-infinity') as at, tier"
                " from messaging.tier_changes order by changed_at"
            ):
                at = ALWAYS if row["at"] is None else self.simulated(row["at"])
                self.histories.setdefault(row["user_id"], []).append(Change(at, row["tier"]))
        return self.histories[member]

    def record(self, member: UUID, tier: str, *, previous: str, since: datetime) -> None:
        """The host's tier has come to our notice: at once, once, and only when it is new."""
        self.histories = None
        known = self.noted.setdefault(member, [previous])
        if known[-1] != tier:
            known.append(tier)
            assert since <= self.history(member)[-1].at <= self.now()
        assert [change.tier for change in self.history(member)] == known

    def tier(self, member: UUID) -> str:
        return str(self.stage.value("select user_tier from public.users where id = %s", member))

    def is_pending(self, member: UUID) -> bool:
        return bool(
            self.stage.run("select from messaging.recalculations where user_id = %s", member)
        )

    def true_expiry(self, message: Message) -> datetime:
        return message.kept_expiry or expiry(message.sent, self.history(message.sender))

    def is_readable(self, message: Message, now: datetime) -> bool:
        return message.kept_expiry is None and self.true_expiry(message) > now

    # -- what happens --------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.members = [self.stage.member(tier) for tier in reversed(PERIODS)]
        ada, ben, cleo = self.members
        self.conversations = {
            self.stage.converse(ada, ben): (ada, ben),
            self.stage.converse(cleo, ada): (cleo, ada),
        }
        for conversation, pair in self.conversations.items():
            for member in pair:
                self.read_to[member, conversation] = self.stored_read(member, conversation)

    def stored_read(self, member: UUID, conversation: UUID) -> datetime:
        return self.simulated(
            self.stage.value(
                "select last_read_at from public.conversation_participants"
                " where user_id = %s and conversation_id = %s",
                member, conversation,
            )
        )  # fmt: skip

    def place(self, number: int) -> tuple[UUID, UUID]:
        """Some conversation and one of its members."""
        places = [(c, member) for c, pair in self.conversations.items() for member in pair]
        return places[number % len(places)]

    @rule(where=_any, many=st.integers(1, 3))
    def send(self, where: int, many: int) -> None:
        conversation, sender = self.place(where)
        for _ in range(many):
            content = f"<word {next(self.contents)}>"
            before, tier = self.now(), self.tier(sender)
            row = self.stage.send(sender, conversation, content)
            sent = self.simulated(row["sent_at"])
            self.messages.append(Message(row["id"], conversation, sender, content, sent))
            self.record(sender, tier, previous=tier, since=before)
            assert self.simulated(row["retention_expires_at"]) == sent + PERIODS[tier]

    @precondition(lambda self: self.messages)
    @rule(which=_any)
    def send_again(self, which: int) -> None:
        message = self.messages[which % len(self.messages)]
        if message.is_gone:
            return
        row = self.stage.run_as(
            message.sender, "select * from public.send_message(%s, %s, %s)",
            message.conversation, message.content, message.id,
        )[0]  # fmt: skip
        is_readable = self.is_readable(message, self.now())
        assert (row["content"], row["is_deleted"]) == (
            message.content if is_readable else "",
            not is_readable,
        )

    @precondition(lambda self: self.messages)
    @rule(which=_any)
    def delete(self, which: int) -> None:
        message = self.messages[which % len(self.messages)]
        if not self.is_readable(message, self.now()):
            return
        self.stage.run_as(message.sender, "select public.delete_message(%s)", message.id)
        message.kept_expiry = self.simulated(self.stage.expires(message.id))

    @rule(where=_any, which=st.none() | _any)
    def read(self, where: int, which: int | None) -> None:
        conversation, reader = self.place(where)
        here = [m for m in self.messages if m.conversation == conversation and not m.is_gone]
        up_to = here[which % len(here)] if here and which is not None else None
        self.stage.run_as(
            reader, "select public.mark_conversation_as_read(%s, up_to_message => %s)",
            conversation, up_to.id if up_to else None,
        )  # fmt: skip
        sent = [m.sent for m in self.messages if m.conversation == conversation]
        wanted = up_to.sent if up_to else max(sent, default=ALWAYS)
        before = self.read_to[reader, conversation]
        self.read_to[reader, conversation] = max(before, wanted)
        assert self.stored_read(reader, conversation) == self.read_to[reader, conversation]

    @rule(who=_any, tier=st.sampled_from(list(PERIODS)))
    def change_tier(self, who: int, tier: str) -> None:
        member = self.members[who % len(self.members)]
        before, previous = self.now(), self.tier(member)
        self.stage.set_tier(member, tier)
        if tier != previous:
            self.record(member, tier, previous=previous, since=before)

    @rule(who=_any, tier=st.sampled_from(list(PERIODS)))
    def change_tier_silently(self, who: int, tier: str) -> None:
        self.stage.set_tier_silently(self.members[who % len(self.members)], tier)

    @rule(where=_any)
    def hold_or_release(self, where: int) -> None:
        conversation, _ = self.place(where)
        if conversation in self.held:
            self.stage.run("select messaging.release_hold(%s)", conversation)
        else:
            self.stage.run("select messaging.place_hold(%s, 'a case')", conversation)
        self.held ^= {conversation}

    @rule(by=st.sampled_from(_PASSES))
    def time_passes(self, by: timedelta) -> None:
        if self.stage.value("select messaging.pending_recalculations()"):
            self.unsettled += by
            if self.unsettled > WORKER_IS_BACK_WITHIN:
                self.stage.recalculate()
        else:
            self.unsettled = timedelta()
        if not self.stage.value("select messaging.pending_recalculations()"):
            self.unsettled = timedelta()
        self.clock.pass_(by=by)

    @precondition(lambda self: self.messages)
    @rule(which=_any, off=st.sampled_from(_NEAR_AN_END), recovery_days=st.sampled_from([0, 7]))
    def the_worker_comes_near_an_end(self, which: int, off: timedelta, recovery_days: int) -> None:
        now = self.now()
        ends = [self.true_expiry(m) + off - now for m in self.messages if not m.is_gone]
        ahead = [by for by in ends if by > timedelta()]
        if ahead:
            self.time_passes(ahead[which % len(ahead)])
            self.sweep(5, recovery_days)

    # -- what the worker does ------------------------------------------------------------------

    @rule(batch_size=st.integers(1, 3))
    def recalculate_a_little(self, batch_size: int) -> None:
        self.stage.value("select messaging.recalculate_batch(%s)", batch_size)

    @rule()
    def notice(self) -> None:
        before = self.now()
        while self.stage.value("select messaging.notice_tier_changes(2)"):
            pass
        for member in self.noted:
            self.record(member, self.tier(member), previous="", since=before)

    @rule(batch_size=st.integers(1, 5), recovery_days=st.sampled_from([0, 7]))
    def sweep(self, batch_size: int, recovery_days: int) -> None:
        spared = {m for m in self.members if self.is_pending(m)}
        marked = self.stage.value(
            "select messages from messaging.soft_delete_batch(batch_size => %s)", batch_size
        )
        assert marked <= batch_size
        newly = self.check_rows(recovery_days=None)
        assert len(newly) == marked
        assert not [m for m in newly if m.sender in spared or m.conversation in self.held]
        removed = self.stage.value(
            "select messages from messaging.cleanup_batch("
            " make_interval(hours => %s), batch_size => %s)",
            24 * recovery_days, batch_size,
        )  # fmt: skip
        gone = self.check_rows(recovery_days=recovery_days)
        assert len(gone) == removed <= batch_size
        assert not [m for m in gone if m.conversation in self.held]

    @rule()
    def whole_pass(self) -> None:
        """As a host without our worker does it: the two bare functions, each until 0."""
        foretold = self.foretold()
        before = {m.id for m in self.messages if not (m.is_swept or m.kept_expiry or m.is_gone)}
        there = {m.id for m in self.messages if not m.is_gone}
        while self.stage.value("select public.soft_delete_expired_messages()"):
            pass
        now = self.now()
        self.histories = None
        self.check_rows(recovery_days=None)
        for member in self.noted:
            self.noted[member] = [change.tier for change in self.history(member)]
            assert self.noted[member][-1] == self.tier(member)
            assert not self.is_pending(member)
        while self.stage.value("select public.cleanup_expired_messages()"):
            pass
        self.check_rows(recovery_days=0)
        for message in self.messages:
            is_due = self.true_expiry(message) <= now and message.conversation not in self.held
            assert not is_due or message.is_gone, "a pass leaves nothing behind"
        happened = Counter(
            [
                ("soft_delete", self.tier(m.sender))
                for m in self.messages
                if m.is_swept and m.id in before
            ]
            + [
                ("cleanup", self.tier(m.sender))
                for m in self.messages
                if m.is_gone and m.id in there
            ]
        )
        assert foretold == happened, "the dry run"

    def foretold(self) -> dict[tuple[str, str], int]:
        rows = self.stage.run("select * from messaging.retention_preview('0')")
        return {(row["step"], row["tier"]): row["messages"] for row in rows}

    def check_rows(self, *, recovery_days: int | None) -> list[Message]:
        """Compare each row with the model; give those that this step has marked, or removed."""
        rows = {row["id"]: row for row in self.stage.run("select * from public.direct_messages")}
        touched = []
        now = self.now()
        for message in self.messages:
            row = rows.get(message.id)
            if row is None and not message.is_gone:
                assert recovery_days is not None
                assert message.is_swept or message.kept_expiry
                assert self.true_expiry(message) + recovery_days * DAY <= now, "removed too early"
                message.is_gone = True
                touched.append(message)
            elif row is not None:
                assert row["content"] == message.content
                if row["is_deleted"] and not message.is_swept and message.kept_expiry is None:
                    assert recovery_days is None
                    deleted_at = self.simulated(row["deleted_at"])
                    assert self.true_expiry(message) <= deleted_at, "marked too early"
                    message.is_swept = True
                    touched.append(message)
        return touched

    # -- what can be seen ----------------------------------------------------------------------

    @rule(where=_any, page=st.sampled_from([1, 2, 500]))
    def client_catches_up(self, where: int, page: int) -> None:
        conversation, member = self.place(where)
        client = self.clients.get((member, conversation))
        if client is None or not self.catch_up(client, member, conversation, page):
            client = self.clients[member, conversation] = self.load(member, conversation)
        seen = look(self.owner, member)
        now = self.simulated(seen.now)
        held = {i: copy for i, copy in client.copies.items() if copy[1] > now}
        assert held == self.copies_of(seen.page(conversation))

    def catch_up(self, client: Client, member: UUID, conversation: UUID, page: int) -> bool:
        while True:
            got = self.stage.run_as(
                member, "select public.get_conversation_changes(%s, %s, %s) as got",
                conversation, self.real(client.position), page,
            )[0]["got"]  # fmt: skip
            if not got["complete"]:
                return False
            for message in got["messages"]:
                client.copies[message["id"]] = self.copy(message, "expires_at")
            for message in got["deleted"]:
                client.copies.pop(message["id"], None)
            client.position = self.simulated(datetime.fromisoformat(got["position"]))
            if not (got["messages"] or got["deleted"]):
                return True

    def load(self, member: UUID, conversation: UUID) -> Client:
        seen = look(self.owner, member)
        change = next(
            c for c in seen.data["sync"]["changes"] if c["conversation_id"] == str(conversation)
        )
        return Client(
            self.simulated(datetime.fromisoformat(change["position"])),
            self.copies_of(seen.page(conversation)),
        )

    def copy(self, message: dict[str, Any], column: str) -> tuple[str, datetime]:
        moment = datetime.fromisoformat(message[column]).astimezone(UTC)
        return message["content"], self.simulated(moment)

    def copies_of(self, page: list[dict[str, Any]]) -> dict[str, tuple[str, datetime]]:
        return {message["id"]: self.copy(message, "retention_expires_at") for message in page}

    @invariant()
    def what_is_stored_is_by_the_rule(self) -> None:
        """Unless a recalculation is still to come, or the sender's deletion has fixed it."""
        known = {m.id: m for m in self.messages}
        rows = self.stage.run(
            "select m.* from public.direct_messages as m where not m.is_deleted and not exists ("
            " select from messaging.recalculations as r where r.user_id = m.sender_id)"
        )
        for row in rows:
            stored = self.simulated(row["retention_expires_at"])
            assert stored == self.true_expiry(known[row["id"]])

    @invariant()
    def everybody_sees_what_he_may_and_nothing_else(self) -> None:
        if not self.messages:
            return
        for member in self.members:
            seen = look(self.owner, member)
            now = self.simulated(seen.now)
            mine = {c for c, pair in self.conversations.items() if member in pair}
            readable = [m for m in self.messages if self.is_readable(m, now)]
            readable = [m for m in readable if m.conversation in mine]
            words = {m.content for m in readable}
            assert {m["content"] for m in seen.data["rows"]} == words
            text = seen.text
            assert not [m for m in self.messages if m.content not in words and m.content in text]
            with_unread = 0
            for conversation in mine:
                here = [m for m in readable if m.conversation == conversation]
                shown = [m["id"] for m in seen.page(conversation)]
                here.sort(key=lambda m: m.sent, reverse=True)
                assert shown == [str(m.id) for m in here]
                preview = seen.inbox(conversation)["last_message"]
                assert (preview and preview["content"]) == (here[0].content if here else None)
                read_to = self.read_to[member, conversation]
                unread = sum(m.sender != member and m.sent > read_to for m in here)
                assert seen.data["unread"][str(conversation)] == unread
                assert seen.inbox(conversation)["unread_count"] == unread
                with_unread += unread > 0
            assert seen.data["unread_conversations"] == with_unread


def test_any_history_keeps_the_promises(pg: Database) -> None:
    with pg.connect(autocommit=True) as owner:
        Histories.owner, Histories.db = owner, pg
        run_state_machine_as_test(
            Histories,
            settings=settings(
                max_examples=150 if PROOF else 25,
                stateful_step_count=40 if PROOF else 25,
                deadline=None,
                derandomize=not PROOF,
                suppress_health_check=list(HealthCheck),
            ),
        )
