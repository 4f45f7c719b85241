"""A WebSocket of a test: says frames, waits for frames, keeps all that it heard."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

__all__ = ["Live", "live", "raw"]

WAIT_S = 10.0
Frame = dict[str, Any]


class Live:
    """One connection. `heard` is all that came; what `ask` passes over, `hear` gives later."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.heard: list[Frame] = []
        self.ready: Frame = {}
        self._passed_over: list[Frame] = []
        self._refs = itertools.count(1)

    async def say(self, kind: str, /, **fields: object) -> None:
        """Send a frame."""
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def ask(self, kind: str, /, **fields: object) -> Frame:
        """Send a frame with a ref, and give its `ack` or `error`."""
        ref = f"r{next(self._refs)}"
        await self.say(kind, ref=ref, **fields)
        async with asyncio.timeout(WAIT_S):
            while True:
                frame = await self._next()
                if frame.get("ref") == ref:
                    return frame
                self._passed_over.append(frame)

    async def hear(self, *kinds: str, timeout_s: float = WAIT_S) -> Frame:
        """The next frame, or the next of these kinds. `presence` comes at any time: name it."""
        for frame in self._passed_over:
            if _is_of(frame, kinds):
                self._passed_over.remove(frame)
                return frame
        async with asyncio.timeout(timeout_s):
            while True:
                frame = await self._next()
                if _is_of(frame, kinds):
                    return frame

    async def _next(self) -> Frame:
        frame: Frame = json.loads(await self.connection.recv())
        self.heard.append(frame)
        return frame

    async def hears_nothing(self, *kinds: str, for_s: float = 0.5) -> bool:
        """True unless a frame of these kinds comes within that time."""
        with contextlib.suppress(TimeoutError):
            await self.hear(*kinds, timeout_s=for_s)
            return False
        return True

    async def authenticate(self, token: str) -> Frame:
        """Sign in, and give the `ready` frame."""
        await self.say("auth", v=1, token=token)
        self.ready = await self.hear("ready")
        return self.ready

    async def close_code(self, timeout_s: float = WAIT_S) -> int | None:
        """Wait until the other side closes; give its code."""
        async with asyncio.timeout(timeout_s):
            try:
                while True:
                    self.heard.append(json.loads(await self.connection.recv()))
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else None


def _is_of(frame: Frame, kinds: tuple[str, ...]) -> bool:
    return frame["type"] in kinds if kinds else frame["type"] != "presence"


@contextlib.asynccontextmanager
async def raw(url: str, **options: Any) -> AsyncIterator[Live]:
    """A connection that has said nothing yet."""
    async with connect(
        url, compression=None, max_size=None, max_queue=None, **options
    ) as connection:
        yield Live(connection)


@contextlib.asynccontextmanager
async def live(url: str, token: str, **options: Any) -> AsyncIterator[Live]:
    """A connection that is signed in."""
    async with raw(url, **options) as one:
        await one.authenticate(token)
        yield one
