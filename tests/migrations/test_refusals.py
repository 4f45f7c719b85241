"""What a migration will not do, and the way out that it names."""

from __future__ import annotations

import pytest
from psycopg import sql

from bookconnect_dm import migrate
from bookconnect_dm.direct import CommandError
from tests.conftest import MakeCluster
from tests.helpers.migrating import down, findings, plan_with, states, up
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


def test_damage_stops_a_change_of_tables(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that breaks the rules is looked at before tables move on top of it."""
    world.send(world.ada, world.converse(world.ada, world.ben), "one")
    world.db.run(
        "set session_replication_role = replica;"
        "update public.direct_messages set retention_expires_at = now() + interval '3 years';"
        "delete from messaging.migrations where name like '%003%';"
        "drop index idx_conversations_store_id, idx_participants_user_id,"
        " idx_messages_conversation_sent, idx_messages_sender_id, idx_messages_retention_expires,"
        " idx_messages_deletions"
    )
    with pytest.raises(CommandError, match="expires after it was sent"):
        up(world.db)
    assert states(world.db)["20261122_003_direct_messaging_indexes"] == "pending"


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
