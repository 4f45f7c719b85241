"""Commands on the schema: apply, roll back, compare, export.

In charge of: their options and words.
Knows about: `migrate`.
Does not know: how a migration is applied.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer

from bookconnect_dm.commands.common import admin_url, read_settings, say

__all__ = ["migrate_cli"]

migrate_cli: Final = typer.Typer(help="Change, check and export the schema.", no_args_is_help=True)


@migrate_cli.command()
def up() -> None:
    """Apply what is missing or changed. Safe to run again, and many at once."""
    from bookconnect_dm import migrate

    settings = read_settings()
    applied = asyncio.run(migrate.up(admin_url(settings), adapter=settings.host_adapter))
    say("\n".join(f"applied {name}" for name in applied) or "Nothing to do.")


@migrate_cli.command()
def down(
    to: Annotated[int, typer.Option(min=0, help="The number of the migration to go back to.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Also when messages are lost.")] = False,
) -> None:
    """Roll migrations back, in reverse order."""
    from bookconnect_dm import migrate

    undone = asyncio.run(migrate.down(admin_url(read_settings()), to=to, force=force))
    say("\n".join(f"rolled back {name}" for name in undone) or "Nothing to do.")


@migrate_cli.command()
def status() -> None:
    """Say what is applied, changed or pending; the exit status is 1 unless all is applied."""
    from bookconnect_dm import migrate

    settings = read_settings()
    states = asyncio.run(migrate.status(admin_url(settings), adapter=settings.host_adapter))
    for one in states:
        say(f"{one.state:8} {one.name}" + (f"  ({one.applied_at})" if one.applied_at else ""))
    if any(one.state != "applied" for one in states):
        raise typer.Exit(1)


@migrate_cli.command()
def verify() -> None:
    """Compare the catalog with what the migrations left; the exit status is 1 if it differs.

    Below each difference stands what puts it right.
    """
    from bookconnect_dm import migrate

    settings = read_settings()
    findings = asyncio.run(migrate.verify(admin_url(settings), adapter=settings.host_adapter))
    for finding in findings:
        say(f"{finding}\n    {finding.cure}" if finding.cure else str(finding))
    if findings:
        raise typer.Exit(1)
    say("The schema is as the migrations left it.")


@migrate_cli.command()
def export(
    supabase: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write into.")],
) -> None:
    """Write the migrations as files for another tool."""
    from bookconnect_dm import migrate

    for path in migrate.export_supabase(supabase):
        say(str(path))
