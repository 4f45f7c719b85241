"""Any frames at the socket: nothing breaks, nothing leaks, nothing piles up.

5,000 frames; with PROOF=1 100,000. The seed is printed; SEED=... repeats a run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import string
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import jsonschema_rs
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bookconnect_dm.asyncapi import document
from tests.helpers.live import live
from tests.helpers.server import RunningServer, token_for
from tests.helpers.world import World

FRAMES = 100_000 if os.environ.get("PROOF") else 5_000
SOCKETS = 4
TOO_LONG = 65_536
GROWTH_MB = 12
SECRET = "nobody else may read this"
# Too large, not UTF-8, token not accepted, another's token: what a client can bring about itself.
CLOSES = {1007, 1009, 4401, 4403}
KINDS = ["auth", "send", "delete", "read", "typing", "subscribe", "ping"]


@dataclass
class Scene:
    """What the attacker knows: his own, and ids of others that he must not get anything for."""

    own: str
    foreign: str
    token: str
    other_token: str
    mine: list[str]
    theirs: list[str]


@dataclass
class Heard:
    frames: Counter[str] = field(default_factory=Counter)
    closes: Counter[int] = field(default_factory=Counter)
    text: list[str] = field(default_factory=list)


def valid(rng: random.Random, scene: Scene) -> dict[str, Any]:
    conversation = rng.choice([scene.own, scene.own, scene.foreign, str(uuid4())])
    message = rng.choice([*scene.mine[-20:], *scene.theirs, str(uuid4())])
    ref = rng.choice([rng.randrange(1000), "r", ""])
    kind = rng.choice(KINDS[1:])
    if kind == "send":
        new = rng.choice([str(uuid4()), message])
        scene.mine.append(new)
        fields = {"id": new, "conversation_id": conversation, "content": f"fuzz {rng.random()}"}
    elif kind == "delete":
        fields = {"id": message}
    elif kind == "read":
        how = rng.choice([{}, {"up_to_message": message}, {"up_to": "2026-11-22T10:15:30.123456Z"}])
        fields = {"conversation_id": conversation, **how}
    elif kind == "subscribe":
        rooms = rng.choice([None, [scene.own], [scene.own, scene.foreign], []])
        return {"type": kind, "ref": ref, "conversation_ids": rooms}
    elif kind == "typing":
        return {"type": kind, "conversation_id": conversation}
    else:
        return {"type": kind}
    return {"type": kind, "ref": ref, **fields}


def anything(rng: random.Random, depth: int = 0) -> Any:
    simple = [
        None, True, 0, -1, 2**63, 1e308, -0.5, "", "\0", "\ud7ff", "é" * 50, "x" * 2_000,
        "2026-02-31T10:15:30.123456Z", "infinity", str(uuid4()), SECRET[:3],
    ]  # fmt: skip
    if depth > 3 or rng.random() < 0.6:
        return rng.choice(simple)
    if rng.random() < 0.5:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(string.ascii_letters): anything(rng, depth + 1) for _ in range(3)}


def mutated(rng: random.Random, scene: Scene) -> str | bytes:
    frame = valid(rng, scene)
    how = rng.randrange(6)
    if how == 0:
        frame.pop(rng.choice(list(frame)))
    elif how == 1:
        frame[rng.choice(list(frame))] = anything(rng)
    elif how == 2:
        frame[rng.choice(["type", "ref", "id", "extra"])] = anything(rng)
    elif how == 3:
        frame["content"] = rng.choice(["", " ", "\0", "x" * 1001, "\u200b", "\ud83d\ude00" * 1000])
    text = json.dumps(frame)
    if how == 4:
        return text[: rng.randrange(len(text))]
    if how == 5:
        data = bytearray(text.encode())
        data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    return text


def noise(rng: random.Random) -> str | bytes:
    how = rng.randrange(6)
    if how == 0:
        return rng.randbytes(rng.randrange(300))
    if how == 1:
        return json.dumps(anything(rng))
    if how == 2:
        return "[" * rng.choice([10, 2_000, 30_000])
    if how == 3:
        return '{"type":' * rng.choice([10, 2_000])
    if how == 4:
        return "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(rng.randrange(100)))
    return json.dumps({"type": rng.choice([*KINDS, "unknown", "message"]), "x": anything(rng)})


def next_frame(rng: random.Random, scene: Scene) -> str | bytes:
    how = rng.random()
    if how < 0.4:
        return json.dumps(valid(rng, scene))
    if how < 0.7:
        return mutated(rng, scene)
    if how < 0.985:
        return noise(rng)
    if how < 0.99:
        return "x" * (TOO_LONG + 1)
    token = rng.choice([scene.token, scene.token, scene.other_token, "x", "a.b.c"])
    return json.dumps({"type": "auth", "v": 1, "token": token, "ref": "a"})


async def listen(socket: ClientConnection, heard: Heard, said: list[int]) -> None:
    try:
        async for data in socket:
            assert isinstance(data, str)
            frame = json.loads(data)
            VALIDATE(frame)
            heard.frames[frame["type"]] += 1
            heard.text.append(data)
    except ConnectionClosed:
        pass
    code = int(socket.close_code or 0)
    if code == 1006 and max(said, default=0) > TOO_LONG:
        code = 1009  # what lay unread at the other end made TCP forget its last words
    heard.closes[code] += 1


def _validator() -> Any:
    made = document()
    events = made["operations"]["events"]["messages"]
    names = [one["$ref"].rsplit("/", 1)[1] for one in events]
    schemas = made["components"]["schemas"]
    by_type = {
        schemas[name]["properties"]["type"]["enum"][0]: jsonschema_rs.validator_for(
            {"$ref": f"#/components/schemas/{name}", "components": made["components"]}
        )
        for name in names
    }
    return lambda frame: by_type[frame["type"]].validate(frame)


VALIDATE = _validator()


async def attack(url: str, rng: random.Random, scene: Scene, heard: Heard, count: int) -> None:
    """Says `count` frames, over as many connections as that takes."""
    said = 0
    while said < count:
        async with connect(url, compression=None, max_size=None) as socket:
            sizes: list[int] = []
            listener = asyncio.create_task(listen(socket, heard, sizes))
            try:
                if rng.random() < 0.97:
                    auth = {"type": "auth", "v": 1, "token": scene.token}
                    await socket.send(json.dumps(auth))
                while said < count:
                    said += 1
                    frame = next_frame(rng, scene)
                    sizes.append(len(frame))
                    await socket.send(frame)
                    if said % 50 == 0:
                        await asyncio.wait_for(await socket.ping(), 20)
            except ConnectionClosed:
                pass
            await socket.close()
            await asyncio.wait_for(listener, 20)


def resident_mb(server: RunningServer) -> float:
    assert server.process is not None
    command = ["ps", "-o", "rss=", "-p", str(server.process.pid)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout) / 1024


async def chat(server: RunningServer, world: World, room: str, over: asyncio.Event) -> list[str]:
    """Two others talk all the while; gives the ids, and looks at what they hear."""
    ids: list[str] = []
    async with (
        live(server.socket_url, token_for(world.cleo)) as cleo,
        live(server.socket_url, token_for(world.dora)) as dora,
    ):
        while not over.is_set() or not ids:
            ids.append(str(uuid4()))
            answer = await cleo.ask("send", id=ids[-1], conversation_id=room, content=SECRET)
            assert answer["type"] == "ack"
            assert (await dora.hear("message"))["message"]["id"] == ids[-1]
            await asyncio.sleep(0.2)
        assert await dora.hears_nothing("message", "message_deleted", "typing", "read")
    return ids


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_any_frames_break_nothing_and_tell_nothing(
    server: RunningServer, shared: World
) -> None:
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"SEED={seed}, {FRAMES} frames")
    own = str(shared.converse(shared.ada, shared.ben))
    foreign = str(shared.converse(shared.dora, shared.cleo))
    secret = str(shared.send(shared.dora, UUID(foreign), SECRET))
    scene = Scene(own, foreign, token_for(shared.ada), token_for(shared.edgar), [], [secret])
    heard, over = Heard(), asyncio.Event()
    chatting = asyncio.create_task(chat(server, shared, foreign, over))
    before = 0.0
    for turn, share in enumerate((0.3, 0.35, 0.35)):
        async with asyncio.TaskGroup() as group:
            for n in range(SOCKETS):
                rng = random.Random(seed + 10 * turn + n)
                count = int(FRAMES * share / SOCKETS)
                group.create_task(attack(server.socket_url, rng, scene, heard, count))
        before = before or resident_mb(server)
    over.set()
    ids = await chatting
    after = resident_mb(server)
    print(f"heard {dict(heard.frames)}, closes {dict(heard.closes)}, {before:.0f}->{after:.0f} MB")
    assert not set(heard.closes) - CLOSES - {1000, 1005}
    for text in heard.text:
        assert SECRET not in text
        assert foreign not in text
        assert not any(one in text for one in (secret, *ids)), text
    assert heard.frames["ack"] > FRAMES / 50
    assert heard.frames["error"] > FRAMES / 10
    assert after - before < GROWTH_MB
    for sign in ("socket_failed", "operation_failed", "feed_failed", "Traceback"):
        assert sign not in server.log
