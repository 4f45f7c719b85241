"""Weakening the schema in turn: what each mutant does, and who must notice it.

The mutants are read from the catalog, so a policy, trigger or grant of tomorrow is mutated
tomorrow. Each is a savepoint in one transaction; attempts of the rules are made until one fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bookconnect_dm.access import Attempt, Grant, Item
from tests.access.attempts import Stage, callers
from tests.access.catalog import live_grants, live_items

__all__ = ["HELPERS", "Mutant", "helpers", "policies", "removed_grants", "survives", "triggers"]

ROLES = ("anon", "authenticated", "service_role", "bookconnect_dm_server", "bookconnect_dm_feed")


class Mutant(NamedTuple):
    """One weakening: how it is called, what makes it, and on what object it is."""

    name: str
    statement: str
    on: str
    role: str | None = None
    """The role whose attempts can notice it; any where None."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A function that decides something, and the body that always says yes."""

    signature: str
    returns: str
    body: str

    @property
    def name(self) -> str:
        return self.signature.split("(")[0]

    def as_mutant(self) -> Mutant:
        statement = (
            f"create or replace function {self.signature} returns {self.returns} language plpgsql"
            f" security definer set search_path = pg_catalog, pg_temp as $${self.body}$$"
        )
        return Mutant(f"{self.name} always says yes", statement, self.name)


OWN = "b0000000-0000-4000-8000-00000000000a"

HELPERS = (
    Helper("messaging.is_participant(conversation_id uuid)", "boolean", "begin return true; end"),
    Helper("messaging.can_send(conversation_id uuid)", "boolean", "begin return true; end"),
    Helper("messaging.can_start_in(store_id uuid)", "boolean", "begin return true; end"),
    Helper("messaging.is_invited(conversation_id uuid)", "boolean", "begin return true; end"),
    Helper("messaging.require_participant(conversation_id uuid)", "void", "begin end"),
    Helper("messaging.can_message(other uuid)", "boolean", "begin return true; end"),
    Helper(
        "messaging.host_is_staff(user_id uuid, store_id uuid)", "boolean", "begin return true; end"
    ),
    Helper(
        "messaging.my_conversations()",
        "setof uuid",
        "begin return query select c.id from public.conversations as c; end",
    ),
    Helper("messaging.caller()", "uuid", f"begin return coalesce(auth.uid(), '{OWN}'); end"),
    Helper(
        "messaging.shared_stores(one uuid, other uuid)",
        "setof uuid",
        "begin return query select s.id from public.stores as s limit 1; end",
    ),
    Helper(
        "messaging.host_stores(user_id uuid)",
        "table (store_id uuid, name text, role text)",
        "begin return query select s.id, s.name, 'member'::text from public.stores as s; end",
    ),
    Helper(
        "messaging.host_members(store_id uuid)",
        "table (user_id uuid)",
        "begin return query select u.id from public.users as u; end",
    ),
    Helper("messaging.host_tier(user_id uuid)", "text", "begin return 'privileged_plus'; end"),
    Helper("messaging.checked_content(content text)", "text", "begin return content; end"),
    Helper(
        "messaging.judge_send(message_id uuid, conversation_id uuid, content text)",
        "table (code text, detail text, original public.direct_messages)",
        "begin return query select null, null, m from public.direct_messages as m"
        " where m.id = $1; end",
    ),
)


def helpers() -> list[Mutant]:
    """Each helper of access, made to say yes."""
    return [helper.as_mutant() for helper in HELPERS]


def policies(stage: Stage) -> list[Mutant]:
    """Each policy dropped, and each half of it weakened to true; each table without any."""
    rows = stage.connection.execute(
        "select schemaname || '.' || tablename, policyname, qual is not null,"
        " with_check is not null from pg_policies"
        " where schemaname in ('public', 'messaging') order by 1, 2"
    ).fetchall()
    found = []
    for table, policy, has_using, has_check in rows:
        name = f'policy "{policy}" on {table}'
        found.append(Mutant(f"{name}, dropped", f'drop policy "{policy}" on {table}', table))
        for half, has in (("using", has_using), ("with check", has_check)):
            if has:
                alter = f'alter policy "{policy}" on {table} {half} (true)'
                found.append(Mutant(f"{name}, {half} (true)", alter, table))
    for table in sorted({row[0] for row in rows}):
        disable = f"alter table {table} disable row level security"
        found.append(Mutant(f"row security of {table}, disabled", disable, table))
    return found


def triggers(stage: Stage) -> list[Mutant]:
    """Each trigger of ours dropped, and disabled."""
    rows = stage.connection.execute(
        "select n.nspname || '.' || c.relname, t.tgname from pg_trigger as t"
        " join pg_class as c on c.oid = t.tgrelid join pg_namespace as n on n.oid = c.relnamespace"
        " where not t.tgisinternal and n.nspname in ('public', 'messaging') order by 1, 2"
    )
    found = []
    for table, trigger in rows.fetchall():
        name = f"trigger {trigger} on {table}"
        found.append(Mutant(f"{name}, dropped", f"drop trigger {trigger} on {table}", table))
        disable = f"alter table {table} disable trigger {trigger}"
        found.append(Mutant(f"{name}, disabled", disable, table))
    return found


def removed_grants(stage: Stage) -> list[Mutant]:
    """Each privilege that somebody holds, taken away."""
    found = []
    for grant in live_grants(stage):
        statement = f"revoke {_sql(stage, grant)} from {grant.role}"
        found.append(Mutant(f"{grant}, revoked", statement, grant.name, grant.role))
    return found


def widened_grants(stage: Stage) -> list[Mutant]:
    """Everything on each object to each role that does not hold it yet."""
    found = []
    for item in live_items(stage):
        for role in ROLES:
            privilege = "EXECUTE" if item.kind == "function" else "ALL"
            grant = Grant(item.kind, item.name, item.column, role, privilege)
            if grant not in stage.rules.grants:
                statement = f"grant {_sql(stage, grant)} to {role}"
                found.append(Mutant(f"{grant}, granted", statement, item.name, role))
    return found


def _sql(stage: Stage, grant: Grant) -> str:
    """`select (a) on table t`, with a function's arguments."""
    if grant.kind == "function":
        signatures = stage.connection.execute(
            "select oid::regprocedure::text from pg_proc"
            " where pronamespace::regnamespace || '.' || proname = %s",
            (grant.name,),
        )
        names = ", ".join(row[0] for row in signatures)
        return f"{grant.privilege} on function {names}"
    if grant.kind == "column":
        return f"{grant.privilege} ({grant.column}) on table {grant.name}"
    return f"{grant.privilege} on {grant.kind} {grant.name}"


def survives(stage: Stage, mutant: Mutant) -> bool:
    """Make the mutant and the attempts that could notice it; True where none does."""
    with stage.undone():
        stage.superuser_does(mutant.statement)
        return not any(_fails(stage, attempt, mutant.role) for attempt in _likely(stage, mutant))


def _fails(stage: Stage, attempt: Attempt, role: str | None) -> bool:
    if "owner" in attempt.expect and role is None:
        owner = next(iter(stage.everybody(attempt)))
        if stage.try_as(owner, attempt):
            return True
    return any(
        stage.try_as(caller, attempt)
        for caller in callers(stage.rules)
        if role is None or caller.role == role
    )


def _likely(stage: Stage, mutant: Mutant) -> Iterable[Attempt]:
    """All attempts, those first that are most likely to notice."""
    near = {mutant.on, *_users_of(stage, mutant.on)}
    return sorted(stage.possible(stage.rules.attempts), key=lambda attempt: attempt.on not in near)


def _users_of(stage: Stage, name: str) -> Iterator[str]:
    """The wrappers whose body calls a function, and the tables whose policies do."""
    rows = stage.connection.execute(
        "select coalesce(n.nspname || '.' || f.proname, rn.nspname || '.' || r.relname)"
        " from pg_depend as d"
        " left join pg_proc as f on d.classid = 'pg_proc'::regclass and f.oid = d.objid"
        " left join pg_namespace as n on n.oid = f.pronamespace"
        " left join pg_policy as p on d.classid = 'pg_policy'::regclass and p.oid = d.objid"
        " left join pg_class as r on r.oid = p.polrelid"
        " left join pg_namespace as rn on rn.oid = r.relnamespace"
        " where d.refclassid = 'pg_proc'::regclass and d.refobjid in ("
        "   select oid from pg_proc where pronamespace::regnamespace || '.' || proname = %s)",
        (name,),
    )
    yield from (row[0] for row in rows if row[0])


def refused_by_catalog(stage: Stage, mutant: Mutant) -> bool:
    """Tell whether the exact comparison of grants notices the mutant."""
    with stage.undone():
        stage.superuser_does(mutant.statement)
        return stage.rules.findings(live_grants(stage), _items(stage)) != []


def _items(stage: Stage) -> list[Item]:
    return live_items(stage)
