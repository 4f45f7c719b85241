"""The scene of every attempt: one conversation, and everybody who may or may not be in it.

The members are the world's, and four more. What they wrote is there in every state that a message
can be in: readable, deleted by its sender, expired and not yet swept, swept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.helpers.postgres import Connection, Database
from tests.helpers.world import World, make_world

__all__ = ["Scene", "make_scene"]

MEMBERS = {
    "own": UUID("b0000000-0000-4000-8000-00000000000a"),
    "peer": UUID("b0000000-0000-4000-8000-00000000000b"),
    "free": UUID("b0000000-0000-4000-8000-00000000000c"),
    "staff": UUID("b0000000-0000-4000-8000-00000000000d"),
    "outsider": UUID("b0000000-0000-4000-8000-00000000000e"),
    "stranger": UUID("b0000000-0000-4000-8000-000000000011"),
    "left": UUID("b0000000-0000-4000-8000-000000000012"),
    "erased": UUID("b0000000-0000-4000-8000-000000000013"),
    "shy": UUID("b0000000-0000-4000-8000-000000000014"),
}
NEWCOMERS = ("stranger", "left", "erased", "shy")
RETENTION_DAYS = {"own": 365, "outsider": 365, "peer": 180, "stranger": 180, "left": 180}

ADD = {
    "standalone": """
        insert into auth.users (id) values (%(id)s);
        insert into public.users (id, username, user_tier, allow_direct_messages)
        values (%(id)s, %(name)s, 'privileged', %(is_open)s);
        insert into public.store_members (store_id, user_id) values (%(store)s, %(id)s);
    """,
    "bookconnect": """
        insert into auth.users (id) values (%(id)s);
        insert into public.users (id, username, account_tier, allow_direct_messages)
        values (%(id)s, %(name)s, 'PRIVILEGED', %(is_open)s);
        insert into public.club_members (user_id, club_id)
        select %(id)s, c.id from public.book_clubs as c where c.store_id = %(store)s limit 1;
    """,
}
LEAVE = {
    "standalone": "delete from public.store_members where user_id = %(id)s",
    "bookconnect": "delete from public.club_members where user_id = %(id)s",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A database with the scene in it, and the ids that the rules' statements name."""

    db: Database = field(repr=False)
    ids: Mapping[str, Any]
    mine: Mapping[str, list[UUID]]

    def values(self, person: str) -> dict[str, Any]:
        """What the statements' parameters are when `person` asks.

        Whoever is no member takes the part of `own`, as far as knowing ids goes.
        """
        me = person if person in MEMBERS else "own"
        return {
            **self.ids,
            "me": MEMBERS[me],
            "other": MEMBERS["peer" if me == "own" else "own"],
            "mine": self.mine.get(person, []),
            "retention_days": RETENTION_DAYS.get(me, 30),
        }


def make_scene(db: Database) -> Scene:
    """Set the scene in a migrated database without members."""
    world = make_world(db)
    shape = "standalone" if db.adapter == "standalone" else "bookconnect"
    with db.as_superuser() as connection:
        for name in NEWCOMERS:
            values = {
                "id": MEMBERS[name],
                "name": name,
                "is_open": name != "shy",
                "store": world.page_anchor,
            }
            _run(connection, ADD[shape], values)
    scene = _tell(world)
    with db.as_superuser() as connection:
        _run(connection, LEAVE[shape], {"id": MEMBERS["left"]})
        _run(connection, "delete from auth.users where id = %(id)s", {"id": MEMBERS["erased"]})
        _age(connection, scene)
    return scene


def _tell(world: World) -> Scene:
    """Let the members talk."""
    talk = world.converse(MEMBERS["own"], MEMBERS["peer"])
    strangers = world.converse(MEMBERS["stranger"], MEMBERS["free"])
    foreign = world.converse(MEMBERS["outsider"], world.fern)
    left = world.converse(MEMBERS["left"], MEMBERS["own"])
    lone = world.converse(MEMBERS["own"], MEMBERS["erased"])
    ids = {
        **MEMBERS,
        "store": world.page_anchor,
        "foreign_store": world.night_owl,
        "conversation": talk,
        "strangers_conversation": strangers,
        "foreign_conversation": foreign,
        "left_conversation": left,
        "lone_conversation": lone,
        "message": world.send(MEMBERS["own"], talk, "Hello from own"),
        "peer_message": world.send(MEMBERS["peer"], talk, "Hello from peer"),
        "deleted": world.send(MEMBERS["own"], talk, "hidden: deleted"),
        "expired": world.send(MEMBERS["own"], talk, "hidden: expired"),
        "swept": world.send(MEMBERS["peer"], talk, "hidden: swept"),
        "strangers_message": world.send(MEMBERS["stranger"], strangers, "Among strangers"),
        "foreign_message": world.send(MEMBERS["outsider"], foreign, "In another store"),
        "unknown": UUID("f0000000-0000-4000-8000-000000000001"),
        "new_id": UUID("f0000000-0000-4000-8000-000000000002"),
    }
    world.send(MEMBERS["left"], left, "On leaving")
    world.send(MEMBERS["own"], left, "On staying")
    world.send(MEMBERS["own"], lone, "To nobody")
    mine = {
        "own": [talk, left, lone],
        "peer": [talk],
        "stranger": [strangers],
        "free": [strangers],
        "outsider": [foreign],
        "left": [left],
    }
    with world.db.as_user(MEMBERS["own"]) as connection:
        connection.execute("select public.delete_message(%s)", (ids["deleted"],))
    return Scene(world.db, ids, mine)


def _age(connection: Connection, scene: Scene) -> None:
    """Let time pass for two messages, as no client can: past the triggers."""
    connection.execute("set local session_replication_role = replica")
    connection.execute(
        "update public.direct_messages set retention_expires_at = now() - interval '1 minute'"
        " where id in (%(expired)s, %(swept)s)",
        scene.ids,
    )
    connection.execute(
        "update public.direct_messages set is_deleted = true, deleted_at = now()"
        " where id = %(swept)s",
        scene.ids,
    )


def _run(connection: Connection, statements: str, values: Mapping[str, Any]) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            connection.execute(statement, values)
