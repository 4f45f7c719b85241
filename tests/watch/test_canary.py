"""No message and no token is in any log: the server's, the feed's, the worker's, PostgreSQL's.

Here each is sent in every wrong way as well. Beside this, every test that runs a server looks for
what it stored in the logs that it leaves (tests/helpers/canary.py); the last tests let one talk.
"""

from __future__ import annotations

import asyncio
import re
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.conftest import MakeCluster
from tests.helpers.canary import look_for_texts, look_for_tokens, said_to_our_logins
from tests.helpers.live import live
from tests.helpers.server import RunningServer, free_port, running_server, server_env, token_for
from tests.helpers.world import World, make_world

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
                "revoke execute on function messaging.send_one from bookconnect_dm_server"
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


TALKS = """
from bookconnect_dm import writer
submit = writer.Writer.submit
def telling(self, *arguments, **named):
    print(arguments, named, flush=True)
    return submit(self, *arguments, **named)
writer.Writer.submit = telling
from bookconnect_dm.cli import main; main()
"""


def test_a_server_that_logged_a_message_would_fail_its_test(live_world: World) -> None:
    world = live_world
    conversation = world.converse(world.ada, world.ben)
    port = free_port()
    server = RunningServer(server_env(world.db, port), port)
    server.arguments = TALKS
    server.start()
    headers = {"authorization": f"Bearer {token_for(world.ada)}"}
    path = f"{server.url}/v1/conversations/{conversation}/messages"
    answer = httpx.post(path, headers=headers, json={"content": "a canary sings"}, timeout=30)
    assert answer.status_code == 201
    server.stop()
    server.give_log_up()
    with pytest.raises(AssertionError, match=r"holds messages: .*a canary sings"):
        world.db.look_at_logs()


def test_what_postgresql_quotes_of_our_logins_would_be_noticed(live_world: World) -> None:
    with live_world.db.as_server() as server, pytest.raises(psycopg.Error):
        server.execute("select 'another canary' where 'x'::int = 1")
    log = live_world.db.cluster.embedded.log_file
    with pytest.raises(AssertionError, match="another canary"):
        look_for_texts({"another canary"}, said_to_our_logins(log))
    assert "another canary" in log.read_text("utf-8", "replace")


def test_a_token_in_a_log_is_noticed() -> None:
    with pytest.raises(AssertionError, match="holds a token"):
        look_for_tokens(f'{{"event": "signed_in", "token": "{token_for(uuid4())}"}}')
