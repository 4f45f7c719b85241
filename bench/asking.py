"""Requests over HTTP, one after the other on one connection to a server, as a page sends them.

In charge of: the load of the scenarios in which something is read.
Does not know: what is in the answers, beyond that they are well.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from typing import Any

from bench.harness import token

__all__ = ["WARM_ROUNDS", "Asking"]

WARM_ROUNDS = 10
"""Not measured: PostgreSQL decides on a connection's plans after five executions."""


class Asking:
    """Groups of requests, taken in turns so that no group has a better moment than another.

    A request goes to the first server unless its `server` says which.
    `first` is the number of the first round: what can be asked once only is not asked again by the
    next repetition.
    """

    def __init__(self, spec: dict[str, Any], say: Callable[..., None]) -> None:
        self._say = say
        self._rounds: int = spec["rounds"]
        self._first: int = spec.get("first", 0)
        self._groups: dict[str, list[dict[str, Any]]] = spec["groups"]
        self._tokens: dict[str, str] = {}
        self._ports: list[int] = spec["ports"]

    async def run(self) -> dict[str, Any]:
        """Milliseconds of each request, by group."""
        took: dict[str, list[float]] = {name: [] for name in self._groups}
        with contextlib.ExitStack() as open_links:
            links = [open_links.enter_context(_connect(port)) for port in self._ports]
            ready = {
                name: [(links[one.get("server", 0)], self._bytes_of(one)) for one in group]
                for name, group in self._groups.items()
            }
            begin = self._first + WARM_ROUNDS
            for turn in range(self._first, begin):
                for name, group in ready.items():
                    _ask(*group[turn % len(group)], name)
            self._say("begin")
            cpu = time.process_time()
            for turn in range(begin, begin + self._rounds):
                # Every other round backwards: of two kinds none always comes behind the other.
                for name, group in list(ready.items())[:: -1 if turn % 2 else 1]:
                    link, request = group[turn % len(group)]
                    began = time.perf_counter()
                    _ask(link, request, name)
                    took[name].append((time.perf_counter() - began) * 1e3)
            cpu = time.process_time() - cpu
            self._say("end")
        return {"ms": took, "load_cpu_s": cpu}

    def _bytes_of(self, request: dict[str, Any]) -> bytes:
        member = request["member"]
        if member not in self._tokens:
            self._tokens[member] = token(member)
        body = json.dumps(request["body"]).encode() if "body" in request else b""
        head = (
            f"{request.get('method', 'GET')} {request['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {self._tokens[member]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def _connect(port: int) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _ask(link: socket.socket, request: bytes, name: str) -> None:
    link.sendall(request)
    data = link.recv(1 << 18)
    while b"\r\n\r\n" not in data:
        data += _more(link)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    size = len(body)
    while size < length:
        size += len(_more(link))
    if head[9:10] != b"2":
        raise SystemExit(f"{name}: {head[:60]!r} {body[:200]!r}")


def _more(link: socket.socket) -> bytes:
    data = link.recv(1 << 18)
    if not data:
        raise SystemExit("The server has closed the connection.")
    return data
