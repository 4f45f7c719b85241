"""A release that adds a column and code that uses it: forward, back, and forward again."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from bookconnect_dm import migrations
from bookconnect_dm.direct import CommandError
from tests.helpers.migrating import NEXT, down, findings, next_name, up
from tests.helpers.postgres import Cluster, Database
from tests.helpers.schema import catalog_of
from tests.helpers.world import World

PINS = next_name("pins")
TABLES = "alter table public.direct_messages add column pinned boolean not null default false;\n"
BACK = "alter table public.direct_messages drop column pinned;\n"
CODE = """
create or replace function messaging.pinned_in(conversation_id uuid) returns bigint
language sql stable
begin atomic
    select count(*) from public.direct_messages as m
    where m.conversation_id = pinned_in.conversation_id and m.pinned;
end;
revoke all on function messaging.pinned_in(uuid) from public;
"""

SHAPES = """
create or replace view messaging.counts as
select c.id, 1::bigint as n from public.conversations as c;
create or replace function messaging.count_of(conversation_id uuid) returns bigint
language sql stable
begin atomic
    select count(*)::bigint from messaging.visible_messages as m
    where m.conversation_id = count_of.conversation_id;
end;
create or replace function messaging.count_twice(conversation_id uuid) returns bigint
language sql stable
begin atomic
    select 2 * messaging.count_of(conversation_id)::bigint;
end;
revoke all on function messaging.count_of(uuid), messaging.count_twice(uuid) from public;
"""


@pytest.fixture
def release(next_release: Path) -> Path:
    (next_release / "migrations" / f"{PINS}.sql").write_text(TABLES)
    (next_release / "rollbacks" / f"{PINS}.sql").write_text(BACK)
    code = next_release / "functions" / "support.sql"
    code.write_text(code.read_text("utf-8") + CODE)
    undo = next_release / "rollbacks" / "20261122_004_direct_messaging_functions.sql"
    undo.write_text("drop function messaging.pinned_in (uuid);\n" + undo.read_text("utf-8"))
    return next_release


@pytest.fixture
def another_pg(cluster: Cluster) -> Iterator[Database]:
    database = cluster.empty_database()
    yield database
    database.drop()


def test_a_fresh_installation_equals_an_upgraded_one(
    world: World, another_pg: Database, release: Path
) -> None:
    message = world.send(world.ada, world.converse(world.ada, world.ben), "kept")
    assert PINS in up(world.db)
    assert up(another_pg)
    assert catalog_of(world.db) == catalog_of(another_pg)
    assert findings(world.db) == []
    kept = world.db.run("select id, pinned from public.direct_messages")
    assert kept == [{"id": message, "pinned": False}]


def test_code_that_changes_its_shape_or_goes_is_replaced(
    world: World, another_pg: Database, next_release: Path
) -> None:
    """`create or replace` refuses another result type, and never removes anything."""
    message = world.send(world.ada, world.converse(world.ada, world.ben), "kept")
    code = next_release / "functions" / "server.sql"
    text = code.read_text("utf-8")
    code.write_text(text + SHAPES)
    up(world.db)
    code.write_text(text + SHAPES.replace("bigint", "int"))
    up(world.db)
    code.write_text(text)
    up(world.db)
    up(another_pg)
    assert catalog_of(world.db) == catalog_of(another_pg)
    assert findings(world.db) == []
    assert world.db.run("select id from public.direct_messages") == [{"id": message}]


def test_what_the_host_built_on_ours_survives_the_next_release(
    world: World, next_release: Path
) -> None:
    world.db.run(
        "create view public.my_tier as select public.get_me() ->> 'tier' as tier;"
        "grant select on public.my_tier to authenticated;"
        "create policy staff_notes on public.stores for select"
        " using (messaging.can_start_in(id));"
        "create function public.shouted(content text) returns text language sql immutable"
        " begin atomic select upper(messaging.trimmed(content)); end"
    )
    code = next_release / "functions" / "support.sql"
    code.write_text(
        code.read_text("utf-8").replace("'A message needs at", "'Every message needs at")
    )
    up(world.db)
    with world.db.as_user(world.ada) as connection:
        assert connection.execute("select tier from public.my_tier").fetchall() == [
            {"tier": "privileged_plus"}
        ]
    assert world.db.run("select public.shouted(' ho ') as it") == [{"it": "HO"}]
    with pytest.raises(Exception, match="Every message needs at"):
        world.send(world.ada, world.converse(world.ada, world.ben), " ")
    assert findings(world.db) == []


def test_the_older_package_refuses_until_the_newer_one_has_rolled_back(
    world: World, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = world.send(world.ada, world.converse(world.ada, world.ben), "kept")
    before = catalog_of(world.db)
    up(world.db)
    with monkeypatch.context() as older:
        older.setattr(migrations, "SQL", files("bookconnect_dm") / "sql")
        with pytest.raises(CommandError, match="newer than this package"):
            up(world.db)
    assert PINS in down(world.db, to=NEXT - 1)
    with monkeypatch.context() as older:
        older.setattr(migrations, "SQL", files("bookconnect_dm") / "sql")
        assert up(world.db)
        assert catalog_of(world.db) == before
    assert world.db.run("select id from public.direct_messages") == [{"id": message}]
