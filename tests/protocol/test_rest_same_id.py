"""One message id, sent many times at once through every door: one row, one event, one answer."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import httpx

from tests.helpers.live import live
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World

TIMES = 100


async def test_the_same_id_a_hundred_times_over_rest_and_socket(own: World) -> None:
    conversation, message_id = str(own.converse(own.ada, own.ben)), str(uuid4())
    token = token_for(own.ada)
    with running_server(own.db) as one, running_server(own.db) as other:
        body = {"id": message_id, "content": "Only once"}

        async def by_rest(client: httpx.AsyncClient, server: RunningServer) -> tuple[int, object]:
            path = f"{server.url}/v1/conversations/{conversation}/messages"
            answer = await client.post(path, json=body)
            message = answer.json()
            message.pop("sender", None)
            return answer.status_code, message

        async def by_socket(server: RunningServer) -> tuple[int, object]:
            async with live(server.socket_url, token) as socket:
                ack = await socket.ask("send", conversation_id=conversation, **body)
                return 0, ack.get("message", ack)

        headers = {"authorization": f"Bearer {token}"}
        async with (
            live(one.socket_url, token_for(own.ben)) as ben,
            httpx.AsyncClient(headers=headers, verify=False, timeout=30) as client,
        ):
            answers = await asyncio.gather(
                *(by_rest(client, (one, other)[n % 2]) for n in range(TIMES // 2)),
                *(by_socket((one, other)[n % 2]) for n in range(TIMES // 2)),
            )
            messages = [message for _, message in answers]
            assert messages == [messages[0]] * TIMES
            assert sum(status == 201 for status, _ in answers) <= 1
            assert {status for status, _ in answers} <= {0, 200, 201}
            assert (await ben.hear("message"))["message"] == messages[0]
            assert await ben.hears_nothing("message")
    rows = own.db.run("select count(*) from public.direct_messages where id = %s", message_id)
    assert rows == [{"count": 1}]


async def test_a_second_attempt_on_another_server_after_a_restart_is_the_same_send(
    own: World,
) -> None:
    conversation, message_id = str(own.converse(own.ada, own.ben)), str(uuid4())
    headers = {"authorization": f"Bearer {token_for(own.ada)}"}
    answers = []
    for _ in range(2):
        with running_server(own.db) as server:
            async with httpx.AsyncClient(headers=headers, verify=False) as client:
                path = f"{server.url}/v1/conversations/{conversation}/messages"
                body = {"id": message_id, "content": "Twice"}
                answers.append(await client.post(path, json=body))
            server.kill()
    assert [a.status_code for a in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
