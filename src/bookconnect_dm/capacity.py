"""What an installation will need: rows, bytes, sends a second, sockets, connections.

In charge of: the way from what members do to what a machine must have.
Knows about: our tables and indexes, how their rows come and go, PostgreSQL's pages (`pages`).
Does not know: any database; `compact` compares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bookconnect_dm import pages
from bookconnect_dm.pages import HALF_FULL, IN_ORDER, RANDOM, Column

__all__ = ["ENTRIES", "PERIODS", "Figures", "Plan", "Relation", "figures", "message_row"]

PERIODS: Final[Mapping[str, int]] = {"free": 30, "privileged": 180, "privileged_plus": 365}
"""Days that a message stays, by its sender's tier."""
LONGEST: Final = 1_000
DEAD_SHARE: Final = 0.2
"""autovacuum_vacuum_scale_factor: so many dead rows, of those alive, may wait to be cleaned up."""
DAY_S: Final = 86_400
LOG_A_SEND: Final = 800
"""Bytes of log for a send beside its text, without whole pages: measured, docs/decisions/0013."""
CHECKPOINTS_A_DAY: Final = 288
"""checkpoint_timeout is 5 minutes; after each, the first change to a page logs the whole page."""
SOCKET_BYTES: Final = 25_000
SERVER_BYTES: Final = 90_000_000
BACKEND_BYTES: Final = 6_000_000
"""Measured, upper ends: a socket, a server process without any, what a backend has for itself."""
WORKER_CONNECTIONS: Final = 1
OPERATOR_CONNECTIONS: Final = 3
"""For migrate, doctor and somebody with psql."""

SLOTS_A_DAY: Final = 24 * 60 / 5
"""`messaging.expiry_slot` rounds to five minutes."""

_UUID: Final[Column] = (16, 1)
_TIME: Final[Column] = (8, 8)
_BOOL: Final[Column] = (1, 1)

MESSAGE_KEY: Final = pages.index_entry(_UUID)
BY_CONVERSATION: Final = pages.index_entry(_UUID, _TIME)
BY_SENDER: Final = pages.index_entry(_UUID, _TIME)
BY_EXPIRY: Final = pages.index_entry(_BOOL, _TIME)

ENTRIES: Final[Mapping[str, int]] = {
    "direct_messages_pkey": MESSAGE_KEY,
    "idx_messages_conversation_sent": BY_CONVERSATION,
    "idx_messages_sender_id": BY_SENDER,
    "idx_messages_retention_expires": BY_EXPIRY,
    "idx_messages_deletions": BY_CONVERSATION,
}
"""Size of an entry with its own key, of each index that grows by itself: those of messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is known, or hoped, of those who will write. The mission's numbers are the defaults."""

    members: int = 500
    messages_per_day: float = 50.0
    """Of each member."""
    free: float = 0.7
    privileged: float = 0.2
    privileged_plus: float = 0.1
    """Shares of the members; they make 1 together."""
    characters: float = 100.0
    """Of a message, on average."""
    bytes_per_character: float = 1.0
    """1 in English, about 2 in Greek or Russian, 3 in Japanese."""
    conversations_per_member: float = 10.0
    deleted_share: float = 0.02
    """Of messages that their senders delete."""
    days: float = 365.0
    """Since the first message."""
    recovery_days: float = 7.0
    """Between soft and hard deletion."""
    busiest_hour: float = 0.15
    """Share of a day's messages in its busiest hour."""
    active: float = 1.0
    """Share of the members who are there at once."""
    devices: float = 1.5
    """Sockets of a member who is there."""
    servers: int = 2
    pool_size: int = 10

    @property
    def shares(self) -> Mapping[str, float]:
        """Share of the members by tier."""
        return {
            "free": self.free,
            "privileged": self.privileged,
            "privileged_plus": self.privileged_plus,
        }

    @property
    def messages(self) -> float:
        """Of all members in a day."""
        return self.members * self.messages_per_day


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or an index: what it will hold, and its size."""

    name: str
    table: str
    entries: float
    grown: float
    """Bytes, as it grows by itself."""
    rebuilt: float
    """Bytes, right after `bookconnect-dm compact`, which leaves tables as they are."""

    @property
    def is_index(self) -> bool:
        """Whether it is one of the table's indexes."""
        return self.name != self.table


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What it comes to."""

    readable: float
    """Messages that are not expired."""
    stored: float
    """With those that wait in the recovery window."""
    relations: tuple[Relation, ...]
    toast_bytes: float
    log_per_day: tuple[float, float]
    """Bytes of write-ahead log: without and with whole pages after each checkpoint."""
    sends_per_second: tuple[float, int]
    """In the busiest hour: on average, and in its busiest second."""
    sockets: int
    connections: int
    server_bytes: float
    """Memory of one server process."""
    backend_bytes: float
    """Memory of all connections in PostgreSQL, beside shared_buffers."""

    def table_bytes(self, *, rebuilt: bool = False) -> float:
        """All tables, TOAST included."""
        return self.toast_bytes + _sum(self.relations, is_index=False, rebuilt=rebuilt)

    def index_bytes(self, *, rebuilt: bool = False) -> float:
        """All indexes."""
        return _sum(self.relations, is_index=True, rebuilt=rebuilt)

    def index_share(self, *, rebuilt: bool = False) -> float:
        """Indexes over tables: the mission's index overhead."""
        return self.index_bytes(rebuilt=rebuilt) / self.table_bytes(rebuilt=rebuilt)


def _sum(relations: tuple[Relation, ...], *, is_index: bool, rebuilt: bool) -> float:
    return sum(r.rebuilt if rebuilt else r.grown for r in relations if r.is_index is is_index)


def figures(plan: Plan) -> Figures:
    """Compute everything. A pure function of the plan."""
    life = _Life(plan)
    relations = (*_messages(plan, life), *_conversations(plan))
    hourly = plan.messages * plan.busiest_hour / 3600
    sockets = math.ceil(plan.members * plan.active * plan.devices)
    connections = plan.servers * (plan.pool_size + 1) + WORKER_CONNECTIONS + OPERATOR_CONNECTIONS
    return Figures(
        readable=life.readable,
        stored=life.stored,
        relations=relations,
        toast_bytes=life.stored * _toast(plan),
        log_per_day=_log(plan, relations),
        sends_per_second=(hourly, _busiest_second(hourly)),
        sockets=sockets,
        connections=connections,
        server_bytes=SERVER_BYTES + SOCKET_BYTES * sockets / max(1, plan.servers),
        backend_bytes=connections * BACKEND_BYTES,
    )


# -- rows ----------------------------------------------------------------------------------------


class _Life:
    """How many messages there are, and for how long their traces stay."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.readable = self._alive(0)
        self.stored = self._alive(plan.recovery_days)
        """Rows: a message that its sender deleted keeps its row until it expires, too."""
        ended = plan.messages * sum(
            share for tier, share in plan.shares.items() if plan.days > PERIODS[tier]
        )
        self.has_ended = ended > 0
        self.dead_share = DEAD_SHARE if self.has_ended else 0.0
        # Each leaves two dead rows: of the marking and of the removal.
        self.vacuum_days = DEAD_SHARE * self.stored / (2 * ended) if ended else 0.0

    def _alive(self, more_days: float) -> float:
        plan = self._plan
        return plan.messages * sum(
            share * min(plan.days, PERIODS[tier] + more_days) for tier, share in plan.shares.items()
        )

    def traces(self, tier: str, *, vacuums: float = 1.0) -> float:
        """Days for which a page of an index lives whose last entry is of that tier."""
        return min(
            self._plan.days,
            PERIODS[tier] + self._plan.recovery_days + vacuums * self.vacuum_days,
        )

    def conversation_days(self) -> float:
        """... on average over conversations: of the two, one at least may start conversations."""
        plan = self._plan
        starters = plan.privileged + plan.privileged_plus
        if not starters:
            return self.traces("free", vacuums=2)
        plus = plan.privileged_plus / starters
        longest = plus + (1 - plus) * plan.privileged_plus
        return longest * self.traces("privileged_plus", vacuums=2) + (1 - longest) * self.traces(
            "privileged", vacuums=2
        )

    def longest_tier(self) -> str:
        """The tier whose messages stay longest, of those that there are."""
        return [tier for tier, share in self._plan.shares.items() if share][-1]


def message_row(content: int, *, is_deleted: bool = False) -> int:
    """Size of a message's row with a text of `content` bytes."""
    deleted_at = [_TIME] if is_deleted else []
    row = pages.heap_row(_UUID, _UUID, _UUID, pages.text(content), _TIME, _BOOL, *deleted_at, _TIME)
    if row <= pages.TOAST_FROM:
        return row
    columns = (_UUID, _UUID, _UUID, pages.TOAST_POINTER, _TIME, _BOOL, *deleted_at, _TIME)
    return pages.heap_row(*columns)


def _lengths(plan: Plan) -> Iterator[tuple[float, int]]:
    """How often a text has how many bytes: many short ones, few long ones (exponential)."""
    mean = max(plan.characters, 1.0)
    weights = [math.exp(-n / mean) for n in range(1, LONGEST + 1)]
    total = sum(weights)
    for n, weight in enumerate(weights, 1):
        yield weight / total, max(1, round(n * plan.bytes_per_character))


def _mean_row(plan: Plan, *, is_deleted: bool = False) -> float:
    return sum(share * message_row(n, is_deleted=is_deleted) for share, n in _lengths(plan))


def _toast(plan: Plan) -> float:
    """Bytes of TOAST for a message, on average."""
    return sum(
        share * pages.toast_bytes(n)
        for share, n in _lengths(plan)
        if pages.heap_row(_UUID, _UUID, _UUID, pages.text(n), _TIME, _BOOL, _TIME)
        > pages.TOAST_FROM
    )


# -- tables and indexes --------------------------------------------------------------------------


def _messages(plan: Plan, life: _Life) -> list[Relation]:
    name = "direct_messages"
    waiting = life.stored - life.readable + plan.deleted_share * life.readable
    deleted = waiting / life.stored if life.stored else 0.0
    row = (1 - deleted) * _mean_row(plan) + deleted * _mean_row(plan, is_deleted=True)
    heap = pages.heap_bytes(life.stored, row, varies=True) * (1 + life.dead_share)
    with_dead = life.stored * (1 + life.dead_share)

    def index(title: str, entry: float, grown: float, entries: float = life.stored) -> Relation:
        return Relation(title, name, entries, grown, pages.btree_bytes(entries, entry, IN_ORDER))

    by_sender = pages.shared_entry(BY_SENDER, plan.messages_per_day)
    together = _expire_together(plan, life)
    by_expiry = pages.shared_entry(BY_EXPIRY, together)
    deletions = plan.deleted_share * life.readable
    return [
        Relation(name, name, life.stored, heap, heap),
        index("direct_messages_pkey", MESSAGE_KEY, _key_bytes(plan, life)),
        index(
            "idx_messages_conversation_sent", BY_CONVERSATION, _by_conversation_bytes(plan, life)
        ),
        index(
            "idx_messages_sender_id",
            by_sender,
            pages.btree_bytes(
                with_dead,
                by_sender,
                pages.fill_of_runs(life.stored / max(1, plan.members), by_sender),
            ),
        ),
        index(
            "idx_messages_retention_expires",
            by_expiry,
            pages.btree_bytes(with_dead, by_expiry, _fill_by_expiry(plan, together)),
        ),
        index(
            "idx_messages_deletions",
            BY_CONVERSATION,
            pages.btree_bytes(deletions, BY_CONVERSATION, RANDOM),
            deletions,
        ),
    ]


def _key_bytes(plan: Plan, life: _Life) -> float:
    """The primary key: ids rise with time, so leaves are full, and stay while any entry lives.

    Marking a message writes a second entry into its old leaf, which is full and splits in two.
    """
    days = life.traces(life.longest_tier())
    splits = life.has_ended and IN_ORDER * (2 - plan.shares[life.longest_tier()]) > 1
    old = max(0.0, days - PERIODS["free"]) if splits else 0.0
    return pages.btree_bytes(plan.messages * (days + old), MESSAGE_KEY, IN_ORDER)


def _expire_together(plan: Plan, life: _Life) -> float:
    """How many messages share a slot of the index by expiry, on average.

    Soon messages of all tiers expire, later those of the longer ones only.
    """
    known = {tier: (max(0.0, days - plan.days), days) for tier, days in PERIODS.items()}
    slots = 0.0
    for since, until in pairwise(sorted({day for pair in known.values() for day in pair})):
        share = sum(
            plan.shares[tier] for tier, (first, last) in known.items() if first <= since < last
        )
        # Written at any time of the day, independently (Poisson): some slots stay empty.
        filled = 1 - math.exp(-plan.messages * share / SLOTS_A_DAY)
        slots += (until - since) * SLOTS_A_DAY * filled
    return life.readable / slots if slots else 1.0


def _fill_by_expiry(plan: Plan, together: float) -> float:
    """A stream of entries for each tier, each at one place that moves on.

    For keys of up to 16 bytes PostgreSQL leaves full leaves behind such a place; but only where all
    entries are of one size (none is shared), and not where the stream passes through what another
    tier has left there half a year before.
    """
    meeting = PERIODS["privileged"] - PERIODS["free"]
    return HALF_FULL if together > 2 or plan.days > meeting else IN_ORDER


def _by_conversation_bytes(plan: Plan, life: _Life) -> float:
    """Runs of conversations: half-full leaves that stay while any entry in them lives."""
    entries = plan.messages * life.conversation_days()
    run = entries / max(1.0, _conversation_count(plan))
    fill = pages.fill_of_runs(run, BY_CONVERSATION)
    return pages.btree_bytes(max(entries, life.stored), BY_CONVERSATION, fill)


def _conversation_count(plan: Plan) -> float:
    return plan.members * plan.conversations_per_member / 2


def _conversations(plan: Plan) -> Iterator[Relation]:
    count = _conversation_count(plan)
    members = 2 * count
    pair = (_UUID, _UUID, _UUID, _UUID)
    for table, rows, row, fillfactor, keys in (
        (
            "conversations",
            count,
            pages.heap_row(_UUID, _UUID, _TIME, _TIME, _TIME),
            70,
            {"conversations_pkey": (_UUID,)},
        ),
        (
            "conversation_participants",
            members,
            pages.heap_row(_UUID, _UUID, _TIME, _TIME),
            70,
            {
                "conversation_participants_pkey": (_UUID, _UUID),
                "idx_participants_user_id": (_UUID, _UUID),
            },
        ),
        (
            "conversation_pairs",
            count,
            pages.heap_row(*pair),
            100,
            {
                "conversation_pairs_pkey": pair[:3],
                "conversation_pairs_conversation_id_key": (_UUID,),
            },
        ),
    ):
        heap = pages.heap_bytes(rows, row, fillfactor=fillfactor)
        yield Relation(table, table, rows, heap, heap)
        if table == "conversations":
            # One key for a whole store: its entries share it (deduplication), six bytes each.
            posted = pages.posting_bytes(count)
            yield Relation("idx_conversations_store_id", table, count, posted, posted)
        for name, columns in keys.items():
            entry = pages.index_entry(*columns)
            grown = pages.btree_bytes(rows, entry, RANDOM)
            yield Relation(name, table, rows, grown, pages.btree_bytes(rows, entry, IN_ORDER))


# -- log and rate --------------------------------------------------------------------------------


def _log(plan: Plan, relations: tuple[Relation, ...]) -> tuple[float, float]:
    """Records alone; and with each page that is the first change to it after a checkpoint."""
    least = plan.messages * (LOG_A_SEND + plan.characters * plan.bytes_per_character)
    each = plan.messages / CHECKPOINTS_A_DAY
    size = {r.name: r.grown / pages.PAGE for r in relations}
    # Anywhere: the conversation, its place in one index, the sender's in another. The others at
    # one place (expiry: a place for each tier).
    touched = sum(
        _distinct(size[name], each)
        for name in ("conversations", "idx_messages_conversation_sent", "idx_messages_sender_id")
    )
    touched += 5 + each * message_row(round(plan.characters)) / pages.PAGE
    return least, least + CHECKPOINTS_A_DAY * touched * pages.PAGE


def _distinct(of: float, times: float) -> float:
    """How many different pages that many writes touch."""
    return of * (1 - (1 - 1 / max(of, 1.0)) ** times) if of > 1 else 1.0


def _busiest_second(mean: float) -> int:
    """Sends in the busiest of an hour's seconds, if members write independently (Poisson)."""
    if mean > 500:
        return math.ceil(mean + 3.5 * math.sqrt(mean))
    chance = rest = math.exp(-mean)
    count = 0
    while 1 - rest > 1 / 3600 and count < 10 * mean + 100:
        count += 1
        chance *= mean / count
        rest += chance
    return count
