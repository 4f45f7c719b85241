"""Request ids: one for each HTTP request and socket, in its log lines and its answer's headers.

In charge of: taking a proxy's id over or making one, binding it to what is logged meanwhile,
telling it to the client.
Knows about: ASGI's messages, structlog's context.
Does not know: what is asked or answered.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

from structlog.contextvars import bound_contextvars

__all__ = ["HEADER", "named", "traced"]

HEADER: Final = "x-request-id"
_HEADER: Final = HEADER.encode()
# Hexadecimal, as proxies make them: nothing that could carry words or a token into a log.
_FIT: Final = re.compile(rb"[0-9a-fA-F-]{8,36}")
_STARTS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)

Send = Callable[[Any], Awaitable[None]]


@contextlib.contextmanager
def traced(scope: Mapping[str, Any]) -> Iterator[str]:
    """Give the id of what begins here; every line that is logged meanwhile carries it."""
    sent = next((value for name, value in scope["headers"] if name == _HEADER), b"")
    request_id = sent.decode() if _FIT.fullmatch(sent) else secrets.token_hex(8)
    with bound_contextvars(request=request_id):
        yield request_id


def named(send: Send, request_id: str) -> Send:
    """Return `send`, which adds the id to the headers of the answer."""
    header = (_HEADER, request_id.encode())

    async def send_named(message: Mapping[str, Any]) -> None:
        if message["type"] in _STARTS:
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return send_named
