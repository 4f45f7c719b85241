"""The writer against a real database: order, fairness, locks, faults, and when it says no."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from bookconnect_dm import writer as writer_module
from bookconnect_dm.db import Database
from bookconnect_dm.errors import Problem
from bookconnect_dm.metrics import Metrics
from bookconnect_dm.writer import Sent, Writer
from tests.helpers import postgres
from tests.helpers.world import World


@contextlib.asynccontextmanager
async def writing(db: postgres.Database, *, limit: int = 5_000) -> AsyncIterator[Writer]:
    metrics = Metrics()
    database = Database(
        db.server_url,
        size=writer_module.CONNECTIONS,
        metrics=metrics,
        prepared_statements=not db.is_pooled,
    )
    writer = Writer(database, metrics=metrics, waiting_limit=limit)
    try:
        yield writer
    finally:
        await writer.stop()
        await database.close()


def submit(
    writer: Writer, sender: UUID, conversation: UUID, content: str, message_id: UUID | None = None
) -> asyncio.Future[Sent]:
    return writer.submit(sender, conversation, content=content, message_id=message_id)


async def test_a_send_is_answered_when_it_is_committed(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    async with writing(world.db) as writer:
        sent = await submit(writer, world.ada, conversation, " Hello ")
        (row,) = world.db.run(
            "select content from public.direct_messages where id = %s", UUID(sent.message.id)
        )
        assert row["content"] == sent.message.content == "Hello"
        assert sent.is_new


async def test_sends_of_a_conversation_keep_their_order(world: World) -> None:
    pairs = [world.converse(world.ada, other) for other in (world.ben, world.cleo, world.dora)]
    async with writing(world.db) as writer:
        answers = [submit(writer, world.ada, pairs[n % 3], f"number {n}") for n in range(300)]
        await asyncio.gather(*answers)
    for index, conversation in enumerate(pairs):
        rows = world.db.run(
            "select content from public.direct_messages where conversation_id = %s"
            " order by sent_at",
            conversation,
        )
        assert [r["content"] for r in rows] == [f"number {n}" for n in range(index, 300, 3)]


async def test_a_bad_row_harms_none_of_its_neighbours(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    async with writing(world.db) as writer:
        taken = (await submit(writer, world.ada, conversation, "first")).message.id
        answers = await asyncio.gather(
            submit(writer, world.ada, conversation, "good"),
            submit(writer, world.cleo, conversation, "stranger"),
            submit(writer, world.ada, uuid4(), "nowhere"),
            submit(writer, world.ben, conversation, "not mine", UUID(taken)),
            submit(writer, world.ada, conversation, "first", UUID(taken)),
            submit(writer, world.ben, conversation, "good too"),
            return_exceptions=True,
        )
    codes = [a.code if isinstance(a, Problem) else "ok" for a in answers]
    missing = "CONVERSATION_NOT_FOUND"
    assert codes == ["ok", missing, missing, "CONFLICT", "ok", "ok"]
    assert isinstance(answers[4], Sent)
    assert not answers[4].is_new


async def test_what_one_member_writes_is_never_anothers(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    senders = [(world.ada, world.ben)[n % 2] for n in range(60)]
    async with writing(world.db) as writer:
        sent = await asyncio.gather(
            *(submit(writer, who, conversation, f"by {who}") for who in senders)
        )
    assert all(s.message.content == f"by {s.message.sender_id}" for s in sent)


async def test_a_locked_conversation_holds_up_no_other(world: World) -> None:
    blocked = world.converse(world.ada, world.ben)
    free = world.converse(world.dora, world.cleo)
    async with writing(world.db) as writer:
        with world.db.connect() as locker:
            locker.execute("select from public.conversations where id = %s for update", (blocked,))
            stuck = [submit(writer, world.ada, blocked, f"stuck {n}") for n in range(20)]
            await asyncio.sleep(0.6)  # the batch has met the lock and left the rows to retry
            waits = []
            for n in range(30):
                started = time.monotonic()
                await submit(writer, world.dora, free, f"free {n}")
                waits.append(time.monotonic() - started)
            assert not any(answer.done() for answer in stuck)
            locker.rollback()
        sent = await asyncio.gather(*stuck)
    # Whoever had to sit the lock out would wait for seconds; how quick it is, `bench` tells.
    assert sorted(waits)[len(waits) * 9 // 10] < 0.5
    assert [s.message.content for s in sent] == [f"stuck {n}" for n in range(20)]
    positions = [s.message.sent_at for s in sent]
    assert positions == sorted(positions)


async def test_a_lock_that_stays_is_answered_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "DEADLINE_S", 0.5)
    monkeypatch.setattr(writer_module, "LOCK_WAIT_MS", 100)
    conversation = world.converse(world.ada, world.ben)
    async with writing(world.db) as writer:
        with world.db.connect() as locker:
            locker.execute(
                "select from public.conversations where id = %s for update", (conversation,)
            )
            answer = submit(writer, world.ada, conversation, "Too late")
            with pytest.raises(Problem, match="UNAVAILABLE"):
                await answer
            locker.rollback()
        again = await submit(writer, world.ada, conversation, "In time")
    assert again.is_new
    rows = world.db.run("select content from public.direct_messages")
    assert [r["content"] for r in rows] == ["In time"]


async def test_a_members_row_that_is_locked_by_the_host_harms_only_him(world: World) -> None:
    one = world.converse(world.ada, world.cleo)
    other = world.converse(world.dora, world.ben)
    async with writing(world.db) as writer:
        with world.db.connect() as host:
            host.execute("select from auth.users where id = %s for update", (world.ada,))
            stuck = submit(writer, world.ada, one, "stuck")
            started = time.monotonic()
            await asyncio.gather(*(submit(writer, world.dora, other, f"{n}") for n in range(8)))
            assert time.monotonic() - started < 1.0
            host.rollback()
        assert (await stuck).is_new


async def test_a_member_who_floods_does_not_make_others_wait_for_all_of_it(world: World) -> None:
    conversations = [world.converse(world.ada, o) for o in (world.ben, world.cleo, world.dora)]
    other = world.converse(world.ben, world.dora)
    async with writing(world.db) as writer:
        flood = [submit(writer, world.ada, conversations[n % 3], "x") for n in range(600)]
        await submit(writer, world.ben, other, "me too")
        assert sum(answer.done() for answer in flood) < 100
        await asyncio.gather(*flood)


async def test_one_member_has_eight_rows_in_a_batch_and_a_batch_has_fifty(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = world.converse(world.ada, world.ben)
    batches: list[list[UUID]] = []
    async with writing(world.db) as writer:
        fetch = writer._database.fetch

        async def spy(query: str, /, **params: object) -> object:
            if query == "send_batch":
                batches.append(list(params["actors"]))  # type: ignore[call-overload]
            return await fetch(query, **params)

        monkeypatch.setattr(writer._database, "fetch", spy)
        answers = [submit(writer, world.ada, conversation, "x") for _ in range(30)]
        strangers = [submit(writer, uuid4(), uuid4(), "x") for _ in range(120)]
        await asyncio.gather(*answers, *strangers, return_exceptions=True)
    assert max(map(len, batches)) <= 50
    assert max(batch.count(world.ada) for batch in batches) == 8
    assert sum(map(len, batches)) == 150


async def test_a_full_waiting_list_says_no(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    async with writing(world.db, limit=10) as writer:
        answers = [submit(writer, world.ada, conversation, "x") for _ in range(10)]
        with pytest.raises(Problem, match="UNAVAILABLE"):
            submit(writer, world.ada, conversation, "one too many")
        await asyncio.gather(*answers)
        await submit(writer, world.ada, conversation, "room again")


async def test_content_is_judged_before_anything_is_asked(world: World) -> None:
    async with writing(world.db) as writer:
        for content in ("", "x" * 1001, "a\0", "\ud83d"):
            with pytest.raises(Problem, match="INVALID_CONTENT"):
                submit(writer, world.ada, uuid4(), content)


async def test_a_batch_that_fails_as_a_whole_is_split_until_the_guilty_row_stands_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that fails for one row's sake: the others are stored, under their ids."""
    conversation = world.converse(world.ada, world.ben)
    async with writing(world.db) as writer:
        fetch = writer._database.fetch

        async def moody(query: str, /, **params: object) -> object:
            if "poison" in params.get("contents", [params.get("content")]):  # type: ignore[operator]
                raise Problem("INTERNAL")
            return await fetch(query, **params)

        monkeypatch.setattr(writer._database, "fetch", moody)
        contents = ["a", "b", "poison", "c", "d"]
        answers = await asyncio.gather(
            *(submit(writer, world.ada, conversation, c) for c in contents),
            return_exceptions=True,
        )
    outcomes = [a.code if isinstance(a, Problem) else a.message.content for a in answers]  # type: ignore[union-attr]
    assert outcomes == ["a", "b", "INTERNAL", "c", "d"]


async def test_a_split_batch_keeps_the_order_of_a_conversation_that_was_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free again between the two halves: what came later must not overtake what was held."""
    conversation, other = (
        world.converse(world.ada, world.ben),
        world.converse(world.ada, world.dora),
    )
    with world.db.connect() as holder:
        holder.execute("begin")
        holder.execute("select from public.conversations where id = %s for update", (conversation,))
        async with writing(world.db) as writer:
            fetch = writer._database.fetch

            async def moody(query: str, /, **params: object) -> object:
                contents = params.get("contents", [params.get("content")])
                if "poison" in contents:  # type: ignore[operator]
                    raise Problem("INTERNAL")
                rows = await fetch(query, **params)
                if "first" in contents:  # type: ignore[operator]
                    holder.rollback()
                return rows

            monkeypatch.setattr(writer._database, "fetch", moody)
            poison = submit(writer, world.ada, other, "poison")
            contents = ("first", "second", "third")  # one with the poison, two in the other half
            sends = [submit(writer, world.ada, conversation, content) for content in contents]
            with pytest.raises(Problem, match="INTERNAL"):
                await poison
            sent_at = [sent.message.sent_at for sent in await asyncio.gather(*sends)]
            assert sent_at == sorted(sent_at)


async def test_a_database_that_is_away_is_said_at_once(
    world: World,
) -> None:
    metrics = Metrics()
    url = world.db.server_url.replace(world.db.name, "no_such_database")
    database = Database(url, size=4, metrics=metrics)
    writer = Writer(database, metrics=metrics, waiting_limit=100)
    started = time.monotonic()
    answers = await asyncio.gather(
        *(submit(writer, world.ada, uuid4(), "x") for _ in range(50)), return_exceptions=True
    )
    assert {a.code for a in answers if isinstance(a, Problem)} == {"UNAVAILABLE"}
    assert len(answers) == 50
    assert time.monotonic() - started < 3
    await writer.stop()


def _hang(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.Event, asyncio.Queue[int]]:
    """The database says nothing until the event is set; the queue has the size of each batch."""
    silent = asyncio.Event()
    sizes: asyncio.Queue[int] = asyncio.Queue()

    async def fetch(_query: str, /, **params: object) -> object:
        actors = params.get("actors")
        sizes.put_nowait(len(actors) if isinstance(actors, list) else 1)
        await silent.wait()
        raise Problem("UNAVAILABLE")

    monkeypatch.setattr(writer._database, "fetch", fetch)
    return silent, sizes


async def test_what_waits_behind_a_database_that_says_nothing_is_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lanes are out on connections of which nothing comes back."""
    monkeypatch.setattr(writer_module, "DEADLINE_S", 0.3)
    monkeypatch.setattr(writer_module, "LOOK_S", 0.1)
    async with writing(world.db) as writer:
        silent, carried = _hang(writer, monkeypatch)
        out = []
        for _ in range(writer_module.LANES):
            out.append(submit(writer, world.ada, uuid4(), "x"))
            await carried.get()
        # Twice: those that were refused are no whole batch together with those that come after.
        for _ in range(2):
            behind = [
                submit(writer, world.ada, uuid4(), "x") for _ in range(writer_module.BATCH_ROWS - 1)
            ]
            async with asyncio.timeout(20):
                answers = await asyncio.gather(*behind, return_exceptions=True)
            assert {a.code for a in answers if isinstance(a, Problem)} == {"UNAVAILABLE"}
            assert writer.waiting == 0
        assert carried.empty()
        assert not any(one.done() for one in out)
        silent.set()
        await asyncio.gather(*out, return_exceptions=True)


async def test_a_third_lane_opens_for_a_whole_batch_and_for_no_less(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In between it would make smaller batches of the same sends: more work, later answers."""
    async with writing(world.db) as writer:
        silent, sizes = _hang(writer, monkeypatch)
        out = []
        for _ in range(writer_module.LANES):
            out.append(submit(writer, world.ada, uuid4(), "x"))
            assert await sizes.get() == 1
        whole = writer_module.BATCH_ROWS
        out += [submit(writer, uuid4(), uuid4(), "x") for _ in range(whole - 1)]
        await asyncio.sleep(0.1)
        assert sizes.empty()
        assert writer.waiting == whole - 1
        out += [submit(writer, uuid4(), uuid4(), "x") for _ in range(whole + 1)]
        async with asyncio.timeout(20):
            assert await sizes.get() == whole
        await asyncio.sleep(0.1)
        assert sizes.empty()
        assert writer.waiting == whole
        silent.set()
        await asyncio.gather(*out, return_exceptions=True)


async def test_a_backend_that_is_killed_after_its_commit_makes_no_second_row(
    world: World,
) -> None:
    conversation = world.converse(world.ada, world.ben)
    async with writing(world.db) as writer:
        for n in range(10):
            answer = submit(writer, world.ada, conversation, f"number {n}")
            await asyncio.sleep(0.002 * n)
            world.db.run(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where usename = 'bookconnect_dm_server' and datname = current_database()"
            )
            assert (await answer).message.content == f"number {n}"
    rows = world.db.run("select content from public.direct_messages order by sent_at")
    assert [r["content"] for r in rows] == [f"number {n}" for n in range(10)]


async def test_an_answer_that_nobody_waits_for_is_still_a_send(world: World) -> None:
    conversation = world.converse(world.ada, world.ben)
    async with writing(world.db) as writer:
        answer = submit(writer, world.ada, conversation, "Still sent")
        await asyncio.sleep(0)  # it is on its way
        await asyncio.sleep(0)
        answer.cancel()
        await submit(writer, world.ada, conversation, "After it")
    rows = world.db.run("select content from public.direct_messages order by sent_at")
    assert [r["content"] for r in rows] == ["Still sent", "After it"]
