"""No message and no token is in any log: the server's, the feed's, the worker's, PostgreSQL's."""

from __future__ import annotations

import asyncio
import re
from uuid import uuid4

import httpx

from tests.conftest import MakeCluster
from tests.helpers.live import live
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import make_world

CANARY = "tweet-tweet"


def all_by_http(server: RunningServer, conversation: str, tokens: list[str]) -> list[str]:
    """Sends of every kind, right and wrong; the ids of the requests."""
    ids: list[str] = []
    path = f"/v1/conversations/{conversation}/messages"
    for token in tokens:
        headers = {"authorization": f"Bearer {token}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
            bodies: list[object] = [
                {"content": CANARY}, {"content": CANARY * 500}, {"content": f"{CANARY}\0"},
                {"content": CANARY, "id": CANARY}, CANARY,
                {"content": CANARY, "id": str(uuid4()), CANARY: CANARY},
            ]  # fmt: skip
            answers = [client.post(path, json=body) for body in bodies]
            answers += [
                client.post(path, content=f'{{"content": "{CANARY}'.encode()),
                client.post(f"/v1/conversations/{CANARY}/messages", json={"content": CANARY}),
                client.post("/v1/sync", json={"epoch": CANARY, "positions": {CANARY: CANARY}}),
                client.get("/v1/members", params={"query": CANARY}),
                client.get(path, headers={"x-request-id": CANARY}),
            ]
            ids += [answer.headers["x-request-id"] for answer in answers]
    return ids


async def test_no_log_holds_a_message_or_a_token(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(18, synchronous_commit="on")
    world = make_world(cluster.database())
    conversation = str(world.converse(world.ada, world.ben))
    tokens = [token_for(world.ada), token_for(world.ben), f"{CANARY}.{CANARY}.{CANARY}"]
    with running_server(
        world.db, LOG_LEVEL="debug", RETENTION_URL=world.db.admin_url, RETENTION_LOOK_SECONDS="0.2"
    ) as server:
        ids = await asyncio.to_thread(all_by_http, server, conversation, tokens)
        async with live(server.socket_url, tokens[0]) as ada:
            for content in (CANARY, CANARY * 500, f"{CANARY}\0"):
                await ada.ask(
                    "send", id=str(uuid4()), conversation_id=conversation, content=content
                )
            await ada.say(CANARY, content=CANARY)
        # Something goes wrong in the middle of it: errors of our own are logged, too.
        with world.db.as_superuser() as owner:
            owner.execute(
                "revoke execute on function messaging.send_batch from bookconnect_dm_server"
            )
        ids += await asyncio.to_thread(all_by_http, server, conversation, tokens[:1])
        lines = server.log
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in ids)
    assert set(re.findall(r'"request": "(\w+)"', lines)) >= set(ids)
    logs = lines + cluster.embedded.log_file.read_text("utf-8", "replace")
    assert "ERROR" in logs, "the database had something to say as well"
    assert CANARY not in logs
    assert not any(token in logs for token in tokens)
