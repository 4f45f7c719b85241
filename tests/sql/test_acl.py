"""Exact privileges where the host's default privileges give everything to everybody.

On such hosts whatever a migration makes is granted to the clients' roles before its next statement.
Revoking from PUBLIC does not undo that: each object is closed by name.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bookconnect_dm import access, migrate
from bookconnect_dm.access import Grant, Item
from bookconnect_dm.direct import CommandError
from tests.access.catalog import QUERIES
from tests.helpers.postgres import Cluster, Database, run_async

RULES = access.load()
ROLES = ("anon", "authenticated", "service_role", "bookconnect_dm_server", "bookconnect_dm_feed")
HOLDERS = ("anon", "authenticated", "service_role", "bookconnect_dm_server", "public")
KINDS = ("tables", "sequences", "functions", "types", "schemas")


@pytest.fixture(scope="module")
def open_by_default(cluster: Cluster) -> Iterator[Database]:
    """Migrated where everything new belongs to everybody: for all kinds and in all schemas."""
    cluster.database().drop()  # its template made the roles
    database = cluster.empty_database()
    for kind in KINDS:
        database.run(f"alter default privileges grant all on {kind} to {', '.join(HOLDERS)}")
    database.run_script("create schema probe; create table probe.t (); create sequence probe.s;")
    run_async(lambda: migrate.up(database.admin_url, adapter="standalone"))
    yield database
    database.drop()


def _findings(database: Database) -> list[str]:
    names = {"names": RULES.public_names}
    with database.connect() as connection:
        grants = connection.execute(QUERIES["access_grants"], names).fetchall()
        items = connection.execute(QUERIES["access_items"], names).fetchall()
    return RULES.findings(
        [Grant(*row.values()) for row in grants], [Item(*row.values()) for row in items]
    )


def test_the_default_privileges_of_this_test_do_open_everything(open_by_default: Database) -> None:
    held = open_by_default.run(
        "select has_table_privilege('anon', 'probe.t', 'truncate') as t,"
        " has_schema_privilege('anon', 'probe', 'create') as s"
    )
    assert held == [{"t": True, "s": True}]


def test_grants_are_exact_whatever_the_host_gives_by_default(open_by_default: Database) -> None:
    assert _findings(open_by_default) == []


def test_grants_are_exact_where_the_host_gives_nothing(pg: Database) -> None:
    assert _findings(pg) == []


def test_migrating_again_takes_back_what_was_granted_since(pg: Database) -> None:
    """Code is re-applied, grants with it: a host that granted by hand is put right."""
    pg.run("grant all on all tables in schema public, messaging to anon")
    pg.run("grant all on all functions in schema public, messaging to anon")
    pg.run("grant all on schema messaging to anon")
    pg.run("delete from messaging.migrations where name like '%%_004_%%'")
    run_async(lambda: migrate.up(pg.admin_url, adapter="standalone"))
    assert _findings(pg) == []


def test_a_function_that_somebody_made_before_us_is_refused(empty_pg: Database) -> None:
    """`create or replace` would leave it to its owner, who could change it later."""
    empty_pg.cluster.database().drop()  # its template made the roles
    empty_pg.run_script(
        "create function public.get_me() returns jsonb language sql as $$select '{}'::jsonb$$;"
        "alter function public.get_me() owner to authenticated;"
    )
    with pytest.raises(CommandError, match=r"Somebody else made .*get_me.*authenticated"):
        run_async(lambda: migrate.up(empty_pg.admin_url, adapter="standalone"))


@pytest.mark.parametrize("privilege", ["SELECT", "INSERT", "UPDATE", "REFERENCES"])
def test_no_column_of_bookkeeping_is_anybodys(pg: Database, privilege: str) -> None:
    leaks = pg.run(
        "select r.name, c.oid::regclass from unnest(%s::text[]) as r (name)"
        " cross join pg_class as c"
        " where c.relnamespace = 'messaging'::regnamespace and c.relkind in ('r', 'v')"
        " and has_any_column_privilege(r.name, c.oid, %s)",
        list(ROLES),
        privilege,
    )
    assert leaks == []


def test_no_privilege_that_row_level_security_does_not_stop(pg: Database) -> None:
    """TRUNCATE, REFERENCES, TRIGGER, and from PostgreSQL 17 on MAINTAIN."""
    privileges = ["TRUNCATE", "REFERENCES", "TRIGGER", "DELETE"]
    if pg.version >= 17:
        privileges.append("MAINTAIN")
    leaks = pg.run(
        "select r.name, c.oid::regclass, p.name from unnest(%s::text[]) as r (name)"
        " cross join unnest(%s::text[]) as p (name) cross join pg_class as c"
        " where c.relnamespace in ('messaging'::regnamespace, 'public'::regnamespace)"
        " and c.relkind in ('r', 'v') and has_table_privilege(r.name, c.oid, p.name)",
        list(ROLES),
        privileges,
    )
    assert leaks == []
