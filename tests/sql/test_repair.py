"""Repairs and safety nets of operators: none may lose or expose what members rely on."""

from __future__ import annotations

import pytest

from bookconnect_dm import migrate
from bookconnect_dm.config import Settings
from bookconnect_dm.direct import CommandError
from bookconnect_dm.doctor import examine
from tests.conftest import MakeCluster
from tests.helpers.postgres import Database, run_async
from tests.helpers.world import World


def test_a_repaired_clock_makes_everybody_load_anew(world: World) -> None:
    """Whoever holds a position of the future that never was is told so, also once it is past."""
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "before")
    world.db.run("update conversations set position = clock_timestamp() + interval '2 s'")
    with world.db.as_user(world.ben) as db:
        held = db.execute("select position from conversations").fetchone()
    assert held is not None
    world.db.run("select messaging.repair_clock(%s)", conversation)
    world.send(world.ada, conversation, "LOST?")
    world.db.run("select pg_sleep(2.1)")
    world.send(world.ada, conversation, "later")
    with world.db.as_user(world.ben) as db:
        row = db.execute(
            "select get_conversation_changes(%s, %s) as told", (conversation, held["position"])
        ).fetchone()
    assert row is not None
    assert row["told"]["complete"] is False


def test_a_negative_recovery_window_removes_nothing_early(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    message = world.send(world.ada, conversation, "deleted by its sender")
    with world.db.as_user(world.ada) as db:
        db.execute("select delete_message(%s)", (message,))
    world.db.run("select messaging.cleanup_batch(interval '-100 years')")
    assert world.db.run("select id from direct_messages") == [{"id": message}]


def test_tables_of_the_application_are_not_taken_from_it(empty_pg: Database) -> None:
    """The standalone host closes only the tables that it made itself."""
    empty_pg.run_script(
        "create table public.stores (id uuid primary key, name text);"
        " grant select on public.stores to public"
    )
    run_async(lambda: migrate.up(empty_pg.admin_url, adapter="standalone"))
    open_to_all = (
        "select has_table_privilege('anon', %s, 'select') as is_open, relrowsecurity as rls"
    )
    seen = {
        name: empty_pg.run(f"{open_to_all} from pg_class where oid = %s::regclass", name, name)[0]
        for name in ("public.stores", "public.users")
    }
    assert seen["public.stores"] == {"is_open": True, "rls": False}
    assert seen["public.users"] == {"is_open": False, "rls": True}


def test_tables_of_another_shape_are_refused_with_the_way_out(empty_pg: Database) -> None:
    empty_pg.run_script("create table public.users (id bigint primary key)")
    with pytest.raises(CommandError, match="HOST_ADAPTER"):
        run_async(lambda: migrate.up(empty_pg.admin_url, adapter="standalone"))
    assert empty_pg.run("select to_regclass('public.direct_messages') as made") == [{"made": None}]


def test_doctor_sees_a_login_that_can_become_the_owner(make_cluster: MakeCluster) -> None:
    database = make_cluster().database()
    settings = Settings(admin_url=database.admin_url)
    name = "no client and no login of ours can become the owner"

    def found() -> bool:
        checks = run_async(lambda: examine(settings))
        return next(check.is_well for check in checks if check.name == name)

    assert found()
    database.run_script(
        "create role middle; grant postgres to middle; grant middle to authenticated"
    )
    assert not found()


def test_a_member_cannot_hold_up_the_hosts_change_of_tiers(world: World) -> None:
    """His open transaction holds a message that is about to expire, and his tier's history."""
    conversation = world.converse(world.ada, world.ben)
    message = world.send(world.ada, conversation, "about to expire")
    soon = (
        "update direct_messages set retention_expires_at = now() + interval '1 hour' where id = %s"
    )
    world.db.run(soon, message)
    with world.db.as_user(world.ada) as holder:
        holder.execute("select delete_message(%s)", (message,))
        with world.db.as_owner() as host:
            host.execute("set local statement_timeout = '5s'")
            host.execute("update users set user_tier = 'free' where username = 'ada'")
            kept = host.execute("show lock_timeout").fetchone()
    assert kept == {"lock_timeout": "0"}
    noticed = "select tier from messaging.tier_changes where user_id = %s order by changed_at"
    assert [row["tier"] for row in world.db.run(noticed, world.ada)] == ["privileged_plus", "free"]
    waiting = world.db.run("select user_id from messaging.recalculations")
    assert waiting == [{"user_id": world.ada}]
