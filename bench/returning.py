"""Members who come back: sockets that are opened, held idle, cut, and opened again all at once.

In charge of: the load of the scenarios about many sockets.
Knows about: the way back that the contract gives: sign in, `ready`, sync to the end, live.
Does not know: what the server spends on it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from bench.harness import token
from bench.sockets import Socket, connect
from bench.stats import percentile

__all__ = ["Returning"]

CONNECTING = 50
RETRIES = 50


class Returning:
    """Sockets that only listen."""

    def __init__(self, spec: dict[str, Any], say: Callable[..., None]) -> None:
        self.spec = spec
        self._say = say
        self._port: int = spec["ports"][0]
        self._members: list[str] = spec["members"]
        self._tokens = {one: token(one).encode() for one in set(self._members)}
        self._sockets: list[Socket] = []
        self.refused = 0
        self._positions: dict[str, tuple[str, dict[str, str]]] = {}

    async def run(self) -> dict[str, Any]:
        """Come, stay, be cut and come back as often as wanted."""
        gate = asyncio.Semaphore(CONNECTING)

        async def come(member: str) -> None:
            async with gate:
                await self._come(member, learn=bool(self.spec.get("rounds")))

        await asyncio.gather(*map(come, self._members))
        await asyncio.sleep(self.spec.get("settle_s", 1.0))
        self._say("begin")
        cpu = time.process_time()
        await asyncio.sleep(self.spec.get("hold_s", 0.0))
        rounds = [await self._all_at_once() for _ in range(self.spec.get("rounds", 0))]
        cpu = time.process_time() - cpu
        self._say("end")
        await asyncio.sleep(1.0)  # while the bench looks at the server
        for socket in self._sockets:
            socket.cut()
        return {"rounds": rounds, "refused": self.refused, "load_cpu_s": cpu}

    async def _all_at_once(self) -> dict[str, float]:
        for socket in self._sockets:
            socket.cut()
        self._sockets = []
        began = time.perf_counter()
        took = await asyncio.gather(*(self._return(one, began) for one in self._members))
        return {
            "all_live_s": max(took),
            "p50_s": percentile(took, 0.5),
            "p95_s": percentile(took, 0.95),
        }

    async def _return(self, member: str, began: float) -> float:
        await self._come(member, learn=False)
        epoch, positions = self._positions[member]
        await self._sync(member, epoch, positions)
        return time.perf_counter() - began

    async def _come(self, member: str, *, learn: bool) -> None:
        """Sign in; where the server is too busy, again a moment later, as clients do."""
        for _ in range(RETRIES):
            try:
                await self._sign_in(member, learn=learn)
            except ConnectionError:
                self.refused += 1
                await asyncio.sleep(0.2)
            else:
                return
        raise SystemExit(f"The server refused a member {RETRIES} times.")

    async def _sign_in(self, member: str, *, learn: bool) -> None:
        ready: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def hear(_socket: Socket, payload: bytes) -> None:
            if payload.startswith(b'{"type":"ready"') and not ready.done():
                ready.set_result(payload)

        def lost(_socket: Socket) -> None:
            if not ready.done():
                ready.set_exception(ConnectionResetError("refused"))

        socket = await connect(self._port, hear)
        socket.lost = lost
        socket.say(b'{"type":"auth","v":1,"token":"%s"}' % self._tokens[member])
        epoch = json.loads(await asyncio.wait_for(ready, 60))["epoch"]
        socket.lost = None
        self._sockets.append(socket)
        if learn:
            self._positions[member] = epoch, await self._sync(member, None, {})

    async def _sync(
        self, member: str, epoch: str | None, positions: dict[str, str]
    ) -> dict[str, str]:
        """Ask until the end; give the positions that the answers set."""
        found = dict(positions)
        cursor = None
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while True:
            body = json.dumps({"epoch": epoch, "positions": positions, "cursor": cursor}).encode()
            writer.write(
                b"POST /v1/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                % (self._tokens[member], len(body))
                + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            answer = json.loads(await reader.readexactly(length))
            if b" 503 " in head[:16]:
                self.refused += 1
                await asyncio.sleep(0.2)
                continue
            if b" 200 " not in head[:16]:
                raise SystemExit(f"sync failed: {answer}")
            for change in answer["changes"]:
                found[change["conversation_id"]] = change["position"]
            cursor = answer["next_cursor"]
            if cursor is None:
                writer.close()
                return found
