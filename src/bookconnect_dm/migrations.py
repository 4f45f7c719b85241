"""Which files make an installation, in which order, and how each is told from another.

In charge of: the list of migrations for a host adapter, their numbers, checksums and rollbacks, and
the same texts as files for Supabase.
Knows about: the files under `sql/`.
Does not know: any database, or what has been applied to it.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

__all__ = [
    "ADAPTERS",
    "Migration",
    "MigrationError",
    "adapter_name",
    "catalog",
    "clear",
    "export_supabase",
    "in_order",
    "newest_of",
    "number_of",
    "plan",
    "rollback_of",
    "runner",
    "undone",
]

ADAPTERS: Final = ("standalone", "bookconnect", "supabase")

SQL: Final = files("bookconnect_dm") / "sql"
_VERSIONED: Final = frozenset({1, 3})
"""Tables and indexes. The mission's other three files, and what is around the five, are code."""
_MISSION: Final = 5
_CATALOG: Final = 1_000
_INCLUDE: Final = re.compile(r"^-- include (\S+)$", re.MULTILINE)
_FIRST: Final = {"host/roles": 0, "host/contract": 2}
"""Around the adapter, which is 1."""


class MigrationError(Exception):
    """Something is wrong with the files; the text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of an installation."""

    name: str
    text: str

    @property
    def number(self) -> int:
        """1 to 5 for the mission's files, 0 before them, from 6 on later tables."""
        return number_of(self.name)

    @property
    def checksum(self) -> str:
        """Changes when the text does."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def is_versioned(self) -> bool:
        """Applied once and never edited, rather than whenever the text changes."""
        return self.number in _VERSIONED or _MISSION < self.number < _CATALOG


def plan(adapter: str) -> list[Migration]:
    """List the files of an installation in the order of applying.

    `adapter` is the name of one that ships, or the path of one's own (`.sql`). Raises
    `MigrationError` when there is no such adapter.
    """
    named = [f for f in (SQL / "migrations").iterdir() if f.name.endswith(".sql")]
    return in_order(
        [
            _load("host/roles", SQL / "host" / "roles.sql"),
            _load(adapter_name(adapter), _adapter_file(adapter)),
            _load("host/contract", SQL / "host" / "contract.sql"),
            *(_load(file.name.removesuffix(".sql"), file) for file in named),
            _load("catalog", SQL / "catalog.sql"),
        ]
    )


def in_order(migrations: Iterable[Migration]) -> list[Migration]:
    """Sort: roles and host, tables, what was added to the tables since, then the code on them."""
    return sorted(migrations, key=lambda migration: _rank(migration.name))


def _rank(name: str) -> tuple[float, str]:
    number = number_of(name)
    if number == 0:
        return (_FIRST.get(name, 1) / 10, name)
    # A later table change comes before the code that may use it: right after the first tables.
    return (1.5 if _MISSION < number < _CATALOG else number, name)


def number_of(name: str) -> int:
    """Return the number in a migration's name: 0 for the host's, the highest for the catalog."""
    if name.startswith("host/"):
        return 0
    parts = re.fullmatch(r"\d{8}_(\d{3})_\w+", name)
    return int(parts[1]) if parts else _CATALOG


def newest_of(names: Iterable[str]) -> int:
    """Give the highest number among migrations, the catalog's aside."""
    return max((n for n in map(number_of, names) if n < _CATALOG), default=0)


def undone(names: Iterable[str], *, to: int) -> list[str]:
    """List what goes when an installation is rolled back to migration `to`, last first.

    A later table change takes the code with it, which may use it: the package that is installed
    then brings its own.
    """
    files = in_order(Migration(name, "") for name in names)
    gone = {m.name for m in files if to == 0 or m.number > to}
    if all(number_of(name) == _CATALOG for name in gone):
        return []  # it describes what the others have made
    if any(m.name in gone and m.is_versioned and m.number > _MISSION for m in files):
        gone |= {m.name for m in files if m.number and not m.is_versioned}
    return [m.name for m in reversed(files) if m.name in gone]


def adapter_name(adapter: str) -> str:
    """Return the name under which an adapter is recorded: `host/` and its file's name."""
    return f"host/{Path(adapter).stem}"


def _adapter_file(adapter: str) -> Traversable:
    if adapter in ADAPTERS:
        return SQL / "host" / f"{adapter}.sql"
    own = Path(adapter)
    if own.suffix != ".sql" or not own.is_file() or own.stem in {*ADAPTERS, "roles", "contract"}:
        raise MigrationError(
            f"There is no host adapter {adapter}: choose one of {', '.join(ADAPTERS)}, or give the"
            " path of your own .sql file (under a name of its own)."
        )
    return own


def rollback_of(name: str) -> str | None:
    """Return the text that takes a migration back; None when this package does not know it."""
    stem = "host" if name.startswith("host/") and name not in _FIRST else name.replace("/", "_")
    file = SQL / "rollbacks" / f"{stem}.sql"
    return file.read_text("utf-8") if file.is_file() else None


def catalog() -> str:
    """Return what makes `messaging.catalog()`."""
    return (SQL / "catalog.sql").read_text("utf-8")


def runner() -> str:
    """Return what comes before everything: the runner's own tables."""
    return (SQL / "runner.sql").read_text("utf-8")


def clear() -> str:
    """Return what takes the last release's code away; see its own words."""
    return (SQL / "clear.sql").read_text("utf-8")


def _load(name: str, file: Traversable) -> Migration:
    text = file.read_text("utf-8")
    return Migration(name, _INCLUDE.sub(lambda match: (SQL / match[1]).read_text("utf-8"), text))


# --- Supabase ---------------------------------------------------------------------------------

_EXPORTED: Final = re.compile(r"(\d{14})_(bookconnect_dm_\w+)\.sql")


def export_supabase(directory: Path, *, at: datetime | None = None) -> list[Path]:
    """Write the migrations as files for Supabase's own tool; give the paths of the new ones.

    Each gets a version of 14 digits of its own, from now on (`at`) and after every file that is
    there already. Exporting again writes nothing, or, after an update of this package, the new
    tables and all code again. Raises `MigrationError` if a table migration differs from the one
    that was exported.
    """
    directory.mkdir(parents=True, exist_ok=True)
    migrations = plan("supabase")
    texts = {
        _exported_name("runner"): _wrapped(runner()),
        _exported_name("clear"): _wrapped(clear()),
    }
    texts |= {_exported_name(m.name): _wrapped(_recorded(m)) for m in migrations}
    kept = {_exported_name(m.name) for m in migrations if m.is_versioned}
    present = _present(directory)
    _refuse_edited(texts, present, kept)
    if all(present.get(name) == text for name, text in texts.items()):
        return []
    todo = [name for name in texts if name not in present or name not in kept]
    versions = _versions(directory, at or datetime.now(UTC))
    paths = [directory / f"{next(versions)}_{name}.sql" for name in todo]
    for path, name in zip(paths, todo, strict=True):
        path.write_text(texts[name], encoding="utf-8")
    return paths


def _exported_name(name: str) -> str:
    return "bookconnect_dm_" + re.sub(r"^\d{8}_", "", name).replace("/", "_")


def _recorded(migration: Migration) -> str:
    record = _export_text("record").replace("@name@", migration.name)
    last = _export_text("record_catalog") if migration.number == _CATALOG else ""
    return migration.text + record.replace("@checksum@", migration.checksum) + last


def _wrapped(text: str) -> str:
    return _export_text("statement").replace("@text@", text.strip())


def _export_text(name: str) -> str:
    return (SQL / "export" / f"{name}.sql").read_text("utf-8")


def _present(directory: Path) -> dict[str, str]:
    """Read what was exported before, the newest file of each name."""
    found: dict[str, str] = {}
    for path in sorted(directory.glob("*.sql")):
        if parts := _EXPORTED.fullmatch(path.name):
            found[parts[2]] = path.read_text("utf-8")
    return found


def _refuse_edited(texts: dict[str, str], present: dict[str, str], kept: set[str]) -> None:
    for name in sorted(kept & present.keys()):
        if present[name] != texts[name]:
            raise MigrationError(
                f"{name}.sql there differs from this package's: a released table migration is never"
                " edited. Restore the file as it was exported."
            )


def _versions(directory: Path, at: datetime) -> Iterator[str]:
    """Count from `at`, or from the newest file there if that is later. Keys, not times."""
    newest = max((int(p.name[:14]) for p in directory.glob("[0-9]" * 14 + "_*.sql")), default=0)
    return map(str, itertools.count(max(int(at.strftime("%Y%m%d%H%M%S")), newest + 1)))
