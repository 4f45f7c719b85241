"""The command that lets messages go when their time is over.

In charge of: its options and words.
Knows about: `retention`.
Does not know: when a message's time is over.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bookconnect_dm.commands.common import read_settings, say
from bookconnect_dm.config import PREFIX, SettingsError

if TYPE_CHECKING:
    from bookconnect_dm.retention import Batch, Outcome

__all__ = ["retention_cli"]

retention_cli: Final = typer.Typer(
    help="Let messages go when their time is over.", no_args_is_help=True
)

_STEPS: dict[str, str] = {
    "notice": "changes of tier noticed",
    "recalculate": "expiry times looked at",
    "soft_delete": "expired messages marked as deleted",
    "cleanup": "messages removed for good",
}


@retention_cli.command("run")
def retention_run(
    once: Annotated[bool, typer.Option("--once", help="One whole pass, then end.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what a pass would do, per store and tier.")
    ] = False,
) -> None:
    """Hide what has expired and remove it after the recovery window; daily, or once.

    The exit status of one pass is 1 when something was locked for long and is left.
    """
    from bookconnect_dm import retention, schedule
    from bookconnect_dm.terminal import Progress

    settings = read_settings()
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
            plan = schedule.Plan(
                times=settings.retention_schedule,
                recovery_days=days,
                look_s=settings.retention_look_seconds,
            )
            say(f"Every day at {' and '.join(plan.times)} UTC; Ctrl-C ends it.")
            asyncio.run(schedule.run_for_ever(url, plan, report=report))
        outcome = asyncio.run(
            retention.run_once(url, recovery_days=days, dry_run=dry_run, report=report)
        )
    for line in _would_do(outcome) if dry_run else _has_done(outcome):
        say(line)
    if not outcome.is_complete:
        raise typer.Exit(1)


@retention_cli.command("pg-cron")
def retention_pg_cron() -> None:
    """Print SQL that lets pg_cron make the passes, inside PostgreSQL and without a worker.

    Apply it as the owner. It uses RETENTION_SCHEDULE and RECOVERY_WINDOW as they are set now.
    """
    from bookconnect_dm import schedule

    settings = read_settings()
    say(schedule.pg_cron_jobs(settings.retention_schedule, settings.recovery_window).strip())


def _would_do(outcome: Outcome) -> list[str]:
    lines = [
        f"{due.messages:,} {_STEPS[due.step]}: {due.store or due.store_id}, {due.tier}"
        for due in outcome.due
    ]
    return ["A pass now would do this:", *lines] if lines else ["A pass now would do nothing."]


def _has_done(outcome: Outcome) -> list[str]:
    if outcome.is_busy:
        raise SettingsError(
            "Another retention worker is at it: let it finish, then try again." + outcome.holder
        )
    lines = [f"{rows:,} {_STEPS[step]}" for step, rows in outcome.counts.items() if rows]
    if not outcome.is_complete:
        lines.append("Not all: something was locked for long. Run it again.")
    return lines or ["Nothing was due."]
