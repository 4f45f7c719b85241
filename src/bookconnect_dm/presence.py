"""Who is online, on this server and on all the others.

In charge of: what each server has said about its members, until when that is believed, and what
this server has to say.
Knows about: notes. Times are handed in: `now` is in seconds of a steady clock.
Does not know: clocks, tasks, the log, sockets, who may hear of it (`hub` does).

A server says what changes, and now and then that it lives. A change that was missed shows in `seq`,
and is asked for. A server that is not heard of for `LEASE_S` has crashed: its members are offline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bookconnect_dm.notes import PEOPLE, TYPERS, Note

__all__ = ["BEAT_S", "GRACE_S", "LEASE_S", "Change", "Presence", "Typing"]

BEAT_S: Final = 30.0
"""How often a server with members online says that it lives, when nothing else is to be said."""
LEASE_S: Final = 75.0
GRACE_S: Final = 2.0
"""Whoever is back within this time was never away: a page that loads anew, a phone in a tunnel."""
ASK_S: Final = 2.0
"""Others are asked, and answered in full, at most this often."""
SERVERS: Final = 1_000

TYPING_S: Final = 3.0
"""How often one member's typing in one conversation is told."""
TYPING_KEPT: Final = 10_000

Change = tuple[str, bool]
"""A user, and whether he is online now."""


@dataclass(slots=True)
class _Server:
    """Another server, as it described itself."""

    boot: str
    seq: int
    users: set[str]
    until: float


class Presence:
    """Who is online. A user on two servers, or with two sockets, is online once."""

    def __init__(self, server: str, boot: str, *, now: float) -> None:
        self._server = server
        self._boot = boot
        self._seq = 0
        self._here: set[str] = set()
        self._leaving: dict[str, float] = {}
        self._others: dict[str, _Server] = {}
        self._counts: dict[str, int] = {}
        self._unsaid: dict[str, bool] = {}
        self._rest: list[str] = []
        self._must_say_all = True
        self._must_ask = True
        self._full_after = self._ask_after = now
        self._said_at = now

    def __contains__(self, user_id: object) -> bool:
        return user_id in self._counts

    def __len__(self) -> int:
        return len(self._counts)

    # -- what happens here

    def came(self, user_id: str) -> list[Change]:
        """A member has a socket here; he may have had others."""
        if self._leaving.pop(user_id, None) is not None or user_id in self._here:
            return []
        self._here.add(user_id)
        self._unsay(user_id, online=True)
        return self._add(user_id)

    def left(self, user_id: str, now: float) -> None:
        """A member's last socket here is gone; `tick` tells when he is."""
        if user_id in self._here:
            self._leaving[user_id] = now + GRACE_S

    def tick(self, now: float) -> list[Change]:
        """It is `now`: whoever has gone meanwhile, and the members of servers that have crashed."""
        changes: list[Change] = []
        for user_id in [user for user, at in self._leaving.items() if at <= now]:
            del self._leaving[user_id]
            self._here.discard(user_id)
            self._unsay(user_id, online=False)
            changes += self._remove(user_id)
        for name in [name for name, other in self._others.items() if other.until <= now]:
            changes += self._forget(name)
        return changes

    def _unsay(self, user_id: str, *, online: bool) -> None:
        if self._unsaid.pop(user_id, None) is None:
            self._unsaid[user_id] = online
        # Else the opposite was not said either: there is nothing to say.

    # -- what others say

    def heard(self, note: Note, now: float, *, age_s: float) -> list[Change]:
        """Another server's note, said `age_s` ago."""
        if note.server == self._server:
            return []
        if note.asks:
            self._must_say_all = True
        if note.bye:
            return self._forget(note.server)
        until = now + LEASE_S - max(0.0, age_s)
        if until <= now:
            return []
        return self._learn(note, until)

    def _learn(self, note: Note, until: float) -> list[Change]:
        other = self._others.get(note.server)
        if note.full:
            return self._learn_all(note, until)
        changes: list[Change] = []
        if other is not None and other.boot != note.boot:
            changes, other = self._forget(note.server), None
        has_changes = bool(note.online or note.offline)
        if other is None or note.seq != other.seq + has_changes:
            self._must_ask = True  # something was missed: he tells all of it, then it is right
            if other is not None:
                other.until = until
            return changes
        other.seq, other.until = note.seq, until
        for user_id in note.online:
            if user_id not in other.users:
                other.users.add(user_id)
                changes += self._add(user_id)
        for user_id in note.offline:
            if user_id in other.users:
                other.users.discard(user_id)
                changes += self._remove(user_id)
        return changes

    def _learn_all(self, note: Note, until: float) -> list[Change]:
        if note.server not in self._others and len(self._others) >= SERVERS:
            return []
        other = self._others.pop(note.server, None)
        before = other.users if other else set()
        after = set(note.online)
        self._others[note.server] = _Server(note.boot, note.seq, after, until)
        # In this order: whoever is in both is not touched.
        changes = [change for user in after - before for change in self._add(user)]
        return changes + [change for user in before - after for change in self._remove(user)]

    def _forget(self, name: str) -> list[Change]:
        other = self._others.pop(name, None)
        users = other.users if other else ()
        return [change for user in users for change in self._remove(user)]

    def _add(self, user_id: str) -> list[Change]:
        count = self._counts.get(user_id, 0)
        self._counts[user_id] = count + 1
        return [] if count else [(user_id, True)]

    def _remove(self, user_id: str) -> list[Change]:
        count = self._counts.pop(user_id) - 1
        if count:
            self._counts[user_id] = count
            return []
        return [(user_id, False)]

    # -- what is to be said

    def start_over(self) -> None:
        """Notes may have been lost, ours or theirs: everybody says everything again."""
        self._must_say_all = self._must_ask = True

    def due(self, now: float) -> float:
        """When to `tick` and to ask for a note again, at the latest."""
        times = [*self._leaving.values(), *(other.until for other in self._others.values())]
        if self._must_say_all:
            times.append(self._full_after)
        if self._must_ask:
            times.append(self._ask_after)
        if self._unsaid or self._rest:
            times.append(now)
        if self._here:
            times.append(self._said_at + BEAT_S)
        return min(times, default=now + BEAT_S)

    def note(self, now: float, *, at: float, typing: list[tuple[str, str]]) -> Note | None:
        """What is to be said now, or None. If saying it fails, `start_over`."""
        full = self._must_say_all and now >= self._full_after
        asks = self._must_ask and now >= self._ask_after
        # Others have given us up after a long silence: then changes alone would tell them nothing.
        full = full or (bool(self._unsaid) and now >= self._said_at + LEASE_S)
        beat = bool(self._here) and now >= self._said_at + BEAT_S
        if not (full or asks or beat or typing or self._unsaid or self._rest):
            return None
        online, offline = self._take_all(now) if full else self._take_changes()
        if asks:
            self._must_ask = False
            self._ask_after = now + ASK_S
        if online or offline or full:
            self._seq += 1
        self._said_at = now
        return Note(
            server=self._server, boot=self._boot, at=at, seq=self._seq, full=full,
            online=online, offline=offline, typing=typing, asks=asks,
        )  # fmt: skip

    def _take_all(self, now: float) -> tuple[list[str], list[str]]:
        self._must_say_all = False
        self._full_after = now + ASK_S
        self._unsaid.clear()
        everybody = sorted(self._here)
        self._rest = everybody[PEOPLE:]
        return everybody[:PEOPLE], []

    def _take_changes(self) -> tuple[list[str], list[str]]:
        if self._rest:
            taken, self._rest = self._rest[:PEOPLE], self._rest[PEOPLE:]
            return taken, []
        people = list(self._unsaid.items())[:PEOPLE]
        for user_id, _ in people:
            del self._unsaid[user_id]
        return [user for user, on in people if on], [user for user, on in people if not on]

    def farewell(self, *, at: float) -> Note:
        """The last note."""
        return Note(server=self._server, boot=self._boot, at=at, seq=self._seq, bye=True)


class Typing:
    """Who is typing and was not told of yet; one every `TYPING_S` for a member and conversation."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], float] = {}
        self._waiting: dict[tuple[str, str], float] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, conversation_id: str, user_id: str, now: float) -> bool:
        """A member is typing: True if that is to be told."""
        pair = conversation_id, user_id
        if now < self._told.get(pair, now) or len(self._told) >= TYPING_KEPT:
            self._purge(now)
            return False
        self._told.pop(pair, None)
        self._told[pair] = now + TYPING_S
        self._waiting[pair] = now
        return True

    def take(self, now: float, *, stale_s: float) -> list[tuple[str, str]]:
        """What is to be told now; what waited too long is dropped."""
        waiting, self._waiting = self._waiting, {}
        fresh = [pair for pair, since in waiting.items() if now - since < stale_s]
        self._waiting = dict.fromkeys(fresh[TYPERS:], now)
        return fresh[:TYPERS]

    def _purge(self, now: float) -> None:
        while self._told:
            oldest = next(iter(self._told))
            if self._told[oldest] > now:
                return
            del self._told[oldest]
