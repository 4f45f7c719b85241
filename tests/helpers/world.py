"""The two stores and six members that most tests are about (the demo's own)."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from uuid import UUID

from tests.helpers.postgres import Database, host_sql

__all__ = ["World", "make_world"]

_MEMBERS_SQL = files("bookconnect_dm") / "sql" / "demo" / "members.sql"


@dataclass(frozen=True, slots=True)
class World:
    """Ids of the stores and members; `db` is where they live."""

    db: Database = field(repr=False)

    page_anchor: UUID = UUID("a0000000-0000-4000-8000-000000000001")
    night_owl: UUID = UUID("a0000000-0000-4000-8000-000000000002")

    ada: UUID = UUID("b0000000-0000-4000-8000-00000000000a")  # privileged_plus, Page & Anchor
    ben: UUID = UUID("b0000000-0000-4000-8000-00000000000b")  # privileged, Page & Anchor
    cleo: UUID = UUID("b0000000-0000-4000-8000-00000000000c")  # free, Page & Anchor
    dora: UUID = UUID("b0000000-0000-4000-8000-00000000000d")  # free, manager of Page & Anchor
    edgar: UUID = UUID("b0000000-0000-4000-8000-00000000000e")  # privileged_plus, The Night Owl
    fern: UUID = UUID("b0000000-0000-4000-8000-00000000000f")  # free, The Night Owl

    @property
    def members(self) -> dict[str, UUID]:
        """Every member by username."""
        return {
            name: getattr(self, name) for name in ("ada", "ben", "cleo", "dora", "edgar", "fern")
        }

    def set_tier(self, member: UUID, tier: str) -> None:
        """Change a member's tier as the host's application does."""
        if self.db.adapter == "standalone":
            self.db.run("update public.users set user_tier = %s where id = %s", tier, member)
        else:
            self.db.run(
                "update public.users set account_tier = %s, membership_tier = 'FREE' where id = %s",
                tier.upper(),
                member,
            )

    def converse(self, starter: UUID, recipient: UUID) -> UUID:
        """Start a conversation as `starter` would and return its id."""
        with self.db.as_user(starter) as connection:
            row = connection.execute(
                "select conversation_id from public.start_conversation(recipient_id => %s)",
                (recipient,),
            ).fetchone()
        assert row is not None
        return UUID(str(row["conversation_id"]))

    def send(self, sender: UUID, conversation_id: UUID, content: str) -> UUID:
        """Send a message as `sender` would and return its id."""
        with self.db.as_user(sender) as connection:
            row = connection.execute(
                "select id from public.send_message(conversation_id => %s, content => %s)",
                (conversation_id, content),
            ).fetchone()
        assert row is not None
        return UUID(str(row["id"]))


def make_world(db: Database) -> World:
    """Put the stores and members into a migrated database."""
    if db.adapter == "standalone":
        db.run_script(_MEMBERS_SQL.read_text("utf-8"))
    else:
        db.run_script(host_sql("bookconnect_members").decode())
    return World(db=db)
