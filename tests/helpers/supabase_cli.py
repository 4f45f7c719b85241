"""How Supabase's command line applies a migration file, as far as a file can notice.

It cuts the text at semicolons, sends each piece alone over the extended protocol, and all pieces of
a file in one transaction. Where it cuts is its own affair: it skips quotes, dollar quotes, comments
and parentheses, and takes the letters END, wherever they stand in a standard function body, for
that body's end (supabase/cli#3474).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import psycopg

from tests.helpers.postgres import Database

__all__ = ["LONGEST", "apply_files", "cut"]

LONGEST = 256 * 1024
"""Bytes of one statement that it can hold."""

_OPAQUE = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | (\$\w*\$).*?\1""",
    re.VERBOSE | re.DOTALL,
)


def cut(text: str) -> list[str]:
    """Return the statements that it would send."""
    pieces, begin, at, depth, in_body = [], 0, 0, 0, False
    while at < len(text):
        if opaque := _OPAQUE.match(text, at):
            at = opaque.end()
            continue
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        before = text[begin : at + 1].lower()
        if not depth and re.search(r"\satomic$", before):
            in_body = True
        elif not depth and in_body and before.endswith("end"):
            in_body = False
        at += 1
        if text[at - 1] == ";" and not depth and not in_body:
            pieces.append(text[begin:at])
            begin = at
    pieces.append(text[begin:])
    return [piece for piece in pieces if _OPAQUE.sub("", piece).strip(" \n;")]


def apply_files(db: Database, paths: Iterable[Path]) -> None:
    """Apply migration files in the order of their names, as `supabase db push` does."""
    for path in sorted(paths):
        with psycopg.connect(db.admin_url) as connection:
            cursor = connection.cursor(
                binary=True
            )  # the extended protocol: one statement at a time
            for statement in cut(path.read_text("utf-8")):
                assert len(statement.encode()) < LONGEST
                cursor.execute(statement.encode())
