"""What rows become, where that is more than a change of shape."""

from __future__ import annotations

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
