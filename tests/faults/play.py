"""A story, played with real servers and real sockets.

In charge of: the members, each with a client behind a weather of his own, their operations, and the
blows against servers and PostgreSQL.
Knows about: the client, the servers' processes, the rows.
Does not know: what the right outcome is. The test judges.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import httpx
import uvloop
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from bookconnect_dm import wire
from bookconnect_dm.client import Client, new_message_id
from bookconnect_dm.errors import Problem
from tests.faults.story import MEMBERS, SERVERS, Act, Blow, Story
from tests.helpers.live import live
from tests.helpers.notebook import Notebook, Rows, agree
from tests.helpers.postgres import Cluster, Database
from tests.helpers.server import RunningServer, free_port, server_env, token_for
from tests.helpers.weather import Weather

__all__ = ["Play", "Stage"]

T = TypeVar("T")

GIVE_UP_S = 90.0
PATIENCE_S = 90.0
"""For a server to stop or to start, on a machine that does other work."""
BY_SOCKET = 0.1
"""The share of sends that go over a socket, as the page sends them."""
HOST_IS_AWAY = 0.05


@dataclass(slots=True)
class Stage:
    """One database and its servers."""

    db: Database
    servers: list[RunningServer]

    @classmethod
    @contextlib.contextmanager
    def built_on(cls, cluster: Cluster) -> Iterator[Stage]:
        """Start the servers; in the end, stop them and see that they leave no slot."""
        db = cluster.database()
        servers = []
        for _ in range(SERVERS):
            port = free_port()
            servers.append(RunningServer(server_env(db, port), port))
        try:
            for server in servers:
                server.start(ready=False)
            for server in servers:
                server.wait_for(200)
            yield cls(db, servers)
            for server in servers:
                server.stop()
            assert db.run("select slot_name from pg_replication_slots") == []
        finally:
            for server in servers:
                if server.process is not None and server.process.poll() is None:
                    server.kill()
                server.give_log_up()

    def wake(self) -> None:
        """See that all are up: a story that failed may have left one lying."""
        for server in self.servers:
            if server.process is None or server.process.poll() is not None:
                server.start()
            server.wait_for(200)

    def populate(self, seed: int) -> tuple[UUID, list[UUID]]:
        """A store and its members, for one story."""
        dice = random.Random(f"people/{seed}/{time.time_ns()}")
        store, *members = (UUID(int=dice.getrandbits(128), version=4) for _ in range(MEMBERS + 1))
        run = self.db.run
        run("insert into public.stores (id, name) values (%s, %s)", store, f"Store {seed}")
        run("insert into auth.users (id) select unnest(%s::uuid[])", members)
        run(
            "insert into public.users (id, username, user_tier)"
            " select id, id::text, 'privileged' from unnest(%s::uuid[]) as t (id)",
            members,
        )
        run(
            "insert into public.store_members (store_id, user_id) select %s, unnest(%s::uuid[])",
            store,
            members,
        )
        return store, members


class Actor:
    """One member: his client, his weather, what he knows and what he was promised."""

    def __init__(self, play: Play, number: int, server: RunningServer) -> None:
        self.user = play.members[number]
        self.acknowledged: list[wire.DMMessage] = []
        self.deleted: list[str] = []
        self.tokens = 0
        self.rooms: list[str] = []
        self.weather = Weather(server.port, f"{play.story.seed}/{number}")
        self._play = play
        self._number = number
        self._token_s = play.story.token_s[number]
        self._dice = random.Random(f"{play.story.seed}/{number}/host")
        self._said = 0
        self._gets_ended = False

    async def open(self) -> None:
        await self.weather.start()
        # Fewer connections than calls at once would hide what happens beside each other.
        http = httpx.AsyncClient(verify=False, timeout=10)
        self.client = Client(self.weather.url, self._token, give_up_s=GIVE_UP_S, http=http)
        self.notebook = Notebook(self.client, self.user)
        self.listening = asyncio.create_task(self.notebook.keep())

    async def close(self) -> None:
        self.listening.cancel()
        await asyncio.wait([self.listening])
        await self.client.close()
        await self.weather.close()
        assert not self.weather.errors, self.weather.errors

    async def _token(self) -> str:
        self.tokens += 1
        if self._dice.random() < HOST_IS_AWAY and not self.weather.is_calm:
            raise ConnectionError("the host is restarting")
        ttl_s = -1.0 if self._gets_ended else self._token_s
        self._gets_ended = False
        return token_for(self.user, ttl_s=ttl_s)

    # -- what he does

    async def act(self) -> None:
        for act in self._play.story.acts[self._number]:
            await getattr(self, f"_{act.kind}")(act)
            self._play.done[act.kind] += 1
            if self.listening.done():
                self.listening.result()

    async def _send(self, act: Act) -> None:
        room = _pick(self.rooms, act.pick)
        self._said += 1
        content = f"{self._play.story.seed}/{self._number}/{self._said}"
        if self._dice.random() < BY_SOCKET:
            message = await self._send_by_socket(room, content)
        else:
            message = await self.client.send(room, content)
        # A late repeat of it may have come after its deletion, never before its answer.
        assert (message.content, message.is_deleted) == (content, False)
        self.acknowledged.append(message)

    async def _send_by_socket(self, room: str, content: str) -> wire.DMMessage:
        """As the page does it: the same id until there is an acknowledgement."""
        message_id = str(new_message_id())
        url = self.weather.url.replace("http", "ws") + "/v1/realtime"
        end = time.monotonic() + GIVE_UP_S
        while True:
            with contextlib.suppress(ConnectionClosed, InvalidHandshake, OSError, TimeoutError):
                async with live(url, token_for(self.user, ttl_s=self._token_s)) as socket:
                    answer = await socket.ask(
                        "send", id=message_id, conversation_id=room, content=content
                    )
                    if answer["type"] == "ack":
                        return wire.DMMessage(**answer["message"])
                    assert answer["code"] == "UNAVAILABLE", answer
            assert time.monotonic() < end, "no acknowledgement in time"
            await asyncio.sleep(self._dice.uniform(0, 0.5))

    async def _read(self, act: Act) -> None:
        room = _pick(self.rooms, act.pick)
        known = self.notebook.rooms.get(room)
        lines = known.in_order if known else []
        if not lines or act.pick > 0.5:
            await self.client.read(room)
            return
        line = _pick(lines, act.pick * 2)
        try:
            await self.client.read(room, up_to_message=line[1])
        except Problem as problem:
            if problem.code != "MESSAGE_NOT_FOUND":  # its sender has just deleted it
                raise

    async def _delete(self, act: Act) -> None:
        left = [one for one in self.acknowledged if one.id not in self.deleted]
        if left:
            message = _pick(left, act.pick)
            await self.client.delete(message.id)
            self.deleted.append(message.id)

    async def _start(self, act: Act) -> None:
        answer = await self.client.start(recipient_id=self._play.members[act.other])
        if answer.conversation_id not in self.rooms:
            self.rooms.append(answer.conversation_id)

    async def _sign_in(self, act: Act) -> None:
        """He needs a new token, and the first one that he is given has ended already."""
        self._gets_ended = True
        self.client._token = None
        assert (await self.client.me()).id == str(self.user), act


class Play:
    """One story on a stage."""

    def __init__(self, stage: Stage, story: Story) -> None:
        self.story = story
        self.done: Counter[str] = Counter()
        self.blows: Counter[str] = Counter()
        self._stage = stage
        stage.wake()
        self.store, self.members = stage.populate(story.seed)
        self.cast = [
            Actor(self, number, stage.servers[number % SERVERS]) for number in range(MEMBERS)
        ]

    def perform(self) -> Rows:
        """Play it, let all settle, and give what is stored."""

        def run() -> Rows:
            # A loop of its own: the tests' watches each step, which takes longer than the steps.
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(self._perform())

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(run).result()

    async def _perform(self) -> Rows:
        try:
            for actor in self.cast:
                await actor.open()
            await self._meet()
            await self._act()
            for actor in self.cast:
                await actor.weather.settle()
            books = [actor.notebook for actor in self.cast]
            return await agree(books, self._stage.db, self.store, tick=self._look)
        finally:
            for actor in self.cast:
                await actor.close()
            await asyncio.sleep(0.1)  # what was cut is closed in the loop's next turns

    async def _meet(self) -> None:
        async with asyncio.TaskGroup() as group:
            for one, other in self.story.pairs:
                group.create_task(self._pair(one, other))

    async def _pair(self, one: int, other: int) -> None:
        first, second = self.cast[one], self.cast[other]
        answer = await first.client.start(recipient_id=second.user)
        first.rooms.append(answer.conversation_id)
        second.rooms.append(answer.conversation_id)

    async def _act(self) -> None:
        for actor in self.cast:
            actor.rooms.sort()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._strike())
            for actor in self.cast:
                group.create_task(actor.act())

    def _look(self) -> None:
        """Say at once what would otherwise be waited for in vain."""
        for actor in self.cast:
            assert not actor.weather.errors, actor.weather.errors
            if actor.listening.done():
                actor.listening.result()

    # -- blows

    async def _strike(self) -> None:
        for blow in self.story.blows:
            while self.done.total() < blow.after:  # noqa: ASYNC110 - whoever does it
                await asyncio.sleep(0.02)
            await self._blow(blow)
            self.blows[blow.kind] += 1

    async def _blow(self, blow: Blow) -> None:
        server = self._stage.servers[blow.server]
        if blow.kind == "sigterm":
            assert await asyncio.to_thread(server.stop, PATIENCE_S) == 0
            await asyncio.to_thread(server.start, timeout_s=PATIENCE_S)
        elif blow.kind == "kill":
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start, timeout_s=PATIENCE_S)
        elif blow.kind == "cut_all":
            for actor in self.cast:
                actor.weather.cut()
        elif blow.kind == "postgres_backends":
            await asyncio.to_thread(
                self._stage.db.run,
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()",
            )
        else:
            await asyncio.to_thread(self._stage.db.cluster.crash)
            for one in self._stage.servers:
                await asyncio.to_thread(one.wait_for, 200, timeout_s=PATIENCE_S)

    # -- afterwards

    @property
    def faults(self) -> list[str]:
        """What clients told that they must not."""
        return [fault for actor in self.cast for fault in actor.notebook.faults]

    def report(self) -> str:
        """What happened, in one line."""
        weather: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for actor in self.cast:
            weather += actor.weather.tally
            kinds += Counter(actor.notebook.kinds)
        reconnects = sum(actor.client.reconnects for actor in self.cast)
        tokens = sum(actor.tokens for actor in self.cast)
        return (
            f"done {dict(self.done)}; blows {dict(self.blows)}; weather {dict(weather)};"
            f" told {dict(kinds)}; {reconnects} reconnects, {tokens} tokens;"
        )


def _pick(many: Sequence[T], where: float) -> T:
    return many[min(int(where * len(many)), len(many) - 1)]
