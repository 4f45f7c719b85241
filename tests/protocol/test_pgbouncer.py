"""Behind PgBouncer in transaction mode, all but the feed.

A smoke set; with PROOF=1 the API's tests as they are, through it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.helpers.live import live
from tests.helpers.pgbouncer import pooled_url
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World
from tests.protocol.conftest import Client

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pooled(shared: World) -> Iterator[RunningServer]:
    with (
        pooled_url(shared.db.server_url) as url,
        running_server(shared.db, DATABASE_URL=url, PREPARED_STATEMENTS="off") as server,
    ):
        yield server


def test_many_at_once_each_as_himself(pooled: RunningServer, shared: World, client: Client) -> None:
    """Connections are shared statement by statement: no answer is another member's."""
    conversation = shared.converse(shared.ada, shared.ben)

    def one(number: int, member: UUID) -> None:
        who = client(pooled, member)
        for turn in range(6):
            assert who.get("/v1/me").json()["id"] == str(member)
            inbox = who.get("/v1/conversations").json()["conversations"]
            is_in = member in {shared.ada, shared.ben}
            assert [c["id"] for c in inbox] == ([str(conversation)] if is_in else [])
            messages = f"/v1/conversations/{conversation}/messages"
            body = {"content": f"{number}/{turn}", "id": str(uuid4())}
            answer = who.post(messages, json=body)
            assert answer.status_code == (201 if is_in else 404), answer.text
            if is_in:
                assert answer.json()["sender_id"] == str(member)
                assert who.post(messages, json=body).status_code == 200
                assert who.post(f"/v1/conversations/{conversation}/read", json={}).is_success
                assert who.delete(f"/v1/messages/{body['id']}").status_code == 204
            assert who.get(messages, params={"limit": 5}).status_code == (200 if is_in else 404)
            assert who.get("/v1/members").is_success
            sync = who.post("/v1/sync", json={"positions": {}})
            assert len(sync.json()["conversations"]) == is_in

    members = [*shared.members.values()] * 2
    with ThreadPoolExecutor(len(members)) as pool:
        for done in [pool.submit(one, *arguments) for arguments in enumerate(members)]:
            done.result()


async def test_the_socket_works_as_ever(pooled: RunningServer, shared: World) -> None:
    conversation = str(shared.converse(shared.ada, shared.ben))
    async with (
        live(pooled.socket_url, token_for(shared.ada)) as ada,
        live(pooled.socket_url, token_for(shared.ben)) as ben,
    ):
        last = {}
        for _ in range(20):
            fields = {"id": str(uuid4()), "conversation_id": conversation, "content": "Hello"}
            last = (await ada.ask("send", **fields))["message"]
            assert (await ben.hear("message"))["message"] == last
        await ada.say("typing", conversation_id=conversation)
        await ben.hear("typing")
        read = await ben.ask("read", conversation_id=conversation)
        assert read["last_read_at"] == last["sent_at"]
        assert (await ada.ask("delete", id=last["id"]))["type"] == "ack"
        assert (await ben.hear("message_deleted"))["id"] == last["id"]


@pytest.mark.skipif(not os.environ.get("PROOF"), reason="the whole API: make proof")
def test_the_api_s_tests_pass_through_it() -> None:
    tests = ["test_rest.py", "test_rest_faults.py", "test_rest_same_id.py", "test_ws.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *(f"tests/protocol/{name}" for name in tests)],
        cwd=ROOT,
        env={**os.environ, "THROUGH_PGBOUNCER": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]
