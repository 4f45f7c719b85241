"""A look at a live installation: what is wrong, and what to do about it.

In charge of: which checks there are and in which order.
Knows about: the statements of the checks in `sql/admin.sql`, `migrate verify`, the logins.
Does not know: how anything is repaired; it says so to a person.
"""

from __future__ import annotations

from dataclasses import dataclass

from bookconnect_dm import migrate
from bookconnect_dm.config import Settings
from bookconnect_dm.direct import CommandError, Direct, connect

__all__ = ["Check", "examine"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question put to the installation."""

    name: str
    is_well: bool
    what_to_do: str


async def examine(settings: Settings) -> list[Check]:
    """Ask everything; changes nothing. Raises `CommandError` when the owner cannot connect."""
    async with connect(settings.admin_url, name="bookconnect-dm doctor") as db:
        if not (await db.rows("facts"))[0][2]:
            return [Check("the schema is there", is_well=False, what_to_do="Run migrate up.")]
        checks = [Check(*row) for row in await db.rows("doctor")]
        checks.append(await _clocks(db))
    checks.append(await _schema(settings))
    for name, url in (("the API", settings.database_url), ("the feed", settings.feed_url)):
        if url:
            checks.append(await _login(name, url))
    return checks


async def _clocks(db: Direct) -> Check:
    ahead = await db.value("doctor_clocks")
    return Check(
        "no conversation's clock is ahead of time",
        is_well=ahead == 0,
        what_to_do=f"{ahead} are: correct the clock of the database's machine.",
    )


async def _schema(settings: Settings) -> Check:
    findings = await migrate.verify(settings.admin_url, adapter=settings.host_adapter)
    return Check(
        "the schema is as the migrations left it",
        is_well=not findings,
        what_to_do=f"{'; '.join(map(str, findings[:5]))}: run migrate verify, then migrate up.",
    )


async def _login(name: str, url: str) -> Check:
    try:
        async with connect(url, name="bookconnect-dm doctor"):
            said = ""
    except CommandError as error:
        said = str(error)
    return Check(f"{name} can connect", is_well=not said, what_to_do=said)
