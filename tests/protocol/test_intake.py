"""A stranger's request is bounded before anybody looks at it: its head, its time, its form."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterable, Iterator
from uuid import uuid4

import pytest

from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World

LARGE = 20_000_000
"""Far more than the kernel's buffers hold: all of it goes through only where it is taken."""
START = b"GET /healthz HTTP/1.1\r\nHost: here\r\n"


@pytest.fixture(scope="module")
def impatient(shared: World) -> Iterator[RunningServer]:
    """A server that waits for a request for a second."""
    with running_server(shared.db, LIMIT_REQUEST_SECONDS="1") as running:
        yield running


def _say(server: RunningServer, parts: Iterable[bytes]) -> tuple[int, bytes]:
    """Says `parts` on one connection; how many bytes were taken, and what came back."""
    said = 0
    heard = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                line.sendall(part)
                said += len(part)
        with contextlib.suppress(ConnectionError):
            while data := line.recv(65_536):
                heard += data
    return said, heard


def _endless(part: bytes) -> Iterator[bytes]:
    piece = part * (65_536 // len(part))
    return (piece for _ in range(LARGE // len(piece)))


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        (START + b"X-Long: ", b"a"),
        (START, b"A: b\r\n"),
        (b"GET /", b"a"),
        (
            b"POST /v1/sync HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"A: b\r\n",
        ),
    ],
    ids=["one long header", "headers without end", "a path without end", "trailers without end"],
)
def test_a_head_without_end_is_cut_off(server: RunningServer, start: bytes, rest: bytes) -> None:
    def parts() -> Iterator[bytes]:
        yield start
        yield from _endless(rest)

    said, _ = _say(server, parts())
    assert said < LARGE / 2


def test_a_head_that_is_too_large_is_told_so(server: RunningServer) -> None:
    _, heard = _say(server, [START + b"X: " + b"a" * 70_000])
    head, _, body = heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "PAYLOAD_TOO_LARGE"


def test_what_is_no_http_is_told_so(server: RunningServer) -> None:
    _, heard = _say(server, [b"FOO BAR\r\n\r\n"])
    head, _, body = heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "INVALID_REQUEST"


def test_large_bodies_and_many_requests_on_one_connection_go_on(
    server: RunningServer, shared: World
) -> None:
    """Bodies do not count as heads, not even in small pieces or one after the other."""
    positions = {str(uuid4()): "2026-01-01T00:00:00.000000Z" for _ in range(3_000)}
    body = json.dumps({"epoch": "another", "positions": positions}).encode()
    request = (
        f"POST /v1/sync HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token_for(shared.ada)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    requests = request * 5 + START + b"Connection: close\r\n\r\n"
    pieces = (requests[at : at + 8_192] for at in range(0, len(requests), 8_192))
    _, heard = _say(server, pieces)
    assert heard.count(b"HTTP/1.1 200 ") == 6


@pytest.mark.parametrize("start", [b"", b"GET /", START, START + b"Content-Length: 9\r\n\r\n{"])
def test_a_request_that_does_not_come_is_not_waited_for(
    impatient: RunningServer, start: bytes
) -> None:
    began = time.monotonic()
    _say(impatient, [start])
    assert 0.9 < time.monotonic() - began < 15


def test_without_a_limit_a_request_may_take_its_time(shared: World) -> None:
    def slowly() -> Iterator[bytes]:
        yield START
        time.sleep(0.3)  # a limit of 0 seconds would be over
        yield b"Connection: close\r\n\r\n"

    with running_server(shared.db, LIMIT_REQUEST_SECONDS="0") as patient:
        _, heard = _say(patient, slowly())
    assert heard.startswith(b"HTTP/1.1 200 ")


def test_who_keeps_talking_is_not_waited_for_either(impatient: RunningServer) -> None:
    def slowly() -> Iterator[bytes]:
        yield START
        until = time.monotonic() + 15
        while time.monotonic() < until:
            yield b"A: b\r\n"
            time.sleep(0.05)

    began = time.monotonic()
    _say(impatient, slowly())
    assert time.monotonic() - began < 12
