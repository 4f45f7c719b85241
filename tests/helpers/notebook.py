"""What one member knows, written down from what his client tells him, and held against the rows.

It does what the client's documentation asks of a program that keeps messages, and no more: load by
pages what is said to be new or to be loaded anew, and note events in the order in which they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from bookconnect_dm import wire
from bookconnect_dm.client import Client
from bookconnect_dm.sync import Change, Forget, Found
from tests.helpers.postgres import Database

__all__ = ["Notebook", "Room", "Rows", "read_rows"]

Line = tuple[str, str, str, str, str]
"""A message: its place in the order, id, sender, content, end."""

_TIME = '\'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\''
_WIRE = f"to_char(%s at time zone 'UTC', {_TIME})"


@dataclass(slots=True)
class Room:
    """One conversation in a member's memory, or in the database."""

    lines: dict[str, Line] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)

    @property
    def in_order(self) -> list[Line]:
        return sorted(self.lines.values())

    def unread(self, member: str) -> int:
        mark = self.reads.get(member, "")
        return sum(1 for line in self.lines.values() if line[0] > mark and line[2] != member)


class Notebook:
    """A member's memory. `faults` are things that his client must never tell."""

    def __init__(self, client: Client, member: UUID) -> None:
        self.client = client
        self.member = str(member)
        self.rooms: dict[str, Room] = {}
        self.faults: list[str] = []
        self.kinds: dict[str, int] = {}
        self._told: dict[str, list[str]] = {}
        self._ids: set[str] = set()
        self._marks: dict[tuple[str, str], str] = {}

    async def keep(self) -> None:
        """Write down what happens, for ever."""
        async for event in self.client.events():
            kind = type(event).__name__
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            await self._note(event)

    async def _note(self, event: Change) -> None:
        if isinstance(event, Forget):
            self.rooms, self._told, self._ids, self._marks = {}, {}, set(), {}
        elif isinstance(event, Found):
            self._note_marks(event.conversation)
            if event.is_new:
                await self._load(event.conversation.id)
        elif isinstance(event, wire.ReloadFrame):
            self._room(event.conversation_id).lines.clear()
            self._ids -= set(self._told.pop(event.conversation_id, ()))
            await self._load(event.conversation_id)
        elif isinstance(event, wire.ConversationFrame):
            self._note_marks(await self.client.conversation(event.conversation_id))
        elif isinstance(event, wire.ConversationRemovedFrame):
            self.rooms.pop(event.conversation_id, None)
        elif isinstance(event, wire.MessageFrame):
            self._note_message(event.message)
        elif isinstance(event, wire.MessageDeletedFrame):
            self._room(event.conversation_id).lines.pop(event.id, None)
        elif isinstance(event, wire.ReadEventFrame):
            self._note_read(event)

    def _note_message(self, message: wire.DMMessage) -> None:
        order = self._told.setdefault(message.conversation_id, [])
        if message.id in self._ids:
            self.faults.append(f"told twice: {message}")
        if order and self._place(order[-1]) >= message.sent_at:
            self.faults.append(f"told after a later one: {message}")
        order.append(f"{message.sent_at} {message.id}")
        self._ids.add(message.id)
        self._room(message.conversation_id).lines[message.id] = _line(message)

    @staticmethod
    def _place(told: str) -> str:
        return told.split(" ", 1)[0]

    def _note_read(self, event: wire.ReadEventFrame) -> None:
        key = event.conversation_id, event.user_id
        if event.last_read_at <= self._marks.get(key, ""):
            self.faults.append(f"a read mark was told twice, or went back: {event}")
        self._marks[key] = event.last_read_at
        # What was asked for meanwhile may be ahead of what is told.
        reads = self._room(event.conversation_id).reads
        reads[event.user_id] = max(reads.get(event.user_id, ""), event.last_read_at)

    def _note_marks(self, conversation: wire.DMConversation) -> None:
        reads = self._room(conversation.id).reads
        marks = {self.member: conversation.last_read_at}
        if conversation.other_participant is not None:
            marks[conversation.other_participant.id] = conversation.other_participant.last_read_at
        for user, at in marks.items():
            reads[user] = max(reads.get(user, ""), at)

    async def _load(self, conversation_id: str) -> None:
        before: str | None = None
        lines = self._room(conversation_id).lines
        while True:
            page = await self.client.messages(conversation_id, limit=100, before=before)
            lines.update((message.id, _line(message)) for message in page.messages)
            before = page.next_cursor
            if before is None:
                return

    def _room(self, conversation_id: str) -> Room:
        return self.rooms.setdefault(conversation_id, Room())

    # -- against the rows

    def differences(self, rows: Rows) -> list[str]:
        """What he has wrong."""
        found: list[str] = []
        theirs = {key: room for key, room in rows.rooms.items() if self.member in room.reads}
        if self.rooms.keys() != theirs.keys():
            found.append(f"other conversations: {self.rooms.keys() ^ theirs.keys()}")
        for key in self.rooms.keys() & theirs.keys():
            mine, stored = self.rooms[key], theirs[key]
            if mine.in_order != stored.in_order:
                odd = set(mine.in_order) ^ set(stored.in_order)
                found.append(f"{key}: other messages: {sorted(odd)[:4]} ({len(odd)})")
            if mine.reads != stored.reads:
                found.append(f"{key}: reads {mine.reads}, stored {stored.reads}")
            if mine.unread(self.member) != rows.unread[key, self.member]:
                count = mine.unread(self.member), rows.unread[key, self.member]
                found.append(f"{key}: unread {count[0]}, counted by SQL {count[1]}")
        return found


def _line(message: wire.DMMessage) -> Line:
    return (
        message.sent_at,
        message.id,
        message.sender_id,
        message.content,
        message.expires_at,
    )


@dataclass(slots=True)
class Rows:
    """The truth: what is stored in one store's conversations."""

    rooms: dict[str, Room] = field(default_factory=dict)
    unread: dict[tuple[str, str], int] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    contents: list[str] = field(default_factory=list)


def read_rows(db: Database, store: UUID) -> Rows:
    """Read what is stored, as the owner; unread is what the API's own function says."""
    rows = Rows()
    marks = db.run(
        f"select p.conversation_id::text, p.user_id::text, {_WIRE % 'p.last_read_at'} as at"
        " from public.conversation_participants as p join public.conversations as c"
        " on c.id = p.conversation_id where c.store_id = %s",
        store,
    )
    for row in marks:
        room = rows.rooms.setdefault(row["conversation_id"], Room())
        room.reads[row["user_id"]] = row["at"]
    messages = db.run(
        f"select m.id::text, m.conversation_id::text, m.sender_id::text, m.content, m.is_deleted,"
        f" {_WIRE % 'm.sent_at'} as sent_at, {_WIRE % 'm.retention_expires_at'} as expires_at"
        " from public.direct_messages as m join public.conversations as c"
        " on c.id = m.conversation_id where c.store_id = %s",
        store,
    )
    for m in messages:
        rows.ids.add(m["id"])
        rows.contents.append(m["content"])
        if m["is_deleted"]:
            rows.deleted.add(m["id"])
        else:
            line = m["sent_at"], m["id"], m["sender_id"], m["content"], m["expires_at"]
            rows.rooms[m["conversation_id"]].lines[m["id"]] = line
    _count_unread(db, rows)
    return rows


def _count_unread(db: Database, rows: Rows) -> None:
    members: dict[str, list[str]] = {}
    for key, room in rows.rooms.items():
        for user in room.reads:
            members.setdefault(user, []).append(key)
    for member, keys in members.items():
        with db.as_user(member) as connection:
            for row in connection.execute(
                "select c.id::text, public.get_unread_message_count(c.id) as unread"
                " from unnest(%s::uuid[]) as c (id)",
                (keys,),
            ).fetchall():
                rows.unread[row["id"], member] = row["unread"]


async def agree(
    notebooks: Iterable[Notebook], db: Database, store: UUID, *, tick: Callable[[], None]
) -> Rows:
    """Wait until everybody knows exactly what is stored; say who does not, and what."""
    end = asyncio.get_running_loop().time() + 60
    while True:
        rows = await asyncio.to_thread(read_rows, db, store)
        wrong = {book.member: found for book in notebooks if (found := book.differences(rows))}
        if not wrong:
            return rows
        assert asyncio.get_running_loop().time() < end, wrong
        tick()
        await asyncio.sleep(0.2)
