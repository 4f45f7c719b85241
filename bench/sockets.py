"""A WebSocket client that costs little, so that what is measured is the server.

In charge of: the handshake, frames in and out (RFC 6455, as far as our server uses it).
Does not know: what frames mean.

Frames are masked with a key of zeros: the server has the work, the load has not.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

__all__ = ["Socket", "frame"]

REQUEST = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    # As browsers do; whether it is taken is the server's choice.
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)


def frame(payload: bytes) -> bytes:
    """A text frame as a client sends it."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, 0x80 | size)) + b"\0\0\0\0" + payload
    return struct.pack("!BBH", 0x81, 0xFE, size) + b"\0\0\0\0" + payload


class Socket(asyncio.Protocol):
    """One connection: `hear` gets the payload of each text frame, `lost` the end."""

    __slots__ = ("_buffer", "_is_open", "hear", "lost", "opened", "transport")

    def __init__(self, hear: Callable[[Socket, bytes], None]) -> None:
        self.hear = hear
        self.lost: Callable[[Socket], None] | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._is_open = False
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("closed in the handshake"))
        if self.lost is not None:
            self.lost(self)

    def say(self, payload: bytes) -> None:
        """Send a text frame."""
        assert self.transport is not None
        self.transport.write(frame(payload))

    def cut(self) -> None:
        """Drop the connection, as a dead network does."""
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if not self._is_open:
            data = self._shake_hands(data)
        at = 0
        while found := _next(data, at):
            kind, start, at = found
            if kind == 1:
                self.hear(self, data[start:at])
            elif kind == 9 and self.transport is not None:
                # With what came: the server knows its own pings by that.
                self.transport.write(
                    bytes((0x8A, 0x80 | at - start)) + b"\0\0\0\0" + data[start:at]
                )
        if at < len(data):
            self._buffer = data[at:]

    def _shake_hands(self, data: bytes) -> bytes:
        """Take the answer to the handshake; give what comes after it."""
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            self._buffer = head
        elif not head.startswith(b"HTTP/1.1 101"):
            self.opened.set_exception(ConnectionError(head.split(b"\r\n", 1)[0].decode()))
        else:
            self._is_open = True
            self.opened.set_result(None)
            return rest
        return b""


def _next(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Kind, beginning and end of the frame at `at`; None while it is not whole."""
    end = len(data)
    if end - at < 2:
        return None
    size, start = data[at + 1] & 0x7F, at + 2
    if size == 126:
        if end - at < 4:
            return None
        size, start = (data[at + 2] << 8) | data[at + 3], at + 4
    elif size == 127:
        if end - at < 10:
            return None
        size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
    if end - start < size:
        return None
    return data[at] & 0x0F, start, start + size


async def connect(port: int, hear: Callable[[Socket, bytes], None]) -> Socket:
    """A socket that is open. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(lambda: Socket(hear), "127.0.0.1", port)
    await socket.opened
    return socket
