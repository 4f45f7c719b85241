"""Clusters, databases and personas for tests against a real PostgreSQL.

A `Cluster` is a server of one version with a migrated template; a `Database` is a fresh clone of
it for one test; a persona is a connection that acts as one kind of caller for one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from bookconnect_dm import migrate
from bookconnect_dm.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.helpers import canary

__all__ = [
    "FAST",
    "WORKER",
    "Cluster",
    "Connection",
    "Database",
    "SupabaseCluster",
    "act_as",
    "clusters_folder",
    "host_sql",
    "pg15_bin_dir",
    "run_async",
]

# For tests of SQL: what is lost in a crash does not matter, since the cluster dies with the run.
FAST: Mapping[str, str] = {
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "max_connections": "150",
    "max_wal_size": "4GB",
    "shared_buffers": "64MB",
    "synchronous_commit": "off",
}

MEMORY = Path("/dev/shm")

OWNER = "postgres"
SERVER = "bookconnect_dm_server"
FEED = "bookconnect_dm_feed"
WORKER = "retention_worker"

T = TypeVar("T")

Connection = psycopg.Connection[Any]


def run_async(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in a loop of its own, also while another loop exists."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(make())).result()


def pg15_bin_dir() -> Path | None:
    """Find PostgreSQL 15: PG15_BIN, else Debian's folder."""
    folder = Path(os.environ.get("PG15_BIN") or "/usr/lib/postgresql/15/bin")
    return folder if (folder / "postgres").exists() else None


@contextlib.contextmanager
def clusters_folder(*, in_memory: bool = False) -> Iterator[Path]:
    """Give a folder for this run's clusters, and clear away what killed runs have left.

    `in_memory`: for who copies whole clusters and kills processes, but never cuts the power. What
    they do is the same there, without waiting for a disk after each of a thousand files.
    """
    disk = MEMORY if in_memory and _has_room(MEMORY) else Path(tempfile.gettempdir())
    base = disk / f"bookconnect-dm-tests-{os.getuid()}"
    base.mkdir(exist_ok=True)
    base.chmod(0o711)  # PostgreSQL's account passes through when we are root
    _clear_leftovers(base)
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=base))
    fresh.chmod(0o711)
    with (fresh / "alive").open("w") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        folder = fresh.rename(base / fresh.name.replace("new-", "run-"))  # seen only once locked
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _has_room(disk: Path) -> bool:
    """Whether it may take a dozen small clusters; in containers it often is tiny."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(disk).free > 4 << 30
    return False


def _clear_leftovers(base: Path) -> None:
    for folder in base.glob("run-*"):
        with contextlib.suppress(OSError), (folder / "alive").open("r+") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its run lives
            for cluster in folder.glob("*/pgdata"):
                EmbeddedPostgres(cluster.parent).destroy()
            shutil.rmtree(folder, ignore_errors=True)


class Cluster:
    """One running server, its migrated template and its clones."""

    superuser = OWNER
    """Who may do anything here."""
    gate = OWNER
    """Who takes a client's role for a transaction, as PostgREST's login does."""

    def __init__(self, embedded: EmbeddedPostgres, version: int) -> None:
        self.embedded = embedded
        self.version = version
        self._names = itertools.count(1)
        self._templates: dict[str, Exception | None] = {}
        self._supabase: SupabaseCluster | None = None
        self.databases: list[Database] = []
        """All that were made, dropped or not: their connections are closed at the end."""
        self.served: set[str] = set()
        """Texts that were stored in databases with a server."""

    def database(self, *, adapter: str = "standalone") -> Database:
        """Clone the migrated template of a host into a fresh database.

        `supabase` lives in a cluster of its own beside this one: its `postgres` is no superuser.
        """
        home = self.supabase() if adapter == "supabase" else self
        return home._create(template=home._template(adapter), adapter=adapter)

    def empty_database(self, *, host: str | None = None) -> Database:
        """Make a database that was never migrated; with `host`, one that has the host's tables."""
        home = self.supabase() if host == "supabase" else self
        database = home._create(template="template0", adapter=host or "standalone")
        if host is not None:
            home.set_up_host(database.name, host)
        return database

    def supabase(self) -> Cluster:
        """Return the Supabase cluster of this version, started at the first call."""
        if self._supabase is None:
            self._supabase = SupabaseCluster.beside(self)
        return self._supabase

    def destroy(self) -> None:
        """Stop at once and remove everything, the Supabase cluster too."""
        if self._supabase is not None:
            self._supabase.destroy()
        try:
            self._look_at_logs()
        finally:
            for database in self.databases:
                database.close_idle()
            self.embedded.destroy()

    def _look_at_logs(self) -> None:
        for database in self.databases:
            database.look_at_logs()
        if self.served and self.embedded.log_file.exists():
            log = canary.said_to_our_logins(self.embedded.log_file)
            canary.look_for_tokens("\n".join(log))
            canary.look_for_texts(self.served, log)

    def crash(self) -> None:
        """Kill the server as a power cut would, and start it again."""
        self.embedded.kill()
        end = time.monotonic() + 15
        while True:
            try:
                self.embedded.start()
            except EmbeddedPostgresError as error:
                # Its last backends may need a moment to notice that it is dead.
                if "shared memory" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.5)
            else:
                return

    def execute(self, statement: str | sql.Composed, *arguments: object) -> list[Any]:
        """Run one statement as the owner in the maintenance database, outside transactions."""
        with self._connect("postgres") as connection:
            cursor = connection.execute(statement, arguments or None)
            return [] if cursor.description is None else cursor.fetchall()

    def _connect(self, database: str) -> Connection:
        url = self.embedded.url_for(self.superuser, database=database)
        return psycopg.connect(url, autocommit=True)

    def _template(self, adapter: str) -> str:
        name = f"template_{adapter}"
        if name not in self._templates:
            try:
                self._make_template(name, adapter)
            except Exception as error:
                self._templates[name] = error  # every test says the same, and at once
                raise
            self._templates[name] = None
        failure = self._templates[name]
        if failure is not None:
            raise failure
        return name

    def _make_template(self, name: str, adapter: str) -> None:
        self._create_named(name, template="template0")
        self.set_up_host(name, adapter)
        url = self.embedded.url_for(OWNER, database=name)
        run_async(lambda: migrate.up(url, adapter=adapter, warn=lambda _: None))
        self._set_passwords()

    def _set_passwords(self) -> None:
        for role in (SERVER, FEED):
            self.embedded.set_password(role)

    def set_up_host(self, name: str, adapter: str) -> None:
        """Put the original host's tables into a fresh database (standalone makes its own)."""
        if adapter == "bookconnect":
            with self._connect(name) as connection:
                connection.execute(host_sql("plain_platform"))
                connection.execute(host_sql("bookconnect_tables"))

    def _create(self, *, template: str, adapter: str = "standalone") -> Database:
        name = f"test_{next(self._names)}"
        self._create_named(name, template=template)
        return Database(name=name, cluster=self, adapter=adapter)

    def _create_named(self, name: str, *, template: str) -> None:
        self.execute(
            sql.SQL("create database {} template {} owner {}").format(
                sql.Identifier(name), sql.Identifier(template), sql.Identifier(OWNER)
            )
        )


class SupabaseCluster(Cluster):
    """A server with a Supabase project's roles: `postgres` is no superuser, `supabase_admin` is."""

    superuser = "supabase_admin"
    gate = "authenticator"

    @classmethod
    def beside(cls, cluster: Cluster) -> SupabaseCluster:
        """Start one of the same version and settings, in a folder next to `cluster`'s."""
        known = cluster.embedded
        folder = known.data_dir.with_name(f"{known.data_dir.name}-supabase")
        embedded = EmbeddedPostgres(folder, bin_dir=known._wanted_bin_dir, settings=known._settings)
        embedded.start()
        made = cls(embedded, cluster.version)
        made._make_roles()
        return made

    def _make_roles(self) -> None:
        """Give the bootstrap superuser its name at Supabase; its own name goes to the developer."""
        password = sql.Literal(self.embedded.password_of(self.superuser))
        with psycopg.connect(self.embedded.url_for(OWNER), autocommit=True) as connection:
            connection.execute(
                sql.SQL("create role midwife superuser login password {}").format(password)
            )
        url = self.embedded.url_for("midwife", self.embedded.password_of(self.superuser))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("alter role postgres rename to supabase_admin")
            connection.execute(sql.SQL("alter role supabase_admin password {}").format(password))
        with self._connect("postgres") as connection:
            connection.execute("drop role midwife")
            connection.execute(host_sql("supabase_roles"))
            for role in (OWNER, self.gate, "supabase_auth_admin"):
                connection.execute(
                    sql.SQL("alter role {} password {}").format(
                        sql.Identifier(role), sql.Literal(self.embedded.password_of(role))
                    )
                )

    def set_up_host(self, name: str, adapter: str) -> None:  # noqa: ARG002 - there is one host here
        """Make the database a Supabase project's with the original host's tables."""
        with self._connect(name) as connection:
            connection.execute(host_sql("supabase_platform"))
        url = self.embedded.url_for(OWNER, database=name)
        with psycopg.connect(url) as connection:
            connection.execute(host_sql("bookconnect_tables"))

    def _set_passwords(self) -> None:
        # Up to PostgreSQL 15 only a superuser makes a role that may replicate: what the migration
        # prints as a warning, an operator does here.
        with self._connect("postgres") as connection:
            if not connection.execute(
                "select 1 from pg_roles where rolname = %s", (FEED,)
            ).fetchone():
                connection.execute(f"create role {FEED} login noinherit replication")
            for role in (SERVER, FEED):
                connection.execute(
                    sql.SQL("alter role {} password {}").format(
                        sql.Identifier(role), sql.Literal(self.embedded.password_of(role))
                    )
                )


def host_sql(name: str) -> bytes:
    """Return a file of tests/hosts/sql."""
    return (Path(__file__).parents[1] / "hosts" / "sql" / f"{name}.sql").read_bytes()


@dataclass(frozen=True, slots=True)
class Database:
    """One test's own database, and everybody who may knock at it."""

    name: str
    cluster: Cluster
    adapter: str = "standalone"
    way_in: ClassVar[Callable[[Database], str] | None] = None
    """How servers get here, if not straight: `through` sets it."""
    _idle: dict[str, list[Connection]] = field(default_factory=dict, repr=False, compare=False)
    """Connections that personas have used and others may use again, by login."""

    def __post_init__(self) -> None:
        """Let the cluster know, which outlives us."""
        self.cluster.databases.append(self)

    @property
    def version(self) -> int:
        """The major version of PostgreSQL, 18 or 15."""
        return self.cluster.version

    @property
    def admin_url(self) -> str:
        """The owner's URL (what ADMIN_URL is in an installation)."""
        return self.url(OWNER)

    @property
    def server_url(self) -> str:
        """The API's login (DATABASE_URL), by the way that servers take in this run."""
        way_in = type(self).way_in
        return self.direct_url if way_in is None else way_in(self)

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler is on that way: then no statement may be prepared."""
        return type(self).way_in is not None

    @property
    def direct_url(self) -> str:
        """The same login past any pooler."""
        return self.url(SERVER)

    @property
    def feed_url(self) -> str:
        """The feed's login (FEED_URL)."""
        return self.url(FEED)

    def url(self, role: str) -> str:
        """The URL of any login whose password the cluster knows."""
        return self.cluster.embedded.url_for(role, database=self.name)

    def connect(self, role: str = OWNER, *, autocommit: bool = False) -> Connection:
        """Open a connection that the caller closes; rows are dicts."""
        return psycopg.connect(
            self.url(role), autocommit=autocommit, row_factory=dict_row, connect_timeout=10
        )

    @contextlib.contextmanager
    def _borrowed(self, role: str) -> Iterator[Connection]:
        """A connection as good as new: making one costs more than what most tests do with it."""
        idle = self._idle.setdefault(role, [])
        connection = idle.pop() if idle else None
        if connection is None or _is_dead(connection):
            connection = self.connect(role)
            connection.prepare_threshold = None  # what a client has prepared would be discarded
        with contextlib.ExitStack() as stack:
            stack.enter_context(connection)  # commits or rolls back, and closes
            yield connection
            if connection.closed:
                return
            connection.commit()
            connection.row_factory = dict_row
            connection.autocommit = True
            connection.execute("discard all")
            connection.autocommit = False
            stack.pop_all()
            idle.append(connection)

    def close_idle(self) -> None:
        """Close what nobody uses: for those who count connections, or need there to be none."""
        while self._idle:
            for connection in self._idle.popitem()[1]:
                connection.close()

    @contextlib.contextmanager
    def as_owner(self) -> Iterator[Connection]:
        """Act as the owner of everything; commits at the end, rolls back on an error."""
        with self._borrowed(OWNER) as connection:
            yield connection

    @contextlib.contextmanager
    def as_superuser(self) -> Iterator[Connection]:
        """Act as whoever may do anything (on Supabase that is not the owner)."""
        with self._borrowed(self.cluster.superuser) as connection:
            yield connection

    @contextlib.contextmanager
    def as_server(self) -> Iterator[Connection]:
        """Act as the API's own login, without anybody's claims."""
        with self._borrowed(SERVER) as connection:
            yield connection

    @contextlib.contextmanager
    def as_user(self, user_id: UUID | str) -> Iterator[Connection]:
        """Act as a signed-in member for one transaction, as PostgREST does."""
        with self._borrowed(self.cluster.gate) as connection:
            act_as(connection, user_id)
            yield connection

    @contextlib.contextmanager
    def as_claims(self, claims: str, *, role: str = "authenticated") -> Iterator[Connection]:
        """Act with any text as claims, malformed ones too."""
        with self._borrowed(self.cluster.gate) as connection:
            _take_role(connection, role, claims)
            yield connection

    @contextlib.contextmanager
    def as_anon(self) -> Iterator[Connection]:
        """Act as a visitor who has not signed in."""
        with self._borrowed(self.cluster.gate) as connection:
            _take_role(connection, "anon", json.dumps({"role": "anon"}))
            yield connection

    @contextlib.contextmanager
    def as_service(self) -> Iterator[Connection]:
        """Act as the host's trusted worker."""
        with self._borrowed(self.cluster.gate) as connection:
            _take_role(connection, "service_role", json.dumps({"role": "service_role"}))
            yield connection

    @contextlib.contextmanager
    def worker_url(self) -> Iterator[str]:
        """A login that has service_role's grants and nothing else, as RETENTION_URL wants it."""
        self.run(f"create role {WORKER} login in role service_role")
        self.cluster.embedded.set_password(WORKER)
        yield self.url(WORKER)
        self.run(f"drop role {WORKER}")

    def run(self, statement: str, *arguments: object, **named: object) -> list[dict[str, Any]]:
        """Run a statement as the owner in a transaction of its own and return its rows."""
        with self.as_owner() as connection:
            cursor = connection.execute(statement, named or arguments or None)
            return [] if cursor.description is None else list(cursor.fetchall())

    def run_script(self, text: str) -> None:
        """Run many statements, as a file has them, as the owner."""
        with self.as_owner() as connection:
            connection.execute(text)

    def drop(self) -> None:
        """Drop the database, its slots first, whoever is still connected."""
        try:
            self.look_at_logs()
        finally:
            self._drop()

    def look_at_logs(self) -> None:
        """Where servers ran on it: whether a log holds what is stored here."""
        logs = canary.taken(self.name)
        if not logs:
            return
        # One that a test has dropped or broken, or whose cluster it has killed, has no say.
        with contextlib.suppress(psycopg.Error), self.as_superuser() as owner:
            rows = owner.execute(
                "select distinct m.content from public.direct_messages as m"
                " where length(m.content) >= %s",
                (canary.LEAST,),
            ).fetchall()
            texts = {row["content"] for row in rows}
            canary.look_for_texts(texts, logs)
            self.cluster.served |= texts

    def _drop(self) -> None:
        self.close_idle()
        self.cluster.execute(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where database = %s and active",
            self.name,
        )
        for _ in range(100):
            with contextlib.suppress(psycopg.errors.ObjectInUse):
                self.cluster.execute(
                    "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                    " where database = %s",
                    self.name,
                )
                break
        self.cluster.execute(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(self.name))
        )


def _is_dead(connection: Connection) -> bool:
    """Whether the other side has ended it (its farewell waits to be read)."""
    if connection.closed:
        return True
    if select.select([connection.fileno()], [], [], 0)[0]:
        connection.close()
    return connection.closed


def act_as(connection: Connection, user_id: UUID | str) -> None:
    """Make an open transaction of the owner act as a member until it ends."""
    claims = {"sub": str(user_id), "role": "authenticated", "aud": "authenticated"}
    _take_role(connection, "authenticated", json.dumps(claims))


def _take_role(connection: Connection, role: str, claims: str) -> None:
    connection.execute(
        "select set_config('request.jwt.claims', %s, true),"
        " set_config('request.jwt.claim.sub', '', true), set_config('role', %s, true)",
        (claims, role),
    )
