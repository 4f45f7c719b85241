"""What a migration will not do, and the way out that it names."""

from __future__ import annotations

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bookconnect_dm import compact, migrate, retention
from bookconnect_dm.config import Settings
from bookconnect_dm.direct import CommandError
from bookconnect_dm.migrations import Migration, in_order
from tests.conftest import MakeCluster
from tests.helpers.migrating import down, findings, next_name, plan_with, states, up
from tests.helpers.postgres import Cluster, Database, run_async
from tests.helpers.world import World


def test_a_newer_database_is_refused_with_the_way_out(pg: Database) -> None:
    pg.run("insert into messaging.migrations values ('20270301_006_reactions', 'x', now())")
    for attempt in (up, down):
        with pytest.raises(CommandError) as refused:
            attempt(pg)
        assert "newer than this package (it has 20270301_006_reactions)" in str(refused.value)
        assert "install the package version that migrated it" in str(refused.value)
    assert states(pg)["20270301_006_reactions"] == "unknown"
    assert findings(pg) == ["migration 20270301_006_reactions is unknown"]


def test_an_edited_table_migration_is_refused(
    pg: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = plan_with(1, lambda text: text.replace("<= 1000", "<= 2000"))
    monkeypatch.setattr(migrate, "plan", edited)
    with pytest.raises(CommandError, match="a released table migration is never edited"):
        up(pg)
    assert states(pg)["20261122_001_direct_messaging_schema"] == "changed"


def test_another_adapter_than_the_databases_is_refused(pg: Database) -> None:
    with pytest.raises(CommandError, match="set up with the host adapter standalone"):
        up(pg, adapter="bookconnect")


def test_an_old_postgresql_is_refused(empty_pg: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "OLDEST_POSTGRES", empty_pg.version + 1)
    with pytest.raises(CommandError, match=f"PostgreSQL {empty_pg.version} is too old: use"):
        up(empty_pg)


def test_a_database_without_utf8_is_refused(cluster: Cluster) -> None:
    cluster.execute(
        "create database latin template template0 encoding 'LATIN1' locale 'C'"
        + (" locale_provider libc" if cluster.version >= 17 else "")
    )
    latin = Database(name="latin", cluster=cluster)
    with pytest.raises(CommandError, match="encoding is LATIN1: messages need UTF8"):
        up(latin)
    latin.drop()


def test_a_database_that_does_not_answer_is_one_sentence() -> None:
    with pytest.raises(CommandError, match="The database does not answer"):
        run_async(lambda: migrate.up("postgresql://127.0.0.1:9/none", adapter="standalone"))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"password": "wrong-and-secret"}, "refuses the login: .* Correct user and password in"),
        ({"user": "nobody_of_that_name"}, "refuses the login: .* Correct user and password in"),
        ({"user": "closed"}, "refuses the login: .* not permitted to log in. Correct user"),
        ({"dbname": "elsewhere"}, 'no such database: .*"elsewhere" .* correct its name in'),
        ({"user": "crowded"}, "no connection free: .* Try again later, or raise"),
        ({"sslmode": "require"}, "refuses the connection: .*SSL.* Look at"),
        ({"port": "9"}, "does not answer: .* Look whether it runs, and at host and port in"),
    ],
)
def test_a_connection_that_cannot_be_had_says_why_and_which_setting_to_correct(
    cluster: Cluster, parts: dict[str, str], words: str
) -> None:
    for role, rights in (("closed", "nologin"), ("crowded", "login connection limit 0")):
        password = sql.Literal(cluster.embedded.password_of(role))
        if not cluster.execute(f"select from pg_roles where rolname = '{role}'"):
            cluster.execute(sql.SQL(f"create role {role} {rights} password {{}}").format(password))
    at = Database(name="postgres", cluster=cluster)
    base = at.url(parts["user"]) if parts.get("user") in {"closed", "crowded"} else at.admin_url
    address = make_conninfo(base, **{"host": "127.0.0.1", **parts})
    found = Settings.from_env({"BOOKCONNECT_DM_ADMIN_URL": address}).admin_url
    with pytest.raises(CommandError, match=words) as refused:
        run_async(lambda: migrate.status(found, adapter="standalone"))
    said = str(refused.value)
    assert "wrong-and-secret" not in said
    assert "BOOKCONNECT_DM_ADMIN_URL" in said or "max_connections" in said


def test_a_database_without_the_hosts_tables_is_told_what_they_are_for(empty_pg: Database) -> None:
    for missing, sqlstate in (('schema "auth"', "3F000"), ('relation "public.users"', "42P01")):
        with pytest.raises(CommandError) as refused:
            up(empty_pg, adapter="bookconnect")
        said = str(refused.value)
        assert f"{missing} does not exist. The host adapter" in said
        assert "migrate the application first, choose the adapter that fits it, or write" in said
        assert "docs/how-to/adapters.md" in said
        assert refused.value.sqlstate == sqlstate
        empty_pg.run("create schema if not exists auth")


def test_who_may_not_or_finds_nothing_is_told_the_next_step(
    pg: Database, empty_pg: Database
) -> None:
    with pytest.raises(CommandError, match=r"permission denied .* Connect as the role that mig"):
        run_async(lambda: migrate.status(pg.server_url, adapter="standalone"))
    with pytest.raises(CommandError, match=r"permission denied .*ADMIN_URL.* or grant that to"):
        run_async(lambda: retention.run_once(pg.server_url))
    nothing = r"does not exist\. If this is the right database, run bookconnect-dm migrate up"
    with pytest.raises(CommandError, match=nothing):
        run_async(lambda: retention.run_once(empty_pg.admin_url))
    with pytest.raises(CommandError, match=nothing):
        run_async(lambda: compact.compact(empty_pg.admin_url, report=lambda *_: None))


SPOILED = "update public.direct_messages set retention_expires_at = now() + interval '3 years'"


def test_damage_undoes_the_change_of_tables_that_did_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(world.ada, world.converse(world.ada, world.ben), "one")
    spoiling = Migration(next_name("spoils"), SPOILED)
    today = migrate.plan
    monkeypatch.setattr(migrate, "plan", lambda adapter: in_order([*today(adapter), spoiling]))
    with pytest.raises(CommandError, match="expires after it was sent"):
        up(world.db)
    assert states(world.db)[spoiling.name] == "pending"
    assert [line for line in findings(world.db) if line.startswith("data")] == []


def test_damage_that_was_there_before_stops_no_release(world: World) -> None:
    world.send(world.ada, world.converse(world.ada, world.ben), "one")
    world.db.run(SPOILED)
    down(world.db, to=2)
    assert "20261122_003_direct_messaging_indexes" in up(world.db)
    (found,) = findings(world.db)
    assert found.startswith("data a message expires after it was sent")


@pytest.fixture(params=[18, 15])
def owned(request: pytest.FixtureRequest, make_cluster: MakeCluster) -> Database:
    """A database of `app`, who is no superuser, in a cluster without any role of ours."""
    cluster = make_cluster(request.param)
    password = sql.Literal(cluster.embedded.password_of("app"))
    cluster.execute(sql.SQL("create role app login password {}").format(password))
    cluster.execute("create database app owner app")
    return Database(name="app", cluster=cluster)


def test_an_owner_who_may_make_roles_migrates_and_is_told_of_the_rest(owned: Database) -> None:
    owned.cluster.execute("alter role app createrole")
    warnings: list[str] = []
    url = owned.url("app")
    applied = run_async(lambda: migrate.up(url, adapter="standalone", warn=warnings.append))
    assert len(applied) == len(migrate.plan("standalone"))
    assert warnings == [
        (
            "The role bookconnect_dm_feed does not exist. As an administrator run:"
            " create role bookconnect_dm_feed login noinherit replication;"
        )
    ]
    assert run_async(lambda: migrate.verify(url, adapter="standalone")) == []

    with pytest.raises(CommandError, match="Schema messaging belongs to app: migrate as that role"):
        up(owned)
    undone = run_async(lambda: migrate.down(url))
    assert undone == list(reversed(applied))


def test_an_owner_who_may_not_make_roles_is_told_what_an_administrator_runs(
    owned: Database,
) -> None:
    with pytest.raises(CommandError) as refused:
        up(owned, role="app")
    assert "The role anon does not exist and app may not create it." in str(refused.value)
    assert "As an administrator run: create role anon nologin noinherit;" in str(refused.value)

    for role in ("anon", "authenticated", "service_role"):
        owned.cluster.execute(f"create role {role} nologin noinherit")
    owned.cluster.execute("create role bookconnect_dm_server login noinherit")
    assert up(owned, role="app")
