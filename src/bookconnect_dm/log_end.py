"""Whether a replay came to the end of the log that it was given.

In charge of: telling a log that ends from one that is damaged.
Knows about: how PostgreSQL names pieces of log, lays records over their pages, and notes in a
history file where a new timeline left the old one.
Does not know: backups, servers, who replays.

PostgreSQL takes the first record that it cannot read for the end of the log, since that is what an
end looks like. A damaged byte in the middle would so cut off all that came later, deletions and
erasures among it, and nobody would be told.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["broken_piece", "is_short_of", "left_at"]

PAGE: Final = 8_192
LONG_HEAD: Final = 40
"""Of a piece's first page; each other page has the short one."""
SHORT_HEAD: Final = 24
_NAME: Final = 24


def left_at(cluster: Path) -> int | None:
    """Where the newest timeline of a cluster left its parent; None for a first one."""
    histories = sorted((cluster / "pg_wal").glob("????????.history"))
    rows = histories[-1].read_text("utf-8").splitlines() if histories else []
    known = [row.split() for row in rows if row.strip() and not row.startswith("#")]
    return _position(known[-1][1]) if known else None


def is_short_of(piece: str, cluster: Path) -> bool:
    """Whether the replay of a cluster ended before it read anything of a piece of its log."""
    left = left_at(cluster)
    sizes = [path.stat().st_size for path in (cluster / "pg_wal").glob("?" * _NAME)]
    return left is not None and bool(sizes) and left <= _begin(piece, max(sizes))


def broken_piece(pieces: Sequence[Path], left_at: int) -> str | None:
    """The piece in which a replay of these ended too early, if it did. They are of one timeline.

    A piece that was finished holds log to its last byte, so a replay has to pass its end. Only the
    record that goes on in the next piece may be cut off by it. What is missing of a piece that was
    not finished nobody can tell.
    """
    whole = sorted(path for path in pieces if path.suffix != ".partial")
    if not whole:
        return None
    last, size = whole[-1], whole[-1].stat().st_size
    begin = _begin(last.name, size)
    if left_at >= begin + size or (left_at >= begin and _goes_on(last, left_at - begin, size)):
        return None
    return next((path.name for path in whole if left_at < _begin(path.name, size) + size), None)


def _begin(name: str, size: int) -> int:
    high, low = int(name[8:16], 16), int(name[16:_NAME], 16)
    return (high << 32) + low * size


def _position(lsn: str) -> int:
    high, low = (int(part, 16) for part in lsn.split("/"))
    return (high << 32) + low


def _goes_on(piece: Path, offset: int, size: int) -> bool:
    """Whether the record at `offset` is longer than what is left of its piece."""
    if offset % PAGE == 0:
        offset += SHORT_HEAD if offset else LONG_HEAD
    with piece.open("rb") as file:
        file.seek(offset)
        length = int.from_bytes(file.read(4), sys.byteorder)
    pages_after = (size - 1) // PAGE - offset // PAGE
    return length > size - offset - pages_after * SHORT_HEAD
