"""What was erased, removed or deleted after the moment that a restore goes back to.

In charge of: noting what there is at the end of the log (ids and times, no content), telling what
of an earlier copy is gone by then, and taking it out of that copy before anybody sees it.
Knows about: the statements of `sql/restore.sql`.
Does not know: where the two copies come from.

Nothing is recorded for this while the service runs: the two copies are compared.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bookconnect_dm.direct import CommandError, Direct, connect
from bookconnect_dm.repository import say_moment

__all__ = ["Applied", "Gone", "Note", "RemovalsError", "apply", "note", "require_later"]

NAME: Final = "bookconnect-dm restore"
PARTS: Final = ("users", "conversations", "participants", "messages", "tiers", "holds", "clock")
# More than this is not what members and retention do in a day: perhaps it is the accident itself.
SHARE: Final = 0.05
MEMBERS: Final = 10
MESSAGES: Final = 100
HOW_TO_INSIST: Final = (
    "if that is why you restore, add --removals-until TIME, just before it happened (and not before"
    " --to); if it was meant, add --removals-until end"
)


class RemovalsError(CommandError):
    """The copies do not fit together, or somebody has to decide; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A copy's state in files, and until when the other copy shares its past (None: all of it)."""

    folder: Path
    shared_until: datetime | None = None
    is_looked_at: bool = False
    """Nobody else has seen to it that this copy is the later of the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """How much of a copy is gone by the end of the log, and why."""

    members: int
    messages: int
    erased_members: int
    erased: int
    expired: int
    removed: int
    deleted: int
    cut_short: int

    @property
    def is_odd(self) -> bool:
        """Whether it is so much that it may be the accident for which somebody restores."""
        sudden = self.erased + self.removed + self.deleted + self.cut_short
        return (
            self.erased_members > max(MEMBERS, self.members * SHARE)
            or self.erased_members > self.members / 2
            or sudden > max(MESSAGES, self.messages * SHARE)
        )

    def lines(self) -> list[str]:
        """In words; nothing where there is nothing to say."""
        counts = (
            ("members erased", self.erased_members),
            ("messages of theirs", self.erased),
            ("messages deleted by their senders", self.deleted),
            ("messages removed otherwise", self.removed),
            ("messages expired and removed", self.expired),
            ("messages expired sooner by a change of tier", self.cut_short),
        )
        return [f"{words}: {count:,}" for words, count in counts if count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was taken out, and accounts that the host still needs to remove itself."""

    gone: tuple[Gone, ...]
    kept_accounts: tuple[str, ...]
    messages: int
    """How many are there now."""


def require_later(until: datetime | str | None, moment: datetime | None) -> None:
    """Refuse to note an earlier copy: what it does not have yet would be taken for removed."""
    if isinstance(until, datetime) and moment is not None and until < moment:
        raise RemovalsError(
            f"--removals-until {say_moment(until)} is before --to {say_moment(moment)}: all that"
            " was written between the two would be removed. Name the same moment, or a later one."
        )


async def note(url: str, folder: Path) -> int:
    """Write down what a copy holds, into a new folder; how many messages. Raises `CommandError`."""
    with _new(folder):
        return await _note(url, folder)


async def _note(url: str, folder: Path) -> int:
    async with connect(url, name=NAME) as db:
        await db.rows("freeze")
        async with db.transaction():
            if not await db.value("has_schema"):
                raise RemovalsError(
                    "At the end of the log the tables are gone, so it cannot be said what was "
                    "erased before: add --removals-until TIME, a second before they went."
                )
            for part in PARTS:
                await db.copy_out(f"note_{part}", folder / f"{part}.copy")
            return int((await db.rows("counts"))[0][2])


@contextlib.contextmanager
def _new(folder: Path) -> Iterator[None]:
    """Make a folder; half a note is none, and would be in the way of the next."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise RemovalsError(f"{folder} exists already: name a folder that does not.") from None
    except OSError as error:
        raise RemovalsError(
            f"{folder} cannot be made ({error.strerror}): name a new folder in one that is there"
            " and that this account may write."
        ) from error
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


async def apply(
    url: str,
    notes: Sequence[Note],
    *,
    is_certain: bool,
    how_to_insist: str = HOW_TO_INSIST,
    tell: Callable[[Gone], None] | None = None,
) -> Applied:
    """Take out of a copy what is gone by the end, begin a new epoch and open the database.

    All of it or nothing. Raises `RemovalsError` where so much is gone that a person must say that
    it was meant (`is_certain`), and `CommandError`.
    """
    async with connect(url, name=NAME) as db:
        if not await db.value("has_schema"):
            raise RemovalsError(
                "There were no tables of ours at that moment: choose a later one, or migrate up."
            )
        async with db.transaction():
            told: list[Gone] = []
            kept: set[str] = set()
            for one in notes:
                await _take(db, one)
                if one.is_looked_at:
                    await _require_later_copy(db)
                found = Gone(
                    **dict(zip(Gone.__slots__, (await db.rows("count_gone"))[0], strict=True))
                )
                if tell is not None:
                    tell(found)
                if found.is_odd and not is_certain:
                    said = "; ".join(found.lines())
                    raise RemovalsError(f"After that moment {said}: {how_to_insist}.")
                accounts = await _remove(db, one)
                told.append(found)
                kept |= accounts
            await db.rows("begin_epoch")
            await db.rows("open_database")
        return Applied(
            gone=tuple(told),
            kept_accounts=tuple(sorted(kept)),
            messages=int((await db.rows("counts"))[0][2]),
        )


def _shared_until(one: Note) -> str:
    return one.shared_until.astimezone(UTC).isoformat() if one.shared_until else "infinity"


async def _take(db: Direct, one: Note) -> None:
    """Take a note in, and find what is gone by it."""
    for part in PARTS:
        if not (one.folder / f"{part}.copy").exists():
            raise RemovalsError(f"{one.folder} is no note of ours: make it with restore note.")
    await db.rows("make_notes")
    for part in PARTS:
        await db.copy_in(f"take_{part}", one.folder / f"{part}.copy")
    await db.rows("analyze_notes")
    await db.rows("find_gone_users", shared_until=_shared_until(one))
    await db.rows("find_gone_messages", shared_until=_shared_until(one))


async def _require_later_copy(db: Direct) -> None:
    """What an older copy does not have yet would be taken for removed."""
    noted, here = (await db.rows("clocks"))[0]
    if here is not None and (noted is None or noted < here):
        noted_at = say_moment(noted) if noted else "before anybody wrote"
        raise RemovalsError(
            f"The notes are of {noted_at}, and this copy goes on to {say_moment(here)}: all that"
            " is newer would be removed. Note the later copy, and apply that to the earlier one;"
            " if they are of the later one (its newest conversations were removed), add"
            " --notes-are-later."
        )


async def _remove(db: Direct, one: Note) -> set[str]:
    """Take out what was found; the accounts that the host has to remove itself."""
    until = _shared_until(one)
    await db.rows("lift_holds", shared_until=until)
    await db.rows("erase_members")
    await db.rows("remove_conversations", shared_until=until)
    await db.rows("remove_participants", shared_until=until)
    for step in ("remove_messages", "hide_messages", "take_over_tiers", "place_holds"):
        await db.rows(step)
    kept = {str(row[0]) for row in await db.rows("kept_accounts")}
    await db.rows("drop_notes")
    return kept
