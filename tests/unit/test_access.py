"""The rules of access as a file: what its words mean, and that it contradicts itself nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from bookconnect_dm import access
from bookconnect_dm.access import Grant, Item, Rules, Seen


def _document(**expect: Any) -> dict[str, Any]:
    attempt = {"on": "public.t", "try": "read", "sql": "select 1", "expect": expect}
    return {
        "people": {"own": "", "peer": "", "anon": ""},
        "groups": {"members": ["own", "peer"]},
        "schemas": {"messaging": {"server": ["usage"]}},
        "tables": [
            {
                "name": "public.t",
                "columns": ["a", "b"],
                "who": ["server"],
                "may": ["select", "insert (a, b)"],
            }
        ],
        "private": {"tables": ["messaging.p"], "sequences": []},
        "types": {},
        "functions": [
            {"what": "", "who": ["server"], "names": ["public.f"]},
            {"what": "", "who": [], "prefix": "messaging.host_"},
        ],
        "attempts": [attempt],
        "claims": [],
    }


def test_who_is_not_named_is_denied() -> None:
    (attempt,) = Rules(_document(own=1)).attempts
    assert attempt.expected_of("own") == 1
    assert attempt.expected_of("anon") == "denied"


def test_a_person_goes_before_his_group() -> None:
    (attempt,) = Rules(_document(members=0, own=2)).attempts
    assert (attempt.expected_of("own"), attempt.expected_of("peer")) == (2, 0)


def test_a_person_who_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no owm"):
        Rules(_document(owm=1))


def test_a_privilege_that_is_none_is_refused() -> None:
    document = _document()
    document["tables"][0]["may"] = ["select;"]
    with pytest.raises(ValueError, match="is no privilege"):
        assert Rules(document).grants


def test_grants_are_for_a_table_or_for_columns() -> None:
    assert Rules(_document()).grants == {
        Grant("schema", "messaging", "", "server", "USAGE"),
        Grant("table", "public.t", "", "server", "SELECT"),
        Grant("column", "public.t", "a", "server", "INSERT"),
        Grant("column", "public.t", "b", "server", "INSERT"),
        Grant("function", "public.f", "", "server", "EXECUTE"),
    }


def test_differences_are_sentences() -> None:
    rules = Rules(_document())
    items = (rules.items | {Item("function", "messaging.new")}) - {Item("column", "public.t", "b")}
    grants = rules.grants - {Grant("table", "public.t", "", "server", "SELECT")}
    planted = Grant("column", "public.t", "a", "anon", "SELECT")
    assert rules.findings(grants | {planted}, items) == [
        "does not exist: column public.t.b",
        "missing: select on table public.t to server",
        "unexpected: select (a) on column public.t to anon",
        "without a rule: function messaging.new",
    ]


def test_an_adapters_functions_have_a_rule_by_their_prefix() -> None:
    rules = Rules(_document())
    assert rules.has_rule(Item("function", "messaging.host_tier"))
    assert rules.has_rule(Item("column", "messaging.p", "anything"))
    assert not rules.has_rule(Item("column", "public.t", "c"))


@pytest.mark.parametrize(
    ("seen", "outcome", "fits"),
    [
        (Seen(rows=2), 2, True),
        (Seen(rows=2), 1, False),
        (Seen(rows=1), "ok", True),
        (Seen(rows=1, is_true=True), True, True),
        (Seen(rows=1), True, False),
        (Seen(rows=1), "denied", False),
        (Seen(sqlstate="42501", message="permission denied"), "denied", True),
        (Seen(sqlstate="42501", message="permission denied"), 0, False),
        (Seen(sqlstate="PT403", message="PERMISSION_DENIED"), "denied", False),
        (Seen(sqlstate="PT403", message="PERMISSION_DENIED"), "PERMISSION_DENIED", True),
        (Seen(sqlstate="PT404", message="USER_NOT_FOUND"), "MESSAGE_NOT_FOUND", False),
        (Seen(sqlstate="22P02", message="CONFLICT"), "CONFLICT", False),
        (Seen(sqlstate="22P02", message="invalid"), "22P02", True),
    ],
)
def test_what_was_seen_fits_a_rule_or_not(
    seen: Seen, outcome: access.Outcome, *, fits: bool
) -> None:
    assert seen.fits(outcome) is fits


def test_the_rules_that_ship_can_be_read() -> None:
    rules = access.load()
    assert len(rules.attempts) > 100
    assert {grant.role for grant in rules.grants} == {
        "authenticated",
        "bookconnect_dm_server",
        "service_role",
    }
    titles = [(attempt.on, attempt.title, attempt.hosts) for attempt in rules.attempts]
    assert len(set(titles)) == len(titles)


def test_every_group_is_of_people() -> None:
    rules = access.load()
    assert all(set(group) <= set(rules.people) for group in rules.groups.values())
