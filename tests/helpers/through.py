"""The servers' tests behind PgBouncer in transaction mode: `THROUGH_PGBOUNCER=folder pytest ...`.

In charge of: a PgBouncer in front of each cluster, the address that servers get there, the proof
that they go through it, and the list of what cannot be played there, each with its reason.
Knows about: clusters, servers, PgBouncer's console.
Does not know: what any test is about.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import psycopg
import pytest

from bookconnect_dm.config import PREFIX
from tests.helpers import postgres, server
from tests.helpers.pgbouncer import Pooler, pooler

__all__ = ["LEFT_OUT", "MARK", "Seen", "Through", "is_asked_for", "leave_out", "played"]

MARK = "not behind PgBouncer"
OWN = "pgbouncer"
"""The name of its console."""
_PLAYS = ("tests/faults/test_any_failures.py",)
"""Whose servers are another module's."""

LEFT_OUT: Mapping[str, str] = {
    "tests/protocol/test_feed.py": "the feed alone, which goes direct wherever there is a pooler",
    "tests/protocol/test_pgbouncer.py": "it has its own",
    "tests/protocol/test_writer.py::test_a_database_that_is_away_is_said_at_once": (
        "to whom a database is unknown PgBouncer says so after query_wait_timeout, not at once"
    ),
}
"""Files and tests that are not played behind it, and why."""

_ROOT = Path(__file__).resolve().parents[2]
_STARTS_A_SERVER = re.compile(r"\b(running_server|RunningServer|server_env)\b")


def played() -> list[str]:
    """Every file with a server in it, and all of `tests/protocol`; but what is left out."""
    files = [
        str(path.relative_to(_ROOT))
        for path in sorted(_ROOT.glob("tests/*/test_*.py"))
        if path.parent.name == "protocol" or _STARTS_A_SERVER.search(path.read_text("utf-8"))
    ]
    return [*(name for name in files if name not in LEFT_OUT), *_PLAYS]


def is_asked_for() -> bool:
    """Whether this run is behind it."""
    return bool(os.environ.get("THROUGH_PGBOUNCER"))


def leave_out(items: list[pytest.Item]) -> None:
    """Skip what is on the list, by that reason."""
    for item in items:
        test = item.nodeid.partition("[")[0]
        reason = LEFT_OUT.get(test) or LEFT_OUT.get(test.partition("::")[0])
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"{MARK}: {reason}"))


@dataclass(frozen=True, slots=True)
class Seen:
    """What one process of a run saw of its poolers."""

    poolers: int
    databases: int
    transactions: int
    """By the poolers' own count (`SHOW STATS`)."""
    looks: int
    """How often a server was looked at; each time all its backends were the pooler's."""
    backends: int
    """How many those were, in all looks together."""

    @classmethod
    def all_of(cls, folder: Path) -> Seen:
        """What the processes of a run have left there, together."""
        rows = [json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")]
        names = [one.name for one in fields(cls)]
        return cls(**{name: sum(row[name] for row in rows) for name in names})


@dataclass(slots=True)
class Through:
    """The poolers of a run, and what was seen of them."""

    _stack: contextlib.ExitStack
    _poolers: dict[str, Pooler] = field(default_factory=dict)
    """By the folder of the PostgreSQL behind it."""
    _behind: dict[str, tuple[Pooler, str]] = field(default_factory=dict)
    """By the address that a server was given: its pooler and its database."""
    looks: int = 0
    backends: int = 0

    @classmethod
    @contextlib.contextmanager
    def installed(cls) -> Iterator[None]:
        """From here on every server that a test starts goes through one."""
        with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
            made = cls(stack)
            patch.setattr(postgres.Database, "way_in", made.url)
            patch.setattr(server.RunningServer, "witness", made.look)
            yield
            made.leave(Path(os.environ["THROUGH_PGBOUNCER"]))

    def url(self, database: postgres.Database) -> str:
        """The way of the server's login to a database."""
        folder = str(database.cluster.embedded.data_dir)
        if folder not in self._poolers:
            self._poolers[folder] = self._stack.enter_context(pooler(database.direct_url))
        url = self._poolers[folder].url(database.name)
        self._behind[url] = self._poolers[folder], database.name
        return url

    def look(self, env: Mapping[str, str]) -> None:
        """A server is up, or about to be stopped: none of its backends may be another's."""
        url = env[f"{PREFIX}DATABASE_URL"]
        assert url in self._behind, "this server goes to PostgreSQL by itself"
        assert env[f"{PREFIX}PREPARED_STATEMENTS"] == "off"
        one, database = self._behind[url]
        end = time.monotonic() + 10
        while True:
            try:
                ours, others = one.strangers(database)
            except psycopg.OperationalError:
                return  # a test has stopped PostgreSQL
            if not others:
                break  # else a backend may have come or gone between the two looks
            assert time.monotonic() < end, others
            time.sleep(0.1)
        self.looks += 1
        self.backends += ours

    def leave(self, folder: Path) -> None:
        """Write down what was seen."""
        stats = [row for one in self._poolers.values() for row in one.show("stats")]
        seen = Seen(
            poolers=len(self._poolers),
            databases=len(self._behind),
            transactions=sum(
                int(row["total_xact_count"]) for row in stats if row["database"] != OWN
            ),
            looks=self.looks,
            backends=self.backends,
        )
        folder.mkdir(exist_ok=True)
        (folder / f"{os.getpid()}.json").write_text(json.dumps(asdict(seen)), "utf-8")
