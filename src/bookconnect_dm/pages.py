"""How many bytes rows take in PostgreSQL: its page layout, as arithmetic.

In charge of: the sizes of heap rows, index entries and TOAST chunks, and of the pages around them.
Knows about: PostgreSQL's page layout (bufpage.h, htup_details.h, nbtree.h, heaptoast.h), the same
from 15 to 18.
Does not know: our tables, or any database.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = [
    "HALF_FULL",
    "IN_ORDER",
    "PAGE",
    "RANDOM",
    "TOAST_FROM",
    "TOAST_POINTER",
    "Column",
    "btree_bytes",
    "entries_in_leaf",
    "fill_of_runs",
    "heap_bytes",
    "heap_row",
    "index_entry",
    "posting_bytes",
    "shared_entry",
    "text",
    "toast_bytes",
]

PAGE: Final = 8192
_PAGE_HEADER: Final = 24
_POINTER: Final = 4
"""Each row and each index entry has one at the beginning of its page."""
_ROW_HEADER: Final = 24
"""23 bytes and the map of NULLs of up to eight columns."""
_ENTRY_HEADER: Final = 8
_BTREE_SPECIAL: Final = 16
TOAST_FROM: Final = 2032
"""A row that is longer gives up its longest column."""
TOAST_POINTER: Final = (18, 1)
"""What stands in the row then."""
_TOAST_CHUNK: Final = 1996
_ROWS_TO_PACK: Final = 60
_LISTED: Final = ((PAGE - _PAGE_HEADER - _BTREE_SPECIAL) // 6 - 24) // 6
"""How many entries share a key at most (a posting list); more have it several times."""

IN_ORDER: Final = 0.9
"""How full leaves are whose entries come at the end (B-tree's fillfactor), or after REINDEX."""
RANDOM: Final = math.log(2)
"""... whose entries come anywhere: leaves split in two when full (Yao, 1978)."""
HALF_FULL: Final = 0.5
"""... whose entries come at one place that moves on: what it has passed stays as it was split."""

Column = tuple[int, int]
"""Size and alignment."""


def aligned(size: int, to: int = 8) -> int:
    """Round up to the next place where a value of that alignment may begin."""
    return -(-size // to) * to


def text(size: int) -> Column:
    """A text of `size` bytes: short ones have a header of one byte and begin anywhere."""
    return (1 + size, 1) if size <= 126 else (4 + size, 4)


def heap_row(*columns: Column) -> int:
    """Size of a row with these columns; NULLs are left out."""
    return _after(_ROW_HEADER, columns)


def index_entry(*columns: Column) -> int:
    """Size of an index entry with these columns."""
    return _after(_ENTRY_HEADER, columns)


def _after(header: int, columns: tuple[Column, ...]) -> int:
    offset = header
    for size, alignment in columns:
        offset = aligned(offset, alignment) + size
    return aligned(offset)


def heap_bytes(rows: float, row: float, *, fillfactor: int = 100, varies: bool = False) -> float:
    """Size of a table of that many rows.

    Rows of one size leave what is too small for one more; rows that vary leave next to nothing,
    since PostgreSQL remembers such places and finds a smaller row for them.
    """
    room = PAGE - _PAGE_HEADER - PAGE * (100 - fillfactor) // 100
    per_page = room / (row + _POINTER)
    return math.ceil(rows / (per_page if varies else math.floor(per_page))) * PAGE


def shared_entry(entry: int, run: float) -> float:
    """What each of `run` entries with one key takes: the key once and 6 bytes for each of them."""
    run = min(run, _LISTED)
    if run < 2:
        return entry
    return (entry + aligned(math.ceil(6 * run)) + _POINTER) / run - _POINTER


def entries_in_leaf(entry: float) -> float:
    """How many entries a full leaf holds beside its high key."""
    room = PAGE - _PAGE_HEADER - _BTREE_SPECIAL
    return room / (entry + _POINTER) - 1


def btree_bytes(entries: float, entry: float, fill: float) -> float:
    """Size of a B-tree: its leaves, the levels above them (a pivot for each page) and page 0."""
    per_page = entries_in_leaf(entry)
    level = math.ceil(entries / (per_page * fill))
    pages = 1 + level
    while level > 1:
        level = math.ceil(level / (per_page * RANDOM))
        pages += level
    return pages * PAGE


def fill_of_runs(run: float, entry: float) -> float:
    """How full leaves are when entries come at the ends of many runs of `run` entries each.

    The end of a long run lies in a leaf of its own, which splits in two when it is full; the half
    that the run has left gets nothing any more. Short runs share leaves, as if all were random.
    """
    leaf = entries_in_leaf(entry)
    if run <= leaf:
        return RANDOM
    return min(RANDOM, run / (2 * run - leaf / 2))


def toast_bytes(size: int) -> float:
    """What a column of `size` bytes takes in the TOAST table and its index, if not compressed.

    Chunks lie one after another: a short last one costs a page its place for a fourth long one.
    """
    whole, rest = divmod(size, _TOAST_CHUNK)
    chunks = [_TOAST_CHUNK] * whole + [rest] * (rest > 0)
    pages, room = 0, 0
    for chunk in chunks * _ROWS_TO_PACK:
        needed = heap_row((4, 4), (4, 4), (4 + chunk, 4)) + _POINTER
        if needed > room:
            pages, room = pages + 1, PAGE - _PAGE_HEADER
        room -= needed
    entry = (index_entry((4, 4), (4, 4)) + _POINTER) / IN_ORDER
    return PAGE * pages / _ROWS_TO_PACK + len(chunks) * entry


def posting_bytes(entries: float) -> float:
    """Size of a B-tree in which all entries have one key: lists of 6 bytes an entry (posting)."""
    room = PAGE - _PAGE_HEADER - _BTREE_SPECIAL
    page = (room // (_LISTED * 6 + 24 + _POINTER)) * _LISTED
    return PAGE * (2 + math.floor(entries / page))
