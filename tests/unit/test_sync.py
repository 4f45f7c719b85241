"""Catch-up merged with live frames: each change once, in order, whatever comes when."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookconnect_dm import sync, wire
from bookconnect_dm.sync import Change, Forget, Found, Merge

C1, C2 = str(UUID(int=1)), str(UUID(int=2))
ADA = "ada"


def at(number: int) -> str:
    return f"2026-11-22T10:00:00.{number:06}Z"


def message(number: int, conversation: str = C1) -> wire.MessageFrame:
    return wire.MessageFrame(
        wire.DMMessage(f"m{number}", conversation, ADA, f"text {number}", at(number), at(999_999))
    )


def deleted(number: int, of: int, conversation: str = C1) -> wire.MessageDeletedFrame:
    return wire.MessageDeletedFrame(f"m{of}", conversation, at(number))


def read(number: int) -> wire.ReadEventFrame:
    return wire.ReadEventFrame(C1, ADA, at(number))


def row(conversation: str = C1) -> wire.DMConversation:
    return wire.DMConversation(conversation, "s", at(0), at(0), at(0), None, None, 0)


def changes(
    position: int, *frames: Change, conversation: str = C1, complete: bool = True
) -> wire.ConversationChanges:
    return wire.ConversationChanges(
        conversation,
        [frame.message for frame in frames if isinstance(frame, wire.MessageFrame)],
        [
            wire.DeletedMessage(frame.id, frame.deleted_at)
            for frame in frames
            if isinstance(frame, wire.MessageDeletedFrame)
        ],
        at(position),
        complete,
    )


def answer(*found: wire.ConversationChanges, **more: Any) -> wire.SyncAnswer:
    values: dict[str, Any] = {
        "epoch": "e1",
        "reload": False,
        "conversations": [row(change.conversation_id) for change in found],
        "changes": list(found),
        "reads": [],
        "gone": [],
        "next_cursor": None,
        **more,
    }
    return wire.SyncAnswer(**values)


def merged(*found: wire.ConversationChanges) -> Merge:
    """A merge that is live, having been told of these conversations."""
    merge = Merge()
    merge.begin()
    merge.answered(answer(*found))
    merge.finish()
    assert merge.is_live
    return merge


def again(merge: Merge, *found: wire.ConversationChanges, **more: Any) -> list[Change]:
    """What one answer tells a merge that has begun."""
    return [c for c in merge.answered(answer(*found, **more)) if not isinstance(c, Found)]


def test_the_first_request_names_nothing() -> None:
    merge = Merge()
    merge.begin()
    assert merge.request == wire.SyncRequest(epoch=None, positions={}, cursor=None)


def test_a_conversation_that_was_not_named_is_new_and_its_messages_are_not_told() -> None:
    merge = Merge()
    merge.begin()
    assert merge.answered(answer(changes(5))) == [Found(row(), is_new=True)]
    assert merge.finish() == []
    assert merge.positions == {C1: at(5)}


def test_frames_are_told_once_and_in_order() -> None:
    merge = merged(changes(5))
    assert merge.frame(message(6)) == [message(6)]
    assert merge.frame(message(6)) == []
    assert merge.frame(message(5)) == []
    assert merge.frame(deleted(7, of=6)) == [deleted(7, of=6)]
    assert merge.positions[C1] == at(7)


def test_frames_that_come_during_a_catch_up_are_kept_and_known_ones_dropped() -> None:
    merge = merged(changes(5))
    merge.begin()
    assert merge.request is not None
    assert merge.request.positions == {UUID(C1): at(5)}
    for number in (6, 7, 8):
        assert merge.frame(message(number)) == []
    assert again(merge, changes(7, message(6), message(7))) == [message(6), message(7)]
    assert merge.finish() == [message(8)]


def test_a_message_that_sync_reports_deleted_does_not_come_back() -> None:
    """The lagging feed still delivers it, with its content."""
    merge = merged(changes(5))
    merge.begin()
    merge.frame(message(6))
    assert again(merge, changes(9, deleted(9, of=6))) == [deleted(9, of=6)]
    merge.frame(deleted(9, of=6))
    assert merge.finish() == []


def test_messages_and_deletions_of_an_answer_are_in_the_clocks_order() -> None:
    merge = merged(changes(5))
    merge.begin()
    told = again(merge, changes(9, message(7), message(9), deleted(6, of=1), deleted(8, of=2)))
    assert told == [deleted(6, of=1), message(7), deleted(8, of=2), message(9)]


def test_pages_move_the_positions_of_the_next_request() -> None:
    merge = merged(changes(5), changes(5, conversation=C2))
    merge.begin()
    merge.answered(answer(changes(8, message(7), message(8)), next_cursor=C2))
    assert merge.request == wire.SyncRequest(
        epoch="e1", positions={UUID(C1): at(8), UUID(C2): at(5)}, cursor=C2
    )
    with pytest.raises(RuntimeError):
        merge.finish()
    again(merge, changes(6, message(6, C2), conversation=C2))
    assert merge.request is None


def test_another_epoch_forgets_everything() -> None:
    merge = merged(changes(5), changes(9, conversation=C2))
    merge.begin()
    told = merge.answered(answer(changes(3), epoch="e2", reload=True))
    assert told == [Forget(), Found(row(), is_new=True)]
    assert (merge.epoch, merge.positions) == ("e2", {C1: at(3)})


def test_what_cannot_be_told_is_reloaded_and_goes_on_from_its_position() -> None:
    merge = merged(changes(5))
    merge.begin()
    merge.frame(message(6))
    merge.frame(message(8))
    assert again(merge, changes(7, complete=False)) == [wire.ReloadFrame(C1)]
    assert merge.finish() == [message(8)]


def test_a_conversation_that_is_gone_is_told_once_and_its_frames_dropped() -> None:
    merge = merged(changes(5))
    merge.begin()
    merge.frame(message(6))
    merge.frame(wire.ConversationRemovedFrame(C1))
    gone = wire.ConversationRemovedFrame(C1)
    assert merge.answered(answer(gone=[C1])) == [gone]
    assert merge.finish() == []
    assert merge.positions == {}


def test_leaving_and_returning_during_a_catch_up_tells_nothing_twice() -> None:
    merge = merged(changes(5))
    merge.begin()
    back = wire.ConversationFrame(C1, "s", [ADA])
    for frame in (wire.ConversationRemovedFrame(C1), back, message(6), message(7)):
        merge.frame(frame)
    assert again(merge, changes(6, message(6))) == [message(6)]
    assert merge.finish() == [back, message(7)]


def test_a_conversation_that_begins_live_has_its_messages_told() -> None:
    merge = merged()
    begins = wire.ConversationFrame(C1, "s", [ADA])
    assert merge.frame(begins) == [begins]
    merge.begin()
    assert merge.request is not None
    assert merge.request.positions == {}, "it has no position yet, and is asked for as new"
    assert merge.answered(answer(changes(0))) == [Found(row(), is_new=True)]
    merge.finish()
    assert merge.frame(message(1)) == [message(1)]


def test_messages_of_an_unknown_conversation_are_not_told() -> None:
    merge = merged(changes(5))
    assert merge.frame(message(1, C2)) == []
    assert C2 not in merge.positions


def test_read_marks_are_told_when_they_move_forward() -> None:
    merge = merged(changes(5))
    assert merge.frame(read(3)) == [read(3)]
    assert merge.frame(read(2)) == []
    merge.begin()
    merge.frame(read(4))
    mark = wire.ReadMark(C1, ADA, at(4))
    assert again(merge, reads=[mark]) == [read(4)]
    assert merge.finish() == []
    merge.begin()
    assert again(merge, reads=[mark]) == []


def test_too_many_frames_during_a_catch_up_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "BUFFER", 3)
    merge = merged(changes(5))
    merge.begin()
    for number in range(6, 12):
        merge.frame(message(number))
    again(merge, changes(7, message(6), message(7)))
    assert merge.finish() == []
    assert merge.request is not None
    assert not merge.is_live
    again(merge, changes(11, *(message(number) for number in range(8, 12))))
    assert merge.finish() == []
    assert merge.is_live


def test_typing_is_told_live_only_and_answers_to_frames_are_not_changes() -> None:
    merge = merged(changes(5))
    typing = wire.TypingEventFrame(C1, ADA)
    assert merge.frame(typing) == [typing]
    assert merge.frame(wire.PongFrame()) == []
    merge.begin()
    assert merge.frame(typing) == []
    assert merge.frame(wire.PresenceFrame(ADA, online=True)) == []
    merge.answered(answer())
    assert merge.finish() == [wire.PresenceFrame(ADA, online=True)]


# --- any history, any gaps --------------------------------------------------------------------


class Server:
    """A model of the server: a log of changes, a stream that lags, catch-up in pages."""

    def __init__(self, page_size: int) -> None:
        self.page_size = page_size
        self.log: list[Change] = []
        self.streamed = 0
        self.is_connected = True
        self.merge = merged(changes(0))
        self.told: list[Change] = []

    def send(self) -> None:
        self.log.append(message(len(self.log) + 1))

    def delete(self) -> None:
        self.log.append(deleted(len(self.log) + 1, of=len(self.log)))

    def deliver(self) -> None:
        if self.streamed < len(self.log):
            frame = self.log[self.streamed]
            self.streamed += 1
            if self.is_connected:
                self.told += self.merge.frame(frame)  # type: ignore[arg-type]

    def cut(self) -> None:
        self.is_connected = False

    def reconnect(self) -> None:
        if not self.is_connected:
            self.is_connected = True
            self.merge.begin()

    def page(self) -> None:
        request = self.merge.request
        if not self.is_connected or request is None:
            return
        since = request.positions[UUID(C1)]
        rest = [frame for frame in self.log if _position(frame) > since]
        page = rest[: self.page_size]
        found = changes(0, *page)
        last = _position(page[-1]) if page else since
        found = wire.ConversationChanges(C1, found.messages, found.deleted, last, complete=True)
        cursor = C1 if len(rest) > len(page) else None
        self.told += again(self.merge, found, next_cursor=cursor)

    def finish(self) -> None:
        if self.is_connected and not self.merge.is_live and self.merge.request is None:
            self.told += self.merge.finish()

    def settle(self) -> None:
        self.reconnect()
        while not self.merge.is_live:
            self.page()
            self.finish()
        while self.streamed < len(self.log):
            self.deliver()


def _position(frame: Change) -> str:
    if isinstance(frame, wire.MessageFrame):
        return frame.message.sent_at
    assert isinstance(frame, wire.MessageDeletedFrame)
    return frame.deleted_at


STEPS = ["send", "send", "delete", "deliver", "deliver", "cut", "reconnect", "page", "finish"]


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=120), page_size=st.integers(1, 4))
def test_whatever_is_cut_and_delayed_everything_is_told_once_in_order(
    steps: list[str], page_size: int
) -> None:
    server = Server(page_size)
    for step in steps:
        getattr(server, step)()
    server.settle()
    assert server.told == server.log
