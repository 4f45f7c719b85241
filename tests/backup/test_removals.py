"""What was erased, removed or deleted after a moment does not come back with it.

Here the two copies are two databases of one cluster, so that each case takes milliseconds; that
recovery makes such copies is the restore drill's to show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from bookconnect_dm import removals
from bookconnect_dm.direct import CommandError
from bookconnect_dm.removals import Applied, Gone, Note, RemovalsError
from tests.helpers.postgres import Database, run_async
from tests.helpers.world import World


@dataclass
class Copies:
    """A database that goes on, and what it was like at the moment that is restored."""

    end: World
    notes: Path
    moment: Database | None = None

    def remember(self) -> None:
        """From here on everything is after the moment."""
        self.moment = self.as_it_is()

    def as_it_is(self) -> Database:
        """A copy of the database that goes on."""
        db = self.end.db
        db.close_idle()
        return db.cluster._create(template=db.name, adapter=db.adapter)

    @property
    def old(self) -> Database:
        assert self.moment is not None
        return self.moment

    def restore(self, *, is_certain: bool = False, shared_until: datetime | None = None) -> Applied:
        """Note the end and take out of the moment what is gone."""
        note = self.note_of(self.end.db, shared_until=shared_until)
        self.told: list[Gone] = []
        return run_async(
            lambda: removals.apply(
                self.old.admin_url, [note], is_certain=is_certain, tell=self.told.append
            )
        )

    def note_of(self, db: Database, **about: Any) -> Note:
        """What was there in a database, noted."""
        note = Note(folder=self.notes / uuid4().hex, **about)
        run_async(lambda: removals.note(db.admin_url, note.folder))
        return note

    def contents(self) -> list[str]:
        """What can still be read in the restored copy, by whoever may."""
        rows = self.old.run(
            "select content from public.direct_messages"
            " where not is_deleted and retention_expires_at > now() order by sent_at"
        )
        return [row["content"] for row in rows]


@pytest.fixture
def copies(world: World, tmp_path: Path) -> Iterator[Copies]:
    made = Copies(world, tmp_path)
    yield made
    if made.moment is not None:
        made.moment.drop()


def _epoch(db: Database) -> str:
    return str(db.run("select messaging.epoch() as it")[0]["it"])


def _tables_that_know(db: Database, what: object) -> set[str]:
    """Every table in which an id still stands somewhere."""
    names = [
        row["name"]
        for row in db.run(
            "select c.oid::regclass::text as name from pg_class as c where c.relkind = 'r'"
            " and c.relnamespace in ('public'::regnamespace, 'auth'::regnamespace,"
            " 'messaging'::regnamespace)"
        )
    ]
    return {
        name
        for name in names
        if db.run(f"select exists (select from {name} as t where strpos(t::text, '{what}') > 0)")[
            0
        ]["exists"]
    }


def test_a_member_who_was_erased_stays_erased(copies: Copies) -> None:
    world = copies.end
    conversation = world.converse(world.ada, world.cleo)
    world.send(world.cleo, conversation, "words of the one who goes")
    world.send(world.ada, conversation, "words of the one who stays")
    copies.remember()
    world.db.run("delete from auth.users where id = %s", world.cleo)

    before = _epoch(copies.old)
    applied = copies.restore()
    assert copies.contents() == ["words of the one who stays"]
    assert _tables_that_know(copies.old, world.cleo) == set()
    assert (copies.told[0].erased_members, copies.told[0].erased) == (1, 1)
    assert applied.kept_accounts == ()
    assert _epoch(copies.old) != before, "what clients hold is of another history now"


def test_what_its_sender_deleted_stays_deleted_also_once_it_is_purged(copies: Copies) -> None:
    world = copies.end
    conversation = world.converse(world.ada, world.ben)
    ids = [world.send(world.ada, conversation, text) for text in ("one", "two", "three")]
    copies.remember()
    for deleted in ids[:2]:
        with world.db.as_user(world.ada) as connection:
            connection.execute("select public.delete_message(%s)", (deleted,))
    world.db.run("delete from public.direct_messages where id = %s", ids[1])

    copies.restore()
    assert copies.contents() == ["three"]
    assert (copies.told[0].deleted, copies.told[0].removed) == (1, 1)
    row = copies.old.run(
        "select m.deleted_at = n.deleted_at as same from public.direct_messages as m,"
        " (select %s::timestamptz as deleted_at) as n where m.id = %s",
        world.db.run("select deleted_at from public.direct_messages where id = %s", ids[0])[0][
            "deleted_at"
        ],
        ids[0],
    )
    assert row == [{"same": True}]
    assert copies.old.run(
        "select position >= (select max(deleted_at) from public.direct_messages) as is_after"
        " from public.conversations"
    ) == [{"is_after": True}]


def test_what_was_written_after_the_moment_is_not_brought_along(copies: Copies) -> None:
    world = copies.end
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "before")
    copies.remember()
    world.send(world.ada, conversation, "after")
    later = world.converse(world.ada, world.dora)
    world.send(world.ada, later, "elsewhere")
    copies.restore()
    assert copies.contents() == ["before"]
    assert not copies.told[0].lines()


def test_whoever_was_taken_out_of_a_conversation_does_not_get_back_in(copies: Copies) -> None:
    world = copies.end
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "for two")
    copies.remember()
    world.db.run(
        "delete from public.conversation_participants where conversation_id = %s and user_id = %s",
        conversation, world.ben,
    )  # fmt: skip
    copies.restore()
    with copies.old.as_user(world.ben) as connection:
        assert connection.execute("select from public.direct_messages").fetchall() == []


def test_a_conversation_that_went_stays_gone(copies: Copies) -> None:
    world = copies.end
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "a word")
    copies.remember()
    world.db.run("delete from public.conversations where id = %s", conversation)
    copies.restore()
    assert copies.contents() == []
    assert _tables_that_know(copies.old, conversation) == set()


def test_holds_are_those_of_the_end(copies: Copies) -> None:
    world = copies.end
    released = world.converse(world.ada, world.ben)
    placed = world.converse(world.ada, world.cleo)
    for place in (released, placed):
        world.send(world.ada, place, "a word")
    world.db.run("select messaging.place_hold(%s, 'a case')", released)
    copies.remember()
    world.db.run("select messaging.release_hold(%s)", released)
    world.db.run("delete from public.conversations where id = %s", released)
    world.db.run("select messaging.place_hold(%s, 'another case')", placed)
    copies.restore()
    rows = copies.old.run("select conversation_id, reason from messaging.legal_holds")
    assert rows == [{"conversation_id": placed, "reason": "another case"}]
    with pytest.raises(psycopg.Error, match="LEGAL_HOLD"):
        copies.old.run("delete from public.conversations where id = %s", placed)


def test_tiers_that_changed_since_count_for_what_was_sent_before(copies: Copies) -> None:
    """Longer is promised; and the host, which has gone back too, is noticed as one more change."""
    world = copies.end
    conversation = world.converse(world.ada, world.cleo)
    world.send(world.cleo, conversation, "thirty days")
    copies.remember()
    world.set_tier(world.cleo, "privileged_plus")
    for _ in range(10):
        if not world.db.run("select messaging.recalculate_batch() as n")[0]["n"]:
            break
    copies.restore()
    days = "select round(extract(epoch from retention_expires_at - sent_at) / 86400)::int as days"
    assert copies.old.run(f"{days} from public.direct_messages") == [{"days": 365}]
    tiers = copies.old.run(
        "select tier from messaging.tier_changes where user_id = %s order by changed_at", world.cleo
    )
    assert [row["tier"] for row in tiers] == ["free", "privileged_plus"]


def test_an_account_that_the_host_still_refers_to_is_named_and_emptied(copies: Copies) -> None:
    world = copies.end
    conversation = world.converse(world.ada, world.cleo)
    world.send(world.cleo, conversation, "mine")
    world.db.run_script(
        "create table public.orders (buyer uuid references auth.users (id));"
        f"insert into public.orders values ('{world.cleo}')"
    )
    copies.remember()
    world.db.run("delete from public.orders")
    world.db.run("delete from auth.users where id = %s", world.cleo)
    applied = copies.restore()
    assert applied.kept_accounts == (str(world.cleo),)
    assert copies.contents() == []
    ours = {"direct_messages", "conversation_participants", "messaging.tier_changes"}
    assert not _tables_that_know(copies.old, world.cleo) & ours


@pytest.mark.parametrize("accident", ["truncate", "delete", "mark", "shorten", "erase"])
def test_the_accident_itself_is_not_done_again_unasked(copies: Copies, accident: str) -> None:
    world = copies.end
    conversation = world.converse(world.ada, world.ben)
    world.db.run(
        "insert into public.direct_messages (conversation_id, sender_id, content)"
        " select %s, %s, 'text ' || n from generate_series(1, 150) as n",
        conversation, world.ada,
    )  # fmt: skip
    copies.remember()
    world.db.run({
        "truncate": "truncate public.direct_messages",
        "delete": "delete from public.direct_messages",
        "mark": "update public.direct_messages set is_deleted = true, deleted_at = now()",
        "shorten": "update public.direct_messages set retention_expires_at = now()",
        "erase": f"delete from auth.users where id = '{world.ada}'",
    }[accident])  # fmt: skip
    before = _epoch(copies.old)
    with pytest.raises(RemovalsError, match=r"messages .*: 150: .*--removals-until"):
        copies.restore()
    assert len(copies.contents()) == 150, "all or nothing"
    assert _epoch(copies.old) == before
    copies.restore(is_certain=True)
    assert copies.contents() == []


@pytest.mark.parametrize(
    ("members", "erased", "is_odd"),
    [(10, 10, True), (7, 4, True), (7, 3, False), (2, 1, False), (300, 16, True), (300, 15, False)],
)
def test_so_many_members_at_once_may_be_the_accident(
    members: int, erased: int, *, is_odd: bool
) -> None:
    gone = Gone(
        members=members, messages=0, erased_members=erased,
        erased=0, expired=0, removed=0, deleted=0, cut_short=0,
    )  # fmt: skip
    assert gone.is_odd is is_odd


def test_the_copies_are_not_taken_for_one_another(copies: Copies) -> None:
    """The notes of an earlier copy would remove all that is newer, and say nothing of it."""
    world = copies.end
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "one")
    copies.remember()
    world.send(world.ada, conversation, "two")
    world.db.run("delete from auth.users where id = %s", world.cleo)

    def attempt(noted: Database, other: Database) -> Applied:
        note = copies.note_of(noted, is_looked_at=True)
        return run_async(lambda: removals.apply(other.admin_url, [note], is_certain=True))

    with pytest.raises(RemovalsError, match=r"Note the later copy.*--notes-are-later"):
        attempt(copies.old, world.db)
    assert world.db.run("select count(*) as n from public.direct_messages") == [{"n": 2}]
    # What its removal made older is later all the same: a removal of something to read counts.
    world.db.run("delete from public.conversations where id = %s", conversation)
    assert attempt(world.db, copies.old).messages == 0


def test_tables_that_are_gone_at_the_end_say_nothing(copies: Copies) -> None:
    copies.remember()
    copies.end.db.run("drop table public.direct_messages cascade")
    with pytest.raises(RemovalsError, match="--removals-until"):
        copies.restore()


def test_what_branched_off_earlier_misses_nothing_that_it_never_had(copies: Copies) -> None:
    """The second attempt: the first went back too far, and what it lost was not removed."""
    world = copies.end
    conversation = world.converse(world.ada, world.ben)
    erased = world.send(world.ada, conversation, "removed later")
    branched_at: datetime = world.db.run("select clock_timestamp() as it")[0]["it"]
    branch = copies.as_it_is()
    world.send(world.ada, conversation, "lost by the first attempt")
    newcomer = UUID("b0000000-0000-4000-8000-0000000000aa")
    world.db.run("insert into auth.users (id) values (%s)", newcomer)
    copies.remember()
    branch.run("delete from public.direct_messages where id = %s", erased)
    copies.end = World(db=branch)
    try:
        copies.restore(shared_until=branched_at)
    finally:
        branch.drop()
        copies.end = world
    assert copies.contents() == ["lost by the first attempt"]
    assert copies.old.run("select id from auth.users where id = %s", newcomer)


def test_a_closed_database_lets_nobody_in_and_opens_with_the_last_step(copies: Copies) -> None:
    world = copies.end
    copies.remember()
    copies.old.run(
        f"alter database {copies.old.name} connection limit 0"  # what a restore does first
    )
    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        copies.old.connect("bookconnect_dm_server")
    copies.restore()
    copies.old.connect("bookconnect_dm_server").close()
    assert world.db.run("select 1 as it")


def test_notes_hold_ids_and_times_and_are_their_owners_alone(copies: Copies) -> None:
    world = copies.end
    conversation = world.converse(world.ada, world.ben)
    world.send(world.ada, conversation, "a secret that is nobody's business")
    copies.remember()
    copies.restore()
    files = [path for path in copies.notes.rglob("*") if path.is_file()]
    assert len(files) == 7
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert "secret" not in path.read_text("utf-8")
        assert path.parent.stat().st_mode & 0o077 == 0


def test_a_folder_that_is_no_note_is_refused(copies: Copies, tmp_path: Path) -> None:
    copies.remember()
    note = Note(folder=tmp_path / "nothing")
    with pytest.raises(CommandError, match="restore note"):
        run_async(lambda: removals.apply(copies.old.admin_url, [note], is_certain=False))


def test_a_note_that_fails_leaves_nothing_in_the_way_of_the_next(
    copies: Copies, tmp_path: Path
) -> None:
    target = tmp_path / "notes"

    def attempt(url: str) -> int:
        return run_async(lambda: removals.note(url, target))

    with pytest.raises(CommandError, match="does not answer"):
        attempt("postgresql://127.0.0.1:9/none")
    copies.end.db.run("alter table messaging.legal_holds rename to held")
    with pytest.raises(CommandError, match="legal_holds"):  # the last of the parts
        attempt(copies.end.db.admin_url)
    copies.end.db.run("alter table messaging.held rename to legal_holds")
    assert attempt(copies.end.db.admin_url) == 0
    with pytest.raises(RemovalsError, match="exists already: name a folder that does not"):
        attempt(copies.end.db.admin_url)
    assert len(list(target.iterdir())) == 7, "what was there stays"
    target = tmp_path / "nowhere" / "notes"
    with pytest.raises(RemovalsError, match=r"cannot be made .* in one that is there"):
        attempt(copies.end.db.admin_url)
