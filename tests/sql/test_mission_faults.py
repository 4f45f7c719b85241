"""Why the mission's SQL was mended: each fault of architecture section 5, there and not here.

`test_mission_...` runs the document's own SQL (sql/mission.sql) and shows the fault, as the role
that would use it. The test beside it makes the same attempt on ours. Where our clients hold no
privilege at all, ours makes it a second time with the privilege granted for the moment, since a
host may grant more than we do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bookconnect_dm import access
from bookconnect_dm.access import Seen
from tests.access.attempts import Caller, Stage, claims_of
from tests.access.scene import MEMBERS, Scene, make_scene
from tests.helpers.postgres import Cluster, Database, act_as

FOLDER = Path(__file__).parent
RECURSION = "42P17"
DENIED = "42501"
ADA, BEN, DAN, EVE = (f"b0000000-0000-4000-8000-00000000000{x}" for x in "abde")
TALK, OTHER_TALK, THIRD_TALK = (f"c0000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))
HELLO = "d0000000-0000-4000-8000-000000000001"
STORE, OTHER_STORE = (f"a0000000-0000-4000-8000-00000000000{n}" for n in (1, 2))

Mission = Callable[..., list[dict[str, Any]]]


def _mission(cluster: Cluster, *files: str) -> Database:
    database = cluster.empty_database()
    for name in ("mission_host", "mission", *files):
        database.run_script((FOLDER / f"{name}.sql").read_text("utf-8"))
    return database


@pytest.fixture(scope="module")
def as_written(cluster: Cluster) -> Iterator[Database]:
    """The mission's SQL, word for word."""
    database = _mission(cluster)
    yield database
    database.drop()


@pytest.fixture(scope="module")
def _mended(cluster: Cluster) -> Iterator[Database]:
    database = _mission(cluster, "mission_mended")
    yield database
    database.drop()


@pytest.fixture
def mission(_mended: Database) -> Iterator[Mission]:
    """Run statements on the mission's SQL without its recursion: `mission(ADA, "select ...")`.

    What they did is undone at the end. The owner runs them where nobody is named.
    """
    with _mended.connect() as connection:

        def run(who: str | None, statement: str) -> list[dict[str, Any]]:
            connection.execute("select set_config('role', 'none', true)")
            if who is not None:
                act_as(connection, who)
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else [{}] * cursor.rowcount

        yield run
        connection.rollback()


@pytest.fixture(scope="module")
def _scene(cluster: Cluster) -> Iterator[Scene]:
    database = cluster.database()
    yield make_scene(database)
    database.drop()


@pytest.fixture
def ours(_scene: Scene) -> Iterator[Stage]:
    """The same story on our schema."""
    with Stage(_scene, access.load()).open() as stage:
        yield stage


def _see(stage: Stage, person: str, statement: str, *, granted: str | None = None) -> Seen:
    """Try as a signed-in member; with `granted` first given to his role for this attempt."""
    before = [] if granted is None else [f"grant {granted} to authenticated"]
    return stage.see(Caller(person, "authenticated", claims_of(MEMBERS[person])), statement, before)


def _is_denied_twice(stage: Stage, person: str, statement: str, granted: str) -> bool:
    """Denied for want of a grant, and denied with it."""
    seen = [_see(stage, person, statement), _see(stage, person, statement, granted=granted)]
    return [s.sqlstate for s in seen] == [DENIED, DENIED]


# --- "Users see their participants" reads its own table ------------------------------------


@pytest.mark.parametrize("table", ["conversations", "conversation_participants", "direct_messages"])
def test_mission_every_read_recurses_in_a_policy(as_written: Database, table: str) -> None:
    with as_written.as_user(ADA) as connection:
        with pytest.raises(psycopg.Error) as error:
            connection.execute(f"select * from public.{table}")
        connection.rollback()
    assert error.value.sqlstate == RECURSION


@pytest.mark.parametrize(
    ("table", "rows"),
    [("conversations", 1), ("conversation_participants", 2), ("direct_messages", 2)],
)
def test_a_participant_reads_without_recursion(ours: Stage, table: str, rows: int) -> None:
    column = "id" if table == "conversations" else "conversation_id"
    seen = _see(ours, "peer", f"select * from public.{table} where {column} = %(conversation)s")
    assert seen == Seen(rows=rows)


def test_the_helpers_of_policies_pin_their_search_path(ours: Stage) -> None:
    rows = ours.connection.execute(
        "select proname, prosecdef, proconfig from pg_proc"
        " where oid::regproc::text in ('messaging.is_participant', 'messaging.my_conversations')"
    ).fetchall()
    assert sorted(rows) == [
        ("is_participant", True, ["search_path=pg_catalog, pg_temp"]),
        ("my_conversations", True, ["search_path=pg_catalog, pg_temp"]),
    ]


# --- conversations INSERT WITH CHECK (true) ------------------------------------------------

MAKE = "insert into public.conversations (store_id) values ({store})"


def test_mission_anybody_makes_conversations_in_any_store(mission: Mission) -> None:
    assert mission(EVE, MAKE.format(store=f"'{OTHER_STORE}'")) == [{}]


def test_conversations_are_made_in_ones_own_store_by_who_may_start_them(ours: Stage) -> None:
    grant = "insert on public.conversations"
    here, elsewhere = MAKE.format(store="%(store)s"), MAKE.format(store="%(foreign_store)s")
    assert _is_denied_twice(ours, "own", elsewhere, grant)
    assert _is_denied_twice(ours, "outsider", here, grant)
    assert _is_denied_twice(ours, "free", here, grant)
    assert _see(ours, "own", here).sqlstate == DENIED
    assert _see(ours, "own", here, granted=grant) == Seen(rows=1)
    assert _see(ours, "staff", here, granted=grant) == Seen(rows=1)


# --- participants INSERT user_id = auth.uid() ----------------------------------------------

JOIN = "insert into public.conversation_participants (conversation_id, user_id) values ({}, {})"


def test_mission_whoever_knows_an_id_joins_and_reads_everything(mission: Mission) -> None:
    assert mission(EVE, "select content from public.direct_messages") == []
    mission(EVE, JOIN.format(f"'{TALK}'", f"'{EVE}'"))
    assert len(mission(EVE, "select content from public.direct_messages")) == 3


def test_joining_needs_an_invitation_and_nobody_becomes_the_third(ours: Stage) -> None:
    grant = "insert on public.conversation_participants"
    myself, somebody = JOIN.format("%(conversation)s", "%(me)s"), "%(free)s"
    for person in ("stranger", "outsider", "staff", "free", "left"):
        assert _is_denied_twice(ours, person, myself, grant), person
    assert _is_denied_twice(ours, "own", JOIN.format("%(conversation)s", somebody), grant)


# --- participants UPDATE without column limits ---------------------------------------------

# With a WHERE the new row is held against the reading policy too; without one it is not.
MOVE = "update public.conversation_participants set conversation_id = {}"


def test_mission_a_member_moves_his_row_into_a_foreign_conversation(mission: Mission) -> None:
    mission(EVE, MOVE.format(f"'{TALK}'"))
    assert len(mission(EVE, "select content from public.direct_messages")) == 3


def test_a_participation_stays_where_it_is(ours: Stage) -> None:
    move = MOVE.format("%(conversation)s")
    grant = "update on public.conversation_participants"
    assert _is_denied_twice(ours, "stranger", move, grant)
    assert _is_denied_twice(ours, "stranger", f"{move} where user_id = %(me)s", grant)
    hand_on = "update public.conversation_participants set user_id = %(free)s"
    assert _is_denied_twice(ours, "peer", hand_on, grant)


@pytest.mark.parametrize(("to", "holds"), [("-infinity", ">"), ("infinity", "<")])
def test_last_read_at_moves_forward_only_and_not_past_the_newest(
    ours: Stage, to: str, holds: str
) -> None:
    seen = _see(
        ours,
        "peer",
        f"update public.conversation_participants set last_read_at = '{to}'"
        f" where user_id = %(me)s returning last_read_at {holds} '{to}'",
    )
    assert seen.is_true


# --- messages UPDATE for the sender --------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "content = 'I never said that'",
        "sent_at = '2001-01-01Z'",
        "retention_expires_at = '2199-01-01Z'",
        f"conversation_id = '{THIRD_TALK}'",
        "is_deleted = false",
    ],
)
def test_mission_the_sender_rewrites_what_he_sent(mission: Mission, change: str) -> None:
    assert len(mission(ADA, f"update public.direct_messages set {change}")) == 3


@pytest.mark.parametrize(
    "change",
    [
        "content = 'I never said that'",
        "sent_at = '2001-01-01Z'",
        "retention_expires_at = '2199-01-01Z'",
        "conversation_id = %(left_conversation)s",
        "id = %(new_id)s",
        "is_deleted = false, deleted_at = null",
        "is_deleted = true, deleted_at = now(), content = 'I never said that'",
    ],
)
def test_a_message_never_changes(ours: Stage, change: str) -> None:
    statement = f"update public.direct_messages set {change}"
    assert _is_denied_twice(ours, "own", statement, "update on public.direct_messages")


def test_a_sender_deletes_once_and_only_his_own(ours: Stage) -> None:
    grant = "update on public.direct_messages"
    delete = "update public.direct_messages set is_deleted = true, deleted_at = '2099-01-01Z'"
    assert _see(ours, "own", delete).sqlstate == DENIED
    assert _see(ours, "peer", delete, granted=grant) == Seen(rows=1)
    assert _see(ours, "staff", delete, granted=grant) == Seen(rows=0)
    ours.superuser_does("grant update on public.direct_messages to authenticated")
    own = Caller("own", "authenticated", claims_of(MEMBERS["own"]))
    assert ours.see(own, delete, ["select 1"]).rows == 4
    assert ours.see(own, delete, [delete]).rows == 0  # already deleted by the owner, all of them


# --- messages SELECT ignores is_deleted and expiry -----------------------------------------


def test_mission_deleted_and_expired_text_stays_readable(mission: Mission) -> None:
    found = {row["content"] for row in mission(BEN, "select content from public.direct_messages")}
    assert found == {"Hello", "Deleted", "Expired"}


@pytest.mark.parametrize("which", ["deleted", "expired", "swept"])
def test_neither_deleted_nor_expired_text_is_readable(ours: Stage, which: str) -> None:
    """The expired one has been seen by no cleaner."""
    for person in ("own", "peer"):
        assert _see(
            ours, person, f"select content from public.direct_messages where id = %({which})s"
        ) == Seen(rows=0)
        assert _see(
            ours,
            person,
            f"select content from public.get_conversation_messages(%(conversation)s)"
            f" where id = %({which})s",
        ) == Seen(rows=0)


# --- a SELECT policy that hides deleted rows -----------------------------------------------


def test_mission_hiding_deleted_rows_makes_deletion_fail(mission: Mission) -> None:
    """With the reading policy mended in the plain way, the mission's way to delete is gone."""
    mission(None, 'drop policy "Users see their messages" on public.direct_messages')
    mission(
        None,
        'create policy "Users see their messages" on public.direct_messages'
        " for select using (not is_deleted and public.takes_part(conversation_id))",
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        mission(ADA, f"update public.direct_messages set is_deleted = true where id = '{HELLO}'")


def test_deletion_goes_through_a_function(ours: Stage) -> None:
    with_where = (
        "update public.direct_messages set is_deleted = true, deleted_at = now()"
        " where id = %(message)s"
    )
    assert _is_denied_twice(ours, "own", with_where, "update on public.direct_messages")
    assert _see(ours, "own", "select public.delete_message(%(message)s)") == Seen(rows=1)
    assert _see(ours, "peer", "select public.delete_message(%(message)s)").fits("PERMISSION_DENIED")
    assert _see(ours, "stranger", "select public.delete_message(%(message)s)").fits(
        "MESSAGE_NOT_FOUND"
    )


# --- INSERT ... RETURNING on conversations -------------------------------------------------


def test_mission_the_creator_cannot_read_what_he_made(mission: Mission) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        mission(ADA, f"{MAKE.format(store=repr(STORE))} returning id")


def test_one_function_makes_the_conversation_and_both_participants(ours: Stage) -> None:
    insert = f"{MAKE.format(store='%(store)s')} returning id"
    assert _is_denied_twice(ours, "own", insert, "insert on public.conversations")
    seen = _see(
        ours,
        "own",
        "select (select count(*) from public.conversation_participants as p"
        " where p.conversation_id = s.conversation_id) >= 0 and not s.is_existing"
        " from public.start_conversation(%(free)s) as s",
    )
    assert seen.is_true


# --- client sets sent_at, retention_expires_at, deleted_at ---------------------------------

FORGE = """
insert into public.direct_messages
(conversation_id, sender_id, content, sent_at, retention_expires_at, is_deleted, deleted_at)
values ({}, {}, 'Hello', '2099-01-01Z', '2199-01-01Z', true, '2099-01-01Z')
returning sent_at < '2098-01-01Z' and retention_expires_at < '2098-01-01Z' and not is_deleted
"""


def test_mission_the_client_chooses_order(mission: Mission) -> None:
    row = mission(ADA, FORGE.format(f"'{TALK}'", f"'{ADA}'"))[0]
    assert row["?column?"] is False


def test_mission_the_client_chooses_his_own_retention(mission: Mission) -> None:
    mission(ADA, "update public.direct_messages set retention_expires_at = '2199-01-01Z'")
    found = mission(
        ADA, "select from public.direct_messages where retention_expires_at > '2198-1-1'"
    )
    assert len(found) == 3


def test_the_database_sets_time_and_retention_always(ours: Stage) -> None:
    forge = FORGE.format("%(conversation)s", "%(me)s")
    assert _see(ours, "own", forge).sqlstate == DENIED
    assert _see(ours, "own", forge, granted="insert on public.direct_messages").is_true
    server = Caller("own", "bookconnect_dm_server", claims_of(MEMBERS["own"]))
    assert ours.see(server, forge).sqlstate == DENIED


# --- retention trigger finds no user row ---------------------------------------------------


def test_mission_without_a_user_row_a_message_is_kept_for_ever(mission: Mission) -> None:
    send = "insert into public.direct_messages (conversation_id, sender_id, content)"
    row = mission(DAN, f"{send} values ('{OTHER_TALK}', '{DAN}', 'Hello') returning *")[0]
    assert row["retention_expires_at"] is None


def test_without_a_user_row_the_sender_counts_as_free(ours: Stage) -> None:
    own = Caller("own", "authenticated", claims_of(MEMBERS["own"]))
    seen = ours.see(
        own,
        "insert into public.direct_messages (conversation_id, sender_id, content)"
        " values (%(conversation)s, %(me)s, 'Hello')"
        " returning retention_expires_at = sent_at + interval '720 hours'",
        ["delete from public.users where id = %(me)s"],
    )
    assert seen.is_true


# --- cleanup functions ---------------------------------------------------------------------


def test_mission_everybody_may_run_the_cleaners(mission: Mission) -> None:
    """Here his own expired message goes: what his policies let him update."""
    soft = mission(ADA, "select public.soft_delete_expired_messages() as n")
    assert soft[0]["n"] == 1


def test_mission_one_call_is_one_unbounded_statement(mission: Mission) -> None:
    mission(
        None,
        "insert into public.direct_messages (conversation_id, sender_id, content, is_deleted)"
        f" select '{TALK}', '{ADA}', 'Old', true from generate_series(1, 5000)",
    )
    mission(None, "update public.direct_messages set retention_expires_at = now() - interval '1 h'")
    assert mission(None, "select public.cleanup_expired_messages() as n")[0]["n"] > 5000


CLEANERS = ["public.soft_delete_expired_messages()", "public.cleanup_expired_messages()"]


@pytest.mark.parametrize("cleaner", CLEANERS)
def test_only_the_service_role_may_run_the_cleaners(ours: Stage, cleaner: str) -> None:
    for role in ("anon", "authenticated", "bookconnect_dm_server"):
        for claims in ("", claims_of(MEMBERS["own"]), '{"role": "service_role"}'):
            seen = ours.see(Caller("own", role, claims), f"select {cleaner}")
            assert seen.sqlstate == DENIED, role
    assert ours.see(Caller("service", "service_role"), f"select {cleaner} >= 0").is_true


@pytest.mark.parametrize("cleaner", CLEANERS)
def test_one_call_of_a_cleaner_is_one_bounded_batch(ours: Stage, cleaner: str) -> None:
    ours.superuser_does("set local session_replication_role = replica")
    ours.connection.execute(
        "insert into public.direct_messages (conversation_id, sender_id, content, sent_at,"
        " is_deleted, deleted_at, retention_expires_at)"
        " select %(conversation)s, %(own)s, 'Old', '2020-01-01Z'::timestamptz + n * interval '1 s',"
        " n % 2 = 0, case when n % 2 = 0 then timestamptz '2020-06-01Z' end, '2020-06-01Z'"
        " from generate_series(1, 4200) as n".replace("%", "%%").replace("%%(", "%("),
        ours.scene.ids,
    )
    ours.superuser_does("set local session_replication_role = origin")
    ours.superuser_does("set local role service_role")
    counts: list[int] = []
    while not counts or counts[-1]:
        counts += [row[0] for row in ours.connection.execute(f"select {cleaner}")]
    assert max(counts) <= 2000
    assert sum(counts) >= 2100


# --- ON DELETE CASCADE on sender -----------------------------------------------------------

ERASE = "delete from auth.users where id = "


def test_mission_erasing_a_user_removes_his_messages_for_both(mission: Mission) -> None:
    mission(None, f"{ERASE} '{ADA}'")
    assert mission(BEN, "select content from public.direct_messages") == []


def test_erasing_a_user_removes_his_messages_for_both_and_leaves_the_others(ours: Stage) -> None:
    """Kept on purpose: it is the erasure path (docs). What the other one wrote stays his."""
    peer = Caller("peer", "authenticated", claims_of(MEMBERS["peer"]))
    read = "select content from public.get_conversation_messages(%(conversation)s)"
    assert ours.see(peer, read).rows == 2
    assert ours.see(peer, read, [f"{ERASE} %(own)s"]).rows == 1
    write = "select public.send_message(%(conversation)s, 'Are you there?')"
    assert ours.see(peer, write, [f"{ERASE} %(own)s"]).fits("PERMISSION_DENIED")
