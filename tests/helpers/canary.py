"""Every test that runs a server is a canary: what it stored, and any token, must be in no log.

A server's log is handed in when it ends. When its database goes, each text that is stored there is
looked for in it; when the cluster goes, in what PostgreSQL wrote down for our logins as well (what
a test runs as the owner, PostgreSQL may quote). Short texts could be words of the log itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["LEAST", "look_for_texts", "look_for_tokens", "said_to_our_logins", "take_log", "taken"]

LEAST = 8
"""Characters of a text that is looked for."""
# Two parts of a JSON Web Token: both begin as the base64 of '{"' does.
TOKEN = re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}")
_OURS = re.compile(r"^\S+ \S+ \S+ \[\d+\] bookconnect_dm_\w+@\S+ (.*)$")

_logs: dict[str, list[str]] = {}


def take_log(database: str, text: str) -> None:
    """A server of that database has ended."""
    look_for_tokens(text)
    _logs.setdefault(database, []).append(text)


def taken(database: str) -> list[str]:
    """The logs of a database that is about to go; they are given once."""
    return _logs.pop(database, [])


def look_for_tokens(log: str) -> None:
    found = TOKEN.search(log)
    if found is not None:
        raise AssertionError(f"a log holds a token: {log[max(found.start() - 200, 0) :][:400]}")


def look_for_texts(texts: Iterable[str], logs: Iterable[str]) -> None:
    log = "\n".join(logs)
    # As they are, and as JSON has them.
    found = [t for t in texts if t in log or (not t.isascii() and _as_json(t) in log)]
    assert not found, f"a log holds messages: {found[:3]}"


def _as_json(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def said_to_our_logins(log_file: Path) -> list[str]:
    """What PostgreSQL wrote down about our logins' doings, each thing once."""
    lines: set[str] = set()
    is_ours = False
    with log_file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            head = _OURS.match(line)
            # A statement of several lines goes on behind a tabulator.
            is_ours = head is not None or (is_ours and line.startswith("\t"))
            if is_ours:
                lines.add(head[1] if head is not None else line)
    return sorted(lines)
