"""Members who talk: what each sends and when, and when each message was acknowledged and heard.

In charge of: the load of the scenarios in which messages are sent.
Knows about: the frames of the contract, where their ids stand.
Does not know: servers' insides, databases.

The number of a send is its `ref` and the end of its message's id: no answer is looked up by text.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from typing import Any

from bench.harness import token
from bench.loader import texts
from bench.sockets import Socket, connect, frame
from bench.stats import percentile

__all__ = ["Talk", "must_be_whole"]

ACK = len('{"type":"ack","ref":')
ID_END = len('{"type":"message","message":{"id":"') + 36
CONNECTING = 50


class Member:
    """One socket."""

    __slots__ = ("conversations", "heads", "id", "index", "socket")

    def __init__(self, index: int, spec: dict[str, Any]) -> None:
        self.index = index
        self.id: str = spec["id"]
        self.conversations: list[str] = spec["conversations"]
        self.heads = [f'","conversation_id":"{one}","content":"' for one in self.conversations]
        self.socket: Socket | None = None


class Talk:
    """All members of a load, and what they saw. Times are of `perf_counter`."""

    def __init__(self, spec: dict[str, Any], say: Callable[..., None]) -> None:
        self.spec = spec
        self._say = say
        self._rng = random.Random(spec.get("seed", 1))
        self.members = [Member(n, one) for n, one in enumerate(spec["members"])]
        contents = [json.dumps(t.decode(), ensure_ascii=False)[1:] for t in texts(self._rng)]
        self._ends = [text + "}" for text in contents[:64]]
        self.sent_at: list[float] = []
        self.acked_at: list[float] = []
        self.heard_at: list[float] = []
        self.sender: list[int] = []
        self.heard_twice = 0
        self.errors: dict[str, int] = {}
        self._is_talking = False
        self._is_saturating = spec.get("rate") is None

    async def connect(self) -> None:
        """Everybody signs in, a few at a time."""
        gate = asyncio.Semaphore(CONNECTING)

        async def one(member: Member) -> None:
            async with gate:
                port = self.spec["ports"][member.index % len(self.spec["ports"])]
                await self._sign_in(member, port)

        await asyncio.gather(*map(one, self.members))

    async def _sign_in(self, member: Member, port: int) -> None:
        ready = asyncio.get_running_loop().create_future()

        def wait(_socket: Socket, payload: bytes) -> None:
            if payload.startswith(b'{"type":"ready"') and not ready.done():
                ready.set_result(None)

        socket = member.socket = await connect(port, wait)
        socket.say(b'{"type":"auth","v":1,"token":"%s"}' % token(member.id).encode())
        await asyncio.wait_for(ready, 30)
        index = member.index
        socket.hear = lambda _socket, payload: self._hear(index, payload)

    def _hear(self, index: int, payload: bytes) -> None:
        kind = payload[9]
        if kind == 109 and payload[16] == 34:  # "message", and not "message_deleted"
            now = time.perf_counter()
            number = int(payload[ID_END - 12 : ID_END])
            if self.sender[number] == index:
                return
            if self.heard_at[number]:
                self.heard_twice += 1
            self.heard_at[number] = now
        elif kind == 97:  # "ack"
            number = int(payload[ACK : payload.index(b",", ACK)])
            self.acked_at[number] = time.perf_counter()
            if self._is_saturating and self._is_talking:
                self._send(self.members[index])
        elif kind == 101 and payload[10] == 114:  # "error"
            code = json.loads(payload)["code"]
            self.errors[code] = self.errors.get(code, 0) + 1
            if self._is_saturating and self._is_talking:
                self._send(self.members[index])

    def _send(self, member: Member) -> None:
        number = len(self.sent_at)
        r = self._rng.getrandbits(32)
        head = member.heads[(r >> 6) % len(member.heads)]
        ms = time.time_ns() // 1_000_000
        text = (
            f'{{"type":"send","ref":{number},"id":"{ms >> 16:08x}-{ms & 0xFFFF:04x}-'
            f"7{r >> 20:03x}-8{r & 0xFFF:03x}-{number:012d}{head}{self._ends[r & 63]}"
        )
        self.sender.append(member.index)
        self.acked_at.append(0.0)
        self.heard_at.append(0.0)
        data = frame(text.encode())
        assert member.socket is not None
        assert member.socket.transport is not None
        self.sent_at.append(time.perf_counter())
        member.socket.transport.write(data)

    async def run(self) -> dict[str, Any]:
        """Talk for a while, then wait until all is answered and heard."""
        warm_s, seconds = self.spec.get("warm_s", 1.0), self.spec["seconds"]
        self._is_talking = True
        if self._is_saturating:
            for member in self.members:
                for _ in range(self.spec.get("flight", 1)):
                    self._send(member)
                if member.index % 20 == 0:
                    await asyncio.sleep(0.001)  # not all in one breath
        pacing = None if self._is_saturating else asyncio.create_task(self._pace())
        await asyncio.sleep(warm_s)
        self._say("begin")
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        ended, cpu = time.perf_counter(), time.process_time() - cpu
        self._say("end")
        self._is_talking = False
        if pacing is not None:
            pacing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pacing
        until = time.perf_counter() + 15
        while not self._is_done() and time.perf_counter() < until:  # noqa: ASYNC110 - cheap
            await asyncio.sleep(0.05)
        for member in self.members:
            if member.socket is not None:
                member.socket.cut()
        return self._result(began, ended) | {"load_cpu_s": cpu}

    def _is_done(self) -> bool:
        # Where only some members are here, not every message has a reader.
        all_hear = self.spec.get("all_hear", True)
        return all(self.acked_at) and (not all_hear or all(self.heard_at))

    async def _pace(self) -> None:
        """Sends at their time, whatever has become of the earlier ones; gaps as of chance.

        With `curve`, the window is a day, and the rate that of the hour: its share of the mean.
        """
        began = due = time.perf_counter()
        rate, curve = self.spec["rate"], self.spec.get("curve") or [1.0]
        hour_s = (self.spec["seconds"] + self.spec.get("warm_s", 1.0)) / len(curve)
        while True:
            hour = min(int((due - began) / hour_s), len(curve) - 1)
            due += self._rng.expovariate(rate * curve[hour])
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            self._send(self.members[self._rng.randrange(len(self.members))])

    def _result(self, began: float, ended: float) -> dict[str, Any]:
        """Of the messages that were sent within the window; rates by what was done in it."""
        inside = [n for n, t in enumerate(self.sent_at) if began <= t < ended]
        acks = [self.acked_at[n] - self.sent_at[n] for n in inside if self.acked_at[n]]
        heard = [self.heard_at[n] - self.sent_at[n] for n in inside if self.heard_at[n]]
        by_member: dict[int, list[float]] = {}
        for n in inside:
            if self.acked_at[n]:
                took = self.acked_at[n] - self.sent_at[n]
                by_member.setdefault(self.sender[n], []).append(took)
        window = ended - began
        return {
            "window_s": window,
            "sent": len(self.sent_at),
            "acked": sum(map(bool, self.acked_at)),
            "heard": sum(map(bool, self.heard_at)),
            "heard_twice": self.heard_twice,
            "errors": self.errors,
            "acked_per_s": sum(began <= t < ended for t in self.acked_at) / window,
            "heard_per_s": sum(began <= t < ended for t in self.heard_at) / window,
            "ack_ms": _summary(acks),
            "delivery_ms": _summary(heard),
            "members_p99_ms": [percentile(t, 0.99) * 1e3 for t in by_member.values() if t],
            "per_member": [len(t) for t in by_member.values()],
        }


def _summary(seconds: list[float]) -> dict[str, float]:
    return {
        name: percentile(seconds, share) * 1e3
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("worst", 1.0))
    }


def must_be_whole(found: dict[str, Any]) -> None:
    """End the scenario where a message of a load was not delivered, or not once."""
    if found["errors"] or found["heard_twice"] or found["heard"] != found["sent"]:
        counts = {key: found[key] for key in ("sent", "acked", "heard", "heard_twice", "errors")}
        raise SystemExit(f"Not every message was delivered once: {counts}")
