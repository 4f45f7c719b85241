"""What PostgreSQL did to answer: statement by statement, inside functions too, as who asked.

auto_explain is loaded by a superuser, who then takes the member's role; each plan comes back as a
notice, with the rows and blocks that were really touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

from tests.helpers.postgres import Database, act_as

__all__ = ["Explained", "PlanMode", "explain"]

PlanMode = Literal["custom", "generic"]
"""Functions and prepared statements are planned with their arguments, later perhaps without."""

OURS = frozenset({"conversations", "conversation_participants", "direct_messages"})


@dataclass(frozen=True, slots=True)
class Explained:
    """Every plan of one call, innermost statement first."""

    plans: tuple[dict[str, Any], ...]
    answer: list[tuple[Any, ...]]

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """Every node of every plan that was run at all."""
        return [
            node
            for plan in self.plans
            for node in _nodes(plan["Plan"])
            if node.get("Actual Loops", 0) > 0
        ]

    @property
    def indexes(self) -> set[str]:
        """The indexes that were read."""
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}

    @property
    def whole_tables(self) -> set[str]:
        """Our tables that were read from one end to the other."""
        return {
            node["Relation Name"]
            for node in self.nodes
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in OURS
        }

    @property
    def rows(self) -> int:
        """Rows of our tables that were looked at, those that a filter then dropped too."""
        return sum(_rows(node) for node in self.nodes if node.get("Relation Name") in OURS)

    @property
    def blocks(self) -> int:
        """Blocks of 8 kB that were looked at, in memory or not; by the whole call."""
        outermost = self.plans[-1]["Plan"]
        return int(outermost["Shared Hit Blocks"] + outermost["Shared Read Blocks"])

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.rows} rows, {self.blocks} blocks, {', '.join(sorted(self.indexes))}"


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _rows(node: dict[str, Any]) -> int:
    per_loop = (
        node["Actual Rows"]
        + node.get("Rows Removed by Filter", 0)
        + node.get("Rows Removed by Index Recheck", 0)
    )
    return int(per_loop * node["Actual Loops"] + 0.5)


SETTINGS = (
    "load 'auto_explain'",
    "set auto_explain.log_min_duration = 0",
    "set auto_explain.log_nested_statements = on",
    "set auto_explain.log_analyze = on",
    "set auto_explain.log_buffers = on",
    "set auto_explain.log_timing = off",
    "set auto_explain.log_format = json",
    "set auto_explain.log_level = notice",
    "set jit = off",
)


def explain(
    db: Database,
    member: UUID,
    statement: str,
    *arguments: object,
    mode: PlanMode = "custom",
    without: str | None = None,
) -> Explained:
    """Run a statement as a member and return how it was done, as if there were one index less."""
    with db.connect(db.cluster.superuser) as connection:
        for setting in SETTINGS:
            connection.execute(setting)
        connection.execute(f"set plan_cache_mode = force_{mode}_plan")
        if without is not None:
            connection.execute(f"drop index public.{without}")
        act_as(connection, member)
        cursor = connection.cursor(row_factory=tuple_row)
        # Once before, so that the blocks of the catalogs are not counted.
        with connection.transaction(force_rollback=True):
            cursor.execute(statement, arguments)
        plans: list[dict[str, Any]] = []
        connection.add_notice_handler(lambda notice: plans.extend(_plan_of(notice)))
        answer = cursor.execute(statement, arguments).fetchall()
        connection.rollback()
    return Explained(tuple(plans), answer)


def _plan_of(notice: psycopg.errors.Diagnostic) -> list[dict[str, Any]]:
    text = notice.message_primary or ""
    head, found, body = text.partition("plan:\n")
    return [json.loads(body)] if found and head.startswith("duration:") else []
