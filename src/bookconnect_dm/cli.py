"""The command line: arguments in, one call, one sentence when it fails.

In charge of: names of commands and options, what is printed, the exit status.
Knows about: which module does what.
Does not know: how anything is done.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn
from uuid import UUID

import typer

from bookconnect_dm import __version__
from bookconnect_dm.config import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from bookconnect_dm.retention import Batch, Outcome

__all__ = ["cli", "main"]

_DEMO_FOLDER: Final = Path(".demo")

cli = typer.Typer(
    name="bookconnect-dm",
    help="Direct messages for a bookstore's community, inside your own PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
migrate_cli = typer.Typer(help="Change, check and export the schema.", no_args_is_help=True)
retention_cli = typer.Typer(help="Let messages go when their time is over.", no_args_is_help=True)
cli.add_typer(migrate_cli, name="migrate")
cli.add_typer(retention_cli, name="retention")


def _print_version(wanted: bool) -> None:
    if wanted:
        _say(__version__)
        raise typer.Exit


@cli.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Direct messages for a bookstore's community, inside your own PostgreSQL."""


def _settings() -> Settings:
    return Settings.from_env(os.environ)


def _admin_url(settings: Settings) -> str:
    if not settings.admin_url:
        raise SettingsError(f"Set {PREFIX}ADMIN_URL to the address of the database's owner.")
    return settings.admin_url


@cli.command()
def demo(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Where the page is.")] = 8080,
    reset: Annotated[bool, typer.Option("--reset", help="Start anew, without the data.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the database and the secrets are.")] = (
        _DEMO_FOLDER
    ),
) -> None:
    """Two stores, six members and a page to chat on, with a database of its own."""
    from bookconnect_dm import demo as the_demo

    the_demo.run(folder, port=port, reset=reset, env=os.environ, say=_say)


@cli.command()
def serve() -> None:
    """Serve the API. It never migrates, and refuses a schema that is not its version."""
    settings = _settings()
    settings.require_for_serve()
    from bookconnect_dm import app

    app.run(settings)


@cli.command()
def token(
    user: Annotated[str, typer.Option(help="Username or id of the member.")],
    ttl: Annotated[str, typer.Option(help="How long it is valid: 90s, 15m, 1h, 7d.")] = "1h",
) -> None:
    """Print a signed token for a member: for development and operations."""
    from bookconnect_dm import auth

    settings = _settings()
    if not (settings.jwt_secret or settings.jwks_url):
        settings = _demo_settings()
    if not settings.jwt_secret:
        raise SettingsError(
            f"With {PREFIX}JWKS_URL the host application signs the tokens: get one from it."
        )
    rules = auth.Rules(audience=settings.jwt_audience, issuer=settings.jwt_issuer)
    user_id = _user_id(user, settings)
    ttl_s = _seconds(ttl)
    print(auth.sign(user_id, settings.jwt_secret, rules=rules, ttl_s=ttl_s, now=time.time()))


@migrate_cli.command()
def up() -> None:
    """Apply what is missing or changed. Safe to run again, and many at once."""
    from bookconnect_dm import migrate

    settings = _settings()
    applied = asyncio.run(migrate.up(_admin_url(settings), adapter=settings.host_adapter))
    _say("\n".join(f"applied {name}" for name in applied) or "Nothing to do.")


@migrate_cli.command()
def down(
    to: Annotated[int, typer.Option(min=0, max=5, help="The migration to go back to.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Also when messages are lost.")] = False,
) -> None:
    """Roll migrations back, in reverse order."""
    from bookconnect_dm import migrate

    undone = asyncio.run(migrate.down(_admin_url(_settings()), to=to, force=force))
    _say("\n".join(f"rolled back {name}" for name in undone) or "Nothing to do.")


@migrate_cli.command()
def status() -> None:
    """Say what is applied, changed or pending; the exit status is 1 unless all is applied."""
    from bookconnect_dm import migrate

    settings = _settings()
    states = asyncio.run(migrate.status(_admin_url(settings), adapter=settings.host_adapter))
    for one in states:
        _say(f"{one.state:8} {one.name}" + (f"  ({one.applied_at})" if one.applied_at else ""))
    if any(one.state != "applied" for one in states):
        raise typer.Exit(1)


@migrate_cli.command()
def verify() -> None:
    """Compare the catalog with what the migrations left; the exit status is 1 if it differs."""
    from bookconnect_dm import migrate

    settings = _settings()
    findings = asyncio.run(migrate.verify(_admin_url(settings), adapter=settings.host_adapter))
    for finding in findings:
        _say(str(finding))
    if findings:
        raise typer.Exit(1)
    _say("The schema is as the migrations left it.")


@migrate_cli.command()
def export(
    supabase: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write into.")],
) -> None:
    """Write the migrations as files for another tool."""
    from bookconnect_dm import migrate

    for path in migrate.export_supabase(supabase):
        _say(str(path))


@retention_cli.command()
def run(
    once: Annotated[bool, typer.Option("--once", help="One whole pass, then end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Hide messages that have expired, then remove them: once, or for ever on the schedule."""
    from bookconnect_dm import retention
    from bookconnect_dm.terminal import Progress

    settings = _settings()
    url = settings.retention_url or settings.admin_url
    if not url:
        raise SettingsError(f"Set {PREFIX}RETENTION_URL to the address of the retention worker.")
    days = settings.recovery_window
    if not (once or dry_run):
        _say(f"Running every day at {' and '.join(settings.retention_schedule)} UTC.")
        schedule = settings.retention_schedule
        asyncio.run(retention.run_for_ever(url, schedule=schedule, recovery_days=days))
    with Progress() as progress:
        outcome = asyncio.run(
            retention.run_once(
                url,
                recovery_days=days,
                dry_run=dry_run,
                report=lambda batch: progress.add(batch.step, batch.rows),
            )
        )
    if outcome.is_busy:
        raise SettingsError("Another retention worker is at it: leave it alone, or try later.")
    for due in outcome.due:
        _say(f"{due.step:12} {due.messages:>9,} {due.tier:16} {due.store or due.store_id}")
    if dry_run:
        _say(f"{sum(due.messages for due in outcome.due):,} messages are due; nothing was done.")
        return
    for step, rows in outcome.counts.items():
        _say(f"{step:12} {rows:>9,}")
    _say(f"Done in {outcome.took_s:.1f} s." if outcome.is_complete else "Not all: run it again.")
    if not outcome.is_complete:
        raise typer.Exit(1)


@cli.command()
def doctor() -> None:
    """Look at a live installation; the exit status is 1 if anything is wrong."""
    from bookconnect_dm import doctor as the_doctor

    settings = _settings()
    _admin_url(settings)
    checks = asyncio.run(the_doctor.examine(settings))
    for check in checks:
        _say(f"{'ok' if check.is_well else 'WRONG':6}{check.name}")
        if not check.is_well:
            _say(f"      {check.what_to_do}")
    if not all(check.is_well for check in checks):
        raise typer.Exit(1)


@retention_cli.command("run")
def retention_run(
    once: Annotated[bool, typer.Option("--once", help="One whole pass, then end.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what a pass would do, per store and tier.")
    ] = False,
) -> None:
    """Hide what has expired and remove it after the recovery window; daily, or once."""
    from bookconnect_dm import retention
    from bookconnect_dm.terminal import Progress

    settings = _settings()
    url = settings.retention_url or settings.admin_url
    if not url:
        raise SettingsError(
            f"Set {PREFIX}RETENTION_URL to the worker's address, or {PREFIX}ADMIN_URL."
        )
    days = settings.recovery_window
    with Progress() as progress:

        def report(batch: Batch) -> None:
            progress.add(_STEPS[batch.step], batch.rows)

        if not (once or dry_run):
            schedule = settings.retention_schedule
            _say(f"Every day at {' and '.join(schedule)} UTC; Ctrl-C ends it.")
            asyncio.run(
                retention.run_for_ever(url, schedule=schedule, recovery_days=days, report=report)
            )
        outcome = asyncio.run(
            retention.run_once(url, recovery_days=days, dry_run=dry_run, report=report)
        )
    for line in _would_do(outcome) if dry_run else _has_done(outcome):
        _say(line)


def _demo_settings() -> Settings:
    from bookconnect_dm import demo as the_demo

    settings = the_demo.settings_of(_DEMO_FOLDER)
    if settings is None:
        raise SettingsError(f"Set {PREFIX}JWT_SECRET, or start the demo here first: make demo.")
    return settings


def _user_id(user: str, settings: Settings) -> UUID:
    try:
        return UUID(user)
    except ValueError:
        return asyncio.run(_find_user(user, settings))


async def _find_user(username: str, settings: Settings) -> UUID:
    from bookconnect_dm.db import Database
    from bookconnect_dm.metrics import Metrics
    from bookconnect_dm.store import Store

    if not settings.database_url:
        raise SettingsError(
            f"Set {PREFIX}DATABASE_URL to look {username} up, or give the member's id."
        )
    database = Database(settings.database_url, size=1, metrics=Metrics())
    try:
        found = await Store(database).find_user(username)
    finally:
        await database.close()
    if found is None:
        raise SettingsError(f"There is no member called {username}.")
    return found


def _seconds(text: str) -> float:
    parts = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if parts is None or int(parts[1]) == 0:
        raise SettingsError(f"{text} is no duration: write 90s, 15m, 1h or 7d.")
    return float(parts[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[parts[2]]


_STEPS: dict[str, str] = {
    "notice": "changes of tier noticed",
    "recalculate": "expiry times looked at",
    "soft_delete": "expired messages marked as deleted",
    "cleanup": "messages removed for good",
}


def _would_do(outcome: Outcome) -> list[str]:
    lines = [
        f"{due.messages:,} {_STEPS[due.step]}: {due.store or due.store_id}, {due.tier}"
        for due in outcome.due
    ]
    return ["A pass now would do this:", *lines] if lines else ["A pass now would do nothing."]


def _has_done(outcome: Outcome) -> list[str]:
    if outcome.is_busy:
        raise SettingsError("Another retention worker is at it: let it finish, then try again.")
    lines = [f"{rows:,} {_STEPS[step]}" for step, rows in outcome.counts.items() if rows]
    if not outcome.is_complete:
        lines.append("Something was locked for long and is left for the next pass.")
    return lines or ["Nothing was due."]


def _say(line: str) -> None:
    print(line, flush=True)


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
