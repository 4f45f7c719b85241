"""A Supabase project: the migrating role is no superuser, and others own what is around us."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bookconnect_dm import migrate
from bookconnect_dm.migrations import export_supabase
from tests.helpers.migrating import findings, states, up
from tests.helpers.postgres import FEED, Cluster, Database, run_async
from tests.helpers.schema import catalog_of, dump_of
from tests.helpers.supabase_cli import apply_files
from tests.helpers.world import World, make_world

GATEKEEPERS = ("anon", "authenticated", "service_role", "authenticator", "dashboard_user")


@pytest.fixture
def project(cluster: Cluster) -> Iterator[Database]:
    """A project with the original host's tables, before direct messaging came."""
    database = cluster.empty_database(host="supabase")
    yield database
    database.drop()


@pytest.fixture
def other_project(cluster: Cluster) -> Iterator[Database]:
    database = cluster.empty_database(host="supabase")
    yield database
    database.drop()


def test_the_simulation_is_faithful(project: Database) -> None:
    roles = {
        row["rolname"]: row
        for row in project.run("select rolname, rolsuper, rolbypassrls from pg_roles")
    }
    assert not roles["postgres"]["rolsuper"]
    assert roles["service_role"]["rolbypassrls"]
    owners = project.run(
        "select nspname, nspowner::regrole::text as owner from pg_namespace"
        " where nspname in ('public', 'auth') order by 1"
    )
    assert [row["owner"] for row in owners] == ["supabase_admin", "postgres"]
    assert project.run("select tableowner from pg_tables where schemaname = 'auth'") == [
        {"tableowner": "supabase_auth_admin"}
    ]
    project.run("create table public.by_default (id int)")
    acl = project.run("select relacl::text from pg_class where relname = 'by_default'")
    assert "anon=arwdDxt" in acl[0]["relacl"]


def test_exported_files_give_the_same_catalog_as_migrate_up(
    project: Database, other_project: Database, tmp_path: Path
) -> None:
    apply_files(project, export_supabase(tmp_path))
    up(other_project)
    assert catalog_of(project) == catalog_of(other_project)
    assert dump_of(project) == dump_of(other_project)
    assert findings(project) == []
    assert set(states(project).values()) == {"applied"}
    assert up(project) == []


def test_the_next_releases_files_apply_on_top(
    project: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_files(project, export_supabase(tmp_path))
    world = make_world(project)
    message = world.send(world.ada, world.converse(world.ada, world.ben), "kept")
    for path in tmp_path.glob("*_host_supabase.sql"):
        path.write_text("-- an older release's text\n")
    newer = export_supabase(tmp_path)
    assert newer
    apply_files(project, newer)
    assert findings(project) == []
    assert project.run("select id from public.direct_messages") == [{"id": message}]


def test_nothing_of_ours_is_open_by_default_privileges(project: Database) -> None:
    """In public everything new is granted to everybody; in other schemas too, if a host says so."""
    project.run(
        "alter default privileges for role postgres grant all on tables to anon, service_role;"
        "alter default privileges for role postgres grant all on functions to anon, authenticated;"
        "alter default privileges for role postgres grant all on sequences to anon;"
        "alter default privileges for role postgres grant all on types to anon;"
        "alter default privileges for role postgres grant all on schemas to anon, authenticated"
    )
    up(project)
    catalog = catalog_of(project)
    assert [key for key, definition in catalog.items() if "anon=" in definition] == []
    functions = [name for kind, name in catalog if kind == "function"]
    open_to_anon = project.run(
        "select f from unnest(%s::text[]) as f where has_function_privilege('anon', f, 'execute')",
        functions,
    )
    assert open_to_anon == []
    assert project.run(
        "select has_schema_privilege('authenticated', 'messaging', 'usage') as can"
    ) == [{"can": False}]


def test_up_to_15_a_superuser_makes_the_feeds_login(cluster: Cluster) -> None:
    home = cluster.supabase()
    with home._connect("postgres") as connection:
        made = connection.execute("select 1 from pg_roles where rolname = %s", (FEED,)).fetchone()
        if made:
            connection.execute(f"drop role {FEED}")
    project = cluster.empty_database(host="supabase")
    warnings: list[str] = []
    run_async(lambda: migrate.up(project.admin_url, adapter="supabase", warn=warnings.append))
    statement = f"create role {FEED} login noinherit replication;"
    assert [statement in warning for warning in warnings] == (
        [True] if cluster.version < 16 else []
    )
    assert findings(project) == []
    home._set_passwords()
    project.drop()


def test_a_publication_of_all_tables_is_warned_of(project: Database) -> None:
    with project.as_superuser() as owner:
        owner.execute("drop publication supabase_realtime")
        owner.execute("create publication supabase_realtime for all tables")
    warnings: list[str] = []
    run_async(lambda: migrate.up(project.admin_url, adapter="supabase", warn=warnings.append))
    assert any("supabase_realtime covers all tables" in warning for warning in warnings)


def test_our_tables_are_not_in_supabase_realtime(project: Database) -> None:
    up(project)
    assert (
        project.run(
            "select tablename from pg_publication_tables where pubname = 'supabase_realtime'"
        )
        == []
    )


@pytest.fixture
def foreign_world(project: Database) -> World:
    """A project whose users table belongs to somebody else: read it, refer to it, no trigger."""
    with project.as_superuser() as owner:
        for table in ("users", "stores", "book_clubs", "club_members", "store_administrators"):
            owner.execute(f"alter table public.{table} owner to supabase_admin")
            owner.execute(
                f"revoke all on public.{table} from postgres, anon, authenticated, service_role"
            )
            owner.execute(
                f"grant select, insert, update, delete, references on public.{table} to postgres"
            )
    warnings: list[str] = []
    run_async(lambda: migrate.up(project.admin_url, adapter="supabase", warn=warnings.append))
    assert any("No trigger on public.users" in warning for warning in warnings)
    return make_world(project)


def test_without_a_trigger_the_next_message_notices_a_change_of_tier(foreign_world: World) -> None:
    world = foreign_world
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ben, conversation, "while privileged")
    world.set_tier(world.ben, "free")
    history = "select tier from messaging.tier_changes where user_id = %s order by changed_at"
    assert [row["tier"] for row in world.db.run(history, world.ben)] == ["privileged"]
    world.send(world.ben, conversation, "while free")
    assert [row["tier"] for row in world.db.run(history, world.ben)] == ["privileged", "free"]
    kept = world.db.run(
        "select extract(days from retention_expires_at - sent_at)::int as days"
        " from public.direct_messages order by sent_at"
    )
    assert kept[-1]["days"] == 30


def test_without_a_trigger_the_worker_notices_a_change_of_tier(foreign_world: World) -> None:
    world = foreign_world
    world.send(world.ben, world.converse(world.ada, world.ben), "while privileged")
    world.set_tier(world.ben, "privileged_plus")
    with world.db.as_service() as worker:
        noticed = worker.execute("select messaging.notice_tier_changes() as n").fetchone()
    assert noticed == {"n": 1}


def test_the_trigger_comes_with_the_right_to_place_it(foreign_world: World) -> None:
    with foreign_world.db.as_superuser() as owner:
        owner.execute("grant trigger on public.users to postgres")
    foreign_world.db.run("delete from messaging.migrations where name = 'catalog'")
    assert up(foreign_world.db)
    assert ("trigger", "public.users.bookconnect_dm_tier_changed") in catalog_of(foreign_world.db)
    # Who may place a trigger may not drop it; rolling back takes it with its function.
    undone = run_async(lambda: migrate.down(foreign_world.db.admin_url))
    assert "host/supabase" in undone
    assert (
        foreign_world.db.run(
            "select tgname from pg_trigger where tgname = 'bookconnect_dm_tier_changed'"
        )
        == []
    )
