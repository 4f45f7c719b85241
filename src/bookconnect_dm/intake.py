"""The HTTP protocol object: how much a request may say, and how long it may take to say it.

In charge of: the bounds of a request before anybody has looked at who sends it.
Knows about: uvicorn's protocol object, which bounds neither the head of a request nor its time.
Does not know: what a request means. The size of a body is bounded in `rest`.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bookconnect_dm import wire
from bookconnect_dm.errors import Problem
from bookconnect_dm.rest import PROBLEM_TYPE, problem_body

__all__ = ["http_protocol"]

HEAD_BYTES: Final = 65_536
"""Of a request, all that is not its body: first line, headers, chunk sizes, trailers."""


def http_protocol(request_s: float) -> type[HttpToolsProtocol]:
    """HTTP by uvicorn, with bounds; a request takes `request_s` seconds to come, at most.

    With 0 it may take its time.
    """
    return type("HttpProtocol", (_HttpProtocol,), {"request_s": request_s})


class _HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, bounded: a stranger's request costs little, and is over soon."""

    request_s: ClassVar[float]
    """From the first byte (or the connection) to the last byte of a request."""

    _head_bytes = 0
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has come, and has yet to say anything."""
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """He is gone."""
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request has come, or several."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(Problem("PAYLOAD_TOO_LARGE", "The head of the request is too large."))

    def handle_websocket_upgrade(self) -> None:
        """From here on the connection is the socket's, with bounds of its own."""
        self._end()
        super().handle_websocket_upgrade()

    def send_400_response(self, _msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(Problem("INVALID_REQUEST", "This is no HTTP request."))

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._begin()
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """Part of a body."""
        self._head_bytes = max(0, self._head_bytes - len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request; the answer may take its time."""
        self._end()
        self._head_bytes = 0
        super().on_message_complete()

    def _begin(self) -> None:
        if self._patience is None and self.request_s:
            self._patience = self.loop.call_later(self.request_s, self._give_up)

    def _end(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        body = wire.encode(problem_body(problem))
        self.transport.write(
            f"HTTP/1.1 {problem.kind.status} \r\n"
            f"content-type: {PROBLEM_TYPE}\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()
