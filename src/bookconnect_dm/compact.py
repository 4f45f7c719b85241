"""Indexes that have grown are built anew while members write.

In charge of: which indexes are much larger than their entries need, rebuilding them one by one,
clearing away what an interrupted run has left.
Knows about: the model of their sizes (`capacity`, `pages`), REINDEX CONCURRENTLY.
Does not know: when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bookconnect_dm import pages
from bookconnect_dm.capacity import ENTRIES
from bookconnect_dm.direct import CommandError, Direct, connect

__all__ = ["Index", "compact", "look"]

WORTH_IT: Final = 1.4
"""Larger than this many times its size when new."""
SMALL: Final = 1_000_000
"""Bytes below which nobody would notice."""
LOCK_WAIT: Final = "60s"
"""It waits for transactions that are older than itself, and those behind it do not wait."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index, its size, and the size that its entries need."""

    name: str
    size: int
    when_new: float
    statement: str
    entries: float
    """As they were last counted."""

    @property
    def is_grown(self) -> bool:
        """Whether building it anew is worth the work."""
        return self.size > self.grown_to(WORTH_IT)

    def grown_to(self, times: float) -> float:
        """So many times its size when new, and not so small that nobody would notice."""
        return max(SMALL, self.when_new * times)


async def compact(
    url: str, *, dry_run: bool = False, report: Callable[[Index, int | None], None]
) -> None:
    """Rebuild what has grown; `report` hears each index and its new size (None: left as it is).

    Raises `CommandError` when a migration runs, or when some transaction stays open for too long.
    """
    async with connect(url, name="bookconnect-dm compact") as db:
        # The same lock as migrations: neither is to meet the other's half-done work.
        if not await db.value("try_lock_migrations"):
            raise CommandError("A migration or another compact is running: try again afterwards.")
        await db.rows("set_up_session", lock_wait=LOCK_WAIT)
        if not dry_run:
            await _clear(db)
        for index in await look(db):
            if dry_run or not index.is_grown:
                report(index, None)
                continue
            await _rebuild(db, index)
            report(index, {i.name: i.size for i in await look(db)}[index.name])


async def look(db: Direct) -> list[Index]:
    """The message indexes as they are."""
    return [
        Index(
            name,
            size,
            pages.btree_bytes(entries, pages.shared_entry(ENTRIES[name], run), pages.IN_ORDER),
            statement,
            entries,
        )
        for name, size, entries, run, statement in await db.rows("message_indexes")
        if name in ENTRIES  # the host's own are his
    ]


async def _rebuild(db: Direct, index: Index) -> None:
    try:
        await db.script(index.statement)
    except CommandError as error:
        await _clear(db)
        if error.next_step:
            raise
        raise CommandError(
            f"{index.name} was left as it is: {error} Some transaction may have been open for a"
            " minute or more: end it (pg_stat_activity, oldest xact_start), then repeat."
        ) from error


async def _clear(db: Direct) -> None:
    for (statement,) in await db.rows("half_built_indexes"):
        await db.script(statement)
