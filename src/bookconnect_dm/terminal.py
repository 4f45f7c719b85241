"""What long work looks like while it goes on.

In charge of: moving lines on a terminal, a plain one every few seconds elsewhere.
Knows about: whether somebody is looking.
Does not know: what the work is.
"""

from __future__ import annotations

import time
from typing import Final, Self

from rich.console import Console
from rich.progress import Progress as Lines
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["Progress"]

SAY_EVERY_S: Final = 5.0


class Progress:
    """Counts what is done of each kind and shows it on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._moves = self._console.is_terminal
        self._lines = Lines(
            SpinnerColumn(),
            TextColumn("{task.completed:>12,.0f} {task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._moves,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._counts: dict[str, int] = {}
        self._said_at = time.monotonic()

    def __enter__(self) -> Self:
        """Begin to show."""
        self._lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._lines.stop()

    def add(self, kind: str, count: int) -> None:
        """Show that `count` more of a kind are done."""
        self._counts[kind] = self._counts.get(kind, 0) + count
        if kind not in self._tasks:
            self._tasks[kind] = self._lines.add_task(kind, total=None)
        self._lines.update(self._tasks[kind], completed=self._counts[kind])
        if not self._moves and time.monotonic() - self._said_at >= SAY_EVERY_S:
            self._said_at = time.monotonic()
            self._console.print(f"{self._counts[kind]:,} {kind} so far", highlight=False)
