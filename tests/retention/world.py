"""Members, conversations and messages for these tests, and short words for what they do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from tests.helpers.postgres import Connection, Database, act_as

STORE = UUID("d0000000-0000-4000-8000-000000000001")

Row = dict[str, Any]


class Stage:
    """One store's members on one connection of the owner, in autocommit."""

    def __init__(self, owner: Connection, db: Database) -> None:
        self.owner = owner
        self.db = db
        self.run(
            "insert into public.stores (id, name) values (%s, 'The Stage') on conflict do nothing",
            STORE,
        )

    def run(self, statement: str, *arguments: object) -> list[Row]:
        """Run one statement as the owner."""
        cursor = self.owner.execute(statement, arguments or None)
        return [] if cursor.description is None else list(cursor.fetchall())

    def value(self, statement: str, *arguments: object) -> Any:
        """The first column of the first row."""
        return next(iter(self.run(statement, *arguments)[0].values()))

    def run_as(self, user_id: UUID, statement: str, *arguments: object) -> list[Row]:
        """Run one statement as a member."""
        with self.acting_as(user_id):
            cursor = self.owner.execute(statement, arguments or None)
            return [] if cursor.description is None else list(cursor.fetchall())

    @contextlib.contextmanager
    def acting_as(self, user_id: UUID) -> Iterator[None]:
        """Be a member for one transaction."""
        with self.owner.transaction():
            act_as(self.owner, user_id)
            yield

    @contextlib.contextmanager
    def another(self) -> Iterator[Stage]:
        """The same over a connection of its own, for what happens at the same time."""
        with self.db.connect(autocommit=True) as owner:
            yield Stage(owner, self.db)

    def waits(self, other: Stage) -> None:
        """Wait until the other's statement waits for a lock."""
        pid = other.owner.info.backend_pid
        for _ in range(1000):
            if (
                self.value("select wait_event_type from pg_stat_activity where pid = %s", pid)
                == "Lock"
            ):
                return
            time.sleep(0.005)
        raise AssertionError("it waits for no lock")

    def pair(self, sender: str, recipient: str = "free") -> tuple[UUID, UUID, UUID]:
        """A sender of a tier, a recipient, and their conversation."""
        one, other = self.member(sender), self.member(recipient)
        return one, other, self.converse(one, other)

    def pending(self) -> int:
        """How many members wait for new expiry times."""
        return int(self.value("select messaging.pending_recalculations()"))

    def member(self, tier: str, *, role: str = "manager") -> UUID:
        """A new member of the store; as staff he may start conversations in any tier."""
        user_id = uuid4()
        self.run("insert into auth.users (id) values (%s)", user_id)
        self.run(
            "insert into public.users (id, username, user_tier) values (%s, %s, %s)",
            user_id, f"member {user_id}", tier,
        )  # fmt: skip
        self.run(
            "insert into public.store_members (store_id, user_id, role) values (%s, %s, %s)",
            STORE, user_id, role,
        )  # fmt: skip
        return user_id

    def converse(self, one: UUID, other: UUID) -> UUID:
        """The conversation of two members."""
        rows = self.run_as(
            one, "select conversation_id from public.start_conversation(%s, %s)", other, STORE
        )
        return UUID(str(rows[0]["conversation_id"]))

    def send(self, sender: UUID, conversation_id: UUID, content: str = "Hello") -> Row:
        """Send a message and return its row."""
        return self.run_as(
            sender, "select * from public.send_message(%s, %s)", conversation_id, content
        )[0]

    def set_tier(self, user_id: UUID, tier: str) -> None:
        """The host changes a member's tier, and we hear of it."""
        self.run("update public.users set user_tier = %s where id = %s", tier, user_id)

    def set_tier_silently(self, user_id: UUID, tier: str) -> None:
        """The host changes a member's tier where no trigger of ours may be."""
        with self.owner.transaction():
            self.owner.execute("set local session_replication_role = replica")
            self.set_tier(user_id, tier)

    def expires(self, message_id: UUID) -> Any:
        """The stored expiry of a message; None when the row is gone."""
        rows = self.run(
            "select retention_expires_at from public.direct_messages where id = %s", message_id
        )
        return rows[0]["retention_expires_at"] if rows else None

    def recalculate(self, batch_size: int = 2000) -> int:
        """Recalculate until 0 and return how many batches it took."""
        batches = 0
        while self.value("select messaging.recalculate_batch(%s)", batch_size):
            batches += 1
        return batches

    def soft_delete(self) -> int:
        """One batch of the first step."""
        return int(self.value("select messages from messaging.soft_delete_batch()"))

    def clean_up(self, recovery_days: int = 0) -> int:
        """One batch of the second step."""
        return int(
            self.value(
                "select messages from messaging.cleanup_batch(make_interval(hours => %s))",
                24 * recovery_days,
            )
        )
