"""What an installation stands on, each thing broken for real: doctor names it and its cure."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import certifi
import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bookconnect_dm import compact, keys
from bookconnect_dm.config import Settings
from bookconnect_dm.doctor import examine
from tests.conftest import MakeCluster
from tests.helpers.certificates import write_certificate
from tests.helpers.postgres import FEED, OWNER, Cluster, Database, clusters_folder, run_async
from tests.helpers.standby import standby_of
from tests.helpers.world import World


def found(db: Database, **settings: Any) -> dict[str, str | None]:
    """Every question of doctor; what is to be done where something is wrong, else None."""
    addresses = {"admin_url": db.admin_url, "database_url": db.server_url, "feed_url": db.feed_url}
    ours = Settings(**{**addresses, **settings})
    checks = run_async(lambda: examine(ours))
    return {c.name: None if c.is_well else c.what_to_do for c in checks}


def wrong(db: Database, **settings: Any) -> dict[str, str]:
    return {name: cure for name, cure in found(db, **settings).items() if cure is not None}


def wait(is_true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.05)


def fill(world: World, messages: int) -> None:
    """Many messages in one conversation, past the triggers."""
    conversation = world.converse(world.ada, world.ben)
    with world.db.as_superuser() as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute(
            "insert into public.direct_messages"
            " (conversation_id, sender_id, content, sent_at, retention_expires_at)"
            " select %s, %s, 'x', now() - n * interval '1 second', now() + interval '1 day'"
            " from generate_series(1, %s) as n",
            (conversation, world.ada, messages),
        )


def vacuum(db: Database) -> None:
    with db.connect(autocommit=True) as connection:
        connection.execute("vacuum analyze public.direct_messages")


PLANS = "hot queries are planned by their indexes"
INDEXES = "no message index has grown far beyond its entries"


def test_a_table_that_is_read_whole_and_an_index_that_has_grown_are_named(world: World) -> None:
    fill(world, 40_000)
    vacuum(world.db)
    assert wrong(world.db) == {}
    methods = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")
    for method in methods:
        world.db.run(f"alter database {world.db.name} set {method} = off")
    world.db.close_idle()
    said = wrong(world.db)[PLANS]
    assert "a page of a conversation reads all of direct_messages" in said
    assert "what has expired reads all of direct_messages" in said
    for method in methods:
        world.db.run(f"alter database {world.db.name} reset {method}")

    with world.db.as_superuser() as owner:
        owner.execute(
            "delete from public.direct_messages"
            " where mod(extract(epoch from sent_at)::bigint, 20) > 0"
        )
    vacuum(world.db)
    assert "run bookconnect-dm compact" in wrong(world.db)[INDEXES]
    run_async(lambda: compact.compact(world.db.admin_url, report=lambda *_: None))
    assert wrong(world.db) == {}


SPARE = "there is a slot and a sender to spare for another server"
KEPT = "no slot keeps much of the log"
DISK = "the database's disk has room for the log that slots may keep"


def _set(cluster: Cluster, **settings: str) -> None:
    for name, value in settings.items():
        cluster.execute(f"alter system set {name} = '{value}'")
    cluster.execute("select pg_reload_conf()")
    shown = [(value,) for value in settings.values()]
    wait(lambda: [cluster.execute(f"show {name}")[0] for name in settings] == shown)


def test_slots_that_are_all_used_or_keep_too_much_and_a_disk_too_small(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(
        18, max_replication_slots="1", max_wal_senders="1", max_slot_wal_keep_size="64MB"
    )
    db = cluster.database()
    assert wrong(db) == {}
    cluster.execute("select pg_create_physical_replication_slot('backup', true)")
    program = str(cluster.embedded.programs / "pg_receivewal")
    reader = subprocess.Popen(
        [program, "--no-loop", "--slot=backup", f"--directory={tmp_path}"],
        env=dict(cluster.embedded.client_env),
        stderr=subprocess.PIPE,
    )
    try:
        wait(lambda: cluster.execute("select active from pg_replication_slots") == [(True,)])
        assert "1 slots of 1 and 1 senders of 1 are used" in wrong(db)[SPARE]
    finally:
        reader.kill()
        reader.communicate(timeout=30)
    wait(lambda: cluster.execute("select active from pg_replication_slots") == [(False,)])
    for number in range(4):
        db.run(f"create table public.t{number} ()")
        cluster.execute("select pg_switch_wal()")
    assert "backup keeps" in wrong(db)[KEPT]
    cluster.execute("select pg_drop_replication_slot('backup')")
    assert wrong(db) == {}

    _set(cluster, max_slot_wal_keep_size="1000TB")
    assert "1,099,511.6 GB may be needed" in wrong(db)[DISK]
    _set(cluster, max_slot_wal_keep_size="64MB")
    # No disk is as full as this one.
    name = "the backups' disk has room for another"
    assert "0.0 MB are free" in wrong(db, backup_folder="/proc/backups")[name]
    assert found(db, backup_folder=str(tmp_path))[name] is None


def _own_address() -> str:
    """Of this machine, and not the loopback; nothing is sent."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    pytest.skip("this machine has no address but the loopback")


WAY = "the way to the database is encrypted"


def test_a_way_that_others_can_hear_and_a_certificate_that_ends(
    make_cluster: MakeCluster,
) -> None:
    host = _own_address()
    with clusters_folder() as folder:
        certificate, key = write_certificate(folder, days=5)
        # The other one comes without TLS.
        cluster = make_cluster(
            15, listen_addresses="*", ssl="on", ssl_cert_file=str(certificate),
            ssl_key_file=str(key),
        )  # fmt: skip
        with (cluster.embedded.cluster_folder / "pg_hba.conf").open("a") as hba:
            hba.write(f"host all all {host}/32 scram-sha-256\n")
        cluster.execute("select pg_reload_conf()")
        db = cluster.database()

        def ask(**parameters: str) -> dict[str, str]:
            url = make_conninfo(db.admin_url, host=host, **parameters)
            return wrong(db, admin_url=url)

        good = f"the certificate of {host}:{cluster.embedded.port} is good for two weeks"
        assert list(ask()) == [good]
        assert "renew it" in ask()[good]
        write_certificate(folder, days=90)
        cluster.execute("select pg_reload_conf()")
        wait(lambda: ask() == {})
        _set(cluster, ssl="off")
        assert "BOOKCONNECT_DM_ADMIN_URL: add ?sslmode=verify-full" in ask()[WAY]
        assert ask(sslmode="disable") == {}


@contextlib.contextmanager
def https_server(certificate: Path, key: Path) -> Iterator[int]:
    """Shakes hands and says no more; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with (
                    connection,
                    contextlib.suppress(OSError),
                    context.wrap_socket(connection, server_side=True) as wrapped,
                ):
                    wrapped.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:  # else a test that fails would keep the whole run from ending
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def test_the_keys_of_tokens_come_by_a_certificate_that_is_looked_at(
    live_pg: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(days: float) -> dict[str, str]:
        with https_server(*write_certificate(tmp_path, days=days)) as port:
            said = wrong(live_pg, jwks_url=f"https://localhost:{port}/keys")
        return {name.replace(str(port), "PORT"): cure for name, cure in said.items()}

    name = "the certificate of localhost:PORT is good for two weeks"
    assert "refused (self-signed certificate)" in ask(90)[name]
    # The authorities of the package count, for doctor as for a server that fetches the keys.
    with https_server(*write_certificate(tmp_path, days=90)) as port:
        url = f"https://localhost:{port}/keys"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            run_async(lambda: keys._download(url))
        with monkeypatch.context() as patch:
            patch.delenv("SSL_CERT_FILE", raising=False)
            patch.delenv("SSL_CERT_DIR", raising=False)
            patch.setattr(certifi, "where", lambda: str(tmp_path / "server.crt"))
            assert wrong(live_pg, jwks_url=url) == {}
            with pytest.raises(httpx.TransportError, match="disconnected"):  # after the handshake
                run_async(lambda: keys._download(url))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.crt"))
    assert ask(90) == {}
    assert "renew it" in ask(5)[name]
    assert "certificate has expired" in ask(-1)[name]
    assert "could not be looked at" in str(wrong(live_pg, jwks_url="https://127.0.0.1:1/keys"))
    assert "https" in str(wrong(live_pg, jwks_url="http://shop.example/keys"))


def test_where_the_feed_reads_on_a_standby_its_slots_are_looked_at_there(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster(18)
    db = cluster.database()
    with clusters_folder() as folder, standby_of(cluster, folder / "standby") as standby:
        feed_url = standby.url(db, FEED)
        # The primary keeps a slot for its standby, which is no server of ours.
        assert wrong(db, feed_url=feed_url) == {}
        assert f"on the standby: {SPARE}" in found(db, feed_url=feed_url)

        def make_slot() -> None:
            with psycopg.connect(standby.url(db, OWNER), autocommit=True) as connection:
                connection.execute(
                    "select pg_create_logical_replication_slot('bookconnect_dm_gone', 'pgoutput')"
                )

        with ThreadPoolExecutor(1) as pool:
            made = pool.submit(make_slot)
            wait(lambda: cluster.execute("select pg_log_standby_snapshot()") and made.done())
            made.result()
        unread = "every slot of ours is read"
        said = wrong(db, feed_url=feed_url)
        assert list(said) == [f"on the standby: {unread}"]
        standby.follow(is_following=False)
        name = "on the standby: it follows its primary"
        wait(lambda: name in wrong(db, feed_url=feed_url))
