"""Who hears of what: committed transactions to the queues of the sockets that may know.

In charge of: which subscriber listens to which conversation, from exactly the commit that let him
in to exactly the commit that put him out; and one bounded queue per subscriber.
Knows about: domain events, wire frames, PostgreSQL's snapshots as text.
Does not know: SQL, sockets, clocks, tasks. Nothing here awaits, and nothing here can be slow.

A subscriber's life: `register` (the hub starts to remember), then the caller reads the memberships
and a snapshot in one statement, then `admit`. Transactions that the snapshot shows are part of what
was read; the others are applied on top, in the order of the stream. Reading first and registering
afterwards would lose changes; registering first without a snapshot delivered a message after the
access to it had ended.

After a gap in the stream (`resync_all`) every subscriber is a newcomer again: `is_admitted` turns
false, `wake` is called, and the caller reads and admits anew. Until then he gets nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Final
from uuid import UUID

from bookconnect_dm import events, wire
from bookconnect_dm.events import Event, MembershipChange, Transaction
from bookconnect_dm.rooms import Rooms
from bookconnect_dm.snapshot import Snapshot
from bookconnect_dm.subscriber import Subscriber

__all__ = ["Hub"]

QUEUE_FRAMES: Final = 1_000
QUEUE_BYTES: Final = 1 << 20

RECENT: Final = 256
"""Transactions remembered for newcomers although nobody is being admitted: the stream can be ahead
of what a snapshot shows (0.3 ms were measured; 256 transactions are some 50 ms at full load)."""

BACKLOG: Final = 10_000
"""Transactions remembered at most. Whoever is still not admitted then is cut and comes back."""


class _Conversation:
    """A conversation that somebody here listens to. Tuples: most have one or two of each."""

    __slots__ = ("id", "listeners", "users")

    def __init__(self, conversation_id: str, users: Iterable[str]) -> None:
        self.id = conversation_id
        self.users = tuple(users)
        self.listeners: tuple[Subscriber, ...] = ()


class _Published:
    """A transaction with the frames it gives, each encoded when first wanted and only once."""

    __slots__ = ("_frames", "_notices", "notices", "rosters", "sequence", "transaction")

    def __init__(self, transaction: Transaction, sequence: int) -> None:
        self.transaction = transaction
        self.sequence = sequence
        self.rosters: dict[str, tuple[str, ...]] = {}
        """Who is in the conversations that somebody joined or left, as far as is known here."""
        self.notices: list[tuple[str, wire.ServerFrame]] = []
        """What those are told who stay in them or have just come."""
        self._frames: dict[int, bytes] = {}
        self._notices: dict[int, bytes] = {}

    def notice(self, number: int) -> bytes:
        """The frame of the notice `number`."""
        found = self._notices.get(number)
        if found is None:
            found = self._notices[number] = wire.encode(self.notices[number][1])
        return found

    def frame(self, number: int) -> bytes:
        """The frame of the event `number`."""
        found = self._frames.get(number)
        if found is None:
            found = self._frames[number] = _encode(self.transaction.events[number])
        return found


class Hub:
    """Delivers committed transactions to the subscribers of this server."""

    def __init__(
        self,
        *,
        queue_frames: int = QUEUE_FRAMES,
        queue_bytes: int = QUEUE_BYTES,
        online: Container[str] = (),
    ) -> None:
        self._queue_frames = queue_frames
        self._queue_bytes = queue_bytes
        self._online = online
        self._rooms = Rooms()
        self._users: dict[str, tuple[Subscriber, ...]] = {}
        self._conversations: dict[str, _Conversation] = {}
        self._sequence = 0
        self._recent: deque[_Published] = deque()
        self._pending: dict[Subscriber, int] = {}  # since when, oldest first
        self._unsettled: set[Subscriber] = set()  # the stream has not passed their snapshot yet

    @property
    def subscriber_count(self) -> int:
        """Connections registered here."""
        return sum(map(len, self._users.values()))

    @property
    def frames_waiting(self) -> int:
        """Frames in the queues of all connections."""
        return sum(one.waiting for many in self._users.values() for one in many)

    @property
    def conversation_count(self) -> int:
        """Conversations that somebody here listens to."""
        return len(self._conversations)

    # -- subscribers

    def register(self, user_id: UUID | str, wake: Callable[[], None]) -> Subscriber:
        """Makes a subscriber and starts to remember for him; read his memberships next.

        `wake` is called when there is something to do for him; it neither waits nor raises. Call
        `unregister` in the end, whatever happens.
        """
        subscriber = Subscriber(
            str(user_id), wake, frames_limit=self._queue_frames, bytes_limit=self._queue_bytes
        )
        others = self._users.get(subscriber.user_id, ())
        self._users[subscriber.user_id] = (*others, subscriber)
        self._pending[subscriber] = self._sequence
        return subscriber

    def admit(
        self,
        subscriber: Subscriber,
        snapshot: str,
        memberships: Mapping[UUID, frozenset[UUID]],
    ) -> bool:
        """Lets him listen to `memberships` (conversation -> users), read under `snapshot`.

        False when the stream had a gap since the read began: what was read may be old. Then `wake`
        is called, and the memberships have to be read again.
        """
        if subscriber not in self._pending:
            return subscriber.is_admitted
        if subscriber.missed_gap:
            subscriber.missed_gap = False
            # He may have been greeted under what was read first, and have synced by that.
            subscriber.owes_resync = True
            subscriber.wake()
            return False
        del self._pending[subscriber]
        self._take_in(subscriber, Snapshot(snapshot), memberships)
        return True

    def _take_in(
        self,
        subscriber: Subscriber,
        snapshot: Snapshot,
        memberships: Mapping[UUID, frozenset[UUID]],
    ) -> None:
        subscriber.is_admitted = True
        subscriber.snapshot = snapshot
        self._unsettled.add(subscriber)
        for conversation_id, users in memberships.items():
            self._listen(subscriber, str(conversation_id), map(str, users))
        if subscriber.owes_resync:
            subscriber.owes_resync = False
            subscriber.offer(_RESYNC)
        self._tell_who_is_online(subscriber, subscriber.conversations)
        for published in self._recent:
            if not snapshot.shows(published.transaction.xid):
                self._replay(subscriber, published)

    def begin_widening(
        self, subscriber: Subscriber, conversation_ids: Iterable[UUID] | None
    ) -> bool:
        """Whether `narrow` to these would let in what is kept from him now.

        Then the hub remembers for him: read a snapshot next and give it to `narrow`, and call
        `end_widening` whatever happens.
        """
        before, only = subscriber.only, _only(conversation_ids)
        wider = before is not None and (only is None or not only <= before)
        if wider and subscriber.is_admitted:
            self._pending.setdefault(subscriber, self._sequence)
        return wider

    def narrow(
        self,
        subscriber: Subscriber,
        conversation_ids: Iterable[UUID] | None,
        snapshot: str | None = None,
    ) -> None:
        """Keeps from him what is not of these conversations; None gives him all again.

        What he missed until `snapshot` is not brought later: he syncs, after this. What the
        snapshot did not show yet is brought now, since his sync may not be shown it either.
        """
        before, only = subscriber.only, _only(conversation_ids)
        if only == before:
            return
        subscriber.only = only
        self._tell_who_is_online(subscriber, subscriber.conversations)
        if snapshot is None or before is None or not subscriber.is_admitted:
            return  # whoever is to be admitted is replayed all when he is
        seen = Snapshot(snapshot)
        let_in = {c for c in subscriber.conversations if subscriber.wants(c)} - before
        for published in self._recent:
            if not seen.shows(published.transaction.xid):
                self._replay_frames(subscriber, published, let_in)

    def end_widening(self, subscriber: Subscriber) -> None:
        """What `begin_widening` began is over. Harmless when it began nothing."""
        if subscriber.is_admitted:
            self._pending.pop(subscriber, None)

    def unregister(self, subscriber: Subscriber) -> None:
        """Forgets him. Harmless when repeated."""
        others = tuple(s for s in self._users.get(subscriber.user_id, ()) if s is not subscriber)
        if others:
            self._users[subscriber.user_id] = others
        else:
            self._users.pop(subscriber.user_id, None)
        self._pending.pop(subscriber, None)
        self._put_out(subscriber)

    def _put_out(self, subscriber: Subscriber) -> None:
        self._unsettled.discard(subscriber)
        subscriber.snapshot = None
        subscriber.is_admitted = False
        for conversation_id in list(subscriber.conversations):
            self._leave(subscriber, conversation_id)

    def _listen(
        self, subscriber: Subscriber, conversation_id: str, users: Iterable[str] = ()
    ) -> None:
        if conversation_id in subscriber.conversations:
            return
        conversation = self._conversations.get(conversation_id)
        if conversation is None:
            conversation = _Conversation(conversation_id, users)
            self._conversations[conversation_id] = conversation
            self._rooms.put(conversation_id, conversation.users)
        conversation.listeners = (*conversation.listeners, subscriber)
        subscriber.conversations.add(conversation.id)

    def _leave(self, subscriber: Subscriber, conversation_id: str) -> bool:
        if conversation_id not in subscriber.conversations:
            return False
        subscriber.conversations.discard(conversation_id)
        conversation = self._conversations[conversation_id]
        conversation.listeners = tuple(s for s in conversation.listeners if s is not subscriber)
        if not conversation.listeners:
            del self._conversations[conversation_id]
            self._rooms.take(conversation_id, conversation.users)
        return True

    # -- what is of this moment only

    def tell_typing(self, conversation_id: str, user_id: str) -> None:
        """Tells the others in the conversation that a member of it is typing."""
        conversation = self._conversations.get(conversation_id)
        if conversation is None or user_id not in conversation.users:
            return
        frame = wire.encode(wire.TypingEventFrame(conversation_id, user_id))
        for subscriber in conversation.listeners:
            if subscriber.user_id != user_id and subscriber.wants(conversation_id):
                subscriber.offer_if_idle(frame)

    def tell_presence(self, user_id: str, *, online: bool) -> None:
        """Tells those who share a conversation with a member that he came or went."""
        listeners = {
            subscriber: None  # in order, and each once
            for conversation_id in self._rooms.of(user_id)
            for subscriber in self._conversations[conversation_id].listeners
            if subscriber.user_id != user_id and subscriber.wants(conversation_id)
        }
        if listeners:
            frame = wire.encode(wire.PresenceFrame(user_id, online))
            for subscriber in listeners:
                subscriber.offer_if_idle(frame)

    def _tell_who_is_online(self, subscriber: Subscriber, conversations: Iterable[str]) -> None:
        online = {
            user: None
            for conversation_id in conversations
            if subscriber.wants(conversation_id)
            for user in self._conversations[conversation_id].users
            if user in self._online and user != subscriber.user_id
        }
        for user in online:
            subscriber.offer_if_idle(wire.encode(wire.PresenceFrame(user, True)))

    # -- transactions

    def publish(self, transaction: Transaction) -> None:
        """Queues what `transaction` means for those who may know it."""
        if self._unsettled:
            self._settle(transaction.xid)
        if transaction.is_empty:
            return
        self._sequence += 1
        published = _Published(transaction, self._sequence)
        self._recent.append(published)
        self._forget_old()
        if transaction.membership:
            self._write_notices(published)
            self._change_memberships(published)
        for number, (conversation_id, _) in enumerate(published.notices):
            if conversation_id in self._conversations:
                self._tell(conversation_id, published.notice(number))
        for number, event in enumerate(transaction.events):
            if event.conversation_id in self._conversations:
                self._tell(event.conversation_id, published.frame(number))
        if transaction.is_incomplete:
            self.resync_all()

    def resync_all(self) -> None:
        """Says that the stream had a gap: memberships are read anew, and everybody syncs."""
        for subscriber in self._pending:
            subscriber.missed_gap = not subscriber.is_admitted
        for subscribers in self._users.values():
            for subscriber in subscribers:
                if subscriber.is_admitted:
                    self._put_out(subscriber)
                    subscriber.owes_resync = True
                    self._pending.pop(subscriber, None)  # they are in order of their beginning
                    self._pending[subscriber] = self._sequence
                    subscriber.wake()

    def _tell(self, conversation_id: str, frame: bytes) -> None:
        conversation = self._conversations.get(conversation_id)
        if conversation is None:
            return
        for subscriber in conversation.listeners:
            if subscriber.wants(conversation_id):
                subscriber.offer(frame)

    def _write_notices(self, published: _Published) -> None:
        """Who is left behind reloads; everybody hears of newcomers, once per conversation."""
        transaction = published.transaction
        left: dict[str, set[str]] = {}
        joined: dict[str, list[str]] = {}
        for change in transaction.membership:
            if change.is_member:
                joined.setdefault(change.conversation_id, []).append(change.user_id)
            else:
                left.setdefault(change.conversation_id, set()).add(change.user_id)
        frames: list[tuple[str, wire.ServerFrame]] = [(c, wire.ReloadFrame(c)) for c in left]
        for conversation_id in left | joined:
            known = self._conversations.get(conversation_id)
            gone = left.get(conversation_id, ())
            before = [user for user in known.users if user not in gone] if known else []
            roster = tuple(dict.fromkeys([*before, *joined.get(conversation_id, ())]))
            published.rosters[conversation_id] = roster
            if conversation_id in joined:
                store_id = transaction.stores.get(conversation_id)
                frame = wire.ConversationFrame(conversation_id, store_id, list(roster))
                frames.append((conversation_id, frame))
        published.notices = frames

    def _change_memberships(self, published: _Published) -> None:
        xid = published.transaction.xid
        for change in published.transaction.membership:
            for subscriber in self._users.get(change.user_id, ()):
                if not subscriber.is_admitted:
                    continue  # it is replayed to him when he is
                if subscriber.snapshot and subscriber.snapshot.shows(xid):
                    continue  # what was read for him has it already
                self._move(subscriber, change, published)
        for conversation_id, roster in published.rosters.items():
            if conversation := self._conversations.get(conversation_id):
                self._rooms.take(conversation_id, conversation.users)
                conversation.users = roster
                self._rooms.put(conversation_id, roster)

    def _move(self, subscriber: Subscriber, change: MembershipChange, why: _Published) -> None:
        conversation_id = change.conversation_id
        if change.is_member:
            self._listen(subscriber, conversation_id, why.rosters[conversation_id])
            self._tell_who_is_online(subscriber, (conversation_id,))
        elif self._leave(subscriber, conversation_id) and subscriber.wants(conversation_id):
            subscriber.offer(wire.encode(wire.ConversationRemovedFrame(conversation_id)))

    def _replay(self, subscriber: Subscriber, published: _Published) -> None:
        """Gives a newcomer what his snapshot did not show, as if he had been there."""
        for change in published.transaction.membership:
            if change.user_id == subscriber.user_id:
                self._move(subscriber, change, published)
        heard = {c for c in subscriber.conversations if subscriber.wants(c)}
        self._replay_frames(subscriber, published, heard)

    @staticmethod
    def _replay_frames(
        subscriber: Subscriber, published: _Published, heard: Container[str]
    ) -> None:
        for number, (conversation_id, _) in enumerate(published.notices):
            if conversation_id in heard:
                subscriber.offer(published.notice(number))
        for number, event in enumerate(published.transaction.events):
            if event.conversation_id in heard:
                subscriber.offer(published.frame(number))

    def _settle(self, xid: int) -> None:
        """Drops the snapshots that the stream has passed.

        A transaction that began after a snapshot commits after all that the snapshot shows.
        """
        for subscriber in list(self._unsettled):
            if subscriber.snapshot and subscriber.snapshot.precedes(xid):
                subscriber.snapshot = None
                self._unsettled.discard(subscriber)

    def _forget_old(self) -> None:
        """Keeps what those being admitted may need, and never more than `BACKLOG`."""
        while len(self._recent) > BACKLOG and self._pending:
            oldest = next(iter(self._pending))
            del self._pending[oldest]
            oldest.overflow()
            self._drop_unneeded()
        self._drop_unneeded()

    def _drop_unneeded(self) -> None:
        needed_from = next(iter(self._pending.values()), self._sequence) - RECENT
        while self._recent and self._recent[0].sequence <= needed_from:
            self._recent.popleft()


# --- frames -----------------------------------------------------------------------------------

_RESYNC: Final = wire.encode(wire.ResyncFrame())


def _only(conversation_ids: Iterable[UUID] | None) -> frozenset[str] | None:
    return None if conversation_ids is None else frozenset(map(str, conversation_ids))


def _encode(event: Event) -> bytes:
    return wire.encode(_frame_of(event))


def _frame_of(event: Event) -> wire.ServerFrame:
    if isinstance(event, events.MessageSent):
        return wire.MessageFrame(
            wire.DMMessage(
                event.id,
                event.conversation_id,
                event.sender_id,
                event.content,
                event.sent_at,
                event.expires_at,
            )
        )
    if isinstance(event, events.MessageDeleted):
        return wire.MessageDeletedFrame(event.id, event.conversation_id, event.deleted_at)
    if isinstance(event, events.ReadMoved):
        return wire.ReadEventFrame(event.conversation_id, event.user_id, event.last_read_at)
    if isinstance(event, events.ExpiryChanged):
        return wire.ExpiryFrame(event.conversation_id)
    return wire.ReloadFrame(event.conversation_id)
