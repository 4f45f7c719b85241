"""Who is asking ends with the transaction, and whoever may not see a thing does not wait for it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.access.attempts import Caller, Stage, claims_of
from tests.access.scene import MEMBERS, Scene
from tests.helpers.postgres import SERVER, Connection

MINE = "select count(*) as conversations from public.conversations"
OUTSIDE = ("stranger", "outsider", "staff", "free", "left", "erased")


@pytest.fixture
def server(scene: Scene) -> Iterator[Connection]:
    """The login of our server, one statement a transaction."""
    with scene.db.connect(SERVER, autocommit=True) as connection:
        yield connection


def _sees(connection: Connection) -> int:
    """How many conversations are visible: own has 3, peer 1, nobody none."""
    row = connection.execute(MINE).fetchone()
    assert row is not None
    return int(row["conversations"])


def test_an_identity_lasts_for_one_statement(server: Connection) -> None:
    server.execute("select messaging.become(%s)", (MEMBERS["own"],))
    assert _sees(server) == 0


def test_an_identity_ends_with_its_transaction_committed_or_not(server: Connection) -> None:
    with server.transaction():
        server.execute("select messaging.become(%s)", (MEMBERS["own"],))
        assert _sees(server) == 3
    assert _sees(server) == 0
    with server.transaction(force_rollback=True):
        server.execute("select messaging.become(%s)", (MEMBERS["own"],))
    assert _sees(server) == 0


def test_an_identity_ends_with_an_error(server: Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        server.execute("select messaging.become(%s), 1 / 0", (MEMBERS["own"],))
    assert _sees(server) == 0


def test_a_batch_leaves_nobody_behind(server: Connection, scene: Scene) -> None:
    """Within a longer transaction too, and after a row that failed."""
    with server.transaction(force_rollback=True):
        server.execute(
            "select code from messaging.send_batch(%(actors)s, %(ids)s, %(talks)s, %(texts)s)",
            {
                "actors": [MEMBERS["own"], MEMBERS["stranger"]],
                "ids": [scene.ids["new_id"], scene.ids["unknown"]],
                "talks": [scene.ids["conversation"]] * 2,
                "texts": ["Hello", "Hello"],
            },
        )
        assert _sees(server) == 0


def test_a_stale_claim_of_the_session_does_not_win(server: Connection) -> None:
    server.execute("select set_config('request.jwt.claim.sub', %s, false)", (str(MEMBERS["peer"]),))
    claims = claims_of(MEMBERS["peer"])
    server.execute("select set_config('request.jwt.claims', %s, false)", (claims,))
    assert _sees(server) == 1
    with server.transaction():
        server.execute("select messaging.become(%s)", (MEMBERS["own"],))
        assert _sees(server) == 3


def test_who_may_not_see_a_conversation_never_waits_for_it(stage: Stage) -> None:
    """Waiting would tell that it is alive, and would hold a place in its queue."""
    with stage.scene.db.as_superuser() as holder:
        columns = {
            "conversations": "id",
            "conversation_participants": "conversation_id",
            "direct_messages": "conversation_id",
        }
        for table, column in columns.items():
            holder.execute(
                f"select from public.{table} where {column} = %(conversation)s for update",
                stage.scene.ids,
            )
        stage.superuser_does("set local lock_timeout = '50ms'")
        waited = []
        for attempt in stage.possible(stage.rules.attempts):
            for person in OUTSIDE:
                if attempt.before or "%(conversation)s" not in attempt.sql:
                    continue
                caller = Caller(person, "authenticated", claims_of(MEMBERS[person]))
                seen = stage.see(caller, attempt.sql)
                if seen.sqlstate == "55P03":
                    waited.append(f"{attempt.on}: {attempt.title}: {caller}")
        assert waited == []
        own = Caller("own", "authenticated", claims_of(MEMBERS["own"]))
        sent = stage.see(own, "select public.send_message(%(conversation)s, 'Hello')")
        assert sent.sqlstate == "55P03"  # the lock is really held
        holder.rollback()
