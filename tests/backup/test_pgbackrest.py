"""An operator's own server, PostgreSQL 15, with pgBackRest and the files of ops/pgbackrest."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from bookconnect_dm import machine
from bookconnect_dm.embedded import EmbeddedPostgres
from tests.conftest import MakeCluster
from tests.helpers.demo import COMMAND
from tests.helpers.postgres import Database, clusters_folder, pg15_bin_dir
from tests.helpers.server import free_port
from tests.helpers.world import World, make_world

pytestmark = pytest.mark.durability

ROOT = Path(__file__).resolve().parents[2]
OPS = ROOT / "ops" / "pgbackrest"


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

    def _stanza(self, *arguments: str) -> None:
        machine.run_program(
            ["pgbackrest", f"--config={self.configuration}", "--stanza=bookconnect", *arguments],
            account=self.account,
        )

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


def test_back_to_a_second_and_nothing_erased_comes_along(installation: Installation) -> None:
    world = make_world(installation.db)
    conversation = world.converse(world.ada, world.cleo)
    world.send(world.ada, conversation, "before the backup")
    installation.run("backup")
    assert "until 20" in installation.run("backup", "list")
    world.send(world.cleo, conversation, "words of the one who goes")
    world.send(world.ada, conversation, "words of the one who stays")
    moment = _now(world)
    world.send(world.ada, conversation, "after the moment")
    world.db.run("delete from auth.users where id = %s", world.cleo)
    _put_away(world)
    epoch = _epoch(world.db.admin_url)

    began = time.monotonic()
    into = installation.folder / "restored"
    programs = ("--programs", str(pg15_bin_dir()))
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
    installation.run("backup", "verify", *programs)
    assert "proved 20" in installation.run("backup", "list", "--max-age", "1h")

    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "in a piece that will be damaged")
    damaged = _put_away(world)
    world.send(world.ada, conversation, "in a piece after it")
    _put_away(world)
    (piece,) = (installation.folder / "repo" / "archive").rglob(f"{damaged}-*")
    content = piece.read_bytes()
    piece.write_bytes(content[:200] + bytes(64) + content[264:])
    again = ("--into", str(installation.folder / "again"), *programs)
    for to in ("latest", moment):
        said = installation.run("restore", "--to", to, *again, is_well=False)
        assert "a piece is missing or damaged" in said
    print("".join(installation.said))
    assert all(
        installation.cluster.embedded.password_of("postgres") not in x for x in installation.said
    )


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
