"""What the catalog says there is, and the attempts that follow from it.

For every relation, column, function, type and sequence of ours: each verb that PostgreSQL has for
it. Whoever does not hold the privilege by the rules must be refused by the privilege itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

from bookconnect_dm.access import Grant, Item, Seen
from bookconnect_dm.db import load_queries
from tests.access.attempts import Stage

__all__ = ["HOST_TABLES", "Generated", "attempts_on", "is_refusal", "live_grants", "live_items"]

QUERIES = load_queries((files("bookconnect_dm") / "sql" / "admin.sql").read_text("utf-8"))
HOST_TABLES = ("auth.users", "public.store_members", "public.stores", "public.users")
"""What the standalone adapter makes: closed to clients like what is ours."""

REFUSALS = ("permission denied", "must be owner")
"""How PostgreSQL says that a privilege is missing; its policies say it in other words."""


class Generated(NamedTuple):
    """An attempt on an object: the privilege that it takes, and the statement."""

    item: Item
    privilege: str
    sql: str


def is_refusal(seen: Seen) -> bool:
    """Tell whether a privilege was missing, rather than a policy or trigger in the way."""
    is_wrong_kind = seen.sqlstate == "42809"  # what no view can do: TRUNCATE, a row trigger
    return is_wrong_kind or (seen.sqlstate == "42501" and seen.message.startswith(REFUSALS))


def live_grants(stage: Stage) -> list[Grant]:
    """Every grant on what is ours."""
    rows = stage.connection.execute(QUERIES["access_grants"], {"names": stage.rules.public_names})
    return [Grant(*row) for row in rows]


def live_items(stage: Stage) -> list[Item]:
    """Everything that is ours."""
    rows = stage.connection.execute(QUERIES["access_items"], {"names": stage.rules.public_names})
    return [Item(*row) for row in rows]


def attempts_on(stage: Stage, item: Item) -> Iterator[Generated]:
    """Every attempt on one object of the catalog."""
    match item.kind:
        case "table":
            yield from _on_table(item)
        case "column":
            yield from _on_column(item)
        case "function":
            for arguments in _signatures(stage, item.name):
                yield Generated(item, "EXECUTE", f"select {item.name}({arguments})")
        case "sequence":
            yield Generated(item, "USAGE", f"select nextval('{item.name}')")
            yield Generated(item, "UPDATE", f"select setval('{item.name}', 1000)")
            yield Generated(item, "SELECT", f"select last_value from {item.name}")
        case "type":
            yield Generated(item, "USAGE", f"create temporary table t (c {item.name})")
        case "schema":
            yield Generated(item, "CREATE", f"create table {item.name}.planted (c int)")
            yield Generated(item, "CREATE", f"create function {item.name}.f() returns int return 1")


def _on_table(item: Item) -> Iterator[Generated]:
    name = item.name
    yield Generated(item, "SELECT", f"select * from {name}")
    yield Generated(item, "SELECT", f"select count(*) from {name}")
    yield Generated(item, "INSERT", f"insert into {name} default values")
    yield Generated(item, "DELETE", f"delete from {name}")
    yield Generated(item, "TRUNCATE", f"truncate {name}")
    yield Generated(item, "MAINTAIN", f"lock table {name} in access exclusive mode")
    yield Generated(item, "MAINTAIN", f"lock table {name} in share mode")
    # Only its owner may do these; no privilege stands for them.
    yield Generated(item, "owner", f"alter table {name} disable row level security")
    yield Generated(item, "owner", f"alter table {name} owner to current_user")
    yield Generated(item, "owner", f"create policy p on {name} using (true)")
    yield Generated(item, "owner", f"create rule r as on update to {name} do instead nothing")
    yield Generated(item, "owner", f"comment on table {name} is 'planted'")
    yield Generated(item, "owner", f"drop table {name} cascade")
    yield Generated(
        item,
        "TRIGGER",
        f"create trigger t before insert on {name} for each row"
        " execute function pg_catalog.suppress_redundant_updates_trigger()",
    )


def _on_column(item: Item) -> Iterator[Generated]:
    table, column = item.name, item.column
    yield Generated(item, "SELECT", f"select {column} from {table} limit 1")
    yield Generated(item, "INSERT", f"insert into {table} ({column}) values (default)")
    yield Generated(item, "UPDATE", f"update {table} set {column} = default")


def _signatures(stage: Stage, name: str) -> list[str]:
    """Arguments for a call of each function of that name: typed nulls."""
    rows = stage.connection.execute(
        "select coalesce((select string_agg('null::' || t.oid::regtype::text, ', ' order by a.n)"
        " from unnest(p.proargtypes) with ordinality as a (oid, n)"
        " join pg_type as t on t.oid = a.oid), '') from pg_proc as p"
        " where p.pronamespace::regnamespace || '.' || p.proname = %s",
        (name,),
    )
    return [row[0] for row in rows]
