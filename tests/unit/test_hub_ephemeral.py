"""Typing and presence reach those who share a conversation, and nobody else."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from bookconnect_dm.events import MembershipChange, Transaction
from bookconnect_dm.hub import Hub
from bookconnect_dm.subscriber import Subscriber

ADA, BEN, CLEO, DORA = (UUID(int=n) for n in range(1, 5))
AB, AC = UUID(int=100), UUID(int=101)
ROOMS = {AB: frozenset({ADA, BEN}), AC: frozenset({ADA, CLEO})}


def nothing() -> None:
    pass


class House:
    def __init__(self, *online: UUID) -> None:
        self.online = {str(user) for user in online}
        self.hub = Hub(queue_frames=10, online=self.online)

    def enter(self, user: UUID) -> Subscriber:
        subscriber = self.hub.register(user, nothing)
        rooms = {room: users for room, users in ROOMS.items() if user in users}
        self.hub.admit(subscriber, "10:10:", rooms)
        return subscriber


def heard(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in subscriber.pop_all()]


def online(user: UUID, *, is_online: bool = True) -> dict[str, Any]:
    return {"type": "presence", "user_id": str(user), "online": is_online}


def membership(room: UUID, *users: UUID, is_member: bool) -> Transaction:
    changes = tuple(MembershipChange(str(room), str(user), is_member) for user in users)
    return Transaction(xid=50, end_lsn=1, committed_at=1, membership=changes)


def test_typing_goes_to_the_others_of_the_conversation_only() -> None:
    house = House()
    ada, ben, cleo = house.enter(ADA), house.enter(BEN), house.enter(CLEO)
    house.hub.tell_typing(str(AB), str(ADA))
    assert heard(ben) == [{"type": "typing", "conversation_id": str(AB), "user_id": str(ADA)}]
    assert heard(ada) == heard(cleo) == []


def test_typing_of_somebody_who_is_not_in_the_conversation_is_dropped() -> None:
    house = House()
    ada, ben = house.enter(ADA), house.enter(BEN)
    house.hub.tell_typing(str(AB), str(CLEO))
    house.hub.tell_typing(str(UUID(int=7)), str(ADA))
    assert heard(ada) == heard(ben) == []
    house.hub.publish(membership(AB, ADA, is_member=False))
    heard(ben)
    house.hub.tell_typing(str(AB), str(ADA))
    assert heard(ben) == []


def test_presence_goes_to_those_who_share_a_conversation_once() -> None:
    house = House()
    ada, ben, cleo, dora = map(house.enter, (ADA, BEN, CLEO, DORA))
    house.hub.tell_presence(str(BEN), online=True)
    assert heard(ada) == [online(BEN)]
    assert heard(ben) == heard(cleo) == heard(dora) == []
    house.hub.tell_presence(str(ADA), online=False)
    assert heard(ben) == heard(cleo) == [online(ADA, is_online=False)]
    assert heard(ada) == heard(dora) == []


def test_a_newcomer_hears_who_is_online_among_his_own() -> None:
    house = House(ADA, CLEO, DORA)
    assert heard(house.enter(BEN)) == [online(ADA)]
    assert heard(house.enter(ADA)) == [online(CLEO)]
    assert heard(house.enter(DORA)) == []


def test_a_narrowed_socket_hears_of_nobody_else() -> None:
    house = House(BEN, CLEO)
    ada = house.enter(ADA)
    heard(ada)
    house.hub.narrow(ada, [AB])
    assert heard(ada) == [online(BEN)]
    house.hub.tell_presence(str(CLEO), online=False)
    house.hub.tell_typing(str(AC), str(CLEO))
    assert heard(ada) == []
    house.hub.narrow(ada, None)
    assert len(heard(ada)) == 2


def test_a_new_conversation_tells_who_is_online_in_it() -> None:
    house = House(BEN, DORA)
    ben, dora = house.enter(BEN), house.enter(DORA)
    house.hub.publish(membership(UUID(int=102), BEN, DORA, is_member=True))
    assert online(DORA) in heard(ben)
    assert online(BEN) in heard(dora)
    house.hub.tell_presence(str(DORA), online=False)
    assert heard(ben) == [online(DORA, is_online=False)]


def test_after_the_conversation_nothing_is_heard_of_the_other() -> None:
    house = House()
    ada, ben = house.enter(ADA), house.enter(BEN)
    house.hub.publish(membership(AB, BEN, is_member=False))
    heard(ada), heard(ben)
    house.hub.tell_presence(str(BEN), online=False)
    house.hub.tell_presence(str(ADA), online=False)
    assert heard(ada) == heard(ben) == []


def test_presence_never_cuts_a_connection() -> None:
    house = House()
    ada = house.enter(ADA)
    for _ in range(100):
        house.hub.tell_presence(str(BEN), online=True)
    assert not ada.overflowed
    assert len(heard(ada)) == 5


def test_nothing_is_kept_of_those_who_left() -> None:
    house = House()
    for subscriber in [house.enter(user) for user in (ADA, BEN, CLEO)]:
        house.hub.unregister(subscriber)
    assert not house.hub._rooms._of
