"""Commands for those who run an installation.

In charge of: their options and words.
Knows about: `doctor`, and where the benchmarks are (a checkout has them, the package has not).
Does not know: what makes an installation well.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bookconnect_dm.commands.common import admin_url, read_settings, say
from bookconnect_dm.config import SettingsError

__all__ = ["bench", "doctor"]


def doctor(
    slow: Annotated[
        bool,
        typer.Option("--slow", help="Only list our statements by the time that they take."),
    ] = False,
) -> None:
    """Look at a live installation; the exit status is 1 if anything is wrong."""
    from bookconnect_dm import doctor as the_doctor

    settings = read_settings()
    url = admin_url(settings)
    if slow:
        statements = asyncio.run(the_doctor.slow(url))
        say("   calls   mean ms  total ms  rows/call  statement")
        for one in statements:
            text = " ".join(one.text.split())[:90]
            say(f"{one.calls:8} {one.mean_ms:9.2f} {one.total_ms:9.0f} {one.rows:10.1f}  {text}")
        return
    checks = asyncio.run(the_doctor.examine(settings))
    for check in checks:
        say(f"{'ok' if check.is_well else 'WRONG':6}{check.name}")
        if not check.is_well:
            say(f"      {check.what_to_do}")
    for what in the_doctor.unasked(settings):
        say(f"{'-':6}not checked: {what}")
    if not all(check.is_well for check in checks):
        raise typer.Exit(1)


def bench(
    full: Annotated[bool, typer.Option("--full", help="The mission's whole year.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="A scenario, by name; may be repeated.")
    ] = None,
) -> None:
    """Measure how fast everything is, on a PostgreSQL of its own: from a checkout of the source."""
    checkout = Path(__file__).parents[3]
    if not (checkout / "bench" / "__main__.py").exists():
        raise SettingsError(
            "The benchmarks come with the source, not with the package: in a checkout of it, run "
            "`make bench`."
        )
    chosen = ["--only", *only] if only else []
    os.chdir(checkout)
    program = [sys.executable, "-m", "bench", *(["--full"] if full else []), *chosen]
    os.execv(sys.executable, program)  # noqa: S606 - this interpreter, and names of our own
