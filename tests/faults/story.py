"""What the members of a run do and what befalls their servers: decided by the seed alone.

In charge of: every decision. `digest` tells two stories apart.
Does not know: servers, sockets, time.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

__all__ = ["Act", "Blow", "Story", "tell"]

MEMBERS = 20
SERVERS = 3
ACTS = {"send": 60.0, "read": 20.0, "delete": 13.0, "start": 3.0, "sign_in": 4.0}
BLOWS = ("kill", "cut_all", "sigterm", "postgres_backends", "postgres_crash")


@dataclass(frozen=True, slots=True)
class Act:
    """One operation of a member; `pick` (0 to 1) chooses among what he has by then."""

    kind: str
    pick: float
    other: int
    """Another member, for `start`."""


@dataclass(frozen=True, slots=True)
class Blow:
    """What happens to a server, or to PostgreSQL, once `after` operations are done."""

    after: int
    kind: str
    server: int


@dataclass(frozen=True, slots=True)
class Story:
    """All decisions of one run."""

    seed: int
    pairs: list[tuple[int, int]]
    """Conversations that there are at the beginning."""
    acts: list[list[Act]]
    """By member."""
    blows: list[Blow]
    token_s: list[float]
    """How long a member's tokens live."""

    @property
    def digest(self) -> str:
        """The same for the same decisions."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


def tell(seed: int, operations: int) -> Story:
    """The story of a seed."""
    dice = random.Random(f"story/{seed}")
    pairs = {(n, (n + 1) % MEMBERS) for n in range(MEMBERS)}
    while len(pairs) < 2 * MEMBERS:
        one, other = dice.sample(range(MEMBERS), 2)
        if (other, one) not in pairs:
            pairs.add((one, other))
    share = operations // MEMBERS
    acts = [[_act(dice, member) for _ in range(share)] for member in range(MEMBERS)]
    blows = max(len(BLOWS), operations // 400)
    return Story(
        seed=seed,
        pairs=sorted(pairs),
        acts=acts,
        blows=[
            Blow(
                after=operations * (n + 1) // (blows + 2),
                kind=BLOWS[n % len(BLOWS)],
                server=dice.randrange(SERVERS),
            )
            for n in range(blows)
        ],
        token_s=[dice.uniform(8, 20) for _ in range(MEMBERS)],
    )


def _act(dice: random.Random, member: int) -> Act:
    kind = dice.choices(list(ACTS), list(ACTS.values()))[0]
    other = dice.choice([n for n in range(MEMBERS) if n != member])
    return Act(kind, dice.random(), other)
