"""Settings: read once, checked once, frozen.

In charge of: every setting's name, default and range, and what to tell whoever got one wrong.
Knows about: the environment's variables, all with the prefix BOOKCONNECT_DM_.
Does not know: who uses a setting.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Literal, Self, TypeVar, get_args

PREFIX: Final = "BOOKCONNECT_DM_"
SECRET_BYTES: Final = 32
CONTENT_LENGTH: Final = 1000
FRAME_BYTES: Final = 65_536

Adapter = Literal["standalone", "bookconnect", "supabase"]
PreparedStatements = Literal["auto", "off"]
Ephemeral = Literal["on", "off"]
LogLevel = Literal["debug", "info", "warning", "error"]

_Choice = TypeVar("_Choice", bound=str)


class Address(str):
    """An address of PostgreSQL that knows which setting it stands in, for whoever cannot use it."""

    __slots__ = ("setting",)
    setting: str

    def __new__(cls, value: str, setting: str = "") -> Self:
        """The text as it is, and the setting's whole name."""
        made = super().__new__(cls, value)
        made.setting = setting
        return made


class SettingsError(Exception):
    """A setting is missing or wrong; the text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """What one member, or one request, may use; 0 switches a limit off.

    Read from LIMIT_<NAME>. Sizes (of frames, bodies, pages and queues) cannot be switched off, only
    set: one stranger could fill the memory. A rate and its burst are one limit: see `sends`.
    """

    sends_per_second: float = 10.0
    """Messages a second, in the long run."""
    send_burst: int = 200
    """Messages at once, after a pause."""
    starts_per_hour: int = 60
    """Conversations started in an hour."""
    sockets: int = 20
    """Sockets open at once."""
    frames_per_second: float = 50.0
    """Frames a second over all sockets of a member, in the long run."""
    frame_burst: int = 400
    """Frames at once over all sockets of a member."""
    auth_seconds: float = 10.0
    """Time for a new socket's `auth` frame."""
    request_seconds: float = 30.0
    """Time for a request to come in whole; its head (all but the body) has 64 KiB at most."""
    frame_bytes: int = FRAME_BYTES
    """The largest frame."""
    body_bytes: int = 1_048_576
    """The largest body of a request."""
    page: int = 100
    """The largest `limit` of a page."""
    waiting_sends: int = 5_000
    """Sends that may wait in a server process."""
    socket_queue: int = 1_000
    """Frames that may wait for one socket before it is cut off."""

    @property
    def sends(self) -> tuple[float, int]:
        """Rate and burst of sends as they hold: no limit (0, 0) where either is off."""
        return _both(self.sends_per_second, self.send_burst)

    @property
    def frames(self) -> tuple[float, int]:
        """The same of frames."""
        return _both(self.frames_per_second, self.frame_burst)

    @classmethod
    def off(cls) -> LimitSettings:
        """No rate limits at all; for tests and benchmarks."""
        return cls(
            sends_per_second=0, send_burst=0, starts_per_hour=0, sockets=0,
            frames_per_second=0, frame_burst=0,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that differs between two installations. Secrets stay out of its `repr`.

    What stands under a setting here is what the reference page says of it.
    """

    database_url: str = field(default="", repr=False)
    """The API's login, `bookconnect_dm_server`. `serve` needs it."""
    admin_url: str = field(default="", repr=False)
    """The owner of the schema, for commands; the server never needs it."""
    feed_url: str = field(default="", repr=False)
    """The login that reads the log, `bookconnect_dm_feed`; direct, never through a pooler. `serve`
    needs it.
    """
    retention_url: str = field(default="", repr=False)
    """The login of the retention worker; direct. `serve` runs a worker only if it is set;
    `retention run` takes `ADMIN_URL` without it.
    """
    retention_schedule: tuple[str, ...] = ("01:00", "02:00")
    """When the worker runs, in UTC."""
    retention_look_seconds: float = 30.0
    """The least pause between two looks of a worker: whether it is to lead, whether a pass is due,
    whether a member's tier has changed. The longest is half as much again, so another server takes
    over within a minute.
    """
    host_adapter: str = "standalone"
    """How the host application's tables are asked: `standalone`, `bookconnect`, `supabase`, or the
    path of [your own adapter](../how-to/adapters.md).
    """
    jwt_secret: str = field(default="", repr=False)
    """Signs the members' tokens with HS256; 32 bytes or more. `serve` needs this or the next."""
    jwks_url: str = ""
    """Where the host publishes the public keys of its tokens. Over https an authority of your own
    is named by `SSL_CERT_FILE` (a file of authorities, instead of the usual ones).
    """
    jwt_audience: str = "authenticated"
    """What a token's `aud` must contain."""
    jwt_issuer: str = ""
    """What a token's `iss` must be; not checked when unset."""
    instance: str = ""
    """The name of this server process, the same after a restart: `a-z`, `0-9`, `_`; unset, it is
    made from host name and port. Its replication slot is `bookconnect_dm_<INSTANCE>`.
    """
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = 8080
    """The port to listen on."""
    log_level: LogLevel = "info"
    """`debug`, `info`, `warning` or `error`."""
    recovery_window: int = 7
    """Days between the soft and the final deletion of an expired message."""
    prepared_statements: PreparedStatements = "auto"
    """`off` behind a pooler in transaction mode."""
    ephemeral: Ephemeral = "on"
    """Who is typing, and who is online, told to people who share a conversation; `off` tells
    nobody.
    """
    pool_size: int = 10
    """Connections to the database for a server process, at most: five for sends, one for the feed's
    questions, the rest for requests. The feed's stream is one more.
    """
    origins: tuple[str, ...] = ("*",)
    """Pages that may call from a browser: origins separated by commas."""
    backup_folder: str = ""
    """Where [backups](../how-to/back-up-and-restore.md) of the demo's database are; unset, in
    `.demo-backups` beside the demo's folder. Their age is among the metrics of a server that has
    it set, and `doctor` looks at it.
    """
    backup_schedule: tuple[str, ...] = ("03:00",)
    """When a running demo that was backed up once is backed up again, in UTC."""
    backup_keep_days: int = 14
    """Every second of so many days can be restored; pgBackRest's own configuration says it there.
    """
    backup_stanza: str = ""
    """The name of a server of your own in pgBackRest's configuration: backups and restores are
    its.
    """
    limits: LimitSettings = field(default_factory=LimitSettings)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """The settings in `env`. Raises `SettingsError` for the first one that is wrong."""
        unknown = _unknown_names(env)
        if unknown:
            raise SettingsError(
                f"There is no setting {unknown[0]}: correct its name, or remove it."
            )
        read = _Reader(env)
        found = cls(
            database_url=read.address("DATABASE_URL"),
            admin_url=read.address("ADMIN_URL"),
            feed_url=read.address("FEED_URL"),
            retention_url=read.address("RETENTION_URL"),
            retention_schedule=read.times("RETENTION_SCHEDULE", ("01:00", "02:00")),
            retention_look_seconds=read.number("RETENTION_LOOK_SECONDS", 30, least=0.05, most=3600),
            host_adapter=read.adapter("HOST_ADAPTER", "standalone"),
            jwt_secret=read.secret("JWT_SECRET"),
            jwks_url=read.text("JWKS_URL"),
            jwt_audience=read.text("JWT_AUDIENCE", "authenticated"),
            jwt_issuer=read.text("JWT_ISSUER"),
            instance=read.instance("INSTANCE"),
            host=read.text("HOST", "127.0.0.1"),
            port=int(read.number("PORT", 8080, least=0, most=65_535)),
            log_level=read.choice("LOG_LEVEL", "info", get_args(LogLevel)),
            recovery_window=int(read.number("RECOVERY_WINDOW", 7, least=0, most=3650)),
            prepared_statements=read.choice(
                "PREPARED_STATEMENTS", "auto", get_args(PreparedStatements)
            ),
            ephemeral=read.choice("EPHEMERAL", "on", get_args(Ephemeral)),
            pool_size=int(read.number("POOL_SIZE", 10, least=7, most=500)),
            origins=read.origins("ORIGINS", ("*",)),
            backup_folder=read.text("BACKUP_FOLDER"),
            backup_schedule=read.times("BACKUP_SCHEDULE", ("03:00",)),
            backup_keep_days=int(read.number("BACKUP_KEEP_DAYS", 14, least=1, most=3650)),
            backup_stanza=read.text("BACKUP_STANZA"),
            limits=read.limits(),
        )
        if found.jwt_secret and found.jwks_url:
            raise SettingsError(
                f"Set {PREFIX}JWT_SECRET or {PREFIX}JWKS_URL, not both: "
                "a token must have one way to be right."
            )
        return found

    @property
    def instance_name(self) -> str:
        """INSTANCE, or a name that this host and port keep across restarts."""
        return self.instance or default_instance(socket.gethostname(), self.port)

    def missing_for_serve(self) -> list[str]:
        """The variables that `serve` cannot do without and that are not set."""
        missing = [
            name
            for name, value in (("DATABASE_URL", self.database_url), ("FEED_URL", self.feed_url))
            if not value
        ]
        if not (self.jwt_secret or self.jwks_url):
            missing.append("JWT_SECRET (or BOOKCONNECT_DM_JWKS_URL)")
        return [PREFIX + name for name in missing]

    def require_for_serve(self) -> None:
        """Raises `SettingsError`, naming everything that is missing, unless `serve` can start."""
        missing = self.missing_for_serve()
        if missing:
            raise SettingsError("Before serving, set " + ", ".join(missing) + ".")


def _both(rate: float, burst: int) -> tuple[float, int]:
    return (rate, burst) if rate and burst else (0, 0)


def default_instance(host: str, port: int) -> str:
    """A name for a slot made from host and port: only `[a-z0-9_]`, at most 48 characters."""
    tail = f"_{port}"
    name = re.sub(r"[^a-z0-9]+", "_", host.lower()).strip("_") or "host"
    return name[: 48 - len(tail)] + tail


_PLAIN: Final = tuple(f.name.upper() for f in fields(Settings) if f.name != "limits")
_LIMITS: Final = tuple(f"LIMIT_{f.name.upper()}" for f in fields(LimitSettings))
SETTING_NAMES: Final = tuple(PREFIX + name for name in (*_PLAIN, *_LIMITS))
"""Every variable that is read; the reference page lists exactly these."""

_MUST_BE_POSITIVE: Final = frozenset(
    {
        "frame_bytes",
        "body_bytes",
        "page",
        "waiting_sends",
        "socket_queue",
    }
)


def _unknown_names(env: Mapping[str, str]) -> list[str]:
    return sorted(n for n in env if n.startswith(PREFIX + "LIMIT_") and n not in SETTING_NAMES)


def _is_address(value: str) -> bool:
    """Whether the driver can read it: a URL, or words such as `host=db user=ada`."""
    if re.match(r"[a-z_]+\s*=", value):
        return True
    found = re.fullmatch(r"postgres(?:ql)?://([^/?]*)([/?].*)?", value)
    if found is None or re.search(r"%(?![0-9A-Fa-f]{2})", value):
        return False
    user, _, hosts = found[1].rpartition("@")
    is_host = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:\d*)?").fullmatch
    return "@" not in user and all(map(is_host, hosts.split(",")))


class _Reader:
    """Reads one variable at a time and says clearly what is wrong with it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, name: str, default: str = "") -> str:
        return self._env.get(PREFIX + name, "").strip() or default

    def address(self, name: str) -> str:
        """An address of PostgreSQL. The driver would quote a wrong one, password and all."""
        value = self.text(name)
        if value and not _is_address(value):
            raise SettingsError(
                f"{PREFIX}{name} is no address of PostgreSQL: write postgresql://user:password@host"
                "/database, with : / ? @ % in a password percent-encoded and no quotes around it."
            )
        return Address(value, PREFIX + name)

    def choice(self, name: str, default: _Choice, allowed: tuple[_Choice, ...]) -> _Choice:
        value = self.text(name, default).lower()
        for one in allowed:
            if value == one:
                return one
        raise SettingsError(f"{PREFIX}{name} must be one of {', '.join(allowed)}.")

    def adapter(self, name: str, default: Adapter) -> str:
        path = self.text(name, default)
        return path if path.endswith(".sql") else self.choice(name, default, get_args(Adapter))

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        text = self.text(name)
        try:
            value = float(text) if text else float(default)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise SettingsError(f"{PREFIX}{name} must be a number from {least:g} to {most:g}.")
        return value

    def secret(self, name: str) -> str:
        value = self._env.get(PREFIX + name, "")
        if value and len(value.encode()) < SECRET_BYTES:
            raise SettingsError(f"{PREFIX}{name} must have {SECRET_BYTES} bytes or more.")
        return value

    def instance(self, name: str) -> str:
        value = self.text(name)
        if value and not re.fullmatch(r"[a-z0-9_]{1,48}", value):
            raise SettingsError(f"{PREFIX}{name} must be 1 to 48 characters of a-z, 0-9 and _.")
        return value

    def times(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        parts = tuple(part.strip() for part in self.text(name).split(",") if part.strip())
        for part in parts:
            if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", part):
                raise SettingsError(f"{PREFIX}{name} must be times such as 01:00,02:00 (UTC).")
        return parts or default

    def origins(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        parts = tuple(p.strip().rstrip("/") for p in self.text(name).split(",") if p.strip())
        for part in parts:
            if part != "*" and not re.fullmatch(r"https?://[^/\s]+", part):
                raise SettingsError(
                    f"{PREFIX}{name} must be * or origins such as https://shop.example, "
                    "separated by commas."
                )
        return parts or default

    def limits(self) -> LimitSettings:
        values: dict[str, float] = {}
        for f in fields(LimitSettings):
            default: int | float = f.default  # type: ignore[assignment]  # all are numbers
            least = 1 if f.name in _MUST_BE_POSITIVE else 0
            most = {"page": 100, "frame_bytes": 16_777_216}.get(f.name, 1e9)
            value = self.number(f"LIMIT_{f.name.upper()}", default, least=least, most=most)
            if isinstance(default, int) and value % 1:  # cut to 0, it would be off
                raise SettingsError(f"{PREFIX}LIMIT_{f.name.upper()} must be a whole number.")
            values[f.name] = int(value) if isinstance(default, int) else value
        return LimitSettings(**values)  # type: ignore[arg-type]  # as above
