"""Two databases with a server each: what belongs to one means nothing to the other."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import httpx
import pytest

from tests.helpers.live import live, raw
from tests.helpers.postgres import Cluster
from tests.helpers.server import SECRET, RunningServer, running_server, token_for
from tests.helpers.world import World, make_world

OTHER_SECRET = "another secret of thirty-two bytes or more"


@pytest.fixture(scope="module")
def there(edge_cluster: Cluster) -> Iterator[World]:
    """The other database; the host knows the same people there."""
    database = edge_cluster.database()
    yield make_world(database)
    database.drop()


@pytest.fixture(scope="module")
def abroad(there: World) -> Iterator[RunningServer]:
    with running_server(there.db, JWT_SECRET=OTHER_SECRET) as running:
        yield running


def as_member(server: RunningServer, member: UUID, secret: str) -> httpx.Client:
    token = token_for(member, secret=secret)
    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=20, verify=False)


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["detail"].endswith(".")


async def test_a_token_of_one_is_refused_by_the_other(
    server: RunningServer, abroad: RunningServer, shared: World
) -> None:
    for place, secret in ((server, OTHER_SECRET), (abroad, SECRET)):
        with as_member(place, shared.ada, secret) as ada:
            refused(ada.get("/v1/me"), 401, "UNAUTHENTICATED")
        async with raw(place.socket_url) as socket:
            await socket.say("auth", v=1, token=token_for(shared.ada, secret=secret))
            assert await socket.close_code() == 4401


def test_ids_of_one_are_unknown_to_the_other(
    server: RunningServer, abroad: RunningServer, shared: World, there: World
) -> None:
    conversation = shared.converse(shared.ada, shared.ben)
    message = shared.send(shared.ada, conversation, "At home")
    there.converse(there.ada, there.cleo)
    room = f"/v1/conversations/{conversation}"
    with as_member(abroad, there.ada, OTHER_SECRET) as ada:
        refused(ada.get(room), 404, "CONVERSATION_NOT_FOUND")
        refused(ada.get(f"{room}/messages"), 404, "CONVERSATION_NOT_FOUND")
        refused(ada.post(f"{room}/messages", json={"content": "x"}), 404, "CONVERSATION_NOT_FOUND")
        refused(ada.post(f"{room}/read", json={}), 404, "CONVERSATION_NOT_FOUND")
        refused(ada.delete(f"/v1/messages/{message}"), 404, "MESSAGE_NOT_FOUND")
        started = ada.post("/v1/conversations", json={"recipient_id": str(uuid4())})
        refused(started, 404, "USER_NOT_FOUND")
        elsewhere = {"recipient": "cleo", "store_id": str(uuid4())}
        refused(ada.post("/v1/conversations", json=elsewhere), 403, "STORE_CONTEXT_ERROR")
    with as_member(server, shared.ada, SECRET) as ada:
        assert len(ada.get(f"{room}/messages").json()["messages"]) == 1


def test_positions_of_one_make_the_other_start_anew(
    server: RunningServer, abroad: RunningServer, shared: World, there: World
) -> None:
    conversation = str(shared.converse(shared.ada, shared.ben))
    with as_member(server, shared.ada, SECRET) as ada:
        home = ada.post("/v1/sync", json={"epoch": None, "positions": {}}).json()
    positions = {one["conversation_id"]: one["position"] for one in home["changes"]}
    assert conversation in positions
    with as_member(abroad, there.ada, OTHER_SECRET) as ada:
        strange = ada.post("/v1/sync", json={"epoch": home["epoch"], "positions": positions}).json()
        assert strange["reload"] is True
        assert strange["epoch"] != home["epoch"]
        known = ada.post(
            "/v1/sync", json={"epoch": strange["epoch"], "positions": positions}
        ).json()
        assert known["gone"] == list(positions)
        assert conversation not in {one["conversation_id"] for one in known["changes"]}


async def test_nothing_that_happens_in_one_is_heard_in_the_other(
    server: RunningServer, abroad: RunningServer, shared: World, there: World
) -> None:
    conversation = str(shared.converse(shared.ada, shared.ben))
    there.converse(there.ada, there.ben)
    async with (
        live(server.socket_url, token_for(shared.ada)) as ada,
        live(abroad.socket_url, token_for(there.ben, secret=OTHER_SECRET)) as ben,
    ):
        assert ada.ready["epoch"] != ben.ready["epoch"]
        fields = {"id": str(uuid4()), "conversation_id": conversation, "content": "At home"}
        assert (await ada.ask("send", **fields))["type"] == "ack"
        await ada.say("typing", conversation_id=conversation)
        await ada.hear("message")
        assert await ben.hears_nothing()
        answer = await ben.ask("send", **fields)
        assert (answer["type"], answer["code"]) == ("error", "CONVERSATION_NOT_FOUND")
