"""Commands that make backups, prove them, and go back to a moment.

In charge of: their options and words, and which of the two tools is meant: pgBackRest for a server
of one's own, what PostgreSQL brings for the demo's.
Knows about: the settings of backups.
Does not know: how anything is backed up or restored.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import unquote, urlsplit

import typer

from bookconnect_dm.commands.common import admin_url, read_settings, say
from bookconnect_dm.config import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from bookconnect_dm.embedded import EmbeddedPostgres
    from bookconnect_dm.pgbackrest import Stanza
    from bookconnect_dm.repository import Repository, State

__all__ = ["backup_cli", "restore_cli"]

backup_cli: Final = typer.Typer(invoke_without_command=True)
restore_cli: Final = typer.Typer(invoke_without_command=True)

_DEMO_FOLDER: Final = Path(".demo")

Folder = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="Where the demo's database is. A server of your own is named by "
        f"{PREFIX}BACKUP_STANZA instead.",
    ),
]
Programs = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="PostgreSQL's programs, where Debian's are not meant."),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--removals-until",
        metavar="TIME",
        help="Erasures, removals and deletions count up to here: for when one of them was the "
        "accident. 'end': all of them, however many.",
    ),
]


@backup_cli.callback()
def backup(
    context: typer.Context,
    full: Annotated[
        bool, typer.Option("--full", help="A full one, also where an increment would do.")
    ] = False,
    folder: Folder = _DEMO_FOLDER,
) -> None:
    """Back the database up now, so that it can be restored to any second since.

    An increment where there is a backup to build on, else a full one; each week a full one.
    Backups that are no longer needed go: BACKUP_KEEP_DAYS, or as pgBackRest's configuration says.
    """
    if context.invoked_subcommand is not None:
        return
    from bookconnect_dm import backup as the_backup
    from bookconnect_dm import machine
    from bookconnect_dm.repository import say_moment
    from bookconnect_dm.terminal import Progress

    settings = read_settings()
    stanza = _stanza(settings)
    with machine.interruptible(), Progress() as progress:
        if stanza is not None:
            stanza.make(is_full=full, tell=say, meanwhile=_nothing)
            return
        postgres, repository = _embedded(settings, folder)
        with the_backup.running(postgres):
            made = the_backup.make(
                postgres,
                repository,
                keep_days=settings.backup_keep_days,
                is_full=full,
                tell=say,
                grow=progress.add,
            )
    one = made.backup
    size = max(one.size >> 20, 1)
    say(
        f"{one.name} is made: {one.kind}, {size:,} MB, {made.took_s:.1f} s, in {repository.folder}."
    )
    say(f"From {say_moment(one.ended_at, fraction=True)} on, any second can be restored.")
    for name in made.expired:
        say(f"{name} was older than needed, and is gone.")


@backup_cli.command()
def verify(
    quick: Annotated[
        bool, typer.Option("--quick", help="Only the files and the log: no trial restore.")
    ] = False,
    folder: Folder = _DEMO_FOLDER,
    programs: Programs = None,
) -> None:
    """Prove the newest backup: check its files and its log, and restore it on trial.

    The trial runs beside the real database, is reachable by nobody, and is removed.
    """
    from bookconnect_dm import machine

    settings = read_settings()
    stanza = _stanza(settings)
    with machine.interruptible():
        if stanza is None:
            _prove_embedded(settings, folder, is_quick=quick)
            return
        stanza.prove(
            _database(settings),
            programs=programs,
            is_quick=quick,
            adapter=settings.host_adapter,
            tell=say,
            meanwhile=_nothing,
        )


def _prove_embedded(settings: Settings, folder: Path, *, is_quick: bool) -> None:
    from bookconnect_dm import backup as the_backup

    postgres, repository = _embedded(settings, folder)
    lines = repository.lines()
    if not lines:
        raise SettingsError(f"There are no backups in {repository.folder}: bookconnect-dm backup.")
    the_backup.prove(
        postgres,
        repository,
        repository.backup_for(lines[-1], None),
        is_quick=is_quick,
        adapter="standalone",
        tell=say,
        meanwhile=_nothing,
    )


@backup_cli.command("list")
def list_backups(
    folder: Folder = _DEMO_FOLDER,
    max_age: Annotated[
        str | None,
        typer.Option(
            "--max-age",
            metavar="AGE",
            help="The exit status is 1 unless a backup younger than this was proved: 36h, 8d.",
        ),
    ] = None,
) -> None:
    """List the backups, which of them were proved, and how far the log goes."""
    from bookconnect_dm.repository import say_moment

    settings = read_settings()
    stanza = _stanza(settings)
    state: State
    if stanza is not None:
        lines, state = stanza.lines(), stanza.state()
    else:
        _, repository = _embedded(settings, folder)
        state = repository.state()
        lines = [
            f"{one.name:34} until {say_moment(one.ended_at, fraction=True)}"
            f" {max(one.size >> 20, 1):>7,} MB" + ("  proved" if one.verified_at else "")
            for one in repository.backups()
        ]
    for line in lines:
        say(line)
    if state.log_until is not None:
        say(f"The log goes to {say_moment(state.log_until.replace(microsecond=0))}.")
    if not lines:
        say("There are no backups.")
    if max_age is not None and not _is_fresh(state, max_age):
        say(f"No backup younger than {max_age} was proved: bookconnect-dm backup verify.")
        raise typer.Exit(1)


@restore_cli.callback()
def restore(
    context: typer.Context,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The moment: 2026-11-27T14:03:05Z (UTC where no zone is named), or 'latest'.",
        ),
    ] = None,
    removals_until: Until = None,
    folder: Folder = _DEMO_FOLDER,
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With pgBackRest: the new folder for the restored cluster. The old one stays.",
        ),
    ] = None,
    programs: Programs = None,
    as_archived: Annotated[
        bool,
        typer.Option(
            "--as-archived",
            help="With pgBackRest: go by what the archive holds now. What the server has not put "
            "there, or writes from now on, is lost; what is erased in that time comes back.",
        ),
    ] = False,
) -> None:
    """Go back to a moment; what was erased, removed or deleted by its sender since stays gone.

    The demo must be stopped. With pgBackRest the members' servers must be, and the database goes
    on: the restored cluster is made in a folder of its own. Members' apps load everything anew.
    """
    if context.invoked_subcommand is not None:
        return
    if to is None:
        raise SettingsError("Say which moment: --to 2026-11-27T14:03:05Z, or --to latest.")
    from bookconnect_dm import machine

    settings = read_settings()
    moment = None if to == "latest" else _moment(to)
    until = removals_until if removals_until in {None, "end"} else _moment(str(removals_until))
    stanza = _stanza(settings)
    with machine.interruptible():
        if stanza is not None:
            _restore_stanza(
                settings, stanza, moment, until,
                into=into, programs=programs, as_archived=as_archived,
            )  # fmt: skip
        else:
            _restore_embedded(settings, folder, moment, until)


@restore_cli.command("note")
def note(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the notes.")],
) -> None:
    """Note what a restored copy of the END holds, for `restore apply`.

    For managed services, which restore by themselves: docs/how-to/back-up-and-restore.md. Looks at
    ADMIN_URL's database. The notes are ids and times, no content; remove them afterwards.
    """
    from bookconnect_dm import removals

    found = asyncio.run(removals.note(admin_url(read_settings()), target))
    say(f"{found:,} messages are noted in {target}.")


@restore_cli.command("apply")
def apply(
    notes: Annotated[Path, typer.Argument(metavar="DIR", help="What `restore note` has written.")],
    certain: Annotated[
        bool, typer.Option("--certain", help="However much is gone: it was meant.")
    ] = False,
    later: Annotated[
        bool,
        typer.Option(
            "--notes-are-later",
            help="The notes are of the later copy, though this one's clock is ahead of them.",
        ),
    ] = False,
) -> None:
    """Take out of a restored copy what was gone by the time of the notes, and begin a new epoch.

    Works on ADMIN_URL's database, which nobody else should be using yet.
    """
    from bookconnect_dm import removals

    def tell(gone: removals.Gone) -> None:
        for line in gone.lines():
            say(line)

    applied = asyncio.run(
        removals.apply(
            admin_url(read_settings()),
            [removals.Note(folder=notes, is_looked_at=not later)],
            is_certain=certain,
            how_to_insist="if it was meant, add --certain; if not, note an earlier copy",
            tell=tell,
        )
    )
    _say_kept(applied.kept_accounts)
    say(f"{applied.messages:,} messages are there. The database may be served.")


def _restore_embedded(
    settings: Settings, folder: Path, moment: datetime | None, until: datetime | str | None
) -> None:
    from bookconnect_dm import restore as the_restore
    from bookconnect_dm.repository import say_moment

    postgres, repository = _embedded(settings, folder)
    done = the_restore.restore(
        postgres, repository, moment, removals_until=until, tell=say, meanwhile=_nothing
    )
    if not done.is_reached and done.newest is not None:
        say(f"Nothing later is in the archive; the last event is of {say_moment(done.newest)}.")
    _say_kept(done.kept_accounts)
    say(f"Restored in {done.took_s:.1f} s. Start the demo again; everybody loads anew.")


def _restore_stanza(
    settings: Settings,
    stanza: Stanza,
    moment: datetime | None,
    until: datetime | str | None,
    *,
    into: Path | None,
    programs: Path | None,
    as_archived: bool,
) -> None:
    from bookconnect_dm import removals

    removals.require_later(until, moment)
    if into is None:
        raise SettingsError("Say where the restored cluster is to be made: --into DIR.")
    if not as_archived:
        stanza.end_log(admin_url(settings), tell=say, meanwhile=_nothing)
    applied, is_reached = stanza.restore(
        _database(settings),
        moment,
        into=into.absolute(),
        programs=programs,
        removals_until=until,
        tell=say,
        meanwhile=_nothing,
    )
    if not is_reached:
        say("The log ended before that moment: all of it is there.")
    _say_kept(applied.kept_accounts)
    say(
        f"{applied.messages:,} messages are in {into}. Stop PostgreSQL, put this folder into the "
        "place of its data folder, start it and the members' servers, and run bookconnect-dm "
        "backup --full."
    )


def _say_kept(accounts: tuple[str, ...]) -> None:
    if accounts:
        say(
            f"{len(accounts)} accounts were erased since, and tables of the application still "
            f"refer to them: remove them there: {', '.join(accounts[:20])}"
        )


def _embedded(settings: Settings, folder: Path) -> tuple[EmbeddedPostgres, Repository]:
    from bookconnect_dm.embedded import EmbeddedPostgres
    from bookconnect_dm.repository import Repository

    postgres = EmbeddedPostgres(folder)
    if settings.admin_url and _place(settings.admin_url) != _place_of_demo(postgres):
        raise SettingsError(
            f"{PREFIX}ADMIN_URL names a server of your own, and this is about the demo's in "
            f"{folder}: set {PREFIX}BACKUP_STANZA to pgBackRest's name of your server "
            f"(docs/how-to/back-up-and-restore.md), or unset {PREFIX}ADMIN_URL for the demo's."
        )
    repository = Repository.of(folder, settings.backup_folder)
    if not (folder / "secrets.json").exists() and not repository.exists:
        raise SettingsError(
            f"There is no database in {folder}: start the demo first (make demo), or set "
            f"{PREFIX}BACKUP_STANZA for a server of your own."
        )
    return postgres, repository


def _place(url: str) -> str:
    """Which database an address leads to, whoever asks."""
    return re.sub(r"^\w+://([^@/]*@)?", "", url).partition("?")[0]


def _place_of_demo(postgres: EmbeddedPostgres) -> str | None:
    """The same of the demo's; None where it was never started, or its folder is lost."""
    from bookconnect_dm.embedded import EmbeddedPostgresError

    try:
        return _place(postgres.admin_url)
    except EmbeddedPostgresError:
        return None


def _stanza(settings: Settings) -> Stanza | None:
    if not settings.backup_stanza:
        return None
    from bookconnect_dm.pgbackrest import Stanza

    return Stanza(settings.backup_stanza)


def _database(settings: Settings) -> str:
    """The name of the product's database in its cluster."""
    name = unquote(urlsplit(admin_url(settings)).path.lstrip("/"))
    if not name:
        raise SettingsError(f"{PREFIX}ADMIN_URL must name the database: postgresql://host/NAME.")
    return name


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SettingsError(f"{text} is no moment: write 2026-11-27T14:03:05Z.") from None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    if found > datetime.now(UTC):
        raise SettingsError(
            f"{text} is not over yet: name a moment of the past (UTC), or 'latest'."
        )
    return found


def _is_fresh(state: State, text: str) -> bool:
    parts = re.fullmatch(r"(\d{1,5})([hd])", text)
    if parts is None or int(parts[1]) == 0:
        raise SettingsError(f"{text} is no age: write 36h or 8d.")
    hours = int(parts[1]) * (24 if parts[2] == "d" else 1)
    if state.verified_at is None:
        return False
    return (datetime.now(UTC) - state.verified_at).total_seconds() <= hours * 3600


def _nothing() -> None:
    pass
