"""Simulated time: the rows move into the past, and for the product that time has gone by.

No product function takes a clock; each looks at PostgreSQL's. What they compute depends on
differences to it only, so moving every time in every row of ours by the same amount is the same as
waiting. The columns come from the catalog: one that is added tomorrow moves too. (libfaketime would
move PostgreSQL's clock itself, but needs a package, a cluster of its own and Linux.)
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from psycopg import sql

from tests.helpers.postgres import Connection

_COLUMNS = """
    select c.relnamespace::regnamespace::text as schema, c.relname as table,
        array_agg(a.attname::text order by a.attnum) as columns
    from pg_class as c
    inner join pg_attribute as a on c.oid = a.attrelid
    where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
        and a.atttypid = 'timestamptz'::regtype
        and (
            c.relnamespace = 'messaging'::regnamespace and c.relname <> 'migrations'
            or c.oid in (
                'public.conversations'::regclass, 'public.conversation_participants'::regclass,
                'public.direct_messages'::regclass
            )
        )
    group by 1, 2
"""
# In two strides: in one, a message could land on the time of a neighbour that has not moved yet.
_AWAY = timedelta(days=100_000)


class Clock:
    """The clock of one test's database, which only goes forward."""

    def __init__(self, owner: Connection) -> None:
        self._owner = owner
        self._columns: list[dict[str, Any]] = list(owner.execute(_COLUMNS).fetchall())
        self.passed = timedelta()

    def pass_(self, days: float = 0, *, by: timedelta | None = None) -> None:
        """Let time go by; open transactions of others must have ended."""
        delta = timedelta(days=days) if by is None else by
        with self._owner.transaction():
            self._owner.execute("set local session_replication_role = replica")
            for stride in (-_AWAY, _AWAY - delta):
                for table in self._columns:
                    self._owner.execute(_shift(table), {"delta": _exactly(stride)})
        self.passed += delta


def _shift(table: dict[str, Any]) -> sql.Composed:
    moves = [
        sql.SQL("{0} = {0} + %(delta)s::interval").format(sql.Identifier(column))
        for column in table["columns"]
    ]
    return sql.SQL("update {} set {}").format(
        sql.Identifier(table["schema"], table["table"]), sql.SQL(", ").join(moves)
    )


def _exactly(delta: timedelta) -> str:
    """In microseconds alone: no rounding, and no days that are longer or shorter in some zone."""
    return f"{delta // timedelta(microseconds=1)} microseconds"
