"""Whatever happens, in any order: a client that catches up holds what a new one would load."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from uuid import UUID

import psycopg
import pytest

from tests.helpers.catchup import SqlClient
from tests.helpers.world import World

STEPS = 50


class History:
    """Random acts of members, the worker, the host and time."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.members = [world.ada, world.ben, world.cleo, world.dora]
        self.clients = [SqlClient(world, member) for member in self.members[:3]]
        self.acts: list[tuple[int, Callable[[], None]]] = [
            (4, self.start),
            (30, self.send),
            (12, self.delete),
            (8, self.read),
            (5, self.expire),
            (4, self.sweep),
            (3, self.purge),
            (3, self.change_tier),
            (3, self.recalculate),
            (1, self.leave),
            (25, self.catch_up),
        ]

    def run(self) -> None:
        weights, acts = zip(*self.acts, strict=True)
        for act in self.random.choices(acts, weights, k=STEPS):
            act()
        for client in self.clients:
            client.catch_up()
            client.assert_knows_everything()

    def as_member(self, member: UUID, statement: str, *arguments: object) -> None:
        with self.world.db.as_user(member) as connection:
            try:
                connection.execute(statement, arguments)
            except psycopg.Error as error:
                # What a member may not do is refused; that is another test's business.
                if not str(error.sqlstate).startswith("PT4"):
                    raise

    def one_of(self, query: str) -> dict[str, UUID] | None:
        rows = self.world.db.run(f"{query} order by 1")
        return self.random.choice(rows) if rows else None

    def start(self) -> None:
        one, other = self.random.sample(self.members, 2)
        self.as_member(one, "select public.start_conversation(%s)", other)

    def send(self) -> None:
        if place := self.one_of("select conversation_id, user_id from conversation_participants"):
            for n in range(self.random.randint(1, 3)):
                self.as_member(
                    place["user_id"],
                    "select public.send_message(%s, %s)",
                    place["conversation_id"],
                    f"text {n}",
                )

    def delete(self) -> None:
        if message := self.one_of("select id, sender_id from direct_messages"):
            self.as_member(message["sender_id"], "select public.delete_message(%s)", message["id"])

    def read(self) -> None:
        if place := self.one_of("select conversation_id, user_id from conversation_participants"):
            self.as_member(
                place["user_id"],
                "select public.mark_conversation_as_read(%s)",
                place["conversation_id"],
            )

    def expire(self) -> None:
        """Let a conversation's older half expire: all clocks a year back, then nothing to tell.

        Clients' copies go with their own expires_at, so those are moved in them too.
        """
        message = self.one_of("select id from direct_messages where not is_deleted")
        if message is None:
            return
        rows = self.world.db.run(
            "update public.direct_messages set retention_expires_at = now() - interval '1 second'"
            " where id = %s returning id::text as id, conversation_id::text as talk,"
            " messaging.wire_time(retention_expires_at) as expires_at",
            message["id"],
        )
        for client in self.clients:
            for row in rows:
                held = client.messages.get(row["talk"], {})
                if row["id"] in held:
                    held[row["id"]] = (held[row["id"]][0], row["expires_at"])

    def sweep(self) -> None:
        self.worker("select public.soft_delete_expired_messages()")

    def purge(self) -> None:
        self.worker("select public.cleanup_expired_messages()")

    def recalculate(self) -> None:
        for _ in range(10):
            self.worker("select messaging.recalculate_batch()")

    def worker(self, statement: str) -> None:
        with self.world.db.as_service() as connection:
            connection.execute(statement)

    def change_tier(self) -> None:
        member = self.random.choice(self.members)
        tier = self.random.choice(["free", "privileged", "privileged_plus"])
        self.world.set_tier(member, tier)

    def leave(self) -> None:
        """Erasure of the fourth member, who has no client here; he comes back as somebody new."""
        self.world.db.run("delete from auth.users where id = %s", self.world.dora)
        self.world.db.run("insert into auth.users (id) values (%s)", self.world.dora)
        self.world.db.run(
            "insert into public.users (id, username) values (%s, 'dora')", self.world.dora
        )
        self.world.db.run(
            "insert into public.store_members (store_id, user_id, role) values (%s, %s, 'manager')",
            self.world.page_anchor,
            self.world.dora,
        )

    def catch_up(self) -> None:
        client = self.random.choice(self.clients)
        client.catch_up()
        client.assert_knows_everything()


@pytest.mark.parametrize("seed", range(30 if os.environ.get("PROOF") else 3))
def test_any_history(world: World, seed: int) -> None:
    History(world, seed).run()
