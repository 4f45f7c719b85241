"""Making attempts: as anybody, through any door, undone at once.

Every attempt is a savepoint in one transaction of one clone, so thousands of them take seconds and
none sees another's traces.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from bookconnect_dm.access import Attempt, Outcome, Rules, Seen
from tests.access.scene import MEMBERS, Scene
from tests.helpers.postgres import FEED, OWNER, SERVER

__all__ = ["ROLES", "Caller", "Failure", "Stage", "callers"]

ROLES = {
    "nobody": "authenticated",
    "server": SERVER,
    "anon": "anon",
    "service": "service_role",
    "feed": FEED,
    "owner": OWNER,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody at a door: a person of the rules, the role, and what the claims say."""

    person: str
    role: str
    claims: str = ""

    def __str__(self) -> str:
        """Name him, and the door where it is not his only one."""
        return f"{self.person} as {self.role}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt whose outcome is not what the rules say."""

    what: str
    caller: Caller
    expected: Outcome
    seen: Seen

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.what}: {self.caller} should see {self.expected}, saw {self.seen}"


def claims_of(member: UUID) -> str:
    """Claims as a token of `member` has them."""
    return json.dumps({"sub": str(member), "role": "authenticated", "aud": "authenticated"})


def callers(rules: Rules) -> Iterator[Caller]:
    """Everybody, members through both doors; the owner is not asked to try what others may not."""
    for member in rules.members:
        for role in ("authenticated", SERVER):
            yield Caller(member, role, claims_of(MEMBERS[member]))
    for person in rules.people:
        if person not in rules.members:
            yield Caller(person, ROLES[person], '{"role": "anon"}' if person == "anon" else "")


@dataclass(slots=True)
class Stage:
    """One transaction on a scene. Attempts happen in it; leaving it undoes everything."""

    scene: Scene
    rules: Rules
    connection: psycopg.Connection[Any] = field(init=False)
    made: int = 0
    """How many attempts there were."""

    @contextlib.contextmanager
    def open(self, login: str | None = None) -> Iterator[Stage]:
        """Open it as the superuser, who takes any role; or as a real login, which stays itself."""
        url = self.scene.db.url(login or self.scene.db.cluster.superuser)
        cursor = psycopg.ClientCursor[Any]
        with psycopg.connect(url, connect_timeout=10, cursor_factory=cursor) as connection:
            self.connection = connection
            connection.execute("set local statement_timeout = '20s'")
            try:
                yield self
            finally:
                connection.rollback()

    def owner_does(self, statement: str, person: str = OWNER) -> None:
        """Run a statement as the owner of the tables; it stays until the savepoint around ends."""
        self._take(OWNER, "")
        self.connection.execute(statement, self.scene.values(person))

    def superuser_does(self, statement: str) -> None:
        """Run a statement as whoever may do anything."""
        self.connection.execute("select set_config('role', 'none', true)")
        self.connection.execute(statement)

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        """Undo what happens inside."""
        self.connection.execute("savepoint undone")
        try:
            yield
        finally:
            self.connection.execute("rollback to savepoint undone; release savepoint undone")

    def see(self, caller: Caller, statement: str, before: Iterable[str] = ()) -> Seen:
        """Make one attempt and tell what it did; it is undone."""
        with self.undone():
            for preparation in before:
                self.owner_does(preparation, caller.person)
            return self.see_and_keep(caller, statement)

    def see_and_keep(self, caller: Caller, statement: str) -> Seen:
        """Make one attempt within what the caller undoes."""
        self.made += 1
        self._take(caller.role, caller.claims)
        try:
            cursor = self.connection.execute(statement, self.scene.values(caller.person))
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise  # a statement of the rules that the driver could not even send
            return Seen(sqlstate=error.sqlstate, message=str(error.diag.message_primary))
        rows = cursor.fetchall() if cursor.description else []
        return Seen(rows=cursor.rowcount, is_true=rows == [(True,)])

    def _take(self, role: str, claims: str) -> None:
        self.connection.execute(
            "select set_config('request.jwt.claims', %s, true),"
            " set_config('request.jwt.claim.sub', '', true), set_config('role', %s, true)",
            (claims, role),
        )

    # -- attempts of the rules -----------------------------------------------------------------

    def try_as(self, caller: Caller, attempt: Attempt) -> Failure | None:
        """Make one attempt of the rules; a failure where it did not go as they say."""
        expected = self.expected(caller, attempt)
        seen = self.see(caller, attempt.sql, attempt.before)
        if seen.fits(expected):
            return None
        return Failure(f"{attempt.on}: {attempt.title}", caller, expected, seen)

    def expected(self, caller: Caller, attempt: Attempt) -> Outcome:
        """What the rules say. What the server alone may call, its login may call for anybody."""
        is_member_at_server = caller.role == SERVER and caller.person in self.rules.members
        if is_member_at_server and attempt.expect.keys() == {"server"}:
            return attempt.expected_of("server")
        return attempt.expected_of(caller.person)

    def try_all(self, attempts: Iterable[Attempt], *, first: bool = False) -> list[Failure]:
        """Everybody makes the attempts; the failures, or only the first of them."""
        failures = []
        for attempt in self.possible(attempts):
            for caller in self.everybody(attempt):
                failure = self.try_as(caller, attempt)
                if failure is not None:
                    failures.append(failure)
                    if first:
                        return failures
        return failures

    def possible(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Those of the attempts that can be made on this host."""
        return [a for a in attempts if a.is_for(self.scene.db.adapter)]

    def everybody(self, attempt: Attempt) -> Iterator[Caller]:
        """All callers; the owner too where the attempt names him."""
        if "owner" in attempt.expect:
            yield Caller("owner", OWNER)
        yield from callers(self.rules)
