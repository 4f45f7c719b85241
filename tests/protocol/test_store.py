"""What rows become, where that is more than a change of shape."""

from __future__ import annotations

import msgspec
import pytest

from bookconnect_dm import store as store_module
from bookconnect_dm.db import Database
from bookconnect_dm.metrics import Metrics
from bookconnect_dm.store import Store
from tests.helpers.world import World


async def test_a_last_page_as_large_as_sql_gives_is_the_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more row than the page tells that there are more; the largest page has no room for it."""
    monkeypatch.setattr(store_module, "SQL_PAGE", 2)
    for other in (world.ada, world.ben):
        world.send(world.dora, world.converse(world.dora, other), "Hello")
    database = Database(
        world.db.server_url,
        size=2,
        metrics=Metrics(),
        prepared_statements=not world.db.is_pooled,
    )
    try:
        store = Store(database)
        last = await store.conversations(world.dora, limit=2, before=None)
        assert (len(last.conversations), last.next_cursor) == (2, None)
        world.send(world.dora, world.converse(world.dora, world.cleo), "Hello")
        first = await store.conversations(world.dora, limit=2, before=None)
        assert len(first.conversations) == 2
        assert first.next_cursor
    finally:
        await database.close()


async def test_the_servers_inbox_is_what_the_functions_of_the_contract_give(world: World) -> None:
    """The server has a statement of its own, which is cheaper; it may not say anything else."""
    for other in (world.ben, world.cleo):
        world.send(world.ada, world.converse(world.ada, other), f'To "{other}"')
    world.send(world.ben, world.converse(world.ada, world.ben), "Yes?")
    world.converse(world.ada, world.dora)  # nothing was said there yet
    database = Database(world.db.server_url, size=2, metrics=Metrics())
    try:
        for reader, talks, unread in ((world.ada, 3, 1), (world.cleo, 1, 1), (world.fern, 0, 0)):
            page = await Store(database).conversations(reader, limit=20, before=None)
            with world.db.as_user(reader) as db:
                found = db.execute(
                    "select public.get_conversation(c.id) as answer, "
                    "public.get_unread_conversation_count() as unread "
                    "from public.get_user_conversations() with ordinality as c "
                    "order by c.ordinality"
                ).fetchall()
            assert msgspec.to_builtins(page.conversations) == [row["answer"] for row in found]
            assert len(found) == talks
            assert page.unread_conversations == unread
            assert all(row["unread"] == unread for row in found)
    finally:
        await database.close()
