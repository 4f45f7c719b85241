"""What can be asked of the database: one function per SQL function.

In charge of: naming each operation, and turning rows into the wire's structs.
Knows about: the statements of `queries.sql`. What is JSON in the database already is handed on
as it is (`Raw`): it has the wire's shape.
Does not know: who may do what (the database decides), HTTP, sockets. Sends go through `writer`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Raw

from bookconnect_dm import wire
from bookconnect_dm.db import Database, Row
from bookconnect_dm.errors import Problem

__all__ = ["Membership", "Page", "Store"]

PROFILE_S: Final = 30.0
PROFILES: Final = 10_000
SQL_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Membership:
    """The conversations that a member is in, with everybody in them, true under `snapshot`."""

    epoch: str
    snapshot: str
    conversations: dict[UUID, frozenset[UUID]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a conversation to read: before or after a position, or the newest."""

    limit: int
    before: datetime | None = None
    after: datetime | None = None


_NO_SCHEMA: Final = frozenset({"3F000", "42501", "42883"})
_me: msgspec.json.Decoder[wire.Me] = msgspec.json.Decoder(wire.Me)
_sender: msgspec.json.Decoder[wire.Sender] = msgspec.json.Decoder(wire.Sender)


class Store:
    """Every read, and every write but sends, as the member `actor`. All raise `Problem`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._profiles: OrderedDict[UUID, tuple[float, wire.Sender | None]] = OrderedDict()

    async def schema(self) -> tuple[int, bool] | None:
        """The version of the schema that is installed, and whether its policies bind our login.

        None if there is no schema, or none for us.
        """
        try:
            rows = await self._database.fetch_whatever_the_schema("schema", expected=_NO_SCHEMA)
        except Problem as problem:
            if getattr(problem.__cause__, "sqlstate", None) in _NO_SCHEMA:
                return None
            raise
        return int(rows[0][0]), bool(rows[0][1])

    async def epoch(self) -> str:
        """Which history positions belong to."""
        return str((await self._database.fetch_one("epoch"))[0])

    async def find_user(self, username: str) -> UUID | None:
        """The id behind a username, for tokens of the demo."""
        found = (await self._database.fetch_one("find_user", username=_plain(username)))[0]
        return UUID(found) if found else None

    async def demo_member(self, username: str) -> wire.DemoMember | None:
        """A member of the demo, to be offered for signing in."""
        user_id = await self.find_user(username)
        if user_id is None:
            return None
        me = _me.decode(await self.me(user_id))
        first = me.stores[0] if me.stores else None
        return wire.DemoMember(
            id=str(user_id),
            username=username,
            displayname=me.displayname,
            tier=me.tier,
            store=first.name if first else "",
            role=first.role if first else "",
        )

    async def sender(self, user_id: UUID) -> wire.Sender | None:
        """The names of a member, at most half a minute old."""
        known = self._profiles.get(user_id)
        now = time.monotonic()
        if known and known[0] > now:
            return known[1]
        rows = await self._database.fetch("profile", user_id=user_id)
        sender = _sender.decode(rows[0][0]) if rows and rows[0][0] else None
        self._profiles[user_id] = (now + PROFILE_S, sender)
        self._profiles.move_to_end(user_id)
        if len(self._profiles) > PROFILES:
            self._profiles.popitem(last=False)
        return sender

    async def membership(self, actor: UUID) -> Membership:
        """What live delivery must know about a member who connects."""
        rows = await self._database.fetch("membership", actor=actor)
        return Membership(
            epoch=rows[0][3],
            snapshot=rows[0][0],
            conversations={
                UUID(conversation_id): frozenset(map(UUID, user_ids))
                for _, conversation_id, user_ids, _ in rows
                if conversation_id
            },
        )

    async def ephemeral_key(self) -> tuple[bytes, float]:
        """What servers sign their notes with, and the database's time in seconds."""
        key, now = await self._database.fetch_one("ephemeral_key")
        return key.encode(), now

    async def emit(self, content: bytes) -> float:
        """Puts a note into the log for all servers; gives the database's time in seconds."""
        return float((await self._database.fetch_one("emit", content=content))[0])

    async def me(self, actor: UUID) -> Raw:
        """`Me`."""
        return Raw((await self._database.fetch_one("me", actor=actor))[0])

    async def conversations(
        self, actor: UUID, *, limit: int, before: tuple[datetime, UUID] | None
    ) -> wire.ConversationPage:
        """A page of the inbox, newest first."""
        rows = await self._inbox(actor, limit + 1, before)  # one more tells whether there are more
        found = [_conversation(row) for row in rows if row[1] is not None]
        page = found[:limit]
        last = page[-1] if len(found) >= min(limit + 1, SQL_PAGE) else None
        if last and len(found) == limit:
            # As many as SQL gives at once.
            after = (datetime.fromisoformat(last.updated_at), UUID(last.id))
            if all(row[1] is None for row in await self._inbox(actor, 1, after)):
                last = None
        return wire.ConversationPage(
            conversations=page,
            next_cursor=f"{last.updated_at}_{last.id}" if last else None,
            unread_conversations=rows[0][0],
        )

    async def _inbox(
        self, actor: UUID, limit: int, before: tuple[datetime, UUID] | None
    ) -> list[Row]:
        return await self._database.fetch(
            "conversations",
            actor=actor,
            page_limit=limit,
            before_updated_at=before[0] if before else None,
            before_id=before[1] if before else None,
        )

    async def conversation(self, actor: UUID, conversation_id: UUID) -> Raw:
        """`DMConversation`."""
        row = await self._database.fetch_one(
            "conversation", actor=actor, conversation_id=conversation_id
        )
        return Raw(row[0])

    async def messages(self, actor: UUID, conversation_id: UUID, *, page: Page) -> wire.MessagePage:
        """A page of a conversation, oldest first."""
        rows = await self._database.fetch(
            "messages",
            actor=actor,
            conversation_id=conversation_id,
            page_limit=page.limit,
            before=page.before,
            after=page.after,
        )
        rows.sort(key=lambda row: str(row[3]))
        has_more = bool(rows) and bool(rows[0][5])
        # The next page begins where this one ends: at its newest message with `after`, else oldest.
        end = rows[-1 if page.after else 0] if has_more else None
        profiles = {row[1]: row[6] for row in rows}  # two at most: decoded once each
        senders = {who: _sender.decode(found) if found else None for who, found in profiles.items()}
        where = str(conversation_id)
        return wire.MessagePage(
            messages=[_message(row, where, senders[row[1]]) for row in rows],
            has_more=has_more,
            next_cursor=end[3] if end else None,
        )

    async def start(self, actor: UUID, request: wire.StartRequest) -> wire.StartAnswer:
        """Makes a conversation, or finds the one there is."""
        if (request.recipient is None) == (request.recipient_id is None):
            raise Problem(
                "INVALID_REQUEST", "Name the recipient by recipient or by recipient_id.",
                field="recipient",
            )  # fmt: skip
        if request.recipient_id is not None:
            row = await self._database.fetch_one(
                "start_by_id",
                actor=actor,
                recipient_id=request.recipient_id,
                store_id=request.store_id,
            )
        else:
            try:
                row = await self._database.fetch_one(
                    "start_by_username",
                    actor=actor,
                    recipient=_plain(request.recipient or "", field="recipient"),
                    store_id=request.store_id,
                )
            except Problem as problem:
                if problem.field == "recipient_id":  # whom SQL calls by his id came by his name
                    problem.field = "recipient"
                raise
        return wire.StartAnswer(conversation_id=row[0], is_existing=row[1])

    async def read(
        self, actor: UUID, conversation_id: UUID, *, up_to: datetime | None, message_id: UUID | None
    ) -> str:
        """Moves the read mark; gives where it stands now."""
        row = await self._database.fetch_one(
            "read",
            actor=actor,
            conversation_id=conversation_id,
            up_to=up_to,
            up_to_message=message_id,
        )
        return str(row[0])

    async def delete(self, actor: UUID, message_id: UUID) -> None:
        """Deletes a message for both."""
        await self._database.fetch("delete", actor=actor, message_id=message_id)

    async def snapshot(self) -> str:
        """Which transactions are visible at this moment. Raises `Problem`."""
        return str((await self._database.fetch_one("snapshot"))[0])

    async def log_standby_snapshot(self) -> None:
        """Puts into the log what a slot on a standby waits for. Raises `Problem`."""
        await self._database.fetch_one("log_standby_snapshot")

    async def members(self, actor: UUID, *, query: str, limit: int) -> wire.MemberPage:
        """People of the member's stores whose name contains `query`."""
        rows = await self._database.fetch(
            "members", actor=actor, query=_plain(query, field="query"), page_limit=limit
        )
        return wire.MemberPage(members=[wire.Member(*row) for row in rows])

    async def sync(self, actor: UUID, request: wire.SyncRequest) -> Raw:
        """`SyncAnswer`: what happened since the client's positions."""
        for text, field in ((request.epoch, "epoch"), (request.cursor, "cursor")):
            _plain(text or "", field=field)
        for position in request.positions.values():
            _plain(position, field="positions")
        state = wire.encode(request).decode()
        return Raw((await self._database.fetch_one("sync", actor=actor, state=state))[0])


def _plain(text: str, *, field: str = "username") -> str:
    """`text`, which PostgreSQL can hold. Raises `Problem` INVALID_REQUEST."""
    if "\0" in text or not _encodes(text):
        detail = "A text holds a NUL character or half a character."
        raise Problem("INVALID_REQUEST", detail, field=field)
    return text


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _conversation(row: Row) -> wire.DMConversation:
    return wire.DMConversation(
        id=row[1],
        store_id=row[2],
        created_at=row[3],
        updated_at=row[4],
        last_read_at=row[5],
        other_participant=wire.Participant(*row[6:11]) if row[6] else None,
        last_message=wire.LastMessage(*row[11:16]) if row[11] else None,
        unread_count=row[16],
    )


def _message(row: Row, conversation_id: str, sender: wire.Sender | None) -> wire.DMMessage:
    return wire.DMMessage(
        id=row[0],
        conversation_id=conversation_id,
        sender_id=row[1],
        content=row[2],
        sent_at=row[3],
        expires_at=row[4],
        sender=sender,
    )
