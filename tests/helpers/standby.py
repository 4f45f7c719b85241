"""A physical standby of a test's cluster, on which servers may read the log."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bookconnect_dm import machine
from tests.helpers.postgres import OWNER, Cluster, Database

__all__ = ["Standby", "standby_of"]

SLOT = "standby"


class Standby:
    """A copy that follows its primary and takes readers."""

    def __init__(self, primary: Cluster, folder: Path) -> None:
        self._primary = primary
        self._folder = folder
        self._port = machine.pick_port(0)
        self._conninfo = ""

    def url(self, database: Database, role: str) -> str:
        """The way to a database here; logins and passwords are the primary's."""
        return make_conninfo(database.url(role), port=self._port)

    def make(self) -> None:
        """Copy the primary."""
        embedded = self._primary.embedded
        self._folder.mkdir(mode=0o700)
        if embedded._account is not None:
            os.chown(self._folder, embedded._account.uid, embedded._account.gid)
        self._primary.execute("select pg_create_physical_replication_slot(%s)", SLOT)
        # With -R it writes down where its primary is, the password too.
        url = make_conninfo(embedded.url_for(OWNER, database="postgres"), dbname="")
        embedded._run(
            "pg_basebackup", "-d", url, "-D", str(self._folder), "-R", "-X", "stream",
            "-c", "fast", "--no-sync", "-S", SLOT,
        )  # fmt: skip

    def start(self) -> None:
        """Follow the primary. Without feedback, vacuum there would invalidate slots here."""
        options = f"-c port={self._port} -c hot_standby_feedback=on"
        log = self._folder / "log"
        self._ctl("start", "-l", str(log), "-o", options)

    def follow(self, *, is_following: bool) -> None:
        """Lose the primary while running, or find it again."""
        url = make_conninfo(self._primary.embedded.url_for(OWNER), port=self._port)
        with psycopg.connect(url, autocommit=True) as connection:
            if not is_following:
                row = connection.execute("show primary_conninfo").fetchone()
                assert row is not None
                self._conninfo = row[0]
            value = sql.Literal(self._conninfo if is_following else "")
            connection.execute(sql.SQL("alter system set primary_conninfo = {}").format(value))
            connection.execute("select pg_reload_conf()")

    def stop(self, mode: str = "fast") -> None:
        """Stop it as an operator does."""
        self._ctl("stop", "-m", mode, "-t", "30")

    def destroy(self) -> None:
        """Stop it and remove its folder."""
        with contextlib.suppress(machine.MachineError):
            self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(Exception):
            self._primary.execute("select pg_drop_replication_slot(%s)", SLOT)

    def _ctl(self, *arguments: str) -> None:
        self._primary.embedded._run("pg_ctl", *arguments, "-w", "-D", str(self._folder))


@contextlib.contextmanager
def standby_of(primary: Cluster, folder: Path) -> Iterator[Standby]:
    """A running standby until the end."""
    one = Standby(primary, folder)
    try:
        one.make()
        one.start()
        yield one
    finally:
        one.destroy()
