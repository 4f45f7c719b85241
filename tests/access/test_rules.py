"""Everybody makes every attempt of the rules; the outcome is what the rules say."""

from __future__ import annotations

from itertools import groupby
from uuid import uuid4

import psycopg
import pytest

from bookconnect_dm import access
from bookconnect_dm.access import Attempt
from tests.access.attempts import Caller, Failure, Stage, callers
from tests.access.scene import Scene
from tests.helpers.postgres import FEED, SERVER

RULES = access.load()
BY_OBJECT: dict[str, list[Attempt]] = {
    name: list(attempts)
    for name, attempts in groupby(sorted(RULES.attempts, key=lambda a: a.on), key=lambda a: a.on)
}


@pytest.mark.parametrize("name", BY_OBJECT)
def test_everybody_sees_what_the_rules_say(stage: Stage, name: str) -> None:
    assert [str(f) for f in stage.try_all(BY_OBJECT[name])] == []


@pytest.mark.parametrize("login", [SERVER, FEED])
def test_a_real_login_sees_what_its_role_does(stage: Stage, login: str) -> None:
    """The attempts above take the role; these sign in."""
    failures = []
    own = Stage(stage.scene, stage.rules)
    with own.open(login) as signed_in:
        for caller in callers(RULES):
            if caller.role == login:
                plain = [a for a in stage.possible(RULES.attempts) if not a.before]
                failures += [signed_in.try_as(caller, attempt) for attempt in plain]
    stage.made += own.made
    assert [str(f) for f in failures if f] == []


def test_the_reads_for_a_live_database_find_nothing_there(scene: Scene) -> None:
    """What `doctor` may do on an operator's own database: in a transaction that cannot write."""
    assert len(RULES.reads) >= 8
    for role in ("authenticated", "anon"):
        with scene.db.as_superuser() as connection:
            connection.execute("set transaction read only")
            connection.execute(f"set local role {role}")
            for attempt in RULES.reads:
                values: dict[str, object] = {
                    name: [] if name == "mine" else uuid4() for name in attempt.parameters
                }
                try:
                    with connection.transaction():
                        assert connection.execute(attempt.sql, values).fetchall() == []
                except psycopg.errors.InsufficientPrivilege:
                    assert role == "anon"


@pytest.mark.parametrize("claims", RULES.claims, ids=lambda c: c.text)
@pytest.mark.parametrize("role", ["authenticated", SERVER])
def test_claims_that_name_nobody_open_nothing(
    stage: Stage, claims: access.Claims, role: str
) -> None:
    person = "nobody" if role == "authenticated" else "server"
    caller = Caller(person, role, claims.text)
    failures: list[Failure | None] = []
    for attempt in (a for a in stage.possible(RULES.attempts) if not a.before):
        if claims.outcome == "nobody":
            failures.append(stage.try_as(caller, attempt))
        elif attempt.on.startswith("public."):
            closed = (claims.outcome, "denied", "INVALID_CONTENT", 0)
            seen = stage.see(caller, attempt.sql)
            if not any(seen.fits(outcome) for outcome in closed):
                failures.append(Failure(attempt.title, caller, claims.outcome, seen))
    assert [str(f) for f in failures if f] == []
