"""Everything that one member can get to see, by every way there is, in one statement."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.helpers.postgres import Connection, act_as

# One statement, so one statement_timestamp(): what is visible is exactly decided by `now`.
_EVERYTHING = """
with mine as (
    select c.id, to_char(c.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as since
    from public.conversations as c
)

select statement_timestamp() as now, jsonb_build_object(
    'rows', (select coalesce(jsonb_agg(to_jsonb(m)), '[]') from public.direct_messages as m),
    'inbox', (
        select coalesce(jsonb_agg(to_jsonb(c)), '[]') from public.get_user_conversations(100) as c
    ),
    'pages', (
        select coalesce(jsonb_object_agg(c.id, (
            select coalesce(jsonb_agg(to_jsonb(m)), '[]')
            from public.get_conversation_messages(c.id, 100) as m
        )), '{}')
        from mine as c
    ),
    'pages_after', (
        select coalesce(jsonb_object_agg(c.id, (
            select coalesce(jsonb_agg(to_jsonb(m)), '[]')
            from public.get_conversation_messages(c.id, 100, after => '-infinity') as m
        )), '{}')
        from mine as c
    ),
    'conversations', (select jsonb_agg(public.get_conversation(c.id)) from mine as c),
    'changes', (
        select jsonb_agg(public.get_conversation_changes(c.id, c.since::timestamptz)) from mine as c
    ),
    'unread', (
        select coalesce(jsonb_object_agg(c.id, public.get_unread_message_count(c.id)), '{}')
        from mine as c
    ),
    'unread_conversations', public.get_unread_conversation_count(),
    'sync', public.sync_conversations('{"epoch": null, "positions": {}}'),
    'catch_up', public.sync_conversations(jsonb_build_object(
        'epoch', public.sync_conversations('{"epoch": null, "positions": {}}') -> 'epoch',
        'positions', (select jsonb_object_agg(c.id, c.since) from mine as c)
    ))
) as seen
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a member got, and when that was."""

    now: datetime
    data: dict[str, Any]

    @property
    def text(self) -> str:
        """All of it, to look for words in."""
        return json.dumps(self.data)

    def page(self, conversation_id: UUID) -> list[dict[str, Any]]:
        """One conversation's history, newest first."""
        found: list[dict[str, Any]] = self.data["pages"][str(conversation_id)]
        return found

    def inbox(self, conversation_id: UUID) -> dict[str, Any]:
        """One conversation's row of the inbox."""
        return next(row for row in self.data["inbox"] if row["id"] == str(conversation_id))


def look(owner: Connection, user_id: UUID) -> Seen:
    """Look at everything as a member; leaves no transaction open."""
    with owner.transaction():
        act_as(owner, user_id)
        row = owner.execute(_EVERYTHING).fetchone()
        assert row is not None
    return Seen(row["now"], row["seen"])
