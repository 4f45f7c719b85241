"""What an installation stands on: disks, certificates, the way to the database, plans, indexes.

In charge of: looking at them for `doctor`, and what to do about each.
Knows about: the statements of such checks in `sql/admin.sql`, sizes of disks, TLS, `compact`.
Does not know: which of it is asked when.
"""

from __future__ import annotations

import contextlib
import shutil
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from bookconnect_dm.compact import look
from bookconnect_dm.direct import DENIED, CommandError, Direct, connect
from bookconnect_dm.tls import certificate_end

__all__ = [
    "NAME",
    "Check",
    "backup_disk",
    "certificates",
    "indexes",
    "plans",
    "server_disk",
    "ways",
]

NAME: Final = "bookconnect-dm doctor"
SOON: Final = timedelta(days=14)
GROWN: Final = 2.0
"""Worth a finding; `compact` itself begins earlier."""
BIG: Final = 10_000
"""Rows from which on reading all of a table is no plan."""
PLANS: Final = {
    "plan_page": "a page of a conversation",
    "plan_message": "one message",
    "plan_inbox": "a member's conversations",
    "plan_participants": "who is in a conversation",
    "plan_sweep": "what has expired",
    "plan_recalculation": "a member's messages",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One question put to the installation."""

    name: str
    is_well: bool
    what_to_do: str


# -- disks ---------------------------------------------------------------------------------------


async def server_disk(db: Direct) -> list[Check]:
    """The disk of the data folder, where that is on this machine and we may look."""
    folder, kept, size = (await db.rows("doctor_disk"))[0]
    if not folder or not db.way.is_local:
        return []
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return []  # closed to us, or on another machine behind this one's port
    least = max(kept or 0, size // 10)
    return [
        Check(
            "the database's disk has room for the log that slots may keep",
            is_well=free > least,
            what_to_do=f"{_size(free)} are free and {_size(least)} may be needed: make room, or"
            " lower max_slot_wal_keep_size.",
        )
    ]


async def backup_disk(db: Direct, folder: Path) -> Check:
    """Room for one more full backup of everything in the cluster that we may see."""
    _, _, size = (await db.rows("doctor_disk"))[0]
    free = _free(folder)
    return Check(
        "the backups' disk has room for another",
        is_well=free is None or free > size,
        what_to_do=f"{_size(free or 0)} are free in {folder}, and the database takes"
        f" {_size(size)}: make room, or keep backups for fewer days (BACKUP_KEEP_DAYS).",
    )


def _free(folder: Path) -> int | None:
    """Bytes that are free on a folder's disk, or on that of the nearest one above it."""
    for one in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(one).free
    return None


# -- the way to the database, and certificates ---------------------------------------------------


async def ways(urls: Mapping[str, str]) -> list[Check]:
    """Whether what is said on the way to the database can be listened to; `urls` by setting."""
    open_ones, ends, seen = [], [], set()
    for name, url in urls.items():
        try:
            async with connect(url, name=NAME) as db:
                way = db.way
        except CommandError:
            continue  # another check says so
        if way.is_local or way.is_meant_plain:
            continue
        if not way.is_encrypted:
            open_ones.append(name)
        elif (way.host, way.port) not in seen:
            seen.add((way.host, way.port))
            ends.append(await _end(way.host, way.port, "postgresql"))
    return [
        Check(
            "the way to the database is encrypted",
            is_well=not open_ones,
            what_to_do=f"{', '.join(open_ones)}: add ?sslmode=verify-full to it (and sslrootcert,"
            " where the authority is your own). On a network of your own that nobody else hears,"
            " ?sslmode=disable says that you mean it.",
        ),
        *ends,
    ]


async def certificates(jwks_url: str) -> list[Check]:
    """How the keys of tokens come to us: who changes them on the way is every member."""
    where = urlsplit(jwks_url)
    host = where.hostname or ""
    if where.scheme == "https":
        return [await _end(host, where.port or 443, "https")]
    return [
        Check(
            "the keys of tokens come over https",
            is_well=host in {"localhost", "127.0.0.1", "::1"},
            what_to_do="Put https into BOOKCONNECT_DM_JWKS_URL.",
        )
    ]


async def _end(host: str, port: int, kind: Any) -> Check:  # noqa: ANN401 - a Literal, handed on
    name = f"the certificate of {host}:{port} is good for two weeks"
    try:
        end = await certificate_end(host, port, kind)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or "no TLS"
        return Check(name, is_well=False, what_to_do=f"It is refused ({reason}): replace it.")
    except (OSError, TimeoutError) as error:
        return Check(name, is_well=False, what_to_do=f"It could not be looked at: {error}.")
    if end is None:
        return Check(name, is_well=False, what_to_do="It could not be looked at: no TLS there.")
    is_well = end - datetime.now(UTC) > SOON
    return Check(name, is_well=is_well, what_to_do=f"It ends on {end:%Y-%m-%d}: renew it.")


# -- plans and indexes ---------------------------------------------------------------------------


async def plans(db: Direct) -> list[Check]:
    """Whether what is asked all day is planned by an index; nothing of it is run.

    As a member, whom policies bind, but for the last two, which the owner runs. An owner who may
    not become a member is told nothing.
    """
    whole = []
    for query, words in PLANS.items():
        try:
            async with db.transaction():
                if query not in {"plan_sweep", "plan_recalculation"}:
                    await db.rows("be_nobody", role="authenticated")
                plan = await db.value(query, id=uuid4())
        except CommandError as error:
            if error.sqlstate == DENIED:
                continue
            raise
        big = {str(row[0]) for row in await db.rows("doctor_big_tables", least=BIG)}
        whole += [f"{words} reads all of {table}" for table in sorted(_whole(plan[0]) & big)]
    return [
        Check(
            "hot queries are planned by their indexes",
            is_well=not whole,
            what_to_do=f"{'; '.join(whole)}: run analyze, then look whether an enable_ setting is"
            " off or random_page_cost far above seq_page_cost, and run migrate verify.",
        )
    ]


def _whole(plan: Mapping[str, Any]) -> set[str]:
    return {
        node["Relation Name"] for node in _nodes(plan["Plan"]) if node["Node Type"] == "Seq Scan"
    }


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


async def indexes(db: Direct) -> Check:
    """Whether indexes have grown; one whose entries were never counted is not judged."""
    grown = [one for one in await look(db) if one.entries and one.size > one.grown_to(GROWN)]
    said = [f"{one.name} takes {_size(one.size)}, not {_size(one.when_new)}" for one in grown]
    return Check(
        "no message index has grown far beyond its entries",
        is_well=not grown,
        what_to_do=f"{'; '.join(said)}: run bookconnect-dm compact, while members write.",
    )


def _size(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
