"""The example proxies, really started: members chat through them over two servers."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from bookconnect_dm import wire
from bookconnect_dm.app import PING_S
from bookconnect_dm.client import Client
from bookconnect_dm.config import LimitSettings
from tests.helpers.proxies import OPS, caddy, nginx
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World

pytestmark = pytest.mark.feed


@pytest.fixture
def servers(live_world: World) -> Iterator[list[RunningServer]]:
    with running_server(live_world.db) as one, running_server(live_world.db) as other:
        yield [one, other]


@pytest.fixture
def proxy(
    request: pytest.FixtureRequest, servers: list[RunningServer], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    ports = [server.port for server in servers]
    if request.param == "caddy":
        with caddy(ports) as address:
            yield address
        return
    with nginx(ports) as (address, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        yield address


def a_client(address: str, world: World, name: str) -> Client:
    async def token() -> str:
        return token_for(world.members[name])

    return Client(address, token)


@pytest.mark.parametrize("proxy", ["nginx", "caddy"], indirect=True)
async def test_members_chat_through_it_while_a_server_is_restarted(
    live_world: World, servers: list[RunningServer], proxy: str
) -> None:
    conversation = await asyncio.to_thread(live_world.converse, live_world.ada, live_world.ben)
    sent, heard = [], []
    async with a_client(proxy, live_world, "ada") as ada, a_client(proxy, live_world, "ben") as ben:

        async def listen() -> None:
            async for event in ben.events():
                if isinstance(event, wire.MessageFrame):
                    heard.append(event.message.id)  # noqa: PERF401 - one by one, as they come

        async def write(count: int) -> None:
            for number in range(count):
                message = await ada.send(conversation, f"text {number}")
                sent.append(message.id)

        listener = asyncio.create_task(listen())
        async with asyncio.timeout(120):
            while not ben.is_live:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
            await write(10)
            for server in servers:
                writing = asyncio.create_task(write(20))
                assert await asyncio.to_thread(server.stop) == 0
                await asyncio.to_thread(server.start)
                await writing
            while len(heard) < len(sent):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        listener.cancel()
    assert heard == sent, "each once, in order, and no send has failed"
    await keeps_to_itself_what_is_not_for_members(live_world, proxy)


async def keeps_to_itself_what_is_not_for_members(world: World, proxy: str) -> None:
    limit = LimitSettings().body_bytes
    headers = {"authorization": f"Bearer {token_for(world.ada)}"}
    async with httpx.AsyncClient(base_url=proxy, headers=headers, timeout=20) as http:
        for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics", "/readyz", "/readyz/"):
            assert (await http.get(f"{proxy}{path}")).status_code == 404, path
        assert (await http.get("/v1/me")).json()["username"] == "ada"
        path = f"/v1/conversations/{uuid4()}/messages"
        for size, status, code in (
            (limit - 200, 422, "INVALID_CONTENT"),
            (limit, 413, "PAYLOAD_TOO_LARGE"),
        ):
            answer = await http.post(path, json={"id": str(uuid4()), "content": "x" * size})
            assert (answer.status_code, answer.json()["code"]) == (status, code), "the server's own"
        # The proxy's own limit is not waited for: it may cut the request, and the answer with it.
        body = {"id": str(uuid4()), "content": "x" * (3 * limit)}
        with contextlib.suppress(httpx.TransportError):
            async with http.stream("POST", path, json=body) as answer:
                assert answer.status_code in {413, 502}, "Caddy before 2.8 says 502"


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("nginx/bookconnect-dm.conf", r"client_max_body_size (\d+)m;"),
        ("caddy/Caddyfile", r"max_size (\d+)MiB"),
    ],
)
def test_its_limit_is_twice_the_servers(file: str, setting: str) -> None:
    """Were they the same, the proxy would cut a request while the server answers it."""
    mebibytes = re.findall(setting, (OPS / file).read_text("utf-8"))
    assert [int(one) << 20 for one in mebibytes] == [2 * LimitSettings().body_bytes]


def test_a_quiet_socket_outlives_the_pause_between_two_pings() -> None:
    text = (OPS / "nginx" / "bookconnect-dm.conf").read_text("utf-8")
    place = text[text.index("location = /v1/realtime") :].split("}", 1)[0]
    for name in ("read", "send"):
        seconds = re.search(rf"proxy_{name}_timeout (\d+)s;", place)
        assert seconds is not None
        assert int(seconds[1]) > 3 * PING_S
