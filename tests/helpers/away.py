"""A member's client whose way to the server a test closes and opens, and what it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import httpx

from bookconnect_dm import wire
from bookconnect_dm.client import Client
from bookconnect_dm.sync import Change
from tests.helpers.server import RunningServer, token_for
from tests.helpers.weather import Weather

__all__ = ["Away", "listening", "until"]

Hook = Callable[[httpx.Request], None]


class Hooked(httpx.AsyncBaseTransport):
    """Lets a test look at each request before it goes, and fail it."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._inner = httpx.AsyncHTTPTransport(verify=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.to_thread(self._hook, request)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Away:
    """A member whose way to the server can be closed and opened."""

    def __init__(self, client: Client, weather: Weather, gate: asyncio.Event) -> None:
        self.client = client
        self.told: list[Change] = []
        self._weather = weather
        self._gate = gate

    def go(self) -> None:
        """Cut off, and not let in again: he gets no token."""
        self._gate.clear()
        self.client._token = None
        self._weather.cut()

    def come_back(self) -> None:
        self._gate.set()

    def texts(self, conversation: UUID) -> list[str]:
        return [
            event.message.content
            for event in self.told
            if isinstance(event, wire.MessageFrame)
            and event.message.conversation_id == str(conversation)
        ]


@contextlib.asynccontextmanager
async def listening(
    server: RunningServer, user: UUID, hook: Hook = lambda _: None
) -> AsyncIterator[Away]:
    weather, gate = Weather(server.port, "calm"), asyncio.Event()
    weather.is_calm = True
    gate.set()

    async def token() -> str:
        await gate.wait()
        return token_for(user)

    await weather.start()
    http = httpx.AsyncClient(transport=Hooked(hook), timeout=10)
    async with Client(weather.url, token, give_up_s=0.3, http=http) as client:
        away = Away(client, weather, gate)

        async def listen() -> None:
            async for event in client.events():
                away.told.append(event)

        task = asyncio.create_task(listen())
        await until(lambda: client.is_live)
        yield away
        assert not task.done(), task.exception()
        task.cancel()
        await asyncio.wait([task])
    await weather.close()


async def until(is_true: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not is_true():  # noqa: ASYNC110 - a condition of somebody else's making
            await asyncio.sleep(0.02)
