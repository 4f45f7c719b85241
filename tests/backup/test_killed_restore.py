"""`kill -9` at every step of a restore that changes the disk: the old database or the new is there.

Never neither, and the same command again gets there.

The restore is the command itself, in a process of its own. Python tells that process of each file
that it is about to open, rename or remove and of each program that it is about to start (an audit
hook); at the step that a test names it kills itself: a `kill -9` at exactly that place.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
from structlog.testing import capture_logs

from bookconnect_dm import archive, backup, migrate, recovery
from bookconnect_dm.embedded import EmbeddedPostgres, EmbeddedPostgresError
from bookconnect_dm.machine import is_server_of, unprivileged_account
from bookconnect_dm.repository import Repository
from tests.helpers.postgres import clusters_folder

pytestmark = pytest.mark.durability

# Everything is imported once; each command is a fork of it.
RUNNER = """
import json, os, pathlib, re, signal, sys
from bookconnect_dm import restore
from bookconnect_dm.commands import backing_up
from bookconnect_dm.cli import main

def die_at(event, pattern, path, text, how=signal.SIGKILL):
    is_looking = False
    def hook(name, arguments):
        nonlocal is_looking
        if is_looking or name != event:
            return
        is_looking = True
        if re.search(pattern, " ".join(map(str, arguments))):
            if path == "the disk is full":
                raise OSError(28, "No space left on device")
            if not path or (os.path.exists(path) and text in pathlib.Path(path).read_text()):
                os.kill(os.getpid(), how)
        is_looking = False
    return hook

for line in sys.stdin:
    arguments, step = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.dup2(2, 1)
        sys.argv = ["bookconnect-dm", *arguments]
        if step:
            sys.addaudithook(die_at(*step))
        try:
            main()
        except SystemExit as end:
            os._exit(end.code or 0)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
Step = tuple[str, str, str, str]

# An event, what it is about; a file that must be there by then, and what it must hold.
OLD_GOES_ON: dict[str, Step] = {
    "the old one's last log is about to be kept": ("os.rename", r"\.new \S+\.partial ", "", ""),
    "a copy is put together": ("subprocess.Popen", "bin/postgres .*pgdata-new", "", ""),
    "a copy is open, and runs on": ("open", "postmaster.pid", "pgdata-new/postmaster.pid", "ready"),
}
MUST_BE_REPEATED: dict[str, Step] = {
    "it is marked": ("os.rename", "line.json ", "", ""),
    "the line is opened": ("os.rename", "pgdata \\S+pgdata-old ", "", ""),
    "the old one is out of its place": ("os.rename", "pgdata-new \\S+pgdata ", "", ""),
    "the new one is in its place": ("shutil.rmtree", "pgdata-old", "pgdata-old/PG_VERSION", "18"),
    "it is about to be started": ("subprocess.Popen", "pg_ctl .*start", "", ""),
    "its first backup is about to be recorded": ("os.rename", r"-full\.json ", "", ""),
}


class Shop:
    """A database that was backed up, written to, and stopped; and the process of the commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Repository.of(folder, "")
        self.said = folder.with_name("said")
        self.runner = subprocess.Popen(
            [sys.executable, "-c", RUNNER],
            env={k: v for k, v in os.environ.items() if "BOOKCONNECT" not in k},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            text=True,
        )
        self.postgres = EmbeddedPostgres(folder)
        with self.postgres:
            asyncio.run(migrate.up(self.postgres.admin_url, adapter="standalone"))
            for name in ("members.sql", "conversations.sql"):
                script = files("bookconnect_dm") / "sql" / "demo" / name
                self.postgres.run_script(script.read_text("utf-8"))
            backup.make(
                self.postgres, self.repository, keep_days=14, tell=print, grow=lambda *_: None
            )
            self.moment = datetime.now(UTC)
            # In the log of this cluster only: nothing has taken it into the archive.
            self.postgres.run_script(
                "insert into public.direct_messages (conversation_id, sender_id, content)"
                " select conversation_id, user_id, 'the last words' from"
                " public.conversation_participants limit 1"
            )
            self.was = self.seen()

    def restore(self, *, to: str = "latest", step: Step | None = None) -> int:
        """The command's exit status; -9 where it was killed."""
        return self.run("restore", "--to", to, step=step)

    def run(self, *command: str, step: tuple[Any, ...] | None = None) -> int:
        """The exit status of a command, which something happens to at a step."""
        if step is not None and "/" in step[2]:
            step = (*step[:2], str(self.place.parent / step[2]), *step[3:])
        order = [[*command, "--folder", str(self.folder)], step]
        assert self.runner.stdin is not None
        assert self.runner.stdout is not None
        self.runner.stdin.write(json.dumps(order) + "\n")
        self.runner.stdin.flush()
        return int(self.runner.stdout.readline())

    @property
    def place(self) -> Path:
        return self.postgres.cluster_folder

    def seen(self, url: str | None = None) -> tuple[int, bool, str]:
        """Messages, whether the last one is among them, and the epoch."""
        with psycopg.connect(url or self.postgres.admin_url, connect_timeout=10) as connection:
            row = connection.execute(
                "select count(*), bool_or(content = 'the last words'), messaging.epoch()"
                " from public.direct_messages"
            ).fetchone()
        assert row is not None
        return int(row[0]), bool(row[1]), str(row[2])

    def started(self) -> tuple[int, bool, str]:
        """What is there once somebody starts it as if nothing had happened."""
        with EmbeddedPostgres(self.folder) as postgres:
            left = {path.name for path in self.place.parent.iterdir()} & {
                f"{self.place.name}-{name}" for name in ("new", "end", "old")
            }
            assert left == set(), "words of erased members may be in them"
            return self.seen(postgres.admin_url)

    def whole_one(self) -> tuple[int, bool, str]:
        """What is in the cluster that is there, in its place or beside it, while none may start."""
        self.postgres.kill()  # a killed restore may have started it already
        (self.place / "postmaster.pid").unlink(missing_ok=True)
        old = self.place.with_name(f"{self.place.name}-old")
        with recovery.PrivateCopy(
            self.place if self.place.exists() else old,
            programs=self.postgres.programs,
            account=unprivileged_account(),
            is_scratch=False,
        ) as copy:
            copy.recover(None)
            return self.seen(copy.url("bookconnect_dm"))

    def close(self) -> None:
        self.runner.communicate(timeout=60)
        print(self.said.read_text())
        EmbeddedPostgres(self.folder).destroy()


@pytest.fixture
def shop() -> Iterator[Shop]:
    with clusters_folder(in_memory=True) as base:
        made = Shop(base / "demo")
        try:
            yield made
        finally:
            made.close()


def test_killed_at_every_step_it_is_the_old_one_or_the_new_one(shop: Shop) -> None:
    _tidied_up(shop)  # a plain kill, and a closed terminal
    for name, step in OLD_GOES_ON.items():
        assert shop.restore(step=step) == -9, name
        assert shop.started() == shop.was, name

    # From here on each attempt finds what the last one left.
    for name, step in MUST_BE_REPEATED.items():
        assert shop.restore(step=step) == -9, name
        with pytest.raises(EmbeddedPostgresError) as refused:
            EmbeddedPostgres(shop.folder).start()
        assert "run bookconnect-dm restore again" in str(refused.value)
        assert shop.place.exists() != ("the old database is in" in str(refused.value)), name
        assert shop.whole_one()[:2] == shop.was[:2], name

    # And where only the first backup fails, the service goes on, and has one when it can.
    full = ("subprocess.Popen", "pg_basebackup ", "the disk is full", "")
    assert shop.restore(to=shop.moment.isoformat(), step=full) == 1
    assert "But its first backup failed, so nothing later can be restored" in shop.said.read_text()
    messages, has_last_words, epoch = shop.started()
    assert (messages, has_last_words) == (shop.was[0] - 1, False)
    assert epoch != shop.was[2], "everybody loads anew"
    assert _backed_up_by_itself(shop)


async def _see_that_it_warns_of_a_broken_log(postgres: EmbeddedPostgres) -> None:
    """The demo logs warnings only: an archive that gets nothing more was silent."""
    end_it = "select pg_terminate_backend(active_pid) from pg_replication_slots where active"
    warned: list[MutableMapping[str, Any]] = []
    with capture_logs() as said, psycopg.connect(postgres.admin_url, autocommit=True) as connection:
        while not warned:
            connection.execute(end_it)
            await asyncio.sleep(0.05)
            warned = [one for one in said if one["log_level"] == "warning"]
            warned = [one for one in warned if one["event"] == "archive_interrupted"]
    assert "pg_receivewal: error" in warned[0]["reason"]


def _tidied_up(shop: Shop) -> None:
    """Words of erased members are in a copy, and its server would go on for ever."""
    for command, name, how in (
        (("restore", "--to", "latest"), "pgdata-new", signal.SIGTERM),
        (("backup", "verify"), "pgdata-trial", signal.SIGHUP),
    ):
        step = ("open", "postmaster.pid", f"{name}/postmaster.pid", "ready", how)
        assert shop.run(*command, step=step) == 130, "as if by Ctrl-C"
        place = shop.place.with_name(name)
        assert not place.exists()
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        assert not [pid for pid in pids if is_server_of(pid, place)]


def _backed_up_by_itself(shop: Shop) -> bool:
    """What the demo does beside serving: it waits for nobody to think of it."""

    async def keep_until_there(postgres: EmbeddedPostgres) -> bool:
        keeping = asyncio.create_task(
            archive.keep(postgres, shop.repository, schedule=("03:00",), keep_days=14)
        )
        try:
            async with asyncio.timeout(60):
                while not shop.repository.backups(shop.repository.lines()[-1]):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await _see_that_it_warns_of_a_broken_log(postgres)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
        return True

    with (
        mock.patch.object(archive, "GRACE_S", 1.5),
        EmbeddedPostgres(shop.folder) as postgres,
    ):
        return asyncio.run(keep_until_there(postgres))
