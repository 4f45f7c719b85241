"""A PostgreSQL of our own: made, kept, taken over, closed to everybody without a password."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from bookconnect_dm import machine
from bookconnect_dm.embedded import EmbeddedPostgres, EmbeddedPostgresError
from bookconnect_dm.machine import unprivileged_account
from tests.helpers.postgres import clusters_folder


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with clusters_folder() as made:
        yield made


@pytest.fixture
def postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    # Nothing here cuts the power, so the disk need not be waited for.
    made = EmbeddedPostgres(folder / f"own-{os.urandom(4).hex()}", settings={"fsync": "off"})
    made.start()
    yield made
    made.destroy()


def _value(url: str, statement: str) -> object:
    with psycopg.connect(url, connect_timeout=10) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


def test_the_cluster_is_made_as_the_feed_and_careful_people_need_it(
    postgres: EmbeddedPostgres,
) -> None:
    for setting, expected in (
        ("wal_level", "logical"),
        ("data_checksums", "on"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("password_encryption", "scram-sha-256"),
        ("max_slot_wal_keep_size", "1GB"),
    ):
        assert _value(postgres.admin_url, f"show {setting}") == expected
    assert _value(postgres.admin_url, "select lower('ÄÉΣ')") == "äéσ"


def test_nobody_enters_without_a_password(postgres: EmbeddedPostgres) -> None:
    for url in (
        postgres.url_for("postgres", ""),
        postgres.url_for("postgres", "wrong"),
    ):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=10)


def test_secrets_are_for_their_owner_only(postgres: EmbeddedPostgres) -> None:
    mode = (postgres.data_dir / "secrets.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert len(postgres.secret("anything")) >= 32
    assert postgres.secret("anything") == EmbeddedPostgres(postgres.data_dir).secret("anything")


def test_a_replication_login_gets_a_stream_and_no_physical_copy(
    postgres: EmbeddedPostgres,
) -> None:
    postgres.run_script("create role feed login replication")
    postgres.set_password("feed")
    url = postgres.url_for("feed")
    psycopg.connect(f"{url}?replication=database", autocommit=True, connect_timeout=10).close()
    with pytest.raises(psycopg.OperationalError, match="pg_hba"):
        psycopg.connect(f"{url}?replication=true", autocommit=True, connect_timeout=10)


def test_passwords_appear_in_no_log(postgres: EmbeddedPostgres) -> None:
    postgres.run_script("create role quiet login")
    postgres.set_password("quiet")
    log = postgres.log_file.read_text("utf-8")
    assert postgres.password_of("quiet") not in log
    assert postgres.password_of("postgres") not in log


def test_stopping_and_starting_keeps_data_and_port(postgres: EmbeddedPostgres) -> None:
    postgres.run_script("create table kept as select 1 as one")
    port = postgres.port
    postgres.stop()
    assert postgres.pid is None
    postgres.start()
    assert postgres.port == port
    assert _value(postgres.admin_url, "select one from kept") == 1


def test_a_port_that_somebody_else_took_is_replaced(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", postgres.port))
        taken.listen()
        before = postgres.port
        postgres.start()
    assert postgres.port != before
    assert _value(postgres.admin_url, "select 1") == 1


def test_a_crash_is_recovered_from(postgres: EmbeddedPostgres) -> None:
    postgres.run_script("create table kept as select 1 as one")
    postgres.kill()
    assert postgres.pid is None
    postgres.start()
    assert _value(postgres.admin_url, "select one from kept") == 1


def test_two_processes_cannot_hold_one_folder(postgres: EmbeddedPostgres) -> None:
    other = EmbeddedPostgres(postgres.data_dir)
    with pytest.raises(EmbeddedPostgresError, match="Another process uses"):
        other.start()
    with pytest.raises(EmbeddedPostgresError, match="Another process uses"):
        other.destroy()
    other.stop()  # not its server: nothing happens
    assert _value(postgres.admin_url, "select 1") == 1


def test_a_killed_parent_leaves_a_server_that_the_next_start_takes_over(
    postgres: EmbeddedPostgres,
) -> None:
    postgres.stop()
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                """
                import sys, time
                from pathlib import Path
                from bookconnect_dm.embedded import EmbeddedPostgres
                postgres = EmbeddedPostgres(Path(sys.argv[1]))
                postgres.start()
                postgres.run_script("create table kept as select 1 as one")
                print("ready", flush=True)
                time.sleep(600)
                """
            ),
            str(postgres.data_dir),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        left_behind = postgres.pid
        parent.send_signal(signal.SIGKILL)
    assert left_behind is not None
    postgres.start()
    assert postgres.pid == left_behind
    assert _value(postgres.admin_url, "select one from kept") == 1


def test_a_stale_pid_file_that_names_a_living_stranger_is_cleared(
    postgres: EmbeddedPostgres,
) -> None:
    """In a container process numbers start anew: ours may belong to somebody else by now."""
    pid_file = postgres.data_dir / "pgdata" / "postmaster.pid"
    lines = pid_file.read_text("utf-8").splitlines()
    postgres.kill()
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        try:
            pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n", "utf-8")
            assert postgres.pid is None
            postgres.start()
            assert _value(postgres.admin_url, "select 1") == 1
        finally:
            stranger.kill()


def test_a_folder_of_another_major_version_is_refused_with_a_sentence(
    postgres: EmbeddedPostgres,
) -> None:
    postgres.stop()
    (postgres.data_dir / "pgdata" / "PG_VERSION").write_text("17\n", "ascii")
    with pytest.raises(EmbeddedPostgresError, match="was made by PostgreSQL 17"):
        postgres.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders closed to PostgreSQL")
def test_root_may_keep_the_cluster_in_a_folder_that_is_closed_to_others(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    account = unprivileged_account()
    assert account is not None
    assert not account.can_reach(closed / "demo")
    postgres = EmbeddedPostgres(closed / "demo", settings={"fsync": "off"})
    with postgres:
        elsewhere = (closed / "demo" / "pgdata").resolve()
        assert not elsewhere.is_relative_to(closed)
        assert _value(postgres.admin_url, "select 1") == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    postgres.destroy()
    assert not elsewhere.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders closed to PostgreSQL")
def test_programs_that_only_root_can_reach_are_copied_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_dir = folder / "closed-programs" / "wheel" / "install" / "bin"
    bin_dir.mkdir(parents=True)
    (folder / "closed-programs" / "wheel.libs").mkdir()
    (folder / "closed-programs" / "wheel.libs" / "lib.so").touch(mode=0o600)
    (folder / "closed-programs").chmod(0o700)
    (bin_dir / "postgres").write_text("#!/bin/sh\n", "utf-8")
    (bin_dir / "postgres").chmod(0o700)
    monkeypatch.setattr(machine, "ROOT_FALLBACK", folder / "fallback")
    (folder / "fallback").mkdir()
    account = unprivileged_account()
    assert account is not None
    copy = machine.reachable_programs(bin_dir, account)
    assert copy != bin_dir
    assert account.can_reach(copy / "postgres")
    assert stat.S_IMODE((copy / "postgres").stat().st_mode) & 0o005 == 0o005
    library = copy / ".." / ".." / ".." / "wheel.libs" / "lib.so"
    assert stat.S_IMODE(library.stat().st_mode) & 0o004
    assert machine.reachable_programs(bin_dir, account) == copy


def test_a_folder_without_a_database_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="No database was started"):
        _ = EmbeddedPostgres(tmp_path / "demo").admin_url
