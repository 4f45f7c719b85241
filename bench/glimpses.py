"""Pairs of members on two servers: who hears, and how soon, that the other came or is typing.

In charge of: the load of the scenario about what is of the moment only.
Does not know: how servers tell each other.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from bench.harness import token
from bench.sockets import Socket, connect

__all__ = ["Glimpses"]

WAIT_S = 10.0
APART_S = 0.05


class Glimpses:
    """The first of each pair is on the first server all the time; the second comes to the other."""

    def __init__(self, spec: dict[str, Any], say: Callable[..., None]) -> None:
        self._say = say
        self._ports: list[int] = spec["ports"]
        self._pairs: list[dict[str, str]] = spec["pairs"]
        self._heard: dict[tuple[str, str, str], asyncio.Future[float]] = {}
        self._sockets: dict[str, Socket] = {}

    async def run(self) -> dict[str, Any]:
        """Milliseconds of each: a member's coming, and his typing."""
        for pair in self._pairs:
            await self._come(pair["one"], self._ports[0])
        await asyncio.sleep(1.0)
        self._say("begin")
        cpu = time.process_time()
        online, typing = [], []
        for pair in self._pairs:
            # From his own `ready` on: what came before is his signing in.
            began = await self._come(pair["other"], self._ports[1])
            online.append(await self._until(pair["one"], "presence", pair["other"]) - began)
            await asyncio.sleep(APART_S)
        for pair in self._pairs:
            said = {"type": "typing", "conversation_id": pair["conversation"]}
            began = time.perf_counter()
            self._sockets[pair["one"]].say(json.dumps(said).encode())
            typing.append(await self._until(pair["other"], "typing", pair["one"]) - began)
            await asyncio.sleep(APART_S)
        cpu = time.process_time() - cpu
        self._say("end")
        for socket in self._sockets.values():
            socket.cut()
        ms = {"online": [t * 1e3 for t in online], "typing": [t * 1e3 for t in typing]}
        return {**ms, "load_cpu_s": cpu}

    async def _come(self, member: str, port: int) -> float:
        ready: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def hear(_socket: Socket, payload: bytes) -> None:
            now, frame = time.perf_counter(), json.loads(payload)
            if frame["type"] == "ready":
                ready.set_result(now)
            elif frame["type"] == "typing" or frame.get("online") is True:
                self._note(member, frame["type"], frame["user_id"], now)

        self._sockets[member] = await connect(port, hear)
        said = {"type": "auth", "v": 1, "token": token(member)}
        self._sockets[member].say(json.dumps(said).encode())
        return await asyncio.wait_for(ready, WAIT_S)

    def _note(self, listener: str, kind: str, user: str, now: float) -> None:
        found = self._future(listener, kind, user)
        if not found.done():
            found.set_result(now)

    async def _until(self, listener: str, kind: str, user: str) -> float:
        return await asyncio.wait_for(self._future(listener, kind, user), WAIT_S)

    def _future(self, listener: str, kind: str, user: str) -> asyncio.Future[float]:
        loop = asyncio.get_running_loop()
        return self._heard.setdefault((listener, kind, user), loop.create_future())
