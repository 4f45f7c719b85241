"""What is no longer as the migrations left it.

In charge of: the differences between the live catalog and what the last migration recorded, what
to do about each, and that a later migration does not take them for its own work.
Knows about: `messaging.catalog()`, `messaging.expected_objects`.
Does not know: how a migration is applied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bookconnect_dm import migrations
from bookconnect_dm.direct import Direct

__all__ = [
    "Difference",
    "Finding",
    "damage",
    "differences",
    "differences_before",
    "new_damage",
    "still_wrong",
]

_TABLES: Final = frozenset({"table", "column", "constraint", "index"})
"""Made by migrations that are applied once. Everything else is code, and made again each time."""
_BY_HAND: Final = frozenset({"constraint", "index"})
_RIGHTS: Final = re.compile(r"(?:^|; )(?:owner [^;]*|grants [^;]*|PUBLIC)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the last migration left it, and what to do about it."""

    kind: str
    name: str
    state: str
    cure: str = ""

    def __str__(self) -> str:
        """Say it as a line for an operator."""
        return f"{self.kind} {self.name} is {self.state}"


@dataclass(frozen=True, slots=True)
class Difference:
    """An object whose definition is another than the recorded one; None where there is none."""

    kind: str
    name: str
    expected: str | None
    live: str | None
    statement: str | None = None
    """What makes it again, if it is made only once."""

    @property
    def finding(self) -> Finding:
        """What an operator is told."""
        if self.live is None:
            return Finding(self.kind, self.name, "missing", self._cure)
        if self.expected is None:
            return Finding(
                self.kind, self.name, "unexpected", "drop it, unless you know who made it and why"
            )
        return Finding(self.kind, self.name, "changed", self._cure)

    @property
    def is_for_up(self) -> bool:
        """Whether `migrate up` may put it right, by making all code again."""
        return self.expected is not None and self.kind not in _BY_HAND

    @property
    def _cure(self) -> str:
        if self.statement:
            return self.statement
        if self.kind == "column":
            return f"bookconnect-dm migrate up, for its grants; the rest by hand: {self.expected}"
        return "bookconnect-dm migrate up"

    @property
    def _is_view(self) -> bool:
        return self.kind == "table" and (self.expected or "").startswith("v")

    def outlives(self, now: str | None) -> bool:
        """Whether it is as wrong as before, now that all code was made again."""
        if now != self.live:
            return False
        if self.live is None:  # code that is not made again is no longer part of us
            return self.kind in _TABLES and not self._is_view
        if self.expected is None or self.kind in _TABLES:
            return True
        # Its text is this release's. Rights that it does not name stay as somebody gave them.
        return _RIGHTS.sub("", self.expected) == _RIGHTS.sub("", self.live)


async def differences(db: Direct) -> list[Difference]:
    """Everything that differs; nothing where nothing was recorded. Owner only."""
    if not await db.value("has_expectations"):
        return []
    if not await db.value("has_catalog"):
        return [
            Difference("function", "messaging.catalog()", "the one of the last migration", None)
        ]
    return [Difference(*row) for row in await db.rows("drift")]


async def differences_before(db: Direct) -> list[Difference]:
    """The same before a migration, where a rollback may have taken the code and left the tables."""
    if await db.value("has_expectations") and not await db.value("has_catalog"):
        await db.script(migrations.catalog())
    return await differences(db)


async def still_wrong(db: Direct, before: Sequence[Difference]) -> list[Difference]:
    """What was wrong before a migration, and is after it; recorded as such.

    The catalog was recorded just now as it is. Taken for right, a constraint that somebody had
    dropped would be gone for good, and nobody would ever hear of it.
    """
    if not before:
        return []
    now = {(kind, name): definition for kind, name, definition in await db.rows("catalog")}
    for one in before:
        if not one.outlives(now.get((one.kind, one.name))):
            continue
        if one.kind == "column" and not _is_in_table(one.name, now):
            continue
        await db.rows(
            "expect" if one.expected is not None else "do_not_expect",
            kind=one.kind,
            name=one.name,
            definition=one.expected,
        )
    return await differences(db)


def _is_in_table(column: str, catalog: dict[tuple[str, str], str]) -> bool:
    """Views are code: their columns come and go with them."""
    return catalog.get(("table", column.rpartition(".")[0]), "v").startswith(("r", "p"))


async def damage(db: Direct) -> list[Finding]:
    """Rows that the rules make impossible, by rule."""
    return [Finding("data", what, f"{rows} wrong") for what, rows in await db.rows("integrity")]


async def new_damage(db: Direct, before: Sequence[Finding]) -> list[Finding]:
    """Rules that more rows break now than did then."""
    then = {one.name: _count(one) for one in before}
    return [one for one in await damage(db) if _count(one) > then.get(one.name, 0)]


def _count(one: Finding) -> int:
    return int(one.state.split()[0])
