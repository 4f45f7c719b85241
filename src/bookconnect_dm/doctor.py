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
    for name, url, query, login in (
        ("the API", settings.database_url, "doctor_api_login", "bookconnect_dm_server"),
        ("the feed", settings.feed_url, "doctor_feed_login", "bookconnect_dm_feed"),
    ):
        if url:
            checks += await _login(name, url, query, login)
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


async def _login(name: str, url: str, query: str, login: str) -> list[Check]:
    """Whether the address in use works, and whether its login may do too much (or too little)."""
    try:
        async with connect(url, name="bookconnect-dm doctor") as db:
            is_right = bool(await db.value(query))
    except CommandError as error:
        return [Check(f"{name} can connect", is_well=False, what_to_do=str(error))]
    return [
        Check(f"{name} can connect", is_well=True, what_to_do=""),
        Check(
            f"the login that {name} uses has the rights it needs and no more",
            is_well=is_right,
            what_to_do=f"Put {login} into its address.",
        ),
    ]
