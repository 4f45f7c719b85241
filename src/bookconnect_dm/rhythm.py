"""How people write: pauses, bursts, the time that reading and typing take.

In charge of: what a simulated member does next, and how long he takes for it.
Knows about: chance, from a generator that is handed in.
Does not know: clocks, sockets, or whether anything is sent.
"""

from __future__ import annotations

import math
import random
from typing import Final, Literal, TypeVar

__all__ = ["ANSWERS", "Action", "Rhythm"]

T = TypeVar("T")
Action = Literal["write", "look", "scroll", "search", "delete"]

_READ_PER_S: Final = 25.0
_TYPE_PER_S: Final = 6.0
"""Characters."""
_MOST_S: Final = 20.0
_SPREAD: Final = 1.0
"""Of the pauses' logarithm: many short, a few long."""
_BURST: Final = 1.6
"""Messages written in a row, on average."""
ANSWERS: Final = 0.5
"""Chance that a message is answered soon."""
_LENGTH: Final = 100.0
"""Characters of a message, on average."""
_ACTIONS: Final[tuple[tuple[Action, float], ...]] = (
    ("write", 0.70),
    ("look", 0.15),
    ("scroll", 0.08),
    ("search", 0.04),
    ("delete", 0.03),
)
_WORDS: Final = ("the", "book", "that", "you", "gave", "me", "has", "a", "page", "of", "rain", "so")


class Rhythm:
    """One member's ways. `messages_per_hour` is what he writes in the long run."""

    def __init__(self, chance: random.Random, *, messages_per_hour: float) -> None:
        self._chance = chance
        own = _BURST * _ACTIONS[0][1]
        per_action_s = 3600.0 * own / (1 - ANSWERS) / messages_per_hour
        usual_s = _LENGTH / _TYPE_PER_S
        typing_s = own * usual_s * (1 - math.exp(-_MOST_S / usual_s))
        # What typing takes is not thought as well; at least half of the time is.
        self._pause_s = max(per_action_s / 2, per_action_s - typing_s)
        self._haste = (per_action_s - self._pause_s) / typing_s

    def pause_s(self) -> float:
        """Time between one thing and the next."""
        middle = math.log(self._pause_s) - _SPREAD**2 / 2
        return min(self._chance.lognormvariate(middle, _SPREAD), 20 * self._pause_s)

    def action(self) -> Action:
        """What he does next."""
        names = [name for name, _ in _ACTIONS]
        return self._chance.choices(names, [share for _, share in _ACTIONS])[0]

    def burst(self) -> int:
        """How many messages he writes in a row."""
        count = 1
        while count < 6 and self._chance.random() < 1 - 1 / _BURST:
            count += 1
        return count

    def text(self) -> str:
        """Something to say; it means nothing."""
        length = max(1, min(1000, round(self._chance.expovariate(1 / _LENGTH))))
        words = self._chance.choices(_WORDS, k=length // 4 + 1)
        return " ".join(words)[:length].strip() or "so"

    def typing_s(self, text: str) -> float:
        """Time to write it."""
        return self._haste * min(_MOST_S, len(text) / _TYPE_PER_S)

    def reading_s(self, text: str) -> float:
        """Time to read it."""
        return self._haste * min(_MOST_S, len(text) / _READ_PER_S)

    def some(self, of: list[T], most: int) -> list[T]:
        """A few of these."""
        return self._chance.sample(of, min(most, len(of)))

    def happens(self, chance: float) -> bool:
        """Whether something of that chance happens now."""
        return self._chance.random() < chance
