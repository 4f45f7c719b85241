"""What an operator can watch.

In charge of: the names and labels of all metrics, and their text for a scraper.
Knows about: the Prometheus client. Each server has a registry of its own.
Does not know: who counts. No label ever holds an id, a name or a text of a member.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4"

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS: Final = (1, 2, 5, 10, 20, 30, 40, 50)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        ProcessCollector(registry=r)
        PlatformCollector(registry=r)
        p = "bookconnect_dm_"
        self._requests = Counter(
            p + "http_requests",
            "HTTP requests answered.",
            ["route", "method", "status"],
            registry=r,
        )
        self._request_s = Histogram(
            p + "http_request_seconds", "Time to answer.", ["route"], buckets=_SECONDS, registry=r
        )
        self._statements = Counter(
            p + "statements", "Statements by outcome.", ["statement", "outcome"], registry=r
        )
        self._statement_s = Histogram(
            p + "statement_seconds",
            "Time of a statement, waiting for a connection included.",
            ["statement"],
            buckets=_SECONDS,
            registry=r,
        )
        self._repeats = Counter(
            p + "statement_repeats", "Statements tried again.", ["statement"], registry=r
        )
        self._connects = Counter(
            p + "database_connects", "Connections tried, by outcome.", ["outcome"], registry=r
        )
        self._connections = Gauge(p + "database_connections", "Open connections.", registry=r)
        self._sends = Counter(p + "sends", "Sends by outcome.", ["outcome"], registry=r)
        self._send_s = Histogram(
            p + "send_seconds", "From taking a send to its commit.", buckets=_SECONDS, registry=r
        )
        self._batch_rows = Histogram(p + "batch_rows", "Rows a batch.", buckets=_ROWS, registry=r)
        self._frames = Counter(p + "frames_received", "Frames by type.", ["type"], registry=r)
        self._written = Counter(p + "frames_sent", "Frames written to sockets.", registry=r)
        self._sockets = Gauge(p + "sockets", "Open sockets.", registry=r)
        self._closes = Counter(p + "socket_closes", "Closed by us, by code.", ["code"], registry=r)
        self._limited = Counter(p + "limited", "Refused by a limit.", ["limit"], registry=r)
        self._known: dict[tuple[object, ...], Counter] = {}

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """An HTTP request was answered."""
        self._requests.labels(route, method, str(status)).inc()
        self._request_s.labels(route).observe(seconds)

    def statement(self, name: str, outcome: str, seconds: float) -> None:
        """A statement ended."""
        self._of(self._statements, name, outcome).inc()
        self._statement_s.labels(name).observe(seconds)

    def repeated(self, name: str) -> None:
        """A statement is tried again."""
        self._repeats.labels(name).inc()

    def connected(self) -> None:
        """A connection was made."""
        self._connects.labels("ok").inc()
        self._connections.inc()

    def connect_failed(self) -> None:
        """A connection could not be made."""
        self._connects.labels("failed").inc()

    def connection_lost(self) -> None:
        """A connection was closed, by whom ever."""
        self._connections.dec()

    def sent(self, outcome: str, seconds: float) -> None:
        """A send was answered."""
        self._of(self._sends, outcome).inc()
        self._send_s.observe(seconds)

    def batch(self, rows: int) -> None:
        """A batch is on its way."""
        self._batch_rows.observe(rows)

    def frame(self, kind: str) -> None:
        """A frame came in."""
        self._of(self._frames, kind).inc()

    def written(self, frames: int) -> None:
        """Frames went out."""
        self._written.inc(frames)

    def socket_opened(self) -> None:
        """A socket was accepted."""
        self._sockets.inc()

    def socket_closed(self, code: int | None) -> None:
        """A socket is gone; `code` if it was we who closed it."""
        self._sockets.dec()
        if code is not None:
            self._closes.labels(str(code)).inc()

    def limited(self, limit: str) -> None:
        """A limit refused something."""
        self._limited.labels(limit).inc()

    def _of(self, counter: Counter, *labels: str) -> Counter:
        """The counter of these labels; the library's own look-up takes ten times as long."""
        key = (id(counter), *labels)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = counter.labels(*labels)
        return found

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show the value that `read` gives at the moment of each scrape."""
        Gauge("bookconnect_dm_" + name, meaning, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """Everything, as a scraper reads it."""
        return generate_latest(self.registry)
