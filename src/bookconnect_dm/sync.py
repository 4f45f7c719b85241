"""Catch-up and live frames merged into one sequence of changes, each once and in order.

In charge of: positions, what is asked of `/v1/sync`, and which frames are already known from its
answers.
Knows about: the frames and bodies of `wire`.
Does not know: sockets, HTTP, clocks. Whoever has those calls the methods in the order below.

    begin               after `ready`, after a `resync` frame, before widening a narrowed socket
    request, answered   until `request` is None; frames that come meanwhile go to `frame` too
    finish              what those frames add to the answers; live, unless there is a `request`
    frame               from then on each frame gives its changes at once
    begin               again, after any gap

A position moves only by `message` and `message_deleted` frames and by an answer's `position`. An
acknowledgement never moves it: a peer's earlier message can still be on its way.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from msgspec import Struct

from bookconnect_dm import wire

__all__ = ["Change", "Forget", "Found", "Merge"]

BUFFER: Final = 10_000
"""Frames kept during a catch-up. With more it is cheaper to ask again than to remember."""


class Forget(Struct, frozen=True):
    """All that was known is of no use any more; everything comes anew."""


class Found(Struct, frozen=True):
    """A conversation as it is now. If `is_new`, its messages are loaded by pages."""

    conversation: wire.DMConversation
    is_new: bool


Change = (
    Forget
    | Found
    | wire.MessageFrame
    | wire.MessageDeletedFrame
    | wire.ReadEventFrame
    | wire.ConversationFrame
    | wire.ConversationRemovedFrame
    | wire.ExpiryFrame
    | wire.ReloadFrame
    | wire.TypingEventFrame
    | wire.PresenceFrame
)
"""What a client is told. A `ReloadFrame` means: forget this conversation's messages, load them."""

_CHANGES: Final = (
    wire.MessageFrame,
    wire.MessageDeletedFrame,
    wire.ReadEventFrame,
    wire.ConversationFrame,
    wire.ConversationRemovedFrame,
    wire.ExpiryFrame,
    wire.ReloadFrame,
    wire.TypingEventFrame,
    wire.PresenceFrame,
)


class Merge:
    """One member's place in each of his conversations. Outlives connections; holds no messages."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.positions: dict[str, str] = {}
        """Where each conversation stands; "" for one that began while we were listening."""
        self.request: wire.SyncRequest | None = None
        """What has to be asked next, while catching up."""
        self._is_live = False
        self._buffer: list[Change] = []
        self._overflowed = False
        self._reads: dict[tuple[str, str], str] = {}

    @property
    def is_live(self) -> bool:
        """True when frames are told as they come."""
        return self._is_live

    def begin(self) -> None:
        """Starts to catch up: ask `request`, and keep handing frames in."""
        self._is_live = False
        self._buffer = []
        self._overflowed = False
        self._ask(None)

    def answered(self, answer: wire.SyncAnswer) -> list[Change]:
        """Takes the answer to `request`; what it tells. Then there may be another `request`."""
        changes: list[Change] = []
        if answer.reload:
            self.positions = {}
            self._reads = {}
            changes.append(Forget())
        self.epoch = answer.epoch
        changes += [
            Found(conversation, is_new=not self.positions.get(conversation.id))
            for conversation in answer.conversations
        ]
        for change in answer.changes:
            changes += self._changes_of(change)
        for mark in answer.reads:
            read = wire.ReadEventFrame(mark.conversation_id, mark.user_id, mark.last_read_at)
            changes += self._read(read)
        for conversation_id in answer.gone:
            changes += self._removed(wire.ConversationRemovedFrame(conversation_id))
        if answer.next_cursor is None:
            self.request = None
        else:
            self._ask(answer.next_cursor)
        return changes

    def finish(self) -> list[Change]:
        """After the last answer: what the frames that came meanwhile add to it.

        Live afterwards, unless there were too many of them: then there is a `request` again.
        """
        if self.request is not None:
            raise RuntimeError("finish() before the last answer: ask `request` first")
        buffer, self._buffer = self._buffer, []
        if self._overflowed:
            self.begin()
            return []
        self._is_live = True
        last = {
            frame.conversation_id: number
            for number, frame in enumerate(buffer)
            if isinstance(frame, wire.ConversationFrame)
        }
        changes: list[Change] = []
        for number, frame in enumerate(buffer):
            is_left = isinstance(frame, wire.ConversationRemovedFrame)
            if is_left and number < last.get(frame.conversation_id, -1):  # type: ignore[union-attr]
                continue  # he is back, and the answers know it
            changes += self._told(frame)
        return changes

    def frame(self, frame: wire.ServerFrame) -> list[Change]:
        """Takes a frame; what it tells now. During a catch-up it is kept for `finish`."""
        if not isinstance(frame, _CHANGES):
            return []
        if self._is_live:
            return self._told(frame)
        if isinstance(frame, wire.TypingEventFrame):
            return []  # over by the time that anybody sees it
        if len(self._buffer) < BUFFER:
            self._buffer.append(frame)
        else:
            self._overflowed = True
        return []

    def _ask(self, cursor: str | None) -> None:
        known = {UUID(conversation): at for conversation, at in self.positions.items() if at}
        self.request = wire.SyncRequest(epoch=self.epoch, positions=known, cursor=cursor)

    def _changes_of(self, change: wire.ConversationChanges) -> list[Change]:
        conversation_id = change.conversation_id
        if change.position is not None:
            self.positions[conversation_id] = change.position
        if not change.complete:
            return [wire.ReloadFrame(conversation_id)]
        both: list[tuple[str, Change]] = [
            *((m.sent_at, wire.MessageFrame(m)) for m in change.messages),
            *(
                (d.deleted_at, wire.MessageDeletedFrame(d.id, conversation_id, d.deleted_at))
                for d in change.deleted
            ),
        ]
        return [frame for _, frame in sorted(both, key=lambda pair: pair[0])]

    def _told(self, frame: Change) -> list[Change]:
        if isinstance(frame, wire.MessageFrame):
            message = frame.message
            return self._moved(message.conversation_id, message.sent_at, frame)
        if isinstance(frame, wire.MessageDeletedFrame):
            return self._moved(frame.conversation_id, frame.deleted_at, frame)
        if isinstance(frame, wire.ReadEventFrame):
            return self._read(frame)
        if isinstance(frame, wire.ConversationRemovedFrame):
            return self._removed(frame)
        if isinstance(frame, wire.ConversationFrame):
            self.positions.setdefault(frame.conversation_id, "")
        return [frame]

    def _moved(self, conversation_id: str, position: str, frame: Change) -> list[Change]:
        before = self.positions.get(conversation_id)
        if before is None or position <= before:
            return []  # not ours (any more), or known
        self.positions[conversation_id] = position
        return [frame]

    def _read(self, frame: wire.ReadEventFrame) -> list[Change]:
        key = frame.conversation_id, frame.user_id
        if frame.conversation_id not in self.positions:
            return []
        if frame.last_read_at <= self._reads.get(key, ""):
            return []
        self._reads[key] = frame.last_read_at
        return [frame]

    def _removed(self, frame: wire.ConversationRemovedFrame) -> list[Change]:
        if self.positions.pop(frame.conversation_id, None) is None:
            return []
        self._reads = {k: v for k, v in self._reads.items() if k[0] != frame.conversation_id}
        return [frame]
