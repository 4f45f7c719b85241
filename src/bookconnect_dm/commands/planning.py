"""Commands on size: what an installation will need, and bringing its indexes back to that.

In charge of: their options and words.
Knows about: `capacity`, `compact`.
Does not know: how a size is computed, or an index rebuilt.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from bookconnect_dm.commands.common import admin_url, read_settings, say
from bookconnect_dm.config import SettingsError

if TYPE_CHECKING:
    from bookconnect_dm.capacity import Figures, Plan
    from bookconnect_dm.compact import Index

__all__ = ["capacity", "compact"]


def capacity(
    members: Annotated[int, typer.Option(min=2, help="Members of all stores.")] = 500,
    messages: Annotated[float, typer.Option(min=0, help="A member's messages a day.")] = 50,
    free: Annotated[float, typer.Option(min=0, max=100, help="Percent of members.")] = 70,
    privileged: Annotated[float, typer.Option(min=0, max=100, help="Percent of members.")] = 20,
    privileged_plus: Annotated[
        float, typer.Option(min=0, max=100, help="Percent of members.")
    ] = 10,
    characters: Annotated[
        float, typer.Option(min=1, max=1000, help="Of a message, on average.")
    ] = 100,
    bytes_per_character: Annotated[
        float, typer.Option(min=1, max=4, help="1 in English, 2 in Greek, 3 in Japanese.")
    ] = 1,
    conversations: Annotated[float, typer.Option(min=1, help="Of a member.")] = 10,
    days: Annotated[float, typer.Option(min=1, help="Since the first message.")] = 365,
    recovery: Annotated[
        float, typer.Option(min=0, help="Days between soft and final deletion.")
    ] = 7,
    busiest_hour: Annotated[
        float, typer.Option(min=4.2, max=100, help="Percent of a day's messages in that hour.")
    ] = 15,
    active: Annotated[
        float, typer.Option(min=0, max=100, help="Percent of members there at once.")
    ] = 100,
    devices: Annotated[float, typer.Option(min=1, help="Sockets of a member who is there.")] = 1.5,
    servers: Annotated[int, typer.Option(min=1, help="Server processes.")] = 2,
    pool_size: Annotated[int, typer.Option(min=7, help="BOOKCONNECT_DM_POOL_SIZE of each.")] = 10,
) -> None:
    """Say what an installation will need: rows, bytes, log, sends a second, sockets, connections.

    Needs no database. The defaults are one store of 500 members who write 50 messages a day.
    """
    from bookconnect_dm.capacity import Plan, figures

    if abs(free + privileged + privileged_plus - 100) > 0.01:
        raise SettingsError("--free, --privileged and --privileged-plus must make 100 together.")
    plan = Plan(
        members=members,
        messages_per_day=messages,
        free=free / 100,
        privileged=privileged / 100,
        privileged_plus=privileged_plus / 100,
        characters=characters,
        bytes_per_character=bytes_per_character,
        conversations_per_member=conversations,
        days=days,
        recovery_days=recovery,
        busiest_hour=busiest_hour / 100,
        active=active / 100,
        devices=devices,
        servers=servers,
        pool_size=pool_size,
    )
    for line in _lines(plan, figures(plan)):
        say(line)


def _lines(plan: Plan, found: Figures) -> list[str]:
    asked = (
        f"{plan.members:,} members, {plan.messages_per_day:g} messages a day each, for"
        f" {plan.days:g} days; texts of {plan.characters:g} characters on average."
    )
    lines = [
        asked,
        "",
        f"{found.readable:>14,.0f}  messages that are readable",
        f"{found.stored:>14,.0f}  rows of messages, those in the recovery window included",
        "",
        f"{'':42}{'rows':>12}{'as it grows':>15}{'compacted':>14}",
    ]
    lines += [
        f"{'  ' * r.is_index + r.name:<42}{r.entries:>12,.0f}"
        f"{_size(r.grown):>15}{_size(r.rebuilt):>14}"
        for r in found.relations
    ]
    if found.toast_bytes:
        toast = _size(found.toast_bytes)
        lines.append(f"{'TOAST of long texts, at most':<54}{toast:>15}{toast:>14}")
    tables = (found.table_bytes(), found.table_bytes(rebuilt=True))
    indexes = (found.index_bytes(), found.index_bytes(rebuilt=True))
    both = (tables[0] + indexes[0], tables[1] + indexes[1])
    for name, (grown, rebuilt) in (("tables", tables), ("indexes", indexes), ("together", both)):
        lines.append(f"{name:<54}{_size(grown):>15}{_size(rebuilt):>14}")
    shares = (found.index_share(), found.index_share(rebuilt=True))
    lines.append(f"{'indexes, of the tables':<54}{shares[0]:>15.0%}{shares[1]:>14.0%}")
    return [*lines, "", *_running(plan, found)]


def _running(plan: Plan, found: Figures) -> list[str]:
    average, busiest = found.sends_per_second
    least, most = found.log_per_day
    server, backends = _size(found.server_bytes), _size(found.backend_bytes)
    rows = (
        ("write-ahead log a day", f"{_size(least)} to {_size(most)}"),
        ("sends a second, busiest hour", f"{average:.1f}, in its busiest second {busiest}"),
        ("sockets", f"{found.sockets:,} on {plan.servers} server processes"),
        ("memory of a server process", server),
        ("connections to PostgreSQL", f"{found.connections}, {backends} beside shared_buffers"),
        ("replication slots, WAL senders", f"{plan.servers}, one a server process"),
    )
    return [f"{name:<34}{value}" for name, value in rows]


def compact(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what has grown.")] = False,
) -> None:
    """Build the message indexes that have grown anew, while members write. Once a month will do."""
    from bookconnect_dm import compact as the_compact

    def report(index: Index, size: int | None) -> None:
        if size is not None:
            say(f"{index.name}: {_size(index.size)}, now {_size(size)}")
        elif index.is_grown:
            say(f"{index.name}: {_size(index.size)}, would be {_size(index.when_new)}")
        else:
            say(f"{index.name}: {_size(index.size)}, as it should be")

    url = admin_url(read_settings())
    asyncio.run(the_compact.compact(url, dry_run=dry_run, report=report))


def _size(size: float) -> str:
    """Bytes as people say them (decimal, as disks are sold)."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1e3:,.0f} kB"
