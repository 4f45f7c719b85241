"""A way to a server over real sockets that delays, loses, doubles and cuts, as its dice fall.

In charge of: carrying one member's HTTP calls and WebSocket frames, and what befalls them.
Knows about: where an HTTP/1.1 message and a WebSocket frame end.
Does not know: what is in them, or who speaks.

The dice are a function of the seed and of the number of the call or connection, so the same seed
gives the k-th call the same fate in every run. TCP loses nothing in the middle of a stream, so what
is lost here is lost with the rest of its connection: swallowed for a while, then cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import struct
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Weather", "fate_of_call"]

FATES: Final = {
    "delay": 5.0,  # on its way there
    "late_answer": 4.0,
    "refuse": 2.0,  # cut before anything arrived
    "lose_call": 2.0,  # swallowed, then cut
    "lose_answer": 4.0,  # done, and the answer swallowed
    "cut_answer": 2.0,  # half of the answer
    "double": 4.0,  # the same call twice at once
    "echo": 4.0,  # the same call once more, seconds later
}
FAULTY: Final = sum(FATES.values()) / 100
"""The share of calls that something befalls."""
LIFE_S: Final = 12.0
"""How long a socket lives, on average."""
LONGEST: Final = 1 << 22
TEXT: Final = 0x81


def fate_of_call(seed: str, number: int) -> tuple[str, random.Random]:
    """What befalls the call of this number, and the dice for the rest."""
    dice = random.Random(f"{seed}/call/{number}")
    if dice.random() >= FAULTY:
        return "none", dice
    return dice.choices(list(FATES), list(FATES.values()))[0], dice


@dataclass(slots=True, eq=False)
class _Pair:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def put(self, data: bytes) -> None:
        if self.writer.transport.is_closing():
            raise EOFError
        self.writer.write(data)
        await self.writer.drain()

    def abort(self) -> None:
        self.writer.transport.abort()


class Weather:
    """One member's way to the server at `port`. `tally` counts what it has done to him."""

    def __init__(self, port: int, seed: str) -> None:
        self.tally: Counter[str] = Counter()
        self.is_calm = False
        self.errors: list[BaseException] = []
        """What went wrong here that is nobody's weather."""
        self._port = port
        self._seed = seed
        self._calls = itertools.count(1)
        self._sockets = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._open: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the member finds his server."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        """Open the way."""
        self._server = await asyncio.start_server(self._take_in, "127.0.0.1", 0, limit=LONGEST)

    def cut(self) -> None:
        """Cut every connection that is open."""
        self.tally["cut_all"] += 1
        for pair in list(self._open):
            pair.abort()

    async def settle(self) -> None:
        """Nothing more befalls anybody; what was still to be repeated has been."""
        self.is_calm = True
        echoes = [task for task in self._tasks if task.get_name() == "echo"]
        if echoes:
            await asyncio.wait(echoes)

    async def close(self) -> None:
        """Close the way."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- connections

    def _take_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._start(self._serve(_Pair(reader, writer)))

    def _start(self, work: Coroutine[None, None, None], name: str = "way") -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.errors.append(error)

    async def _serve(self, client: _Pair) -> None:
        """One connection of the member's, until either end has enough."""
        with self._kept(client), contextlib.suppress(OSError, EOFError):
            head = await client.reader.readuntil(b"\r\n\r\n")
            server = await self._reach()
            with self._kept(server):
                while b"upgrade: websocket" not in head.lower():
                    await self._call(client, server, await _whole(client.reader, head))
                    head = await client.reader.readuntil(b"\r\n\r\n")
                await self._socket(client, server, head)

    @contextlib.contextmanager
    def _kept(self, pair: _Pair) -> Iterator[None]:
        self._open.add(pair)
        try:
            yield
        finally:
            self._open.discard(pair)
            pair.abort()

    async def _reach(self) -> _Pair:
        return _Pair(*await asyncio.open_connection("127.0.0.1", self._port, limit=LONGEST))

    # -- calls

    async def _call(self, client: _Pair, server: _Pair, request: bytes) -> None:
        fate, dice = fate_of_call(self._seed, next(self._calls))
        if self.is_calm:
            fate = "none"
        self.tally[fate] += 1
        if fate == "refuse":
            raise EOFError
        if fate == "lose_call":
            await asyncio.sleep(dice.uniform(0, 0.8))
            raise EOFError
        if fate == "delay":
            await asyncio.sleep(dice.uniform(0, 0.4))
        if fate == "double":
            answer, _ = await asyncio.gather(_ask(server, request), self._again(request))
        else:
            answer = await _ask(server, request)
        if fate == "echo":
            self._start(self._echo(request, dice.uniform(0.3, 4.0)), "echo")
        if fate == "late_answer":
            await asyncio.sleep(dice.uniform(0, 0.4))
        if fate == "lose_answer":
            await asyncio.sleep(dice.uniform(0, 0.3))
            raise EOFError
        if fate == "cut_answer":
            await client.put(answer[: dice.randrange(len(answer))])
            raise EOFError
        await client.put(answer)

    async def _again(self, request: bytes) -> None:
        """The same call over a connection of its own; nobody waits for its answer."""
        with contextlib.suppress(OSError, EOFError):
            server = await self._reach()
            with self._kept(server):
                await _ask(server, request)

    async def _echo(self, request: bytes, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._again(request)

    # -- sockets

    async def _socket(self, client: _Pair, server: _Pair, head: bytes) -> None:
        dice = random.Random(f"{self._seed}/socket/{next(self._sockets)}")
        await server.put(head)
        await client.put(await server.reader.readuntil(b"\r\n\r\n"))
        down = _Stream(self, server, client, random.Random(dice.random()))
        up = _Stream(self, client, server, random.Random(dice.random()))
        both = [asyncio.create_task(one.carry()) for one in (down, up)]
        life = asyncio.create_task(self._end_some_day(dice.expovariate(1 / LIFE_S)))
        try:
            await asyncio.wait([*both, life], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*both, life):
                task.cancel()
            await asyncio.wait([*both, life])

    async def _end_some_day(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if self.is_calm:
            await asyncio.Event().wait()
        self.tally["socket_ended"] += 1


class _Stream:
    """One direction of a socket: frames in order, each whole, until something befalls it."""

    def __init__(self, weather: Weather, source: _Pair, target: _Pair, dice: random.Random) -> None:
        self._weather = weather
        self._source = source.reader
        self._target = target
        self._dice = dice

    async def carry(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                frame = await _frame(self._source)
                await self._pass_on(frame, self._dice.random())

    async def _pass_on(self, frame: bytes, chance: float) -> None:
        weather = self._weather
        if weather.is_calm or chance >= 0.1:
            await self._target.put(frame)
        elif chance >= 0.06:
            weather.tally["frame_late"] += 1
            await asyncio.sleep(self._dice.uniform(0, 0.3))
            await self._target.put(frame)
        elif chance >= 0.015:
            weather.tally["frame_twice"] += 1
            await self._target.put(frame * (2 if frame[0] == TEXT else 1))
        elif chance >= 0.01:
            weather.tally["frame_cut"] += 1
            await self._target.put(frame[: self._dice.randrange(len(frame))])
            raise EOFError
        elif chance >= 0.005:
            weather.tally["frames_swallowed"] += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._dice.uniform(0.1, 1.5)):
                    while True:
                        await _frame(self._source)
            raise EOFError
        else:
            weather.tally["socket_cut"] += 1
            raise EOFError


async def _ask(server: _Pair, request: bytes) -> bytes:
    await server.put(request)
    head = await server.reader.readuntil(b"\r\n\r\n")
    return await _whole(server.reader, head)


async def _whole(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """An HTTP message: its head, and as much body as that says."""
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        assert name.lower() != b"transfer-encoding", "this way knows no chunks"
    return head + await reader.readexactly(length)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """A WebSocket frame as it is."""
    head = await reader.readexactly(2)
    length = head[1] & 0x7F
    more = b""
    if length == 126:
        more = await reader.readexactly(2)
        (length,) = struct.unpack("!H", more)
    elif length == 127:
        more = await reader.readexactly(8)
        (length,) = struct.unpack("!Q", more)
    mask = await reader.readexactly(4) if head[1] & 0x80 else b""
    return head + more + mask + await reader.readexactly(length)
