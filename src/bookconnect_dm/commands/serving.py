"""Commands that serve: the demo, the server, and a token to talk to either.

In charge of: their options and words.
Knows about: the demo's own settings, which stand in where none are set.
Does not know: how anything is served.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer

from bookconnect_dm.commands.common import read_settings, say
from bookconnect_dm.config import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from bookconnect_dm.errors import Problem

_DEMO_FOLDER: Final = Path(".demo")
_LONGEST_DAYS: Final = 365
"""A token cannot be taken back, but by a new secret for everybody."""
_ANSWER_S: Final = 3.0
"""Nobody waits longer for a warning."""
_UNUSED: Final = ("pydantic", "rich")
"""Litestar and structlog load these wherever they are installed, and the server uses neither: a
fifth of the time that it takes to start."""


def demo(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Where the page is.")] = 8080,
    reset: Annotated[bool, typer.Option("--reset", help="Start anew, without the data.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the database and the secrets are.")] = (
        _DEMO_FOLDER
    ),
) -> None:
    """Two stores, six members and a page to chat on, with a database of its own."""
    from bookconnect_dm import demo as the_demo

    the_demo.run(folder, port=port, reset=reset, env=os.environ, say=say)


def serve() -> None:
    """Serve the API. It never migrates, and refuses a schema that is not its version."""
    settings = read_settings()
    settings.require_for_serve()
    leave_out_what_is_unused()
    from bookconnect_dm import app

    app.run(settings)


def leave_out_what_is_unused() -> None:
    """From here on these libraries are as if they were not installed."""
    for name in _UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # how Python says it


def token(
    user: Annotated[str, typer.Option(help="Username or id of the member.")],
    ttl: Annotated[
        str, typer.Option(help="How long it is valid: 90s, 15m, 1h, 7d; at most 365d.")
    ] = "1h",
) -> None:
    """Print a signed token for a member: for development and operations."""
    from bookconnect_dm import auth

    ttl_s = _seconds(ttl)
    settings = read_settings()
    is_demo = not (settings.jwt_secret or settings.jwks_url)
    if is_demo:
        settings = _demo_settings()
    if not settings.jwt_secret:
        raise SettingsError(
            f"With {PREFIX}JWKS_URL the host application signs the tokens: get one from it."
        )
    rules = auth.Rules(audience=settings.jwt_audience, issuer=settings.jwt_issuer)
    user_id = _user_id(user, settings, is_demo=is_demo)
    print(auth.sign(user_id, settings.jwt_secret, rules=rules, ttl_s=ttl_s, now=time.time()))


def _demo_settings() -> Settings:
    from bookconnect_dm import demo as the_demo

    settings = the_demo.settings_of(_DEMO_FOLDER)
    if settings is None:
        raise SettingsError(f"Set {PREFIX}JWT_SECRET, or start the demo here first: make demo.")
    return settings


def _user_id(user: str, settings: Settings, *, is_demo: bool) -> UUID:
    import structlog

    from bookconnect_dm.errors import Problem

    # What is said here says it all; standard output holds nothing but the token.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        user_id = UUID(user)
    except ValueError:
        pass
    else:
        # The host may make the member later, and signing needs no database: said, and not refused.
        if settings.database_url and asyncio.run(_is_unknown(user_id, settings)):
            typer.echo(f"bookconnect-dm: The host knows no member {user_id} so far.", err=True)
        return user_id
    try:
        return asyncio.run(_find_user(user, settings))
    except Problem as problem:
        raise SettingsError(_why_not_found(problem, is_demo=is_demo)) from problem


def _why_not_found(problem: Problem, *, is_demo: bool) -> str:
    whose = "The demo's database" if is_demo else f"The database of {PREFIX}DATABASE_URL"
    if problem.code != "UNAVAILABLE":
        return (
            f"{whose} could not be asked for the member: bookconnect-dm migrate status says whether"
            " its schema is ours."
        )
    todo = "start it (make demo)" if is_demo else "start it, or correct the address"
    return f"{whose} does not answer: {todo}, or give the member's id instead of the name."


async def _is_unknown(user_id: UUID, settings: Settings) -> bool:
    """Whether the database says so; one that does not answer says nothing."""
    from bookconnect_dm.db import Database
    from bookconnect_dm.errors import Problem
    from bookconnect_dm.metrics import Metrics
    from bookconnect_dm.store import Store

    database = Database(settings.database_url, size=1, metrics=Metrics())
    try:
        async with asyncio.timeout(_ANSWER_S):
            return await Store(database).sender(user_id) is None
    except (Problem, TimeoutError):
        return False
    finally:
        await database.close()


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
    parts = re.fullmatch(r"(\d{1,8})([smhd])", text, re.ASCII)
    seconds = (
        float(parts[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[parts[2]] if parts else 0.0
    )
    if not 0 < seconds <= _LONGEST_DAYS * 86_400:
        raise SettingsError(
            f"--ttl {text} is not a time that a token may be valid: write 90s, 15m, 1h or 7d, at"
            f" most {_LONGEST_DAYS}d."
        )
    return seconds
