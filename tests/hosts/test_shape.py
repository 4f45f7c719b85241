"""The original host's tables: two tier columns, clubs between members and stores."""

from __future__ import annotations

import pytest

from bookconnect_dm import migrate
from bookconnect_dm.direct import CommandError
from tests.helpers.migrating import up
from tests.helpers.postgres import Cluster, run_async
from tests.helpers.world import World

TIERS = {
    ("free", "FREE"): "free",
    ("free", "PRIVILEGED"): "privileged",
    ("Privileged", "free"): "privileged",
    ("privileged", "PRIVILEGED_PLUS"): "privileged_plus",
    ("Privileged_Plus", "privileged"): "privileged_plus",
    (" PRIVILEGED ", None): "privileged",
    (None, "Privileged_plus"): "privileged_plus",
    (None, None): "free",
    ("gold", "ADMIN"): "free",
    ("gold", "privileged"): "privileged",
    ("", ""): "free",
}


def test_the_higher_of_two_tiers_counts_in_any_letter_case(shaped_world: World) -> None:
    db = shaped_world.db
    for (account, membership), tier in TIERS.items():
        db.run(
            "update public.users set (account_tier, membership_tier) = (%s, %s) where id = %s",
            account,
            membership,
            shaped_world.ada,
        )
        found = db.run("select messaging.host_tier(%s) as tier", shaped_world.ada)
        assert found == [{"tier": tier}], (account, membership)


def test_a_change_that_changes_no_tier_is_no_event(shaped_world: World) -> None:
    db = shaped_world.db
    for account, membership in (("FREE", "privileged_plus"), ("privileged", "Privileged_Plus")):
        db.run(
            "update public.users set (account_tier, membership_tier) = (%s, %s) where id = %s",
            account,
            membership,
            shaped_world.ada,
        )
    changes = "select tier from messaging.tier_changes where changed_at > '-infinity'"
    assert db.run(changes) == []
    shaped_world.set_tier(shaped_world.ada, "free")
    assert db.run(changes) == [{"tier": "free"}]


def test_stores_come_through_clubs_and_administration(shaped_world: World) -> None:
    def stores(username: str) -> list[tuple[str, str]]:
        rows = shaped_world.db.run(
            "select s.name, s.role from public.users as u"
            " cross join lateral messaging.host_stores(u.id) as s where u.username = %s"
            " order by s.name",
            username,
        )
        return [(row["name"], row["role"]) for row in rows]

    assert stores("ada") == [("Page & Anchor", "member")]  # in two clubs of it
    assert stores("dora") == [("Page & Anchor", "manager")]  # in no club
    assert stores("fern") == [("The Night Owl", "member")]  # and in a club of no store
    shaped_world.db.run(
        "insert into public.store_administrators (store_id, user_id, role)"
        " values (%s, %s, 'owner'), (%s, %s, 'manager'), (%s, %s, 'owner')",
        shaped_world.night_owl,
        shaped_world.ada,
        shaped_world.page_anchor,
        shaped_world.ada,
        shaped_world.page_anchor,
        shaped_world.ada,
    )
    assert stores("ada") == [("Page & Anchor", "owner"), ("The Night Owl", "owner")]


def test_members_of_a_store_are_each_listed_once(shaped_world: World) -> None:
    world = shaped_world
    rows = world.db.run("select user_id from messaging.host_members(%s)", world.page_anchor)
    assert sorted(row["user_id"] for row in rows) == [world.ada, world.ben, world.cleo, world.dora]


def test_somebody_who_leaves_his_last_club_reads_on_but_writes_no_more(shaped_world: World) -> None:
    world = shaped_world
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ben, conversation, "still a member")
    world.db.run("delete from public.club_members where user_id = %s", world.ben)
    with world.db.as_user(world.ben) as connection:
        rows = connection.execute(
            "select content from public.get_conversation_messages(%s)", (conversation,)
        ).fetchall()
    assert rows == [{"content": "still a member"}]
    with pytest.raises(Exception, match="PERMISSION_DENIED"):
        world.send(world.ben, conversation, "no longer")


@pytest.mark.parametrize("host", ["bookconnect", "supabase"])
def test_tiers_and_roles_may_be_enums(cluster: Cluster, host: str) -> None:
    db = cluster.empty_database(host=host)
    db.run_script(
        "create type public.tier as enum ('FREE', 'PRIVILEGED', 'PRIVILEGED_PLUS');"
        "create type public.store_role as enum ('owner', 'manager');"
        "alter table public.users alter membership_tier drop default,"
        " alter membership_tier type public.tier using null;"
        "alter table public.store_administrators drop constraint store_administrators_role_check,"
        " alter role type public.store_role using role::public.store_role;"
    )
    up(db)
    world = World(db=db)
    db.run("update public.users set membership_tier = 'PRIVILEGED'")
    db.run_script(
        f"insert into auth.users (id) values ('{world.ada}');"
        "insert into public.users (id, username, membership_tier)"
        f" values ('{world.ada}', 'ada', 'FREE');"
        "update public.users set membership_tier = 'PRIVILEGED_PLUS'"
    )
    assert db.run("select messaging.host_tier(%s) as tier", world.ada) == [
        {"tier": "privileged_plus"}
    ]
    db.drop()


def test_a_host_of_another_shape_is_said_in_one_sentence(cluster: Cluster) -> None:
    db = cluster.empty_database(host="bookconnect")
    db.run("alter table public.users drop column membership_tier")
    with pytest.raises(CommandError, match=r"host/bookconnect: column u\.membership_tier"):
        up(db)
    assert db.run("select to_regnamespace('messaging') as made") == [{"made": None}]
    db.drop()


def test_the_host_cannot_drop_a_column_that_is_asked_for(shaped_world: World) -> None:
    """It is told at once, rather than members being told later."""
    with pytest.raises(Exception, match=r"function messaging\.host_tier"):
        shaped_world.db.run("alter table public.users drop column account_tier")
    shaped_world.db.run("alter table public.users drop column favorite_genre")


def test_a_host_that_has_auth_uid_keeps_its_own(cluster: Cluster) -> None:
    db = cluster.empty_database(host="bookconnect")
    db.run(
        "create function auth.uid() returns uuid language sql stable"
        " as $$select nullif(current_setting('app.user_id', true), '')::uuid$$"
    )
    before = db.run("select prosrc from pg_proc where oid = 'auth.uid()'::regprocedure")
    up(db)
    assert db.run("select prosrc from pg_proc where oid = 'auth.uid()'::regprocedure") == before
    db.run("revoke execute on function auth.uid() from public, authenticated")
    run_async(lambda: migrate.down(db.admin_url))
    with pytest.raises(CommandError, match=r"auth\.uid\(\) is closed to authenticated"):
        up(db)
    db.drop()
