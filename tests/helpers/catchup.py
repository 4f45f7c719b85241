"""A client that keeps what it was told and catches up by SQL: the rules of the contract, no more.

It holds messages, read positions and one position a conversation; it forgets and loads anew when
told to. After any catch-up it must hold exactly what a new client would load.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.helpers.postgres import Connection, act_as
from tests.helpers.world import World

__all__ = ["SqlClient", "changes", "sync"]

Message = tuple[str, str]
"""Content and expires_at."""


def sync(world: World, member: UUID, state: object) -> dict[str, Any]:
    """Ask once, as a client would; any JSON."""
    with world.db.as_user(member) as connection:
        return _sync(connection, state)


def changes(world: World, member: UUID, *arguments: object) -> dict[str, Any]:
    """Ask for the changes of one conversation."""
    marks = ", ".join(["%s"] * len(arguments))
    with world.db.as_user(member) as connection:
        row = connection.execute(
            f"select public.get_conversation_changes({marks}) as answer", arguments
        ).fetchone()
    assert row is not None
    return dict(row["answer"])


def _sync(connection: Connection, state: object) -> dict[str, Any]:
    row = connection.execute(
        "select public.sync_conversations(%s::jsonb) as answer", (json.dumps(state),)
    ).fetchone()
    assert row is not None
    return dict(row["answer"])


@dataclass(slots=True)
class SqlClient:
    """One member's memory."""

    world: World
    member: UUID
    epoch: str | None = None
    positions: dict[str, str] = field(default_factory=dict)
    messages: dict[str, dict[str, Message]] = field(default_factory=dict)
    reads: dict[tuple[str, str], str] = field(default_factory=dict)
    reloads: int = 0
    pages: int = 0

    def catch_up(self) -> None:
        """Sync to the end, in one connection; load anew what cannot be told."""
        with self.world.db.connect(self.world.db.cluster.gate, autocommit=True) as connection:
            self._catch_up(connection)

    def _catch_up(self, connection: Connection) -> None:
        cursor: str | None = None
        while True:
            state = {"epoch": self.epoch, "positions": self.positions, "cursor": cursor}
            with connection.transaction():
                act_as(connection, self.member)
                answer = _sync(connection, state)
            self.pages += 1
            if answer["reload"]:
                self.positions, self.messages, self.reads = {}, {}, {}
            self.epoch = answer["epoch"]
            self._apply(connection, answer)
            cursor = answer["next_cursor"]
            if cursor is None:
                return
            assert self.pages < 1_000, "catching up does not end"

    def _apply(self, connection: Connection, answer: dict[str, Any]) -> None:
        for gone in answer["gone"]:
            self._forget(gone)
        for conversation in answer["conversations"]:
            self._note_reads(conversation)
        for read in answer["reads"]:
            self.reads[read["conversation_id"], read["user_id"]] = read["last_read_at"]
        for change in answer["changes"]:
            key = change["conversation_id"]
            if key not in self.positions:
                self._load(connection, key)
            elif not change["complete"]:
                self.reloads += 1
                self._load(connection, key)
            for message in change["messages"]:
                self.messages[key][message["id"]] = (message["content"], message["expires_at"])
            for deleted in change["deleted"]:
                self.messages[key].pop(deleted["id"], None)
            self.positions[key] = change["position"]

    def _note_reads(self, conversation: dict[str, Any]) -> None:
        key, other = conversation["id"], conversation["other_participant"]
        self.reads = {pair: at for pair, at in self.reads.items() if pair[0] != key}
        self.reads[key, str(self.member)] = conversation["last_read_at"]
        if other is not None:
            self.reads[key, other["id"]] = other["last_read_at"]

    def _forget(self, key: str) -> None:
        self.positions.pop(key, None)
        self.messages.pop(key, None)
        self.reads = {pair: at for pair, at in self.reads.items() if pair[0] != key}

    def _load(self, connection: Connection, key: str) -> None:
        """Every page of a conversation, newest first."""
        self.messages[key] = {}
        before: object = None
        while True:
            with connection.transaction():
                act_as(connection, self.member)
                rows = connection.execute(
                    "select id::text, content, sent_at, has_more,"
                    " to_char(retention_expires_at at time zone 'UTC',"
                    '   \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\') as expires_at'
                    " from public.get_conversation_messages(%s::uuid, 100, before => %s)",
                    (key, before),
                ).fetchall()
            for row in rows:
                self.messages[key][row["id"]] = (row["content"], row["expires_at"])
            if not rows or not rows[-1]["has_more"]:
                return
            before = rows[-1]["sent_at"]

    def shown(self) -> dict[str, dict[str, Message]]:
        """What the page shows now: expiry is no event, the client looks at expires_at itself."""
        now = self.world.db.run(
            "select to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as now"
        )[0]["now"]
        return {
            key: {id_: m for id_, m in messages.items() if m[1] > now}
            for key, messages in self.messages.items()
        }

    def fresh(self) -> SqlClient:
        """Return a new client of the same member that has loaded everything."""
        client = SqlClient(self.world, self.member)
        client.catch_up()
        return client

    def assert_knows_everything(self) -> None:
        """Hold it against a new client."""
        fresh = self.fresh()
        assert self.shown() == fresh.shown()
        assert self.positions == fresh.positions
        assert self.reads == fresh.reads
