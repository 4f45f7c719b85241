"""Who may do what: the rules of `access.toml`, and whether what was seen agrees with them.

In charge of: reading the rules, the exact grants that they mean, judging an attempt's outcome.
Knows about: the file's words, SQLSTATEs, the shape of the catalog's answers.
Does not know: any database; who asks it (tests, doctor) brings what the database said.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, Final, NamedTuple

__all__ = [
    "Attempt",
    "Claims",
    "FunctionGroup",
    "Grant",
    "Item",
    "Outcome",
    "Rules",
    "Seen",
    "load",
]

OWNER: Final = "owner"
DENIED: Final = "denied"
NOBODY: Final = "nobody"

Outcome = bool | int | str
"""A number of rows, True (one row, one true), or a word: ok, denied, a code, an SQLSTATE."""


class Grant(NamedTuple):
    """One privilege of one role on one object, or on one column of it."""

    kind: str
    name: str
    column: str
    role: str
    privilege: str

    def __str__(self) -> str:
        """Say it as SQL would."""
        column = f" ({self.column})" if self.column else ""
        return f"{self.privilege.lower()}{column} on {self.kind} {self.name} to {self.role}"


class Item(NamedTuple):
    """One object of the catalog: table, view, sequence, type, function, schema; or a column."""

    kind: str
    name: str
    column: str = ""

    def __str__(self) -> str:
        """Name it for people."""
        return f"{self.kind} {self.name}{'.' + self.column if self.column else ''}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a statement did: its rows, or its error."""

    rows: int = 0
    is_true: bool = False
    sqlstate: str | None = None
    message: str = ""

    def __str__(self) -> str:
        """Say it in the words of the rules."""
        if self.sqlstate is None:
            return "true" if self.is_true else f"{self.rows} rows"
        return f"{self.sqlstate} ({self.message})"

    def fits(self, outcome: Outcome) -> bool:
        """Tell whether this is what a rule expects."""
        if self.sqlstate is not None:
            if outcome == DENIED:
                return self.sqlstate == "42501"
            coded = self.sqlstate.startswith("PT") and self.message == outcome
            return coded or self.sqlstate == outcome
        if isinstance(outcome, bool):
            return self.is_true is outcome
        return outcome == "ok" or (isinstance(outcome, int) and self.rows == outcome)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One statement that everybody tries, and what each of them is to see."""

    on: str
    title: str
    sql: str
    before: tuple[str, ...]
    expect: Mapping[str, Outcome]
    """By person; whoever is not in it is denied."""
    hosts: frozenset[str] = frozenset()
    """The adapters on which it can be made; all where there is none."""

    def is_for(self, adapter: str) -> bool:
        """Tell whether it can be made on a host."""
        return not self.hosts or adapter in self.hosts

    def expected_of(self, person: str) -> Outcome:
        """What `person` is to see."""
        return self.expect.get(person, DENIED)

    @property
    def parameters(self) -> frozenset[str]:
        """The names in the statement."""
        return frozenset(re.findall(r"%\((\w+)\)s", self.sql))


@dataclass(frozen=True, slots=True)
class FunctionGroup:
    """Functions of one purpose, and who may call them."""

    what: str
    who: tuple[str, ...]
    names: tuple[str, ...]
    prefix: str | None


@dataclass(frozen=True, slots=True)
class Claims:
    """A text that a caller could bring as claims, and what it makes of him."""

    text: str
    outcome: str
    """`nobody`: he is nobody. Otherwise the SQLSTATE with which everything fails."""


class Rules:
    """The file, read and checked. Raises ValueError where it contradicts itself."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.people: Mapping[str, str] = document["people"]
        self.groups: Mapping[str, list[str]] = document["groups"]
        self.members: tuple[str, ...] = tuple(self.groups["members"])
        self.function_groups = tuple(
            FunctionGroup(
                what=group["what"],
                who=tuple(group["who"]),
                names=tuple(group.get("names", ())),
                prefix=group.get("prefix"),
            )
            for group in document["functions"]
        )
        self.attempts = tuple(self._attempt(entry) for entry in document["attempts"])
        self.claims = tuple(Claims(entry["text"], entry["is"]) for entry in document["claims"])

    def _attempt(self, entry: Mapping[str, Any]) -> Attempt:
        before = entry.get("before", [])
        return Attempt(
            on=entry["on"],
            title=entry["try"],
            sql=" ".join(entry["sql"].split()),
            before=tuple([before] if isinstance(before, str) else before),
            expect=self._expectations(entry),
            hosts=frozenset(entry.get("hosts", ())),
        )

    def _expectations(self, entry: Mapping[str, Any]) -> dict[str, Outcome]:
        """By person; one named himself goes before his groups, a smaller group before a larger."""
        found: dict[str, Outcome] = {}
        for name, outcome in sorted(
            entry["expect"].items(), key=lambda item: len(self.groups.get(item[0], ()))
        ):
            if name not in self.groups and name not in self.people and name != OWNER:
                raise ValueError(f"{entry['on']}, {entry['try']}: there is no {name}")
            for person in self.groups.get(name, [name]):
                found.setdefault(person, outcome)
        return found

    # -- grants --------------------------------------------------------------------------------

    @cached_property
    def grants(self) -> frozenset[Grant]:
        """Every privilege that somebody other than the owner is to hold."""
        found: set[Grant] = set()
        for schema, holders in self._document["schemas"].items():
            found |= {
                Grant("schema", schema, "", role, privilege.upper())
                for role, privileges in holders.items()
                for privilege in privileges
            }
        for table in self._document["tables"]:
            for role in table["who"]:
                for may in table["may"]:
                    found |= set(_table_grants(table["name"], role, may))
        for name, roles in self._document["types"].items():
            found |= {Grant("type", name, "", role, "USAGE") for role in roles}
        for group in self.function_groups:
            found |= {
                Grant("function", name, "", role, "EXECUTE")
                for name in group.names
                for role in group.who
            }
        return frozenset(found)

    @cached_property
    def items(self) -> frozenset[Item]:
        """Every object that has a rule (an adapter's functions by their prefix: see `has_rule`)."""
        found = {Item("schema", name) for name in self._document["schemas"]}
        for table in self._document["tables"]:
            found.add(Item("table", table["name"]))
            found |= {Item("column", table["name"], column) for column in table["columns"]}
        found |= {Item("table", name) for name in self._document["private"]["tables"]}
        found |= {Item("sequence", name) for name in self._document["private"]["sequences"]}
        found |= {Item("type", name) for name in self._document["types"]}
        for group in self.function_groups:
            found |= {Item("function", name) for name in group.names}
        return frozenset(found)

    @cached_property
    def public_names(self) -> list[str]:
        """What is ours in schema public: the catalog's queries take it as `names`."""
        return sorted({item.name for item in self.items if item.name.startswith("public.")})

    @cached_property
    def reads(self) -> tuple[Attempt, ...]:
        """The attempts that only read tables, and so can be made on a live database.

        In a transaction that is READ ONLY, as role authenticated or anon without claims, with ids
        that name nothing: no row may come of any of them.
        """
        return tuple(
            attempt
            for attempt in self.attempts
            if attempt.on in self.tables
            and not attempt.before
            and attempt.sql.startswith("select ")
            and attempt.expect.get(NOBODY) == 0
        )

    @cached_property
    def tables(self) -> frozenset[str]:
        """The tables that clients reach."""
        return frozenset(table["name"] for table in self._document["tables"])

    def has_rule(self, item: Item) -> bool:
        """Tell whether `item` stands in the file."""
        if item.kind == "column" and item.name not in self.tables:
            return Item("table", item.name) in self.items
        prefixes = tuple(group.prefix for group in self.function_groups if group.prefix)
        return item in self.items or (item.kind == "function" and item.name.startswith(prefixes))

    def may(self, role: str, privilege: str, item: Item) -> bool:
        """Tell whether `role` holds `privilege` on an object or column; of a table, any column."""
        columns = [item.column] if item.kind == "column" else []
        if item.kind == "table":
            columns = [i.column for i in self.items if i.kind == "column" and i.name == item.name]
        kind = "table" if item.kind == "column" else item.kind
        return Grant(kind, item.name, "", role, privilege) in self.grants or any(
            Grant("column", item.name, column, role, privilege) in self.grants for column in columns
        )

    def findings(self, grants: Iterable[Grant], items: Iterable[Item]) -> list[str]:
        """Compare with a live catalog; a sentence for each difference."""
        live_grants, live_items = frozenset(grants), frozenset(items)
        expected = {g for g in self.grants if self._is_here(g, live_items)}
        return sorted(
            [f"unexpected: {grant}" for grant in live_grants - self.grants]
            + [f"missing: {grant}" for grant in expected - live_grants]
            + [f"without a rule: {item}" for item in live_items if not self.has_rule(item)]
            + [f"does not exist: {item}" for item in self.items - live_items]
        )

    @staticmethod
    def _is_here(grant: Grant, items: frozenset[Item]) -> bool:
        kind = "table" if grant.kind == "column" else grant.kind
        return Item(kind, grant.name) in items


def _table_grants(name: str, role: str, may: str) -> Iterable[Grant]:
    """`select` is one grant; `insert (a, b)` is one for each column."""
    found = re.fullmatch(r"(\w+)(?: \((.+)\))?", may)
    if found is None:
        raise ValueError(f"{name}: {may} is no privilege")
    privilege = found[1].upper()
    if found[2] is None:
        yield Grant("table", name, "", role, privilege)
    else:
        for column in found[2].split(", "):
            yield Grant("column", name, column, role, privilege)


def load() -> Rules:
    """Read the rules that this package ships."""
    return Rules(tomllib.loads((files("bookconnect_dm") / "access.toml").read_text("utf-8")))
