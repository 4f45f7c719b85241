"""What is hidden is hidden from every way to ask: no side door tells more than the rules do.

The rules say what a statement gives. These ask with other instruments: predicates that talk,
copies, plans made for somebody else, statistics, and the small print of errors.
"""

from __future__ import annotations

import psycopg
import pytest

from tests.access.attempts import Caller, Stage, claims_of
from tests.access.scene import MEMBERS
from tests.helpers.postgres import SERVER

TABLES = ("public.conversations", "public.conversation_participants", "public.direct_messages")
OUTSIDE = ("stranger", "outsider", "erased")
TALKATIVE = """
create function pg_temp.tell(seen anyelement) returns boolean language plpgsql cost 0.0000001 as $$
begin
    raise notice '%%', seen;
    return true;
end$$
"""


def _as(person: str, role: str = "authenticated") -> Caller:
    return Caller(person, role, claims_of(MEMBERS[person]))


def test_a_predicate_that_talks_sees_what_its_author_sees(stage: Stage) -> None:
    """The policy is asked first, however cheap the function says that it is."""
    heard: list[str] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        heard.append(str(notice.message_primary))

    stage.connection.add_notice_handler(hear)
    with stage.undone():
        assert stage.see_and_keep(_as("outsider"), TALKATIVE).sqlstate is None
        for table in TABLES:
            heard.clear()
            statement = f"select from {table} as t where pg_temp.tell(t::text)"
            seen = stage.see_and_keep(_as("outsider"), statement)
            assert seen.rows == len(heard) > 0
            heard.clear()
            joined = (
                f"select from {table} as t, (values (1)) as v (n) where pg_temp.tell(t::text)"
                " and pg_temp.tell(v.n) group by pg_temp.tell(t::text)"
            )
            assert stage.see_and_keep(_as("erased"), joined).rows == 0
            assert [text for text in heard if text != "1"] == []
    stage.connection.remove_notice_handler(hear)


def test_a_copy_holds_what_a_query_does(stage: Stage) -> None:
    for table in TABLES:
        for role in ("authenticated", SERVER):
            rows = stage.see(_as("outsider", role), f"select from {table}").rows
            with stage.undone():
                stage.see_and_keep(_as("outsider", role), "select 1")
                with stage.connection.cursor().copy(f"copy {table} to stdout") as copy:
                    assert sum(1 for _ in copy.rows()) == rows > 0
        seen = stage.see(Caller("nobody", "anon"), f"copy {table} to stdout")
        assert seen.sqlstate == "42501"


@pytest.mark.parametrize("mode", ["force_generic_plan", "auto"])
def test_a_plan_made_for_one_member_is_not_anothers(stage: Stage, mode: str) -> None:
    """As on a pooled connection: one prepared statement, one identity after the other."""
    with stage.undone():
        stage.superuser_does(f"set local plan_cache_mode = {mode}")
        stage.see_and_keep(_as("own"), "prepare inbox as select id from public.conversations")
        expected = {"own": 3, "peer": 1, "outsider": 1, "erased": 0}
        for role in ("authenticated", SERVER):
            for _ in range(7):
                for person, rows in expected.items():
                    seen = stage.see_and_keep(_as(person, role), "execute inbox")
                    assert seen.rows == rows, (person, role)
        assert stage.see_and_keep(Caller("nobody", "authenticated"), "execute inbox").rows == 0
        assert stage.see(Caller("nobody", "anon"), "execute inbox").sqlstate == "42501"
        stage.see_and_keep(_as("own"), "deallocate inbox")


def test_statistics_show_nobodys_words(stage: Stage) -> None:
    with stage.undone():
        for table in TABLES:
            stage.superuser_does(f"analyze {table}")
        stage.superuser_does("select 1")
        known = "select from pg_catalog.pg_stats where schemaname = 'public' and tablename = any("
        tables = "array['conversations', 'conversation_participants', 'direct_messages'])"
        for person in ("own", "outsider"):
            for role in ("authenticated", SERVER):
                assert stage.see_and_keep(_as(person, role), known + tables).rows == 0
        stage.superuser_does(
            f"select set_config('test.rows', (select count(*) from"
            f" ({known + tables}) as s)::text, true)"
        )
        shown = stage.connection.execute("select current_setting('test.rows')::int").fetchone()
        assert shown is not None
        assert shown[0] > 0  # there is something to hide


def test_nobody_writes_into_the_log_beside_us(stage: Stage) -> None:
    """Anybody may by default; only a superuser, who is the owner at home, can take that away."""
    if stage.scene.db.adapter == "supabase":
        pytest.skip("there the signature alone has to do")
    emit = "select pg_logical_emit_message({}, 'bookconnect_dm', 'forged'::{})"
    for role in ("authenticated", "anon", "service_role", SERVER):
        for transactional in ("false", "true"):
            for kind in ("bytea", "text"):
                caller = Caller("nobody", role)
                assert stage.see(caller, emit.format(transactional, kind)).sqlstate == "42501"


# A statement about {}, with the name of something that is hidden from all of OUTSIDE.
ASK = (
    ("select public.get_conversation({})", "conversation"),
    ("select * from public.get_conversation_messages({})", "conversation"),
    ("select public.get_conversation_changes({}, '-infinity')", "conversation"),
    ("select public.get_unread_message_count({})", "conversation"),
    ("select public.mark_conversation_as_read({})", "conversation"),
    ("select public.send_message({}, 'x')", "conversation"),
    ("select public.delete_message({})", "message"),
    ("select public.delete_message({})", "deleted"),
    ("select public.delete_message({})", "expired"),
    ("insert into direct_messages (conversation_id, sender_id, content) values ({}, %(me)s, 'x')",
     "conversation"),
    ("select * from public.start_conversation({})", "somebody elsewhere"),
)  # fmt: skip


def test_an_error_says_the_same_of_what_is_hidden_and_of_what_is_not_there(stage: Stage) -> None:
    """To the last field: message, detail, hint, where it happened, what it was about."""
    for person in OUTSIDE:
        for statement, hidden in ASK:
            name = hidden
            if hidden == "somebody elsewhere":
                name = "own" if person == "outsider" else "outsider"
            # Twice: the first time PostgreSQL says a line more of where it was.
            told = [_small_print(stage, person, statement, n) for n in (name, "unknown") * 2][2:]
            assert told[0] == told[1]
            assert told[0][0] is not None, (person, statement)


def _small_print(stage: Stage, person: str, statement: str, name: str) -> tuple[str | None, ...]:
    values = stage.scene.values(person)
    with stage.undone():
        stage.see_and_keep(_as(person), "select 1")
        try:
            stage.connection.execute(statement.replace("{}", f"%({name})s"), values)
        except psycopg.Error as error:
            d = error.diag
            fields = (
                d.sqlstate, d.message_primary, d.message_detail, d.message_hint, d.context,
                d.schema_name, d.table_name, d.column_name, d.constraint_name, d.source_line,
            )  # fmt: skip
            own = str(values[name])
            return tuple(field and field.replace(own, "<id>") for field in fields)
    return (None,)
