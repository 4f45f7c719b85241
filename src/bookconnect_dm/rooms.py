"""Which conversations somebody is in, of those that anybody here listens to.

In charge of: finding a member's conversations whether or not he is connected here.
Knows about: ids as strings.
Does not know: everything else. `hub` keeps it up to date.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Rooms"]


class Rooms:
    """Users, each with his conversations, in the order in which they came."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, dict[str, None]] = {}

    def of(self, user_id: str) -> Iterable[str]:
        """The conversations of a user, as far as anybody here listens to them."""
        return self._of.get(user_id, ())

    def put(self, conversation_id: str, users: Iterable[str]) -> None:
        """These users are in the conversation."""
        for user_id in users:
            self._of.setdefault(user_id, {})[conversation_id] = None

    def take(self, conversation_id: str, users: Iterable[str]) -> None:
        """These users are not in it any more, or nobody listens to it."""
        for user_id in users:
            mine = self._of.get(user_id, {})
            mine.pop(conversation_id, None)
            if not mine:
                self._of.pop(user_id, None)
