"""Commands for those who run an installation.

In charge of: their options and words.
Knows about: `doctor`.
Does not know: what makes an installation well.
"""

from __future__ import annotations

import asyncio

import typer

from bookconnect_dm.commands.common import admin_url, read_settings, say

__all__ = ["doctor"]


def doctor() -> None:
    """Look at a live installation; the exit status is 1 if anything is wrong."""
    from bookconnect_dm import doctor as the_doctor

    settings = read_settings()
    admin_url(settings)
    checks = asyncio.run(the_doctor.examine(settings))
    for check in checks:
        say(f"{'ok' if check.is_well else 'WRONG':6}{check.name}")
        if not check.is_well:
            say(f"      {check.what_to_do}")
    if not all(check.is_well for check in checks):
        raise typer.Exit(1)
