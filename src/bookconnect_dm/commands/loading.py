"""Commands that simulate members on a staging system.

In charge of: their options and words.
Knows about: `load`.
Does not know: what simulated members do.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bookconnect_dm.commands.common import admin_url, read_settings, say
from bookconnect_dm.config import PREFIX, SettingsError

if TYPE_CHECKING:
    from bookconnect_dm.load import Result

__all__ = ["load_cli"]

load_cli: Final = typer.Typer(
    help="Simulate members on a staging system, never on one that real members use.",
    no_args_is_help=True,
)


@load_cli.command()
def allow(
    hours: Annotated[int, typer.Option(min=1, max=168, help="For how long.")] = 24,
    members: Annotated[
        int, typer.Option(min=0, max=5_000, help="Make these too (standalone host).")
    ] = 0,
) -> None:
    """Mark the database of ADMIN_URL: load may be run here. The mark ends by itself."""
    from bookconnect_dm import load

    asyncio.run(load.allow(admin_url(read_settings()), hours=hours, members=members))
    say(f"Load is allowed here for {hours} hours; bookconnect-dm load end takes it back.")


@load_cli.command()
def end() -> None:
    """Take the mark back, and remove the members that were made with all that they said."""
    from bookconnect_dm import load

    gone = asyncio.run(load.end(admin_url(read_settings())))
    say(f"Load is no longer allowed here; {gone:,} members made for it are gone.")


@load_cli.command()
def run(
    server: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8080",
    members: Annotated[int, typer.Option(min=2, max=2_000, help="Simulated at once.")] = 50,
    seconds: Annotated[float, typer.Option(min=1, max=3_600, help="For how long.")] = 60,
    messages: Annotated[
        float, typer.Option(min=0.1, max=36_000, help="A member's messages an hour.")
    ] = 60,
    rate: Annotated[
        float, typer.Option(min=0.1, max=1_000, help="Sends a second of all together, at most.")
    ] = 20,
    remote: Annotated[
        bool, typer.Option("--remote", help="The server may be another machine.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed, the same members' ways.")] = 1,
) -> None:
    """Let members read, type and write for a while; say how long everything took.

    Needs ADMIN_URL (the mark and the members are read there) and JWT_SECRET. The exit status is 1
    if anything failed, or if a message did not reach its reader.
    """
    from bookconnect_dm import load
    from bookconnect_dm.auth import Rules
    from bookconnect_dm.terminal import Progress

    settings = read_settings()
    url = admin_url(settings)
    if not settings.jwt_secret:
        raise SettingsError(f"Set {PREFIX}JWT_SECRET: simulated members sign their own tokens.")
    order = load.Order(
        server=server,
        members=members,
        seconds=seconds,
        messages_per_hour=messages,
        sends_per_second=rate,
        is_remote_meant=remote,
        seed=seed,
    )
    rules = Rules(audience=settings.jwt_audience, issuer=settings.jwt_issuer)
    with Progress() as progress:
        result = asyncio.run(
            load.run(
                order, admin_url=url, secret=settings.jwt_secret, rules=rules, report=progress.add
            )
        )
    for line in _lines(result):
        say(line)
    if not result.is_well:
        raise typer.Exit(1)


def _lines(result: Result) -> list[str]:
    lines = [f"{'':12}{'count':>10}{'p50':>12}{'p99':>12}{'longest':>12}"]
    for kind, took in sorted(result.took_s.items()):
        if took:
            figures = (statistics.median(took), _percentile(took, 0.99), max(took))
            lines.append(
                f"{kind:12}{len(took):>10,}" + "".join(f"{s * 1e3:>9,.1f} ms" for s in figures)
            )
    lines += [f"failed: {count:,} {what}" for what, count in sorted(result.problems.items())]
    if result.unheard:
        lines.append(f"failed: {result.unheard:,} messages did not reach their readers")
    if result.reconnects:
        lines.append(f"{result.reconnects:,} connections were lost and taken up again")
    if not result.took_s["send"]:
        lines.append("failed: nothing was sent in that time: give it more seconds or messages")
    if result.is_well:
        lines.append("Nothing failed; every message reached its reader.")
    return lines


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
