"""An adapter of one's own, as docs/how-to/adapters.md shows it: the page's own example is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bookconnect_dm import migrate
from bookconnect_dm.direct import CommandError
from tests.helpers.migrating import up
from tests.helpers.postgres import Cluster, Database, run_async
from tests.helpers.world import World

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "adapters.md"

HOST = """
create schema auth;
create table auth.users (id uuid primary key);
create table public.stores (id uuid primary key, name text not null);
create table public.people (
    id uuid primary key references auth.users (id) on delete cascade,
    handle text not null unique,
    full_name text,
    works_here boolean not null default false,
    is_banned boolean not null default false,
    is_shy boolean not null default false
);
create table public.subscriptions (
    person_id uuid primary key references public.people (id) on delete cascade,
    ends_at timestamptz not null
);
"""

MEMBERS = """
insert into public.stores values ('{store}', 'The Only One');
insert into auth.users values ('{ada}'), ('{ben}'), ('{cleo}');
insert into public.people (id, handle, full_name, works_here) values
('{ada}', 'ada', 'Ada Lindqvist', false),
('{ben}', 'ben', 'Ben Okafor', false),
('{cleo}', 'cleo', 'Cleo Marchetti', true);
insert into public.subscriptions values ('{ada}', now() + interval '1 hour');
"""


def example(name: str) -> str:
    """Return a marked example of the page."""
    marked = re.search(
        rf"<!-- {name}: begin -->(.*?)<!-- {name}: end -->", PAGE.read_text(), re.DOTALL
    )
    assert marked, name
    code = re.search(r"```sql\n(.*?)```", marked[1], re.DOTALL)
    assert code, name
    return code[1]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "our_adapter.sql"
    path.write_text(example("example") + example("trigger"))
    return path


@pytest.fixture
def world(cluster: Cluster, adapter: Path) -> Iterator[World]:
    database = cluster.empty_database()
    database.run_script(HOST)
    up(database, adapter=str(adapter))
    made = World(db=Database(database.name, cluster, adapter=str(adapter)))
    database.run_script(
        MEMBERS.format(store=made.page_anchor, ada=made.ada, ben=made.ben, cleo=made.cleo)
    )
    yield made
    database.drop()


def test_members_of_another_host_talk(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "hello")
    with world.db.as_user(world.ben) as connection:
        inbox = connection.execute("select * from public.get_user_conversations()").fetchall()
        me = connection.execute("select public.get_me() as me").fetchall()[0]["me"]
    assert inbox[0]["other_participant"]["displayname"] == "Ada Lindqvist"
    assert inbox[0]["last_message"]["content"] == "hello"
    assert (me["tier"], me["can_start_conversations"]) == ("free", False)
    assert me["stores"] == [
        {"id": str(world.page_anchor), "name": "The Only One", "role": "member"}
    ]
    with pytest.raises(Exception, match="PERMISSION_DENIED"):
        world.converse(world.ben, world.cleo)
    world.converse(world.cleo, world.ben)  # staff


def test_its_trigger_and_the_worker_notice_changes_of_tier(world: World) -> None:
    world.send(world.ada, world.converse(world.ada, world.ben), "while privileged")
    changes = "select tier from messaging.tier_changes where user_id = %s order by changed_at"
    world.db.run("update public.subscriptions set ends_at = now() - interval '1 minute'")
    assert [row["tier"] for row in world.db.run(changes, world.ada)] == ["privileged", "free"]
    world.db.run(
        "insert into public.subscriptions values (%s, now() + interval '1 day')", world.ben
    )
    world.send(world.ben, world.converse(world.ben, world.ada), "while privileged")
    # Written past the trigger, as time passes a date.
    world.db.run(
        "set session_replication_role = replica;"
        "update public.subscriptions set ends_at = now() - interval '1 minute'"
    )
    assert world.db.run("select messaging.notice_tier_changes() as n") == [{"n": 1}]
    assert [row["tier"] for row in world.db.run(changes, world.ben)] == ["privileged", "free"]


def test_its_functions_are_closed_to_clients(world: World) -> None:
    rows = world.db.run(
        "select p.oid::regprocedure::text as name from pg_proc as p"
        " where p.pronamespace = 'messaging'::regnamespace and p.proname like 'host%'"
        " and (has_function_privilege('anon', p.oid, 'execute')"
        " or has_function_privilege('authenticated', p.oid, 'execute')"
        " or has_function_privilege('bookconnect_dm_server', p.oid, 'execute'))"
    )
    assert rows == []


def test_verify_and_down_know_it(world: World, adapter: Path) -> None:
    url = world.db.admin_url
    assert run_async(lambda: migrate.verify(url, adapter=str(adapter))) == []
    undone = run_async(lambda: migrate.down(url))
    assert "host/our_adapter" in undone
    assert world.db.run("select count(*) from public.people") == [{"count": 3}]
    assert world.db.run("select to_regnamespace('messaging') as left") == [{"left": None}]


def test_an_adapter_that_answers_too_little_is_refused_by_name(
    cluster: Cluster, tmp_path: Path
) -> None:
    database = cluster.empty_database()
    database.run_script(HOST)
    path = tmp_path / "too_little.sql"
    path.write_text(
        example("example")
        .replace("host_find", "host_look_for")
        .replace("returns boolean", "returns text")
    )
    with pytest.raises(CommandError) as refused:
        up(database, adapter=str(path))
    assert "The host adapter must make:" in str(refused.value)
    assert "messaging.host_find(text) returns uuid" in str(refused.value)
    assert "docs/how-to/adapters.md" in str(refused.value)
    database.drop()
