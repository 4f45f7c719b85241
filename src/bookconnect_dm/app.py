"""The server, put together.

In charge of: which parts there are, the order in which they start and stop, and what they are
told about each other.
Knows about: every part.
Does not know: how any part does its work.

Start: database, writer, live feed, then the doors open. Stop: the doors close (sockets get 1012),
then the writer empties, the feed gives its slot back, the database is let go. A database that is
away stops none of this: the doors answer UNAVAILABLE until it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog
import uvicorn
import uvloop

from bookconnect_dm import rest, schedule, tracing, wire, ws
from bookconnect_dm.announcer import Announcer
from bookconnect_dm.auth import Rules, sign
from bookconnect_dm.calls import Demo
from bookconnect_dm.config import Settings, SettingsError
from bookconnect_dm.db import Database, Outage
from bookconnect_dm.door import Door
from bookconnect_dm.errors import Problem
from bookconnect_dm.events import Transaction
from bookconnect_dm.feed import PG_EPOCH_S, Feed
from bookconnect_dm.hub import Hub
from bookconnect_dm.intake import http_protocol
from bookconnect_dm.metrics import Metrics
from bookconnect_dm.presence import Presence
from bookconnect_dm.repository import Repository, RepositoryError
from bookconnect_dm.store import Store
from bookconnect_dm.writer import CONNECTIONS as WRITER_CONNECTIONS
from bookconnect_dm.writer import Writer

__all__ = ["Server", "create_app", "run", "serve"]

SCHEMA_VERSION: Final = 1
"""What `messaging.schema_version()` must say; a test compares it with the migrations."""
LOOK_S: Final = 1.0
BACKUPS_S: Final = 60.0
STOP_S: Final = 6
PING_S: Final = 25.0
USER_TIMEOUT_MS: Final = 6_000
"""How long a connection may take nothing at all until the kernel drops it."""
UNSENT_BYTES: Final = 128 * 1024
"""What the kernel takes for a connection beyond what is on its way: unless told, it is megabytes,
and as long as those go in, nobody here sees that the other end has stopped reading."""
BACKLOG: Final = 2_048
FEED_CONNECTIONS: Final = 1
"""Through which the feed asks what others see."""
DEMO_TOKEN_S: Final = 12 * 3600.0
DEMO_MEMBERS: Final = ("ada", "ben", "cleo", "dora", "edgar", "fern")
REALTIME: Final = "/v1/realtime"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

log = structlog.get_logger("app")


class Server:
    """An ASGI application: HTTP by Litestar, the socket by `ws`, and its own start and stop."""

    def __init__(self, settings: Settings, *, demo: bool = False) -> None:
        settings.require_for_serve()
        self.settings = settings
        self._is_demo = demo
        self.metrics = Metrics()
        database = partial(
            Database,
            settings.database_url,
            metrics=self.metrics,
            prepared_statements=settings.prepared_statements == "auto",
            outage=Outage(),
        )
        self._reads = database(size=settings.pool_size - WRITER_CONNECTIONS - FEED_CONNECTIONS)
        self._writes = database(size=WRITER_CONNECTIONS, name="bookconnect-dm writer")
        # Everybody's delivery waits for its answers, so they wait for nobody.
        self._looks = database(size=FEED_CONNECTIONS, name="bookconnect-dm feed")
        self.store = Store(self._reads)
        self.writer = Writer(
            self._writes, metrics=self.metrics, waiting_limit=settings.limits.waiting_sends
        )
        presence = Presence(settings.instance_name, secrets.token_hex(8), now=time.monotonic())
        self.hub = Hub(queue_frames=settings.limits.socket_queue, online=presence)
        self.announcer = (
            Announcer(presence, store=self.store, hub=self.hub)
            if settings.ephemeral == "on"
            else None
        )
        self.feed = Feed(
            settings.feed_url,
            instance=settings.instance_name,
            on_transaction=self._publish,
            on_gap=self._on_gap,
            on_note=self.announcer.hear if self.announcer else None,
            primary=Store(self._looks),
        )
        self._door = Door(
            settings,
            store=self.store,
            writer=self.writer,
            hub=self.hub,
            announcer=self.announcer,
            metrics=self.metrics,
        )
        self._http = rest.http_app(
            self._door,
            ready=self.why_not_ready,
            demo=Demo(sign_in=self.sign_in, members=self.members) if demo else None,
        )
        self._background: list[asyncio.Task[None]] = []
        self._refuse("The database was not reached yet.")
        self._watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI door."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        with tracing.traced(scope) as request_id:
            send = tracing.named(send, request_id)
            if scope["type"] == "http":
                scope["path"] = rest.path_as_written(scope["path"])
                await self._http(scope, receive, send)  # type: ignore[arg-type]  # looser types
            elif scope["path"] == REALTIME:
                await ws.realtime(self._door, scope, receive, send)
            else:
                await receive()
                await ws.refuse(send, Problem("NOT_FOUND"))

    async def why_not_ready(self) -> str | None:
        """What keeps this server from storing and delivering; None if nothing does."""
        if self._reads.refusal is not None:
            return self._reads.refusal
        if not await self._reads.is_up():
            return "The database is away."
        if not self.feed.healthy:
            return "Live delivery is interrupted."
        return None

    # -- start and stop

    async def start(self) -> None:
        """Starts the parts. Raises `SettingsError` if the database has a schema that is not ours.

        A database that is away is waited for in the background.
        """
        if not await self._look():
            self._background.append(asyncio.create_task(self._look_until_there()))
        self._background.append(asyncio.create_task(self._keep_feeding()))
        if self.announcer:
            self._background.append(asyncio.create_task(self.announcer.run()))
        if self.settings.retention_url:
            self._background.append(asyncio.create_task(self._keep_cleaning()))
        if self.settings.backup_folder:
            self._background.append(asyncio.create_task(self._watch_backups()))

    async def stop(self) -> None:
        """Stops the parts; the doors are closed already."""
        await self.writer.stop()
        if self.announcer:
            await self.announcer.stop()
        await self.feed.stop()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._reads.close()
        await self._writes.close()
        await self._looks.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        try:
            await self.start()
        except SettingsError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    # -- the schema must be ours

    async def _look(self) -> bool:
        """Whether the database is there, with our schema. Raises `SettingsError` for another."""
        try:
            schema = await self.store.schema()
        except Problem:
            return False
        found, is_bound = schema or (None, True)
        if not is_bound:
            raise SettingsError(
                "The login of BOOKCONNECT_DM_DATABASE_URL stands above row-level security: use "
                "bookconnect_dm_server, which is no superuser, owns nothing and has no BYPASSRLS."
            )
        if found == SCHEMA_VERSION:
            self._refuse(None)
            return True
        todo = (
            "run `bookconnect-dm migrate up`"
            if found is None or found < SCHEMA_VERSION
            else "install the newer server that belongs to it"
        )
        have = "no schema of ours" if found is None else f"schema version {found}"
        raise SettingsError(
            f"The database has {have}, and this server needs version {SCHEMA_VERSION}: {todo}."
        )

    async def _look_until_there(self) -> None:
        """The database was away at the start: wait for it, and serve when it is the right one."""
        while True:
            await asyncio.sleep(LOOK_S * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                if await self._look():
                    log.info("database_reached")
                    return
            except SettingsError as error:
                # Too late to refuse to start: refuse to work, and look again.
                log.error("schema_refused", reason=str(error))  # noqa: TRY400  no traceback
                self._refuse(str(error))
                await asyncio.sleep(10 * LOOK_S)

    def _refuse(self, reason: str | None) -> None:
        self._reads.refusal = self._writes.refusal = self._looks.refusal = reason

    async def _keep_feeding(self) -> None:
        """The feed comes back from everything by itself; should it end all the same, again."""
        while True:
            try:
                await self.feed.run()
            except Exception as error:  # the outer edge of a task
                log.exception("feed_ended", error=type(error).__name__)
            else:
                return
            await asyncio.sleep(LOOK_S)
            self._on_gap()

    async def _keep_cleaning(self) -> None:
        """The worker comes back from everything by itself; should it end all the same, again."""
        plan = schedule.Plan(
            times=self.settings.retention_schedule,
            recovery_days=self.settings.recovery_window,
            look_s=self.settings.retention_look_seconds,
            must_be_on_time=not self._is_demo,
        )
        while True:
            try:
                await schedule.run_for_ever(self.settings.retention_url, plan, metrics=self.metrics)
            except Exception as error:  # the outer edge of a task
                log.exception("retention_ended", error=type(error).__name__)
            await asyncio.sleep(plan.look_s)

    async def _watch_backups(self) -> None:
        """How old the backups are, for the metrics; the files are not looked at by a scrape."""
        repository = Repository(Path(self.settings.backup_folder))
        is_known = False
        while True:
            try:
                # Nobody has to back a demo up: what there never was is not news.
                if repository.exists or not self._is_demo:
                    state = await asyncio.to_thread(repository.state)
                    times = [
                        at.timestamp() if at else 0.0 for at in (state.newest_at, state.verified_at)
                    ]
                    self.metrics.backups(newest_at=times[0], proved_at=times[1])
                    is_known = True
            except RepositoryError as error:
                log.warning("backups_not_read", reason=str(error))
                if not is_known:  # what nobody could ever look at counts as missing: it alarms
                    self.metrics.backups(newest_at=0.0, proved_at=0.0)
            await asyncio.sleep(BACKUPS_S)

    def _publish(self, transaction: Transaction) -> None:
        self.hub.publish(transaction)
        committed_at = transaction.committed_at / 1e6 + PG_EPOCH_S
        self.metrics.delivered(time.time() - committed_at)

    def _on_gap(self) -> None:
        self.hub.resync_all()
        if self.announcer:
            self.announcer.start_over()

    # -- what the demo adds

    async def sign_in(self, username: str) -> wire.SignInAnswer:
        """A token for a member of the demo. Raises `Problem`."""
        user_id = await self.store.find_user(username)
        if user_id is None:
            raise Problem("USER_NOT_FOUND", "There is no such member.", field="username")
        rules = Rules(audience=self.settings.jwt_audience, issuer=self.settings.jwt_issuer)
        token = sign(
            user_id,
            self.settings.jwt_secret,
            rules=rules,
            ttl_s=DEMO_TOKEN_S,
            now=time.time(),
        )
        return wire.SignInAnswer(token=token)

    async def members(self) -> wire.DemoMembers:
        """The members of the demo. Raises `Problem`."""
        return wire.DemoMembers(
            members=[
                member
                for name in DEMO_MEMBERS
                if (member := await self.store.demo_member(name)) is not None
            ]
        )

    def _watch(self) -> None:
        feed, watch = self.feed, self.metrics.watch
        watch("feed_healthy", lambda: feed.healthy)
        watch("feed_behind_bytes", lambda: feed.lag.behind_bytes)
        watch("feed_lag_seconds", lambda: feed.lag.lag_s)
        watch("feed_reconnects", lambda: feed.lag.reconnects)
        watch("feed_gaps", lambda: feed.lag.gaps)
        watch("feed_foreign", lambda: feed.lag.foreign)
        watch("feed_slot_retained_bytes", lambda: feed.lag.retained_bytes)
        watch("feed_slots_idle", lambda: feed.lag.idle_slots)
        watch("sends_waiting", lambda: self.writer.waiting)
        watch("subscribers", lambda: self.hub.subscriber_count)
        watch("frames_waiting", lambda: self.hub.frames_waiting)
        watch("database_connections_max", lambda: self._reads.size)
        watch("database_connections_used", lambda: self._reads.used)
        watch("database_waiting", lambda: self._reads.waiting)


def create_app(settings: Settings, *, demo: bool = False) -> Server:
    """The ASGI application. Raises `SettingsError`, naming all that is missing."""
    return Server(settings, demo=demo)


def run(settings: Settings, *, demo: bool = False) -> None:
    """Serves until SIGTERM or SIGINT. Raises `SettingsError`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, demo=demo))


async def serve(settings: Settings, *, demo: bool = False) -> None:
    """Serves, in the running loop, until SIGTERM or SIGINT. Raises `SettingsError`."""
    _set_up_logging(settings.log_level)
    app = create_app(settings, demo=demo)
    with contextlib.closing(_listen(settings.host, settings.port)) as listener:
        await app.start()
        _calm_garbage_collection()
        uvicorn_ = _Uvicorn(_uvicorn_config(app))
        with uvicorn_.told_by_signals():
            try:
                await uvicorn_.serve(sockets=[listener])
            finally:
                await app.stop()


def _calm_garbage_collection() -> None:
    """What is there at the start stays; what comes later is looked through less often.

    Every 700 new objects, as Python has it, is several times in each batch of sends; a look through
    everything took 10 ms and more with 500 sockets, in which nobody was served.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _uvicorn_config(app: Server) -> uvicorn.Config:
    limits = app.settings.limits
    return uvicorn.Config(
        app,
        http=http_protocol(limits.request_seconds),
        ws=ws.SocketProtocol,
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=limits.frame_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        timeout_graceful_shutdown=STOP_S,
    )


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, which ends quietly when told to: whoever called us goes on after us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: it would give the handlers back before all is put in order."""
        yield

    @contextlib.contextmanager
    def told_by_signals(self) -> Iterator[None]:
        """Stops on a signal, and gives the handlers back in the end.

        A second one, which closes sockets at once, must not cut short what comes after that: the
        slot that is dropped, and sends that are stored.
        """
        wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {one: signal.signal(one, self._on_signal) for one in wanted}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # the second one does not wait for anybody
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `SettingsError` if the address is not to be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(f"Cannot listen on {host}:{port} ({error.strerror}).") from error
    # Inherited by each connection.
    for name, value in (
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
        ("TCP_NOTSENT_LOWAT", UNSENT_BYTES),
    ):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return listener


def _set_up_logging(level: str) -> None:
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=False,
    )
