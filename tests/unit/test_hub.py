"""The hub: who hears of what, from which commit to which, in which order, within which bound."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bookconnect_dm import hub as hub_module
from bookconnect_dm import wire
from bookconnect_dm.events import (
    Event,
    ExpiryChanged,
    MembershipChange,
    MessageDeleted,
    MessageSent,
    ReadMoved,
    TooMuch,
    Transaction,
)
from bookconnect_dm.hub import Hub
from bookconnect_dm.subscriber import Subscriber

ADA, BEN, CLEO = (UUID(int=n) for n in (1, 2, 3))
C1, C2, C3 = (UUID(int=n) for n in (101, 102, 103))
NOTHING_RUNS = "1:1:"


def position(number: int) -> str:
    return f"2026-11-22T10:00:00.{number:06}Z"


def message(conversation: UUID, number: int) -> MessageSent:
    return MessageSent(
        *(str(UUID(int=1000 + number)), str(conversation), str(ADA), f"text {number}"),
        *(position(number), "2027-01-01T00:00:00.000000Z"),
    )


def transaction(
    xid: int,
    *events: Event,
    join: Iterable[tuple[UUID, UUID]] = (),
    leave: Iterable[tuple[UUID, UUID]] = (),
    **more: Any,
) -> Transaction:
    membership = (
        *(MembershipChange(str(c), str(u), is_member=False) for c, u in leave),
        *(MembershipChange(str(c), str(u), is_member=True) for c, u in join),
    )
    return Transaction(
        xid=xid,
        end_lsn=xid,
        committed_at=0,
        membership=membership,
        events=events,
        **more,
    )


def connect(
    hub: Hub, user: UUID, *conversations: UUID, snapshot: str = NOTHING_RUNS
) -> tuple[Subscriber, list[None]]:
    wakes: list[None] = []
    subscriber = hub.register(user, lambda: wakes.append(None))
    assert hub.admit(subscriber, snapshot, {c: frozenset({user}) for c in conversations})
    return subscriber, wakes


def got(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in subscriber.pop_all()]


def types(subscriber: Subscriber) -> list[str]:
    return [frame["type"] for frame in got(subscriber)]


# --- frames and audience ------------------------------------------------------------------------


def test_a_message_goes_to_the_members_and_the_senders_other_sockets() -> None:
    hub = Hub()
    phone, laptop = connect(hub, ADA, C1)[0], connect(hub, ADA, C1)[0]
    ben, cleo = connect(hub, BEN, C1)[0], connect(hub, CLEO, C2)[0]
    hub.publish(transaction(5, message(C1, 1)))
    expected = {
        "type": "message",
        "message": {
            "id": str(UUID(int=1001)),
            "conversation_id": str(C1),
            "sender_id": str(ADA),
            "content": "text 1",
            "sent_at": position(1),
            "expires_at": "2027-01-01T00:00:00.000000Z",
            "is_deleted": False,
        },
    }
    assert got(phone) == got(laptop) == got(ben) == [expected]
    assert got(cleo) == []


def test_every_event_has_its_frame() -> None:
    hub = Hub()
    ada, _ = connect(hub, ADA, C1)
    hub.publish(
        transaction(
            5,
            MessageDeleted("m", str(C1), position(2)),
            ReadMoved(str(C1), str(BEN), position(3)),
            ExpiryChanged(str(C1)),
            TooMuch(str(C1)),
        )
    )
    c = str(C1)
    assert got(ada) == [
        {"type": "message_deleted", "id": "m", "conversation_id": c, "deleted_at": position(2)},
        {"type": "read", "conversation_id": c, "user_id": str(BEN), "last_read_at": position(3)},
        {"type": "expiry", "conversation_id": c},
        {"type": "reload", "conversation_id": c},
    ]


def test_each_frame_is_encoded_once_and_only_if_somebody_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = Hub()
    encoded: list[object] = []
    encode = wire.encode

    def counting(frame: object) -> bytes:
        encoded.append(frame)
        return encode(frame)

    monkeypatch.setattr(wire, "encode", counting)
    sockets = [connect(hub, user, C1)[0] for user in (ADA, ADA, BEN)]
    hub.publish(transaction(5, message(C1, 1), message(C2, 1)))
    frames = [socket.pop_all()[0] for socket in sockets]
    assert len(encoded) == 1
    assert frames[0] is frames[1] is frames[2]


def test_a_narrowed_socket_gets_its_conversations_alone_until_widened() -> None:
    hub = Hub()
    ada, _ = connect(hub, ADA, C1, C2)
    hub.narrow(ada, [C2])
    hub.publish(transaction(5, message(C1, 1), message(C2, 2), join=[(C3, ADA)]))
    assert [f["message"]["conversation_id"] for f in got(ada)] == [str(C2)]
    hub.publish(transaction(6, leave=[(C1, ADA)]))
    assert got(ada) == []
    hub.narrow(ada, None)
    hub.publish(transaction(7, message(C3, 3)))
    assert types(ada) == ["message"]


def test_a_socket_that_widens_gets_what_its_sync_may_not_be_shown_yet() -> None:
    hub = Hub()
    ada, _ = connect(hub, ADA, C1, C2)
    hub.narrow(ada, [C2])
    hub.publish(transaction(4, message(C1, 1)))
    assert hub.begin_widening(ada, None)
    # While the snapshot is read: 5 is committed in it, 6 is still running, 7 begins later.
    hub.publish(transaction(5, message(C1, 2)))
    hub.publish(transaction(6, message(C1, 3), message(C2, 4)))
    hub.publish(transaction(7, message(C1, 5), join=[(C3, ADA), (C3, BEN)]))
    hub.narrow(ada, None, "6:7:6")
    hub.end_widening(ada)
    hub.publish(transaction(8, message(C1, 6)))
    heard = got(ada)
    texts = [f["message"]["content"] for f in heard if f["type"] == "message"]
    assert texts == ["text 4", "text 3", "text 5", "text 6"]  # and none twice
    assert [f["conversation_id"] for f in heard if f["type"] == "conversation"] == [str(C3)]


def test_what_is_wanted_already_is_not_brought_twice_by_a_wider_choice() -> None:
    hub = Hub()
    ada, _ = connect(hub, ADA, C1, C2, C3)
    hub.narrow(ada, [C1])
    assert not hub.begin_widening(ada, [])
    assert hub.begin_widening(ada, [C2])  # another is not less
    hub.publish(transaction(5, message(C1, 1), message(C2, 2), message(C3, 3)))
    hub.narrow(ada, [C1, C2], NOTHING_RUNS)
    hub.end_widening(ada)
    assert [f["message"]["content"] for f in got(ada)] == ["text 1", "text 2"]
    assert not hub.begin_widening(ada, [C1])


def test_a_gap_while_a_socket_widens_makes_it_a_newcomer_who_gets_all() -> None:
    hub = Hub()
    ada, _ = connect(hub, ADA, C1, C2)
    ben, _ = connect(hub, BEN, C1)
    hub.narrow(ada, [C2])
    assert hub.begin_widening(ada, None)
    hub.resync_all()
    hub.narrow(ada, None, NOTHING_RUNS)
    hub.end_widening(ada)
    hub.publish(transaction(6, message(C1, 1)))
    for socket, user in ((ada, ADA), (ben, BEN)):
        members = {C1: frozenset({ADA, BEN}), C2: frozenset({user})}
        assert hub.admit(socket, NOTHING_RUNS, members)
        assert types(socket) == ["resync", "message"]


def test_remembering_for_one_that_widens_ends() -> None:
    hub = Hub()
    ada, _ = connect(hub, ADA, C1)
    hub.narrow(ada, [C2])
    assert hub.begin_widening(ada, None)
    for number in range(hub_module.RECENT + 50):
        hub.publish(transaction(5 + number, message(C1, number)))
    hub.end_widening(ada)
    hub.publish(transaction(2_000, message(C1, 1)))
    hub.narrow(ada, None, NOTHING_RUNS)
    assert len(got(ada)) == hub_module.RECENT


def test_narrowing_to_a_foreign_conversation_gives_nothing() -> None:
    hub = Hub()
    cleo, _ = connect(hub, CLEO, C2)
    hub.narrow(cleo, [C1])
    hub.publish(transaction(5, message(C1, 1)))
    assert got(cleo) == []


# --- joining and leaving ------------------------------------------------------------------------


def test_a_start_is_one_frame_per_member_before_its_first_message() -> None:
    hub = Hub()
    ada, ben = connect(hub, ADA)[0], connect(hub, BEN)[0]
    start = transaction(5, message(C1, 1), join=[(C1, ADA), (C1, BEN)], stores={str(C1): "s"})
    hub.publish(start)
    for socket in (ada, ben):
        first, second = got(socket)
        assert first == {
            "type": "conversation",
            "conversation_id": str(C1),
            "store_id": "s",
            "user_ids": [str(ADA), str(BEN)],
        }
        assert second["type"] == "message"


def test_who_leaves_hears_it_and_no_more_and_the_others_reload() -> None:
    hub = Hub()
    ada, ben = connect(hub, ADA, C1)[0], connect(hub, BEN, C1)[0]
    hub.publish(transaction(5, message(C1, 1), leave=[(C1, BEN)]))
    hub.publish(transaction(6, message(C1, 2)))
    assert got(ben) == [{"type": "conversation_removed", "conversation_id": str(C1)}]
    assert types(ada) == ["reload", "message", "message"]


def test_a_newcomer_is_told_to_the_members_who_are_there() -> None:
    hub = Hub()
    ada, cleo = connect(hub, ADA, C1)[0], connect(hub, CLEO)[0]
    hub.publish(transaction(5, join=[(C1, CLEO)]))
    for socket in (ada, cleo):
        (frame,) = got(socket)
        assert frame["user_ids"] == [str(ADA), str(CLEO)]


# --- admission: snapshot and stream -------------------------------------------------------------


def test_a_change_that_the_snapshot_shows_is_not_applied_again() -> None:
    """Left and came back before the read; the stream is late with both."""
    hub = Hub()
    ada, _ = connect(hub, ADA, C1, snapshot="20:20:")
    hub.publish(transaction(10, leave=[(C1, ADA)]))
    hub.publish(transaction(11, message(C1, 1)))
    hub.publish(transaction(12, join=[(C1, ADA)]))
    assert "conversation_removed" not in types(ada)
    hub.publish(transaction(21, leave=[(C1, ADA)]))
    hub.publish(transaction(22, message(C1, 2)))
    assert types(ada) == ["conversation_removed"]


def test_a_change_that_the_snapshot_does_not_show_is_applied_at_admission() -> None:
    """It was running while the memberships were read, and committed before the admission."""
    hub = Hub()
    ada = hub.register(ADA, lambda: None)
    hub.publish(transaction(15, leave=[(C1, ADA)], join=[(C2, ADA)]))
    hub.publish(transaction(18, message(C2, 1)))
    assert hub.admit(ada, "15:18:15", {C1: frozenset({ADA, BEN})})
    assert types(ada) == ["conversation_removed", "conversation", "message"]
    hub.publish(transaction(19, message(C1, 2)))
    assert got(ada) == []


def test_what_the_stream_brought_before_the_registration_but_the_read_missed_is_applied() -> None:
    """The stream can be ahead of visibility by 0.3 ms."""
    hub = Hub()
    hub.publish(transaction(15, message(C1, 1), leave=[(C2, ADA)]))
    ada = hub.register(ADA, lambda: None)
    hub.admit(ada, "15:16:15", {C1: frozenset({ADA}), C2: frozenset({ADA})})
    assert types(ada) == ["conversation_removed", "message"]


def test_a_member_who_is_not_admitted_yet_hears_nothing() -> None:
    hub = Hub()
    ada = hub.register(ADA, lambda: None)
    hub.publish(transaction(5, message(C1, 1), join=[(C1, ADA)]))
    assert got(ada) == []


def test_unregistering_leaves_nothing_behind() -> None:
    hub = Hub()
    sockets = [connect(hub, user, C1, C2)[0] for user in (ADA, ADA, BEN)]
    sockets.append(hub.register(CLEO, lambda: None))
    assert hub.subscriber_count == 4
    assert hub.conversation_count == 2
    for socket in (*sockets, *sockets):
        hub.unregister(socket)
    hub.publish(transaction(5, message(C1, 1)))
    assert hub.subscriber_count == hub.conversation_count == 0
    assert not hub._pending
    assert not hub._unsettled
    assert [socket.pop_all() for socket in sockets] == [[]] * 4


def test_an_unregistered_subscriber_cannot_be_admitted() -> None:
    hub = Hub()
    ada = hub.register(ADA, lambda: None)
    hub.unregister(ada)
    assert not hub.admit(ada, NOTHING_RUNS, {C1: frozenset({ADA})})
    assert hub.conversation_count == 0


# --- gaps ---------------------------------------------------------------------------------------


def test_after_a_gap_nothing_comes_until_the_memberships_are_read_anew() -> None:
    hub = Hub()
    ada, wakes = connect(hub, ADA, C1)
    hub.resync_all()
    assert len(wakes) == 1
    assert not ada.is_admitted
    hub.publish(transaction(30, message(C1, 1)))
    assert got(ada) == []
    assert hub.admit(ada, "30:31:30", {C1: frozenset({ADA})})
    assert types(ada) == ["resync", "message"]


def test_memberships_that_were_read_across_a_gap_are_refused() -> None:
    hub = Hub()
    wakes: list[None] = []
    ada = hub.register(ADA, lambda: wakes.append(None))
    hub.resync_all()
    assert not hub.admit(ada, NOTHING_RUNS, {C1: frozenset({ADA})})
    assert len(wakes) == 1
    assert hub.admit(ada, NOTHING_RUNS, {C1: frozenset({ADA})})
    assert types(ada) == ["resync"]  # `ready` went out after the first read, and so did his sync


def test_a_transaction_that_could_not_be_told_is_a_gap() -> None:
    hub = Hub()
    ada, _ = connect(hub, ADA, C1)
    hub.publish(transaction(5, is_incomplete=True))
    assert not ada.is_admitted


# --- bounds -------------------------------------------------------------------------------------


def test_a_queue_beyond_its_frames_overflows_once_and_stays_empty() -> None:
    hub = Hub(queue_frames=3)
    slow, wakes = connect(hub, ADA, C1)
    fast, _ = connect(hub, BEN, C1)
    for number in range(10):
        hub.publish(transaction(5 + number, message(C1, number)))
        assert types(fast) == ["message"]
    assert slow.overflowed
    assert slow.pop_all() == []
    assert len(wakes) == 2  # for the first frame, and for the overflow


def test_a_queue_beyond_its_bytes_overflows() -> None:
    hub = Hub(queue_bytes=500)
    slow, _ = connect(hub, ADA, C1)
    for number in range(3):
        hub.publish(transaction(5 + number, message(C1, number)))
    assert slow.overflowed


def test_taking_makes_room() -> None:
    hub = Hub(queue_frames=2, queue_bytes=1000)
    ada, wakes = connect(hub, ADA, C1)
    for number in range(50):
        hub.publish(transaction(5 + number, message(C1, number)))
        assert len(got(ada)) == 1
    assert len(wakes) == 50
    assert not ada.overflowed


def test_who_is_never_admitted_is_cut_when_the_memory_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "BACKLOG", 50)
    monkeypatch.setattr(hub_module, "RECENT", 10)
    hub = Hub()
    stuck = hub.register(ADA, lambda: None)
    for number in range(60):
        hub.publish(transaction(5 + number, message(C1, number)))
        assert len(hub._recent) <= 50
    assert stuck.overflowed
    assert not hub.admit(stuck, NOTHING_RUNS, {C1: frozenset({ADA})})
    assert len(hub._recent) == 10


# --- the hub against a model of the database ------------------------------------------------------


class HubMachine(RuleBasedStateMachine):
    """Transactions overlap, commit in any order and reach the hub late; sockets come and go.

    The database is a log of commits and the set of those that are visible. For each socket the
    model knows from which commit on it has to hear what: all that its snapshot did not show.
    """

    users = (ADA, BEN)
    conversations = (C1, C2)
    bound = 6

    @initialize()
    def start(self) -> None:
        self.hub = Hub(queue_frames=self.bound)
        self.next_xid = 3
        self.clock = 0
        self.running: list[int] = []
        self.log: list[tuple[int, list[tuple[str, Any]]]] = []  # commits, in order
        self.hidden: set[int] = set()  # committed, but not visible yet
        self.streamed = 0
        self.sockets: list[dict[str, Any]] = []
        self.write_and_stream([("join", C1, user) for user in self.users])

    # the database

    changes = st.lists(
        st.tuples(
            st.sampled_from(["message", "message", "join", "leave"]),
            st.sampled_from(conversations),
            st.sampled_from(users),
        ),
        min_size=1,
        max_size=2,
        unique_by=lambda change: change[1:],
    )

    @rule()
    def begin(self) -> None:
        self.running.append(self.next_xid)
        self.next_xid += 1

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 10), changes=changes)
    def commit(self, which: int, changes: list[tuple[str, UUID, UUID]]) -> None:
        xid = self.running.pop(which % len(self.running))
        written: list[tuple[str, Any]] = []
        for kind, conversation, user in changes:
            if kind == "message":
                self.clock += 1
                written.append((kind, (conversation, self.clock)))
            else:
                written.append((kind, (conversation, user)))
        self.log.append((xid, written))
        self.hidden.add(xid)

    @rule(changes=changes)
    def write(self, changes: list[tuple[str, UUID, UUID]]) -> None:
        self.begin()
        self.commit(len(self.running) - 1, changes)
        while self.hidden:
            self.become_visible()

    @rule(conversation=st.sampled_from(conversations), user=st.sampled_from(users))
    def leave_and_return(self, conversation: UUID, user: UUID) -> None:
        self.write([("leave", conversation, user)])
        self.write([("join", conversation, user)])

    @precondition(lambda self: self.running)
    @rule(changes=changes)
    def commit_and_stream_before_it_is_visible(self, changes: list[tuple[str, UUID, UUID]]) -> None:
        self.commit(0, changes)
        while self.streamed < len(self.log):
            self.stream()

    @rule(changes=changes)
    def write_and_stream(self, changes: list[tuple[str, UUID, UUID]]) -> None:
        self.write(changes)
        while self.streamed < len(self.log):
            self.stream()

    @precondition(lambda self: self.hidden)
    @rule()
    def become_visible(self) -> None:
        # In the order of the log, as without synchronous standbys.
        xid = next(xid for xid, _ in self.log if xid in self.hidden)
        self.hidden.discard(xid)

    def snapshot(self) -> str:
        unseen = sorted([*self.running, *self.hidden])
        xmin = unseen[0] if unseen else self.next_xid
        return f"{xmin}:{self.next_xid}:{','.join(map(str, unseen))}"

    def visible_members(self) -> set[tuple[UUID, UUID]]:
        members: set[tuple[UUID, UUID]] = set()
        for xid, changes in self.log:
            if xid not in self.hidden:
                _apply(members, changes)
        return members

    # the stream

    @precondition(lambda self: self.streamed < len(self.log))
    @rule()
    def stream(self) -> None:
        xid, changes = self.log[self.streamed]
        self.streamed += 1
        events = [message(*what) for kind, what in changes if kind == "message"]
        self.hub.publish(
            transaction(
                xid,
                *events,
                join=[what for kind, what in changes if kind == "join"],
                leave=[what for kind, what in changes if kind == "leave"],
            )
        )
        for socket in self.sockets:
            if socket["admitted"]:
                self._expect(socket, xid, changes)

    # the sockets

    @rule(user=st.sampled_from(users))
    def connect(self, user: UUID) -> None:
        subscriber = self.hub.register(user, lambda: None)
        self.sockets.append(
            {"user": user, "is": subscriber, "admitted": False, "expected": [], "got": []}
        )

    @rule(user=st.sampled_from(users))
    def connect_at_once(self, user: UUID) -> None:
        self.connect(user)
        while not self.sockets[-1]["admitted"]:
            while "read" not in self.sockets[-1]:
                self.read_memberships()
            self.admit()

    @precondition(lambda self: any(not s["admitted"] and "read" not in s for s in self.sockets))
    @rule()
    def read_memberships(self) -> None:
        socket = next(s for s in self.sockets if not s["admitted"] and "read" not in s)
        user = socket["user"]
        mine = {c for c, u in self.visible_members() if u == user}
        socket["read"] = self.snapshot(), mine
        socket["hidden"] = {*self.hidden, *self.running}
        socket["next"] = self.next_xid

    @precondition(lambda self: any(not s["admitted"] and "read" in s for s in self.sockets))
    @rule()
    def admit(self) -> None:
        socket = next(s for s in self.sockets if not s["admitted"] and "read" in s)
        text, mine = socket["read"]
        assert self.hub.admit(socket["is"], text, {c: frozenset({socket["user"]}) for c in mine})
        socket["admitted"] = True
        socket["members"] = {(c, socket["user"]) for c in mine}
        for xid, changes in self.log[: self.streamed]:
            self._expect(socket, xid, changes)

    @precondition(lambda self: self.sockets)
    @rule(which=st.integers(0, 10))
    def take(self, which: int) -> None:
        socket = self.sockets[which % len(self.sockets)]
        for frame in map(json.loads, socket["is"].pop_all()):
            socket["got"] += _essence(frame)

    @precondition(lambda self: self.sockets)
    @rule(which=st.integers(0, 10))
    def disconnect(self, which: int) -> None:
        self.hub.unregister(self.sockets.pop(which % len(self.sockets))["is"])

    def _expect(self, socket: dict[str, Any], xid: int, changes: list[tuple[str, Any]]) -> None:
        """What the stream's transaction means for a socket, by the rule alone."""
        is_shown = xid < socket["next"] and xid not in socket["hidden"]
        members, user = socket["members"], socket["user"]
        if not is_shown:
            for kind, what in changes:
                if kind == "leave" and what[1] == user and what in members:
                    socket["expected"].append((f"out of {what[0]} by {xid}", False))
            _apply(members, [(k, w) for k, w in changes if k == "message" or w[1] == user])
        for kind, what in changes:
            if kind == "message" and (what[0], user) in members:
                # What its snapshot shows is fetched by sync; coming as a frame too is allowed.
                socket["expected"].append((f"text {what[1]}", is_shown))

    @invariant()
    def sockets_hear_all_that_is_theirs_once_in_order_and_nothing_else(self) -> None:
        for socket in getattr(self, "sockets", []):
            subscriber = socket["is"]
            assert len(subscriber._queue) <= self.bound
            if subscriber.overflowed:
                assert subscriber._queue == []
                continue
            heard = [*socket["got"]]
            for frame in subscriber._queue:
                heard += _essence(json.loads(frame))
            expected = socket["expected"]
            must = [_plain(what) for what, is_shown in expected if not is_shown]
            texts = [what for what in heard if what.startswith("text")]
            assert len(texts) == len(set(texts)), "twice"
            heard_anyway = {what for what, is_shown in expected if is_shown and what in set(heard)}
            assert heard == [
                _plain(what) for what, is_shown in expected if not is_shown or what in heard_anyway
            ], f"lost, foreign or out of order; at least {must}"


def _essence(frame: dict[str, Any]) -> list[str]:
    if frame["type"] == "message":
        return [frame["message"]["content"]]
    if frame["type"] == "conversation_removed":
        return [f"out of {frame['conversation_id']}"]
    return []


def _plain(what: str) -> str:
    return what.split(" by ", maxsplit=1)[0]


def _apply(members: set[tuple[UUID, UUID]], changes: list[tuple[str, Any]]) -> None:
    for kind, what in changes:
        if kind == "join":
            members.add(what)
        elif kind == "leave":
            members.discard(what)


TestHubMachine = HubMachine.TestCase
TestHubMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
