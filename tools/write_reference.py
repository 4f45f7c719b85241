"""Write the reference pages that say what the code says: commands and errors.

`python tools/write_reference.py` writes them; with `--check` it only says which are out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from bookconnect_dm.cli import cli
from bookconnect_dm.errors import CLOSES, ERRORS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"

COMMANDS_INTRODUCTION = (
    "Written by `make docs` from the commands themselves. Settings come from the environment:"
    " [settings](settings.md). An error is one sentence that says what to do, and a status"
    " other than 0; with `BOOKCONNECT_DM_LOG_LEVEL=debug` it also says where it arose."
)
ERRORS_INTRODUCTION = (
    "Written by `make docs` from the table in `errors.py`. REST answers"
    " `application/problem+json` with `code`, `detail` and, where one field is at fault,"
    " `field`; a socket sends an `error` frame with the same."
)

# Typer brings a click of its own that is not exported: commands and options are duck-typed here.
Command = Any


def commands_page() -> str:
    """Every command with its options, as `--help` tells them."""
    parts = [
        "# Commands",
        COMMANDS_INTRODUCTION,
    ]
    for name, command in leaves("bookconnect-dm", typer.main.get_command(cli)):
        parts += [f"## `{name}`", str(command.help)]
        options = [option_line(option) for option in command.params]
        if options:
            parts.append("\n".join(options))
    return "\n\n".join(parts) + "\n"


def leaves(name: str, command: Command) -> Iterator[tuple[str, Command]]:
    """Every command that does something, with its full name."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for key, value in inner.items():
        yield from leaves(f"{name} {key}", value)


def option_line(option: Command) -> str:
    """One option as a line of a list."""
    names = " or ".join(f"`{name}`" for name in option.opts)
    if option.required:
        note = " Required."
    elif option.is_flag or option.default is None:
        note = ""
    else:
        note = f" Default: `{option.default}`."
    return f"- {names}: {option.help}{note}"


def errors_page() -> str:
    """Every error code and every close code."""
    parts = [
        "# Errors",
        ERRORS_INTRODUCTION,
    ]
    for kind in ERRORS.values():
        parts += [
            f"## {kind.code}",
            f"HTTP {kind.status}. {kind.title}.",
            f"{kind.meaning}",
            f"What to do: {kind.what_to_do}",
        ]
    parts.append("# Close codes of a socket")
    for close in CLOSES.values():
        parts += [f"## {close.code} {close.name}", f"{close.meaning}", close.what_to_do]
    return "\n\n".join(parts) + "\n"


PAGES = {"cli.md": commands_page, "errors.md": errors_page}


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    for name, page in PAGES.items():
        path = FOLDER / name
        text = page()
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
    if stale and "--check" in sys.argv:
        print(f"docs/reference: {', '.join(stale)} out of date: run make docs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
