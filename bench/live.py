"""Sends from one member's socket to another's, end to end, through every real part.

    python -m bench.live [--pairs 20] [--seconds 5] [--flight 8]

Makes a PostgreSQL of its own (with fsync) and one server process, opens two sockets for each pair
of members, keeps `--flight` sends of each member under way, and tells how many were acknowledged a
second, and how long an acknowledgement and a delivery took. Clients and server share the machine,
so the figures are a lower bound for the server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import msgspec
import psycopg
from websockets.asyncio.client import ClientConnection, connect

from bookconnect_dm import migrate
from bookconnect_dm.auth import Rules, sign
from bookconnect_dm.config import PREFIX
from bookconnect_dm.content import uuid7
from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.machine import pick_port

SECRET = "a secret of thirty-two bytes or more, for the bench"
UNLIMITED = ("SENDS_PER_SECOND", "STARTS_PER_HOUR", "SOCKETS", "FRAMES_PER_SECOND")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass
class Figures:
    """What was seen."""

    sent_at: dict[str, float] = field(default_factory=dict)
    ack_s: list[float] = field(default_factory=list)
    delivery_s: list[float] = field(default_factory=list)
    errors: int = 0
    took_s: float = 0.0


@dataclass(frozen=True)
class Member:
    """One end of a conversation."""

    user_id: UUID
    conversation_id: str


@contextlib.contextmanager
def server(postgres: EmbeddedPostgres) -> Iterator[int]:
    """Run `serve` for the cluster; give its port."""
    port = pick_port(0)
    settings = {
        "DATABASE_URL": postgres.url_for("bookconnect_dm_server"),
        "FEED_URL": postgres.url_for("bookconnect_dm_feed"),
        "JWT_SECRET": SECRET,
        "PORT": str(port),
        "LOG_LEVEL": "warning",
        **{f"LIMIT_{name}": "0" for name in UNLIMITED},
    }
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "bookconnect-dm"), "serve"],
        env={PREFIX + name: value for name, value in settings.items()},
    )
    try:
        wait_until_ready(port)
        yield port
    finally:
        process.terminate()
        process.wait(15)


def wait_until_ready(port: int) -> None:
    """Return when the server says so; give up after half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK:
                return
        time.sleep(0.05)
    sys.exit("The server is not ready after 30 seconds.")


def make_members(postgres: EmbeddedPostgres, pairs: int) -> list[Member]:
    """Make a store with `pairs` conversations of two members each."""
    members = []
    with psycopg.connect(postgres.admin_url) as db:
        store = uuid4()
        db.execute("insert into public.stores (id, name) values (%s, 'Bench')", (store,))
        for number in range(pairs):
            two = [uuid4(), uuid4()]
            for user in two:
                name = f"reader_{number}_{two.index(user)}"
                db.execute("insert into auth.users (id) values (%s)", (user,))
                db.execute(
                    "insert into public.users (id, username, user_tier) values (%s, %s, %s)",
                    (user, name, "privileged"),
                )
                db.execute(
                    "insert into public.store_members (store_id, user_id) values (%s, %s)",
                    (store, user),
                )
            db.execute(
                "select set_config('request.jwt.claims', %s, true)", (f'{{"sub":"{two[0]}"}}',)
            )
            row = db.execute(
                "select conversation_id from public.start_conversation(%s, %s)", (two[1], store)
            ).fetchone()
            assert row is not None
            members += [Member(user, str(row[0])) for user in two]
    return members


async def converse(
    socket: ClientConnection, member: Member, figures: Figures, *, flight: int, until: float
) -> None:
    """Keep `flight` sends under way until the time is over, then read what is still to come."""
    me = str(member.user_id)
    under_way: set[str] = set()

    async def send() -> None:
        message_id = str(uuid7(time.time_ns() // 1_000_000))
        under_way.add(message_id)
        figures.sent_at[message_id] = time.perf_counter()
        frame = {
            "type": "send",
            "ref": message_id,
            "id": message_id,
            "conversation_id": member.conversation_id,
            "content": "Have you read the one about the lighthouse?",
        }
        await socket.send(_encode(frame).decode())

    for _ in range(flight):
        await send()
    while under_way:
        frame = _decode(await asyncio.wait_for(socket.recv(), 30))
        now = time.perf_counter()
        if frame["type"] == "message" and frame["message"]["sender_id"] != me:
            figures.delivery_s.append(now - figures.sent_at[frame["message"]["id"]])
        elif frame["type"] in {"ack", "error"} and frame.get("ref") in under_way:
            under_way.remove(frame["ref"])
            figures.ack_s.append(now - figures.sent_at[frame["ref"]])
            figures.errors += frame["type"] == "error"
            if time.monotonic() < until:
                await send()


async def run(port: int, members: list[Member], *, flight: int, seconds: float) -> Figures:
    """Open all sockets, then let everybody talk at once."""
    figures = Figures()
    async with contextlib.AsyncExitStack() as stack:
        sockets = []
        for member in members:
            url = f"ws://127.0.0.1:{port}/v1/realtime"
            socket = await stack.enter_async_context(connect(url, compression=None))
            token = sign(member.user_id, SECRET, rules=Rules(), ttl_s=3600, now=time.time())
            await socket.send(_encode({"type": "auth", "v": 1, "token": token}).decode())
            while _decode(await socket.recv())["type"] != "ready":
                pass
            sockets.append(socket)
        began = time.monotonic()
        until = began + seconds
        async with asyncio.TaskGroup() as group:
            for socket, member in zip(sockets, members, strict=True):
                group.create_task(converse(socket, member, figures, flight=flight, until=until))
        figures.took_s = time.monotonic() - began
    return figures


def milliseconds(values: list[float]) -> str:
    """Median and 99th percentile."""
    if len(values) < 2:
        return "none"
    cuts = statistics.quantiles(values, n=100)
    return f"p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--flight", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bookconnect-dm-bench-") as folder:
        Path(folder).chmod(0o711)  # as root, PostgreSQL's account passes through
        with EmbeddedPostgres(Path(folder) / "cluster") as postgres:
            asyncio.run(migrate.up(postgres.admin_url, adapter="standalone"))
            for role in ("bookconnect_dm_server", "bookconnect_dm_feed"):
                postgres.set_password(role)
            members = make_members(postgres, options.pairs)
            with server(postgres) as port:
                figures = asyncio.run(
                    run(port, members, flight=options.flight, seconds=options.seconds)
                )
    took_s = figures.took_s
    print(f"{len(members)} sockets, {options.flight} sends under way on each, {took_s:.1f} s")
    print(
        f"acknowledged  {len(figures.ack_s) / took_s:8,.0f} a second, {milliseconds(figures.ack_s)}"
    )
    print(
        f"delivered     {len(figures.delivery_s):8,} in all,   {milliseconds(figures.delivery_s)}"
    )
    print(f"errors        {figures.errors:8,}")


if __name__ == "__main__":
    main()
