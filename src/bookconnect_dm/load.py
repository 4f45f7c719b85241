"""Load for staging: whether it is allowed here, and who is simulated.

In charge of: the mark without which nothing is sent, members made for it, the bounds of a run.
Knows about: the mark in the database, how tokens are signed, the crew that does the work.
Does not know: what members do; to the server they are like any other.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit
from uuid import UUID

from bookconnect_dm import wire
from bookconnect_dm.auth import Rules, sign
from bookconnect_dm.client import Client
from bookconnect_dm.crew import GIVE_UP_S, Crew, Order, Result
from bookconnect_dm.direct import CommandError, Direct, connect

__all__ = ["Order", "Result", "allow", "end", "run"]

TOKEN_S = 7200.0


async def allow(admin_url: str, *, hours: int, members: int = 0) -> None:
    """Mark a database for load until `hours` from now, as its owner; make members where asked.

    Raises `CommandError` where members cannot be made: their table is the host's.
    """
    async with connect(admin_url, name="bookconnect-dm load") as db:
        if members and not await db.value("has_own_members"):
            raise CommandError(
                "Members are your application's own here: make test members there, or leave"
                " --members out and load simulates those whom the database has."
            )
        async with db.transaction():
            await db.rows("allow_load", hours=hours)
            if members:
                await db.rows("make_load_members", members=members)


async def end(admin_url: str) -> int:
    """Take the mark away, and the members made for it with what they said; how many they were."""
    async with connect(admin_url, name="bookconnect-dm load") as db, db.transaction():
        await db.rows("forbid_load")
        return int(await db.value("remove_load_members"))


async def run(
    order: Order, *, admin_url: str, secret: str, rules: Rules, report: Callable[[str, int], None]
) -> Result:
    """Simulate members for the time that was ordered. Raises `CommandError` where it may not.

    The database must bear the mark, read as its owner, and the server must serve that database:
    both give the same epoch.
    """
    if not order.is_remote_meant:
        refuse_elsewhere(order.server)
    async with connect(admin_url, name="bookconnect-dm load") as db:
        allowed_s, epoch = await _mark(db)
        rows = await db.rows("load_members", members=order.members)
    if len(rows) < 2 or not any(may_start for _, may_start in rows):
        raise CommandError(
            "There are not two members of one store, one of whom may start conversations: make"
            " some (on a standalone host: bookconnect-dm load allow --members 50)."
        )
    crew = Crew(order, report)
    async with AsyncExitStack() as stack:
        for user_id, may_start in rows:
            client = Client(order.server, _signer(user_id, secret, rules), give_up_s=GIVE_UP_S)
            crew.add(user_id, await stack.enter_async_context(client), may_start=may_start)
        await _require_same_database(order.server, crew, epoch)
        return await crew.work(min(order.seconds, allowed_s))


def refuse_elsewhere(server: str) -> None:
    """Raise `CommandError` unless the server is on this machine."""
    host = urlsplit(server).hostname or ""
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    if not is_here:
        raise CommandError(
            f"{host or server} is not this machine: give --remote if you mean it, and never a"
            " server that real members use."
        )


async def _mark(db: Direct) -> tuple[float, str]:
    allowed_s, epoch = (await db.rows("load_allowed"))[0]
    if allowed_s is None or allowed_s <= 0:
        raise CommandError(
            "This database is not marked for load: if no real member uses it, mark it for a day"
            " with bookconnect-dm load allow."
        )
    return float(allowed_s), str(epoch)


async def _require_same_database(server: str, crew: Crew, epoch: str) -> None:
    """Ask the server whom it serves, before anything is written."""
    answer = await next(iter(crew.members.values())).client.sync(wire.SyncRequest())
    if answer.epoch != epoch:
        raise CommandError(
            f"{server} serves another database than BOOKCONNECT_DM_ADMIN_URL: the mark says"
            " nothing about it, so nothing was sent."
        )


def _signer(user_id: UUID, secret: str, rules: Rules) -> Callable[[], Awaitable[str]]:
    async def get_token() -> str:
        return sign(user_id, secret, rules=rules, ttl_s=TOKEN_S, now=time.time())

    return get_token
