"""What commands have in common.

In charge of: reading the settings, which of them a command cannot do without, printing a line.
Knows about: the environment.
Does not know: any command.
"""

from __future__ import annotations

import os

from bookconnect_dm.config import PREFIX, Settings, SettingsError

__all__ = ["admin_url", "read_settings", "say"]


def read_settings() -> Settings:
    """The settings of this process. Raises `SettingsError` for the first one that is wrong."""
    return Settings.from_env(os.environ)


def admin_url(settings: Settings) -> str:
    """The address of the database's owner. Raises `SettingsError` where none is set."""
    if not settings.admin_url:
        raise SettingsError(f"Set {PREFIX}ADMIN_URL to the address of the database's owner.")
    return settings.admin_url


def say(line: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(line, flush=True)
