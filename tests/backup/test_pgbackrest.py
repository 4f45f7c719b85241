"""An operator's own server, PostgreSQL 15, with pgBackRest and the files of ops/pgbackrest."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from bookconnect_dm import machine
from bookconnect_dm.backup import is_full_due
from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.pgbackrest import Stanza
from tests.conftest import MakeCluster
from tests.helpers.demo import COMMAND
from tests.helpers.postgres import Database, clusters_folder, pg15_bin_dir
from tests.helpers.server import free_port
from tests.helpers.world import World, make_world

pytestmark = pytest.mark.durability

ROOT = Path(__file__).resolve().parents[2]
OPS = ROOT / "ops" / "pgbackrest"
PAGE = ROOT / "docs" / "how-to" / "back-up-and-restore.md"
SETTINGS = "/etc/bookconnect-dm/backup.env"
TRIALS = Path("/var/tmp")
DEBIANS = Path("/usr/lib/postgresql/15/bin")


def _ops_setting(name: str) -> str:
    """A setting as the file for operators has it."""
    for line in (OPS / "postgresql.conf").read_text("utf-8").splitlines():
        key, _, value = line.partition(" = ")
        if key == name:
            return value.strip("'")
    raise AssertionError(name)


class Installation:
    """A cluster with an archive, as the page for operators sets it up."""

    def __init__(self, make_cluster: MakeCluster, folder: Path) -> None:
        self.folder = folder
        self.account = machine.unprivileged_account()
        if self.account is not None:
            os.chown(folder, self.account.uid, self.account.gid)
        self.configuration = folder / "pgbackrest.conf"
        self.configuration.touch()
        push = _ops_setting("archive_command").replace(
            "pgbackrest ", f"pgbackrest --config={self.configuration} ", 1
        )
        self.cluster = make_cluster(
            15,
            archive_mode=_ops_setting("archive_mode"),
            archive_command=push,
            wal_level=_ops_setting("wal_level"),
            unix_socket_directories=str(folder),
            fsync="off",
        )
        self._let_in(self.cluster.embedded)
        self._configure(self.cluster.embedded)
        self.db: Database = self.cluster.database()
        self.env = {
            **{k: v for k, v in os.environ.items() if "BOOKCONNECT" not in k},
            "PGBACKREST_CONFIG": str(self.configuration),
            "BOOKCONNECT_DM_BACKUP_STANZA": "bookconnect",
            "BOOKCONNECT_DM_ADMIN_URL": self.db.admin_url,
        }
        self.said: list[str] = []
        self._stanza("stanza-create")
        self.settings = self._write_settings()

    def _let_in(self, embedded: EmbeddedPostgres) -> None:
        """The account of PostgreSQL comes in by the socket, as on any Debian."""
        name = self.account.name if self.account else pwd.getpwuid(os.getuid()).pw_name
        with (embedded.cluster_folder / "pg_hba.conf").open("a") as hba:
            hba.write("local all postgres peer map=us\n")
        with (embedded.cluster_folder / "pg_ident.conf").open("a") as ident:
            ident.write(f"us {name} postgres\n")
        self.cluster.execute("select pg_reload_conf()")

    def _configure(self, embedded: EmbeddedPostgres) -> None:
        """The file for operators, with this test's places and server in it."""
        text = (OPS / "pgbackrest.conf").read_text("utf-8")
        replaced: Mapping[str, str] = {
            "repo1-path=/var/lib/pgbackrest": f"repo1-path={self.folder}/repo",
            "repo1-cipher-pass=CHANGE-ME": "repo1-cipher-pass=a passphrase of a test",
            "pg1-path=/var/lib/postgresql/15/main": (
                f"pg1-path={embedded.cluster_folder}\n"
                f"pg1-port={embedded.port}\npg1-socket-path={self.folder}"
            ),
            "log-level-file=info": (
                f"log-level-file=info\nlog-path={self.folder}/log\n"
                f"lock-path={self.folder}/lock\nspool-path={self.folder}/spool"
            ),
        }
        for old, new in replaced.items():
            assert old in text, old
            text = text.replace(old, new)
        self.configuration.write_text(text, "utf-8")
        if self.account is not None:
            os.chown(self.configuration, self.account.uid, self.account.gid)
        self.configuration.chmod(0o640)

    def _stanza(self, *arguments: str) -> str:
        return machine.run_program(
            ["pgbackrest", f"--config={self.configuration}", "--stanza=bookconnect", *arguments],
            account=self.account,
        )

    def _write_settings(self) -> Path:
        """The file of the page, with the owner and mode that it says."""
        path = self.folder / "backup.env"
        names = ("BOOKCONNECT_DM_BACKUP_STANZA", "BOOKCONNECT_DM_ADMIN_URL", "PGBACKREST_CONFIG")
        path.write_text("".join(f"{name}={shlex.quote(self.env[name])}\n" for name in names))
        path.chmod(0o640)
        if self.account is not None:
            os.chown(path, 0, self.account.gid)
        return path

    def as_cron(self, number: int) -> str:
        """A line of the page's crontab, in cron's environment: what cron would mail of it.

        But not as `postgres`, who may not be able to reach the Python of these tests.
        """
        text = PAGE.read_text("utf-8")
        (table,) = re.findall(r"^```\n(MAILTO=.*?)^```$", text, re.DOTALL | re.MULTILINE)
        _, path, *lines = table.splitlines()
        *_, user, line = lines[number].split(maxsplit=6)
        assert user == "postgres"
        assert SETTINGS in line
        path = path.replace("/opt/bookconnect-dm/bin", str(Path(COMMAND).parent))
        if self.account is not None:
            subprocess.run(
                ["/bin/sh", "-c", f". {self.settings}"], check=True, cwd="/",
                user=self.account.uid, group=self.account.gid, extra_groups=[],
            )  # fmt: skip
        done = subprocess.run(
            ["/bin/sh", "-c", line.replace(SETTINGS, str(self.settings))],
            env=dict([path.split("=", 1)], HOME="/", LOGNAME=user, SHELL="/bin/sh"),
            cwd="/", capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        self.said.append(said)
        assert done.returncode == 0, said
        return said

    def labels(self) -> list[str]:
        """The backups that pgBackRest knows."""
        (found,) = json.loads(self._stanza("info", "--output=json"))
        return [one["label"] for one in found["backup"]]

    def annotate(self, label: str, text: str) -> None:
        self._stanza("annotate", f"--set={label}", f"--annotation={text}")

    def run(self, *arguments: str, is_well: bool = True) -> str:
        done = subprocess.run(
            [COMMAND, *arguments], env=self.env, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        self.said.append(said)
        assert (done.returncode == 0) is is_well, said
        return said


@pytest.fixture
def installation(make_cluster: MakeCluster) -> Iterator[Installation]:
    if shutil.which("pgbackrest") is None or pg15_bin_dir() is None:
        message = "pgBackRest or PostgreSQL 15 is not here: apt-get install pgbackrest"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with clusters_folder(in_memory=True) as base:
        folder = base / "own"
        folder.mkdir(mode=0o711)
        yield Installation(make_cluster, folder)


def test_back_to_a_second_and_nothing_erased_comes_along(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(installation.db)
    conversation = world.converse(world.ada, world.cleo)
    world.send(world.ada, conversation, "before the backup")
    assert installation.as_cron(0) == ""
    assert "No backup younger than 8d was proved" in installation.as_cron(2)
    installation.annotate(installation.labels()[0], "note=somebody else's")
    assert "until 20" in installation.run("backup", "list")
    world.send(world.cleo, conversation, "words of the one who goes")
    world.send(world.ada, conversation, "words of the one who stays")
    moment = _now(world)
    world.send(world.ada, conversation, "after the moment")
    world.db.run("delete from auth.users where id = %s", world.cleo)
    epoch = _epoch(world.db.admin_url)

    began = time.monotonic()
    into = installation.folder / "restored"
    programs = ("--programs", str(pg15_bin_dir()))
    _see_that_it_waits_for_its_turn(installation, moment, into)
    said = installation.run("restore", "--to", moment, "--into", str(into), *programs)
    print(f"{said}the restore took {time.monotonic() - began:.1f} s")
    assert "members erased: 1\n  messages of theirs: 1\n" in said
    with _started(installation, into) as url, psycopg.connect(url) as connection:
        rows = connection.execute(
            "select content from public.direct_messages order by sent_at"
        ).fetchall()
        assert rows == [("before the backup",), ("words of the one who stays",)]
        members = connection.execute("select count(*) from auth.users where id = %s", (world.cleo,))
        assert members.fetchone() == (0,)
        assert _epoch(url) != epoch
    # The running server was not touched.
    assert len(world.db.run("select id from public.direct_messages")) == 3

    said = installation.run("restore", "--to", moment, "--into", str(into), is_well=False)
    assert "is not empty" in said
    _see_that_an_interrupted_trial_leaves_nothing(installation)
    if pg15_bin_dir() == DEBIANS:
        assert installation.as_cron(1) == ""
    else:
        installation.run("backup", "verify", *programs)
    assert "proved 20" in installation.run("backup", "list")
    assert installation.as_cron(2) == ""

    again = ("--into", str(installation.folder / "again"), *programs)
    _see_that_damage_is_told(installation, world, moment, again)
    _see_that_the_first_one_goes_behind_a_second_full_one(installation, monkeypatch)
    installation.cluster.embedded.stop()
    said = installation.run("restore", "--to", "latest", *again)
    assert "does not answer" in said
    assert "5 messages are in" in said
    print("".join(installation.said))
    assert all(
        installation.cluster.embedded.password_of("postgres") not in x for x in installation.said
    )


def _see_that_it_waits_for_its_turn(installation: Installation, moment: str, into: Path) -> None:
    """Not while members are served, and never over what somebody else has put there."""
    to = ("restore", "--to", moment, "--into", str(into))
    with installation.db.connect("bookconnect_dm_server"):
        said = installation.run(*to, is_well=False)
    assert "Members are being served: bookconnect_dm_server (1)" in said
    foreign = into.with_name(f"{into.name}-end") / "of somebody else"
    foreign.parent.mkdir()
    foreign.touch()
    said = installation.run(*to, is_well=False)
    assert f"{foreign.parent} is not empty" in said
    assert not into.exists()
    foreign.unlink()
    foreign.parent.rmdir()


def _see_that_an_interrupted_trial_leaves_nothing(installation: Installation) -> None:
    """It had a whole copy in plain words, and a server on it; a killed one's goes with the next."""
    before = set(TRIALS.glob("bookconnect-dm-*"))
    _end_a_trial(installation, signal.SIGKILL)
    (left,) = set(TRIALS.glob("bookconnect-dm-*")) - before
    _end_a_trial(installation, signal.SIGHUP)
    assert set(TRIALS.glob("bookconnect-dm-*")) == before
    assert not [one for one in _command_lines() if b"/trial\0" in one]
    assert not left.exists()


def _end_a_trial(installation: Installation, how: signal.Signals) -> None:
    """Once its server has begun."""
    earlier = set(TRIALS.glob("bookconnect-dm-*/trial/postmaster.pid"))
    process = subprocess.Popen(
        [COMMAND, "backup", "verify", "--programs", str(pg15_bin_dir())],
        env=installation.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 60
    while not set(TRIALS.glob("bookconnect-dm-*/trial/postmaster.pid")) - earlier:
        assert process.poll() is None, "it was over before it could be interrupted"
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(how)
    assert process.wait(60) != 0


def _command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def _see_that_damage_is_told(
    installation: Installation, world: World, moment: str, again: tuple[str, ...]
) -> None:
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "in a piece that will be damaged")
    damaged = _put_away(world)
    world.send(world.ada, conversation, "in a piece after it")
    _put_away(world)
    (piece,) = (installation.folder / "repo" / "archive").rglob(f"{damaged}-*")
    content = piece.read_bytes()
    piece.write_bytes(content[:200] + bytes(64) + content[264:])
    for to in ("latest", moment):
        said = installation.run("restore", "--to", to, *again, is_well=False)
        assert "a piece is missing or damaged" in said
        assert "comes back, and has to be erased again" in said


def _see_that_the_first_one_goes_behind_a_second_full_one(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind increments alone nothing ever went, and the erased stayed in the backups for ever."""
    (first,) = installation.labels()
    monkeypatch.setenv("PGBACKREST_CONFIG", str(installation.configuration))
    # As if the time were over that pgBackRest's configuration names.
    monkeypatch.setenv("PGBACKREST_REPO1_RETENTION_FULL_TYPE", "count")
    monkeypatch.setenv("PGBACKREST_REPO1_RETENTION_FULL", "1")
    said: list[str] = []

    def make(now: datetime) -> list[str]:
        Stanza("bookconnect").make(is_full=False, tell=said.append, meanwhile=lambda: None, now=now)
        return installation.labels()

    now = datetime.now(UTC)
    assert [one[:16] for one in make(now + timedelta(days=6))] == [first, first]
    (second,) = make(now + timedelta(days=7))
    assert second.endswith("F")
    assert second != first
    assert f"{first} was older than needed, and is gone." in said
    assert f"{second} is made: full." in said


def test_each_week_a_full_one_also_when_it_begins_a_little_sooner() -> None:
    now = datetime(2026, 11, 27, 3, 0, 1, tzinfo=UTC)
    assert is_full_due(None, now)
    assert is_full_due(now - timedelta(days=7) + timedelta(minutes=1), now)
    assert not is_full_due(now - timedelta(days=6), now)


def _now(world: World) -> str:
    return str(world.db.run("select clock_timestamp() at time zone 'UTC' as it")[0]["it"]) + "Z"


def _epoch(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("select messaging.epoch()").fetchone()
    assert row is not None
    return str(row[0])


def _put_away(world: World) -> str:
    """The log up to here is in the archive (its piece); in life that takes archive_timeout."""
    segment = world.db.cluster.execute("select pg_walfile_name(pg_switch_wal())")[0][0]
    end = time.monotonic() + 60
    while True:
        done = world.db.cluster.execute("select last_archived_wal from pg_stat_archiver")[0][0]
        if done is not None and str(done)[:24] >= segment:
            return str(segment)
        assert time.monotonic() < end, "the archive does not take the log"
        time.sleep(0.05)


@contextlib.contextmanager
def _started(installation: Installation, into: Path) -> Iterator[str]:
    """The restored folder as an operator starts it, here beside the old one at another port.

    In another folder pgBackRest takes no log of it, and a server waits seconds for that to end.
    """
    embedded = installation.cluster.embedded
    account = installation.account
    port = free_port()
    pg_ctl = str(embedded.programs / "pg_ctl")
    options = f"-c port={port} -c archive_command=true"
    log = installation.folder / "restored.log"
    log.touch()
    log.chmod(0o666)
    try:
        machine.run_program(
            [pg_ctl, "start", "-w", "-D", str(into), "-o", options, "-l", str(log)],
            account=account,
        )
        yield installation.db.admin_url.replace(f":{embedded.port}/", f":{port}/")
    finally:
        print(log.read_text("utf-8"))
        if (into / "postmaster.pid").exists():
            machine.run_program([pg_ctl, "stop", "-m", "fast", "-D", str(into)], account=account)
