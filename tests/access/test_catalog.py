"""What is in the catalog has a rule, what rules grant is tried, nothing else is possible."""

from __future__ import annotations

import pytest

from bookconnect_dm import access
from bookconnect_dm.access import Item
from tests.access.attempts import ROLES, Caller, Stage
from tests.access.catalog import HOST_TABLES, attempts_on, is_refusal, live_grants, live_items

RULES = access.load()
PEOPLE = ("nobody", "server", "anon", "service", "feed")


def test_the_catalog_is_what_the_rules_say(stage: Stage) -> None:
    """A new table, column, function, type or grant without a rule ends here."""
    assert RULES.findings(live_grants(stage), live_items(stage)) == []


def test_nothing_else_of_ours_is_in_public(stage: Stage) -> None:
    """On a host of our own making everything is known; elsewhere public is full of the host's."""
    if stage.scene.db.adapter != "standalone":
        pytest.skip("public belongs to the host")
    found = stage.connection.execute(
        "select relnamespace::regnamespace || '.' || relname from pg_class"
        " where relnamespace in ('public'::regnamespace, 'auth'::regnamespace)"
        " and relkind in ('r', 'v', 'm', 'S', 'p', 'f')"
        " union all select 'public.' || proname from pg_proc"
        " where pronamespace = 'public'::regnamespace"
    )
    ours = {item.name for item in RULES.items} | set(HOST_TABLES)
    assert {name for (name,) in found} - ours == set()


@pytest.mark.parametrize("person", PEOPLE)
def test_what_is_not_granted_is_refused(stage: Stage, person: str) -> None:
    """Every verb on every object and column, by every role that does not hold it."""
    role = ROLES[person]
    caller = Caller(person, role)
    items = live_items(stage)
    if stage.scene.db.adapter == "standalone":
        items += _host_items(stage)
    leaks = [
        f"{attempt.sql}: {seen}"
        for item in items
        for attempt in attempts_on(stage, item)
        if not RULES.may(role, attempt.privilege, item)
        if not is_refusal(seen := stage.see(caller, attempt.sql))
    ]
    assert leaks == []


def _host_items(stage: Stage) -> list[Item]:
    columns = stage.connection.execute(
        "select n.name, a.attname from unnest(%s::text[]) as n (name)"
        " join pg_attribute as a on a.attrelid = n.name::regclass"
        " where a.attnum > 0 and not a.attisdropped",
        (list(HOST_TABLES),),
    )
    tables = [Item("table", name) for name in HOST_TABLES]
    return [*tables, *(Item("column", *row) for row in columns)]


def test_every_function_that_is_granted_is_tried() -> None:
    tried = {attempt.on for attempt in RULES.attempts}
    behind_the_contract = next(
        group for group in RULES.function_groups if group.what.startswith("The work behind")
    )
    helpers = next(g for g in RULES.function_groups if g.what.startswith("Helpers of policies"))
    indirectly = {*behind_the_contract.names, *helpers.names}
    granted = {grant.name for grant in RULES.grants if grant.kind == "function"}
    assert granted - tried - indirectly == set()


def test_every_verb_that_is_granted_on_a_table_is_tried() -> None:
    tried = {(attempt.on, attempt.sql.split()[0].upper()) for attempt in RULES.attempts}
    granted = {(g.name, g.privilege) for g in RULES.grants if g.kind in {"table", "column"}}
    assert granted - tried == set()


def test_every_policy_has_an_attempt_that_some_may_and_some_may_not() -> None:
    """Each verb on each of the three tables, granted by us or for the moment."""
    verbs = {(t, v) for t in RULES.tables for v in ("SELECT", "INSERT", "UPDATE", "DELETE")}
    for table, verb in verbs:
        outcomes = [
            set(map(str, attempt.expect.values()))
            for attempt in RULES.attempts
            if attempt.on == table and attempt.sql.upper().startswith(verb)
        ]
        assert outcomes, (table, verb)
