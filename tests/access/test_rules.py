"""Everybody makes every attempt of the rules; the outcome is what the rules say."""

from __future__ import annotations

from itertools import groupby

import pytest

from bookconnect_dm import access
from bookconnect_dm.access import Attempt
from tests.access.attempts import Caller, Failure, Stage, callers
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
                plain = [a for a in RULES.attempts if not a.before]
                failures += [signed_in.try_as(caller, attempt) for attempt in plain]
    stage.made += own.made
    assert [str(f) for f in failures if f] == []


@pytest.mark.parametrize("claims", RULES.claims, ids=lambda c: c.text)
@pytest.mark.parametrize("role", ["authenticated", SERVER])
def test_claims_that_name_nobody_open_nothing(stage: Stage, claims: access.Claims, role: str) -> None:
    person = "nobody" if role == "authenticated" else "server"
    caller = Caller(person, role, claims.text)
    failures: list[Failure | None] = []
    for attempt in (a for a in RULES.attempts if not a.before):
        if claims.outcome == "nobody":
            failures.append(stage.try_as(caller, attempt))
        elif attempt.on.startswith("public."):
            closed = (claims.outcome, "denied", "INVALID_CONTENT", 0)
            seen = stage.see(caller, attempt.sql)
            if not any(seen.fits(outcome) for outcome in closed):
                failures.append(Failure(attempt.title, caller, claims.outcome, seen))
    assert [str(f) for f in failures if f] == []
