"""What an operator can watch.

In charge of: the names, kinds and labels of all metrics, and their text for a scraper.
Knows about: the Prometheus client. Each server has a registry of its own.
Does not know: who counts. No label ever holds an id, a name or a text of a member.

Nothing here asks anything of a database: a scrape reads what is known already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "FAMILIES", "PREFIX", "Family", "Metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4"
PREFIX: Final = "bookconnect_dm_"

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0)

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: the reference page and the checks of dashboard and alerts read these."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = _SECONDS

    @property
    def shown(self) -> str:
        """The name that a scraper sees; a histogram's comes with `_bucket`, `_sum`, `_count`."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


def _count(name: str, meaning: str, *labels: str) -> Family:
    return Family(name, "counter", meaning, labels)


def _level(name: str, meaning: str, *labels: str) -> Family:
    return Family(name, "gauge", meaning, labels)


def _spread(name: str, meaning: str, *labels: str) -> Family:
    return Family(name, "histogram", meaning, labels)


FAMILIES: Final = (
    # sending and delivering
    _count("sends", "Sends by outcome: `ok`, `repeat` (of an id), or an error code.", "outcome"),
    _spread("send_seconds", "From taking a send to its answer after the commit."),
    Family("send_batch_rows", "histogram", "Sends that went into one statement.", buckets=_ROWS),
    _level("sends_waiting", "Sends that are not on their way to the database yet."),
    _spread(
        "delivery_seconds",
        "From a commit to handing its frames to the sockets here; by two clocks, the database's"
        " and this machine's.",
    ),
    # sockets and requests
    _level("sockets", "Open sockets."),
    _level("subscribers", "Sockets that hear events."),
    _level("frames_waiting", "Frames in the queues of all sockets."),
    _count("frames_received", "Frames by type.", "type"),
    _count("frames_sent", "Frames written to sockets."),
    _count("socket_closes", "Sockets that we closed, by close code.", "code"),
    _count("http_requests", "HTTP requests answered.", "route", "method", "status"),
    _spread("http_request_seconds", "Time to answer a request.", "route"),
    _count("rejections", "Errors told to clients by code, at `rest` or `ws`.", "door", "code"),
    _count("limited", "Refused by a limit.", "limit"),
    # the database
    _level("database_connections", "Open connections of the pool."),
    _level("database_connections_max", "Connections that requests may use at once."),
    _level("database_connections_used", "Those of them with a statement under way."),
    _level("database_waiting", "Callers that wait for a connection."),
    _count("database_connects", "Connections tried, by outcome.", "outcome"),
    _count("statements", "Statements by outcome: `ok` or an error code.", "statement", "outcome"),
    _spread(
        "statement_seconds", "Time of a statement, waiting for a connection included.", "statement"
    ),
    _count("statement_repeats", "Statements tried again.", "statement"),
    # the feed
    _level("feed_healthy", "1 while live delivery works."),
    _level("feed_lag_seconds", "From the last transaction's commit to when PostgreSQL sent it."),
    _level("feed_behind_bytes", "Log that PostgreSQL has read for us and we have not confirmed."),
    _level(
        "feed_slot_retained_bytes",
        "Log that PostgreSQL keeps for this server's slot; looked at every 10 minutes.",
    ),
    _level(
        "feed_slots_idle", "Slots of ours that no server reads; dropped after two looks."
    ),
    _count("feed_reconnects", "Streams begun anew."),
    _count("feed_gaps", "Times something was lost, and every client was told to sync."),
    _count("feed_foreign", "Messages of others in the log, dropped."),
    # retention: only where a worker runs
    _level("retention_leader", "1 on the server whose worker keeps the schedule."),
    _count("retention_runs", "Passes: `complete`, `incomplete`, `failed`, `busy`.", "outcome"),
    _count("retention_skipped", "Moments of the schedule at which nobody ran."),
    _count("retention_rows", "Rows looked at or changed, by step.", "step"),
    _level(
        "retention_last_complete_timestamp_seconds",
        "When a pass last left nothing behind, on any server; 0 if none ever did.",
    ),
    _level("retention_failures", "Passes that failed since one did not."),
    _level(
        "retention_backlog_rows",
        "Messages to `mark` as deleted and to `remove`, counted to 100,000, after the last pass.",
        "step",
    ),
    _level("retention_members_waiting", "Members who wait for new expiry times."),
    _level(
        "retention_oldest_due_timestamp_seconds",
        "Expiry of the message that has waited longest to be marked; 0 if none waits.",
    ),
    _level(
        "store_bytes",
        "What a store's messages take on disk, indexes included; by a sample, once a pass.",
        "store",
    ),
    # backups: only where their folder can be looked at from here
    _level("backup_newest_timestamp_seconds", "When the newest backup ended; 0 if there is none."),
    _level(
        "backup_proved_timestamp_seconds",
        "When the newest backup ended that a trial restore has proved; 0 if none was proved.",
    ),
)  # fmt: skip

_BY_NAME: Final = {family.name: family for family in FAMILIES}
_OF_WORKER: Final = ("retention_", "store_")
_OF_BACKUPS: Final = "backup_"
_MADE_LATE: Final = (*_OF_WORKER, _OF_BACKUPS)
"""What only some servers have: elsewhere a 0 would look like news."""
_WATCHED: Final = frozenset(
    {
        "sends_waiting", "subscribers", "frames_waiting", "database_connections_max",
        "database_connections_used", "database_waiting", "feed_healthy", "feed_lag_seconds",
        "feed_behind_bytes", "feed_slot_retained_bytes", "feed_slots_idle", "feed_reconnects",
        "feed_gaps", "feed_foreign",
    }
)  # fmt: skip
"""What is read at the moment of a scrape from whoever knows it."""


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._known: dict[tuple[str, ...], Counter] = {}
        self._watched = _Watched()
        self.registry.register(self._watched)
        for family in FAMILIES:
            if not family.name.startswith(_MADE_LATE) and family.name not in _WATCHED:
                self._make(family)

    def _make(self, family: Family) -> None:
        name, text, labels = PREFIX + family.name, family.meaning, family.labels
        if family.kind == "counter":
            self._counters[family.name] = Counter(name, text, labels, registry=self.registry)
        elif family.kind == "gauge":
            self._gauges[family.name] = Gauge(name, text, labels, registry=self.registry)
        else:
            self._histograms[family.name] = Histogram(
                name, text, labels, buckets=family.buckets, registry=self.registry
            )

    # -- requests, statements, sends, sockets

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """An HTTP request was answered."""
        self._counters["http_requests"].labels(route, method, str(status)).inc()
        self._histograms["http_request_seconds"].labels(route).observe(seconds)

    def rejected(self, door: Literal["rest", "ws"], code: str) -> None:
        """A client was told of an error."""
        self._counters["rejections"].labels(door, code).inc()

    def statement(self, name: str, outcome: str, seconds: float) -> None:
        """A statement ended."""
        self._of("statements", name, outcome).inc()
        self._histograms["statement_seconds"].labels(name).observe(seconds)

    def repeated(self, name: str) -> None:
        """A statement is tried again."""
        self._counters["statement_repeats"].labels(name).inc()

    def connected(self) -> None:
        """A connection was made."""
        self._counters["database_connects"].labels("ok").inc()
        self._gauges["database_connections"].inc()

    def connect_failed(self) -> None:
        """A connection could not be made."""
        self._counters["database_connects"].labels("failed").inc()

    def connection_lost(self) -> None:
        """A connection was closed, by whom ever."""
        self._gauges["database_connections"].dec()

    def sent(self, outcome: str, seconds: float) -> None:
        """A send was answered."""
        self._of("sends", outcome).inc()
        self._histograms["send_seconds"].observe(seconds)

    def batch(self, rows: int) -> None:
        """A batch is on its way."""
        self._histograms["send_batch_rows"].observe(rows)

    def delivered(self, seconds: float) -> None:
        """A transaction's frames were handed over."""
        self._histograms["delivery_seconds"].observe(max(0.0, seconds))

    def frame(self, kind: str) -> None:
        """A frame came in."""
        self._of("frames_received", kind).inc()

    def written(self, frames: int) -> None:
        """Frames went out."""
        self._counters["frames_sent"].inc(frames)

    def socket_opened(self) -> None:
        """A socket was accepted."""
        self._gauges["sockets"].inc()

    def socket_closed(self, code: int | None) -> None:
        """A socket is gone; `code` if it was we who closed it."""
        self._gauges["sockets"].dec()
        if code is not None:
            self._counters["socket_closes"].labels(str(code)).inc()

    def limited(self, limit: str) -> None:
        """A limit refused something."""
        self._counters["limited"].labels(limit).inc()

    # -- retention

    def retention_leads(self, *, leads: bool) -> None:
        """A worker is here, and leads or does not. Comes before all else of retention."""
        for family in FAMILIES:
            if family.name.startswith(_OF_WORKER):
                self._late(family.name)
        self._gauges["retention_leader"].set(int(leads))

    def retention_ran(self, outcome: str) -> None:
        """A pass came to its end."""
        self._counters["retention_runs"].labels(outcome).inc()

    def retention_skipped(self, moments: int) -> None:
        """Nobody ran at so many moments of the schedule."""
        self._counters["retention_skipped"].inc(moments)

    def retention_did(self, step: str, rows: int) -> None:
        """A batch is done."""
        self._counters["retention_rows"].labels(step).inc(rows)

    def retention_state(self, *, complete_at: float, failures: int) -> None:
        """What the record of the passes says."""
        self._gauges["retention_last_complete_timestamp_seconds"].set(complete_at)
        self._gauges["retention_failures"].set(failures)

    def retention_backlog(
        self, *, to_mark: int, to_remove: int, members: int, oldest_due_at: float
    ) -> None:
        """What is left to do."""
        self._gauges["retention_backlog_rows"].labels("mark").set(to_mark)
        self._gauges["retention_backlog_rows"].labels("remove").set(to_remove)
        self._gauges["retention_members_waiting"].set(members)
        self._gauges["retention_oldest_due_timestamp_seconds"].set(oldest_due_at)

    def storage(self, bytes_by_store: Mapping[str, int]) -> None:
        """What each store takes on disk; stores that are not named any more are forgotten."""
        gauge = self._gauges["store_bytes"]
        gauge.clear()
        for store, size in bytes_by_store.items():
            gauge.labels(store).set(size)

    def backups(self, *, newest_at: float, proved_at: float) -> None:
        """How old the backups are."""
        for name, value in (("newest", newest_at), ("proved", proved_at)):
            self._late(f"{_OF_BACKUPS}{name}_timestamp_seconds")
            self._gauges[f"{_OF_BACKUPS}{name}_timestamp_seconds"].set(value)

    def _late(self, name: str) -> None:
        if name not in self._gauges and name not in self._counters:
            self._make(_BY_NAME[name])

    def _of(self, *name_and_labels: str) -> Counter:
        """The counter of these labels; the library's own look-up takes ten times as long."""
        found = self._known.get(name_and_labels)
        if found is None:
            name, *labels = name_and_labels
            found = self._known[name_and_labels] = self._counters[name].labels(*labels)
        return found

    # -- what others know

    def watch(self, name: str, read: Callable[[], float]) -> None:
        """Show the value that `read` gives at the moment of each scrape."""
        if name not in _WATCHED:
            raise KeyError(name)
        self._watched.readers[name] = read

    def text(self) -> bytes:
        """Everything, as a scraper reads it."""
        return generate_latest(self.registry)


class _Watched(Collector):
    """Values that somebody else keeps; a count of theirs is shown as a counter."""

    def __init__(self) -> None:
        self.readers: dict[str, Callable[[], float]] = {}

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for name, read in self.readers.items():
            family = _BY_NAME[name]
            made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            yield made(PREFIX + name, family.meaning, value=read())
