"""Whoever may run SQL cannot make our definer functions run his own code.

A caller with an SQL prompt (or an injection) may create temporary objects. With an empty
search_path PostgreSQL looks for types in the temporary schema first, and a planted domain runs its
CHECK with the rights of the function's owner. So every function pins `pg_catalog, pg_temp`, in
that order.
"""

from __future__ import annotations

import pytest

from tests.access.attempts import Caller, Stage, claims_of
from tests.access.scene import MEMBERS
from tests.helpers.postgres import SERVER

TYPES = ("uuid", "text", "timestamptz", "jsonb", "record", "bool", "int4", "interval")

PLANT = """
create function pg_temp.confess(value anyelement) returns boolean language plpgsql as $$
begin
    if current_user <> '{role}' then
        raise exception 'planted code runs as %%', current_user using errcode = 'XX000';
    end if;
    return true;
end$$;
"""
SHADOW = {
    "record": "create type pg_temp.record as (planted pg_catalog.int4)",
    "default": "create domain pg_temp.{name} as pg_catalog.{name} check (pg_temp.confess(value))",
}


@pytest.mark.parametrize("role", ["authenticated", SERVER])
def test_planted_types_are_never_used(stage: Stage, role: str) -> None:
    """All attempts that some member may make, with every type of ours shadowed."""
    caller = Caller("own", role, claims_of(MEMBERS["own"]))
    statements = [PLANT.format(role=role)]
    statements += [SHADOW.get(t, SHADOW["default"]).format(name=t) for t in TYPES]
    failures = []
    with stage.undone():
        for statement in statements:
            seen = stage.see_and_keep(caller, statement)
            assert seen.sqlstate is None, str(seen)
        attempts = [
            a
            for a in stage.possible(stage.rules.attempts)
            if not a.before and a.expected_of("own") != "denied"
        ]
        failures = [stage.try_as(caller, attempt) for attempt in attempts]
    assert [str(f) for f in failures if f] == []


def test_the_plant_works_where_the_path_is_empty(stage: Stage) -> None:
    """What the test above would look like if it found something: the instrument is sound."""
    caller = Caller("own", "authenticated", claims_of(MEMBERS["own"]))
    with stage.undone():
        stage.superuser_does(
            "create function public.careless() returns text language plpgsql security definer"
            " set search_path = '' as $$declare v uuid := auth.uid(); begin return v; end$$;"
            " grant execute on function public.careless() to authenticated"
        )
        for statement in (
            PLANT.format(role="authenticated"),
            SHADOW["default"].format(name="uuid"),
        ):
            assert stage.see_and_keep(caller, statement).sqlstate is None
        seen = stage.see(caller, "select public.careless()")
    assert seen.message.startswith("planted code runs as ")


@pytest.mark.parametrize(
    "statement",
    [
        "select pg_read_file('/etc/passwd')",
        "copy (select 1) to program 'true'",
        "select rolpassword from pg_authid",
        "select pg_create_logical_replication_slot('planted', 'pgoutput')",
        "alter system set log_statement = 'all'",
        "set session_replication_role = replica",
        "create role planted",
        "alter role bookconnect_dm_server superuser",
        "set role service_role",
        "set role authenticated",
        "set role bookconnect_dm_feed",
        "set session authorization postgres",
        "create schema planted",
        "create table public.planted (c int)",
        "create function public.planted() returns int return 1",
        "drop publication bookconnect_dm",
        "alter publication bookconnect_dm drop table public.direct_messages",
        "create publication planted for table public.direct_messages",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres'",
    ],
)
def test_the_servers_login_has_no_other_power(stage: Stage, statement: str) -> None:
    with Stage(stage.scene, stage.rules).open(SERVER) as signed_in:
        seen = signed_in.see(Caller("server", SERVER), statement)
    stage.made += 1
    assert seen.sqlstate == "42501" or seen.rows == 0, str(seen)
