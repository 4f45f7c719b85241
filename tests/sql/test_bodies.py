"""plpgsql_check reads every body in plpgsql: names, types, volatility, dead code.

An extension that Debian has for PostgreSQL 15 only. What it says and we keep has its reason here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.helpers.postgres import Cluster, Database

pytestmark = pytest.mark.parametrize("cluster", ["pg15"], indirect=True)

CHECK = """
select c.functionid::regprocedure::text as name, c.lineno, c.level, c.message, c.detail
from (
    select p.oid, coalesce(t.tgrelid, 0) as relation, t.tgoldtable, t.tgnewtable
    from pg_proc as p
    inner join pg_language as l on l.oid = p.prolang
    left join pg_trigger as t on t.tgfoid = p.oid
    where p.pronamespace in ('messaging'::regnamespace, 'public'::regnamespace)
        and l.lanname = 'plpgsql' and p.proname !~ '^plpgsql_'
        and (p.prorettype <> 'trigger'::regtype or t.oid is not null)
) as f
cross join lateral plpgsql_check_function_tb(
    f.oid, f.relation, oldtable => f.tgoldtable, newtable => f.tgnewtable,
    fatal_errors => false, extra_warnings => true, performance_warnings => true,
    security_warnings => true
) as c
"""

ACCEPTED = {
    ("messaging.fail(text,text,text)", "routine is marked as STABLE, should be IMMUTABLE"): (
        "an immutable one is called while a statement is planned, and would raise for branches that"
        " never run"
    ),
    (
        "messaging.emit(bytea)",
        "function pg_logical_emit_message(boolean, text, bytea, boolean) does not exist",
    ): "the branch for PostgreSQL 17 and newer, in a string for that reason",
    ("messaging.lock_conversations(uuid[])", "routine is marked as VOLATILE, should be STABLE"): (
        "it locks rows, and must see what was committed while it waited"
    ),
}


@pytest.fixture
def checked(cluster: Cluster) -> Iterator[Database]:
    database = cluster.database()
    found = database.run("select name from pg_available_extensions where name ~ '^plpgsql_check'")
    if not found:
        database.drop()
        message = "plpgsql_check is not here: install postgresql-15-plpgsql-check"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    database.run("create extension plpgsql_check")
    yield database
    database.drop()


def test_plpgsql_check_finds_nothing(checked: Database) -> None:
    findings = [
        f"{row['name']}:{row['lineno']} {row['level']}: {row['message']} {row['detail'] or ''}"
        for row in checked.run(CHECK)
        if (row["name"], row["message"]) not in ACCEPTED
    ]
    assert sorted(set(findings)) == []


def test_it_would_find_something(checked: Database) -> None:
    checked.run(
        "create function messaging.broken() returns int language plpgsql as"
        " $$begin return (select no_such_column from public.direct_messages); end$$"
    )
    assert any(row["name"] == "messaging.broken()" for row in checked.run(CHECK))
