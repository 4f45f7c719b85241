"""Migrating as an operator does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bookconnect_dm import migrate
from bookconnect_dm.migrations import Migration, newest_of, plan
from tests.helpers.postgres import Database, run_async

__all__ = ["HOSTS", "NEXT", "down", "findings", "next_name", "plan_with", "states", "up"]

HOSTS = ("standalone", "bookconnect", "supabase")
NEXT = 1 + newest_of(m.name for m in plan("standalone"))
"""The number of the next release's table change."""


def next_name(what: str) -> str:
    """The name of such a change."""
    return f"20270301_{NEXT:03}_{what}"


def up(db: Database, *, role: str = "postgres", adapter: str | None = None) -> list[str]:
    """Migrate and return what was applied."""
    return run_async(
        lambda: migrate.up(db.url(role), adapter=adapter or db.adapter, warn=lambda _: None)
    )


def down(db: Database, *, to: int = 0, force: bool = False) -> list[str]:
    """Roll back and return what went."""
    return run_async(lambda: migrate.down(db.admin_url, to=to, force=force))


def states(db: Database) -> dict[str, str]:
    """Return what `status` says."""
    found = run_async(lambda: migrate.status(db.admin_url, adapter=db.adapter))
    return {one.name: one.state for one in found}


def findings(db: Database) -> list[str]:
    """Return the lines of `verify`."""
    return [str(f) for f in run_async(lambda: migrate.verify(db.admin_url, adapter=db.adapter))]


def plan_with(number: int, change: Callable[[str], str]) -> Callable[[str], list[Migration]]:
    """Return a plan in which one file reads differently, as the next release's does."""
    real = migrate.plan

    def changed(adapter: str) -> list[Migration]:
        return [replace(m, text=change(m.text)) if m.number == number else m for m in real(adapter)]

    return changed
