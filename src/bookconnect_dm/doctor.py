"""A look at a live installation: what is wrong, and what to do about it.

In charge of: which checks there are and in which order.
Knows about: the statements of the checks in `sql/admin.sql`, `migrate verify`, the logins, the
access rules, the age of backups, what it all stands on (`footing`).
Does not know: how anything is repaired; it says so to a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from bookconnect_dm import access, footing, migrate
from bookconnect_dm.config import PREFIX, Settings
from bookconnect_dm.direct import DENIED, CommandError, Direct, connect
from bookconnect_dm.footing import NAME, Check
from bookconnect_dm.repository import Repository, RepositoryError

__all__ = ["Check", "Slow", "examine", "slow", "unasked"]

MOST_APART_S: Final = 2.0
PROVED_DAYS: Final = 8


@dataclass(frozen=True, slots=True)
class Slow:
    """A statement of ours and what it costs."""

    calls: int
    mean_ms: float
    total_ms: float
    rows: float
    text: str


async def examine(settings: Settings) -> list[Check]:
    """Ask everything; changes nothing. Raises `CommandError` when the owner cannot connect."""
    checks: list[Check] = []
    async with connect(settings.admin_url, name=NAME) as db:
        if not (await db.rows("facts"))[0][2]:
            return [Check("the schema is there", is_well=False, what_to_do="Run migrate up.")]
        for query in ("doctor", "doctor_slots", "doctor_watch"):
            checks += [Check(*row) for row in await db.rows(query)]
        checks += [await _clocks(db), await _time(db), await _grants(db)]
        for role in ("authenticated", "anon"):
            checks += await _nobody_sees(db, role)
        checks += await footing.plans(db)
        checks.append(await footing.indexes(db))
        checks += await footing.server_disk(db)
        if settings.backup_folder:
            folder = Path(settings.backup_folder)
            checks += [_backups(Repository(folder)), await footing.backup_disk(db, folder)]
    checks.append(await _schema(settings))
    for name, url, query, login in (
        ("the API", settings.database_url, "doctor_api_login", "bookconnect_dm_server"),
        ("the feed", settings.feed_url, "doctor_feed_login", "bookconnect_dm_feed"),
        ("the retention worker", settings.retention_url, "", "bookconnect_dm_retention"),
    ):
        if url:
            checks += await _login(name, url, query, login)
    if settings.feed_url:
        checks += await _standby(settings.feed_url)
    checks += await _poolers(settings)
    checks += await footing.ways(
        {
            f"{PREFIX}{name.upper()}": url
            for name in ("admin_url", "database_url", "feed_url", "retention_url")
            if (url := getattr(settings, name))
        }
    )
    if settings.jwks_url:
        checks += await footing.certificates(settings.jwks_url)
    return checks


def unasked(settings: Settings) -> list[str]:
    """What `examine` does not look at, since it was not given what it needs; in words."""
    needs = {
        "how the API connects, and what its login may do": ("database_url",),
        "how the feed connects, and what its login may do": ("feed_url",),
        "how the retention worker connects": ("retention_url",),
        "how tokens are checked": ("jwks_url", "jwt_secret"),
        "backups, and the room for them": ("backup_folder",),
    }
    if settings.backup_stanza:
        del needs["backups, and the room for them"]
    found = [
        f"{what} (not set: {', '.join(f'{PREFIX}{name.upper()}' for name in names)})"
        for what, names in needs.items()
        if not any(getattr(settings, name) for name in names)
    ]
    if settings.backup_stanza:
        found.append("backups (pgBackRest has them: run bookconnect-dm backup list --max-age 8d)")
    return found


async def _standby(feed_url: str) -> list[Check]:
    """Where the feed reads the log on a standby, its slots are over there."""
    try:
        async with connect(feed_url, name=NAME) as db:
            if not await db.value("is_standby_here"):
                return []
            return [
                Check(f"on the standby: {name}", is_well=is_well, what_to_do=what_to_do)
                for name, is_well, what_to_do in await db.rows("doctor_slots")
            ]
    except CommandError:
        return []  # that the feed cannot connect is said already


def _backups(repository: Repository) -> Check:
    """How old the last proof is; of pgBackRest `backup list --max-age` says it, on its machine."""
    now = datetime.now(UTC)
    name = f"a backup younger than {PROVED_DAYS} days was proved"
    try:
        proved = repository.state().verified_at if repository.exists else None
    except RepositoryError as error:
        return Check(name, is_well=False, what_to_do=str(error))
    return Check(
        name,
        is_well=proved is not None and now - proved < timedelta(days=PROVED_DAYS),
        what_to_do="Run bookconnect-dm backup, then bookconnect-dm backup verify, every week.",
    )


async def slow(admin_url: str) -> list[Slow]:
    """Our own statements by the time that they take. Raises `CommandError`."""
    async with connect(admin_url, name=NAME) as db:
        if not await db.value("have_statistics"):
            raise CommandError(
                "There are no statistics: put pg_stat_statements into shared_preload_libraries,"
                " restart PostgreSQL, then: create extension pg_stat_statements."
            )
        return [Slow(*row) for row in await db.rows("slow_statements")]


async def _time(db: Direct) -> Check:
    before = datetime.now(UTC)
    there = await db.value("database_time")
    after = datetime.now(UTC)
    apart = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    return Check(
        "this machine's clock agrees with the database's",
        is_well=apart < MOST_APART_S,
        what_to_do=f"They are {apart:.1f} s apart: keep both by NTP. Tokens end by this one.",
    )


async def _grants(db: Direct) -> Check:
    rules = access.load()
    names = rules.public_names
    grants = [access.Grant(*row) for row in await db.rows("access_grants", names=names)]
    items = [access.Item(*row) for row in await db.rows("access_items", names=names)]
    # What is missing altogether is for `migrate verify` to say.
    found = rules.findings(grants, items)
    granted = [one for one in found if not one.startswith("does not exist")]
    return Check(
        "everybody may do what the access rules say, and no more",
        is_well=not granted,
        what_to_do=f"{'; '.join(granted[:5])}: run migrate up, or revoke by hand.",
    )


async def _nobody_sees(db: Direct, role: str) -> list[Check]:
    """The reads of the access rules, as somebody without claims: in a read-only transaction."""
    try:
        async with db.transaction():
            await db.rows("be_nobody", role=role)
            seen = await _seen_by_nobody(db)
    except CommandError as error:
        if error.sqlstate == DENIED:
            return []  # an owner who is no superuser and no member of that role
        raise
    return [
        Check(
            f"who does not say who he is sees nothing, as {role}",
            is_well=not seen,
            what_to_do=f"He could {', '.join(seen[:3])}: run migrate up, then migrate verify.",
        )
    ]


async def _seen_by_nobody(db: Direct) -> list[str]:
    seen = []
    for read in access.load().reads:
        values: dict[str, object] = {
            name: [] if name == "mine" else uuid4() for name in read.parameters
        }
        if await db.attempt(read.sql, values):
            seen.append(read.title)
    return seen


async def _poolers(settings: Settings) -> list[Check]:
    """Whether a pooler stands between us and the database, where that does harm."""
    checks = []
    for name, url in (("feed", settings.feed_url), ("retention worker", settings.retention_url)):
        if url and (pooled := await _is_pooled(url)) is not None:
            checks.append(
                Check(
                    f"the {name} connects directly",
                    is_well=not pooled,
                    what_to_do="A pooler is in between: put PostgreSQL's own address there.",
                )
            )
    if settings.database_url and (pooled := await _is_pooled(settings.database_url)) is not None:
        checks.append(
            Check(
                "prepared statements suit the way to the database",
                is_well=not pooled or settings.prepared_statements == "off",
                what_to_do="A pooler is in between: set BOOKCONNECT_DM_PREPARED_STATEMENTS=off.",
            )
        )
    return checks


async def _is_pooled(url: str) -> bool | None:
    """A pooler gives a process number of its own; None when nobody answers."""
    try:
        async with connect(url, name=NAME) as db:
            return bool(await db.value("backend_pid") != db.backend_pid)
    except CommandError:
        return None


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
        what_to_do=f"{'; '.join(map(str, findings[:5]))}: run migrate up, then migrate verify.",
    )


async def _login(name: str, url: str, query: str, login: str) -> list[Check]:
    """Whether the address in use works, and whether its login may do too much (or too little)."""
    try:
        async with connect(url, name=NAME) as db:
            is_right = not query or bool(await db.value(query))
    except CommandError as error:
        # Not by an owner's rights, which a command would ask for.
        cure = f"Put {login} into its address." if error.sqlstate == DENIED else str(error)
        return [Check(f"{name} can connect", is_well=False, what_to_do=cure)]
    can = Check(f"{name} can connect", is_well=True, what_to_do="")
    if not query:  # what it may do is for whoever made it
        return [can]
    return [
        can,
        Check(
            f"the login that {name} uses has the rights it needs and no more",
            is_well=is_right,
            what_to_do=f"Put {login} into its address.",
        ),
    ]
