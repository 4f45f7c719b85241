"""The WebSocket's protocol object, and the ASGI application that takes a socket in.

In charge of: bytes in and out of a WebSocket, closing it, and who may knock.
Knows about: uvicorn's protocol object, which it extends a little.
Does not know: what frames mean. `connection` leads the conversation.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

try:
    from websockets.speedups import apply_mask
except ImportError:  # installed where no compiled one is to be had
    from websockets.utils import apply_mask

from bookconnect_dm import wire
from bookconnect_dm.connection import CLOSE_S, CUT_S, RESTARTING, Connection
from bookconnect_dm.door import Door
from bookconnect_dm.errors import Problem

__all__ = ["SocketProtocol", "realtime", "refuse"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

EXTENSION: Final = "bookconnect_dm.socket"
_TEXT: Final = 0x81
"""The first byte of a text frame that is whole."""
_pack_head = struct.Struct("!BBH").pack
_pack_long_head = struct.Struct("!BBQ").pack


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, with what ASGI hides: writing without waiting, and the transport."""

    connection: Connection | None = None

    async def run_asgi(self) -> None:
        """Runs the application; it finds this object in its scope."""
        extensions: dict[str, Any] = dict(self.scope["extensions"] or {})
        extensions[EXTENSION] = self
        self.scope["extensions"] = extensions
        await super().run_asgi()

    def forget_handshake(self) -> None:
        """Lets go of what the handshake said: idle sockets would keep it, thousands of times."""
        self.scope["headers"] = []
        self.request = self.response = None  # type: ignore[assignment]  # read in the handshake only

    @property
    def is_open(self) -> bool:
        """Whether frames can still be written."""
        return (
            self.handshake_complete
            and not self.close_sent
            and not self.disconnected
            and self.conn.state is State.OPEN
            and not self.transport.is_closing()
        )

    @property
    def has_room(self) -> bool:
        """Whether the transport takes more without piling it up."""
        return self.writable.is_set()

    def write(self, frames: list[bytes]) -> None:
        """Hands encoded frames to the transport; never waits."""
        if not self.is_open:
            return
        # The library's way through its own Frame takes 5 % of our time, for the same bytes.
        parts: list[bytes] = []
        for frame in frames:
            size = len(frame)
            if size < 126:
                parts += (bytes((_TEXT, size)), frame)
            elif size < 65_536:
                parts += (_pack_head(_TEXT, 126, size), frame)
            else:
                parts += (_pack_long_head(_TEXT, 127, size), frame)
        self.transport.write(b"".join(parts))

    def data_received(self, data: bytes) -> None:
        """Bytes have come: nearly always one whole frame, which needs no more than this."""
        if self.connection is None or not self._take_at_once(self.connection, data):
            super().data_received(data)

    def _take_at_once(self, connection: Connection, data: bytes) -> bool:
        """Hands on what is one unfragmented text frame, where nothing is before it.

        Everything else, and whatever is not in order, is left to the library.
        """
        if len(data) < 6 or data[0] != _TEXT or data[1] < 128 or not connection.is_listening:
            return False
        size, start = data[1] & 0x7F, 6
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 8
        if (
            size == 127
            or len(data) != start + size
            or size > self.config.ws_max_size
            or self.frames
            or self.conn.reader.buffer
            or self.read_paused
            or not self.queue.empty()
            or not self.is_open
        ):
            return False
        try:
            text = apply_mask(data[start:], data[start - 4 : start]).decode()
        except UnicodeDecodeError:
            return False
        return connection.take_at_once(text)

    def end(self, code: int, reason: str, *, within_s: float = CLOSE_S) -> None:
        """Says goodbye, and drops the connection if that is not answered in time."""
        if not self.is_open:
            return
        self.stop_keepalive()
        self.conn.send_close(code, reason[:100])
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(within_s, self.transport.abort)

    def shutdown(self) -> None:
        """The server is stopping."""
        if self.is_open:
            self.end(RESTARTING, "the server is restarting", within_s=CUT_S)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """The transport is full."""
        super().pause_writing()
        if self.connection is not None:
            self.connection.on_full()

    def resume_writing(self) -> None:
        """The transport has room again."""
        super().resume_writing()
        if self.connection is not None:
            self.connection.on_room()


async def realtime(door: Door, scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application of `/v1/realtime`."""
    protocol = scope["extensions"].get(EXTENSION)
    if not isinstance(protocol, SocketProtocol):
        raise TypeError("serve this application with bookconnect_dm.app, not with another server")
    await receive()  # websocket.connect
    if not _origin_is_welcome(scope, door.settings.origins):
        await refuse(send, Problem("PERMISSION_DENIED", "This origin is not on the list."))
        return
    # Accepted first and judged then: before the accept a close is an HTTP 403 without a code.
    await send({"type": "websocket.accept"})
    protocol.forget_handshake()
    connection = protocol.connection = Connection(door, protocol, receive)
    try:
        await connection.run()
    finally:
        protocol.connection = None


async def refuse(send: Send, problem: Problem) -> None:
    """Answers the handshake with an HTTP error."""
    body = wire.encode({"code": problem.code, "detail": problem.detail})
    headers = [(b"content-type", b"application/problem+json")]
    status = problem.kind.status
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def _origin_is_welcome(scope: Scope, origins: tuple[str, ...]) -> bool:
    if "*" in origins:
        return True
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
    return all(origin in origins for origin in sent)  # programs send none
