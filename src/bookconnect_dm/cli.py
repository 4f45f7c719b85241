"""The command line: which commands there are, and one sentence when one fails.

In charge of: names of commands, the exit status.
Knows about: `commands`.
Does not know: what any of them does.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final, NoReturn

import typer

from bookconnect_dm import __version__
from bookconnect_dm.commands import operating, planning, serving
from bookconnect_dm.commands.backing_up import backup_cli, restore_cli
from bookconnect_dm.commands.common import say
from bookconnect_dm.commands.loading import load_cli
from bookconnect_dm.commands.migrating import migrate_cli
from bookconnect_dm.commands.retaining import retention_cli
from bookconnect_dm.config import PREFIX

__all__ = ["cli", "main"]

cli: Final = typer.Typer(
    name="bookconnect-dm",
    help="Direct messages for a bookstore's community, inside your own PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    serving.demo,
    serving.serve,
    serving.token,
    operating.doctor,
    operating.bench,
    planning.capacity,
    planning.compact,
):
    cli.command()(command)
cli.add_typer(load_cli, name="load")
cli.add_typer(migrate_cli, name="migrate")
cli.add_typer(retention_cli, name="retention")
cli.add_typer(backup_cli, name="backup")
cli.add_typer(restore_cli, name="restore")


def _print_version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@cli.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Direct messages for a bookstore's community, inside your own PostgreSQL."""


def main() -> None:
    """Run the command line; whatever goes wrong becomes one sentence and a status of 1."""
    try:
        cli()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get(f"{PREFIX}LOG_LEVEL") == "debug":
            raise
        _fail(_sentence(error))


def _fail(sentence: str) -> NoReturn:
    print(f"bookconnect-dm: {sentence}", file=sys.stderr)
    raise SystemExit(1)


def _sentence(error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    if type(error).__module__.startswith("bookconnect_dm."):
        return str(error).strip()
    # Not one of ours, so nobody has thought of it: say what it is, and how to see more.
    return f"{type(error).__name__}: {first} ({PREFIX}LOG_LEVEL=debug shows where)"
