"""A real server process for tests: started, waited for, asked, stopped or killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar
from uuid import UUID

import httpx

from bookconnect_dm.auth import Rules, sign
from bookconnect_dm.config import PREFIX
from tests.helpers import canary
from tests.helpers.postgres import Database

__all__ = ["SECRET", "RunningServer", "free_port", "running_server", "server_env", "token_for"]

SECRET = "a secret of thirty-two bytes or more, for tests"
NO_LIMITS = {
    "LIMIT_SENDS_PER_SECOND": "0",
    "LIMIT_STARTS_PER_HOUR": "0",
    "LIMIT_SOCKETS": "0",
    "LIMIT_FRAMES_PER_SECOND": "0",
}


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def token_for(user_id: UUID, *, ttl_s: float = 3600.0, secret: str = SECRET) -> str:
    """A token as the host application would sign it."""
    return sign(user_id, secret, rules=Rules(), ttl_s=ttl_s, now=time.time())


def server_env(database: Database, port: int, **settings: str) -> dict[str, str]:
    """The environment of `serve` for a database, without limits unless told otherwise."""
    ours = {
        "DATABASE_URL": database.server_url,
        "PREPARED_STATEMENTS": "off" if database.is_pooled else "auto",
        "FEED_URL": database.feed_url,
        "JWT_SECRET": SECRET,
        "PORT": str(port),
        "INSTANCE": f"test_{port}",
        "LOG_LEVEL": "info",
        **NO_LIMITS,
        **settings,
    }
    plain = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    return plain | {PREFIX + name: value for name, value in ours.items()}


class RunningServer:
    """A `bookconnect-dm serve` of its own process."""

    witness: ClassVar[Callable[[Mapping[str, str]], None] | None] = None
    """Told of each server once it is ready, and before it is stopped: `through` sets it."""

    def __init__(self, env: Mapping[str, str], port: int) -> None:
        self.port = port
        self.arguments = "from bookconnect_dm.cli import main; main()"
        self._env = dict(env)
        self.log_path = Path(tempfile.mkstemp(prefix=f"serve-{port}-", suffix=".log")[1])
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its HTTP is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    @property
    def log(self) -> str:
        """All that it has said so far."""
        return self.log_path.read_text()

    def start(self, *, ready: bool = True, timeout_s: float = 30.0) -> None:
        """Start the process and wait until it is ready (or only until it listens)."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", self.arguments, "serve"],
                env=self._env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_for(200 if ready else 0, timeout_s=timeout_s)
        if ready:
            self._show()

    def _show(self) -> None:
        witness = type(self).witness
        if witness is not None:
            witness(self._env)

    def wait_for(self, status: int, *, path: str = "/readyz", timeout_s: float = 30.0) -> None:
        """Wait until `path` answers with `status` (0: answers at all)."""
        deadline = time.monotonic() + timeout_s
        seen: object = None
        # No TLS here, and reading the authorities for each look takes longer than the look.
        with httpx.Client(timeout=5, verify=False) as client:
            while time.monotonic() < deadline:
                if self.process is not None and self.process.poll() is not None:
                    raise AssertionError(f"the server has ended:\n{self.log}")
                with contextlib.suppress(httpx.TransportError):
                    answer = client.get(self.url + path)
                    seen = answer.status_code, answer.text
                    if status in {0, answer.status_code}:
                        return
                time.sleep(0.05)
        raise AssertionError(f"{path} never gave {status}, last {seen}:\n{self.log}")

    def give_log_up(self) -> None:
        """It has ended: its log goes, and is looked at for what must be in none."""
        text = self.log
        self.log_path.unlink(missing_ok=True)
        canary.take_log(self._env[f"{PREFIX}DATABASE_URL"].rpartition("/")[2], text)

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, timeout_s: float = 15.0) -> int:
        """Stop it as an operator would, and give its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self._show()
            self.process.terminate()
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(15)


@contextlib.contextmanager
def running_server(
    database: Database, *, ready: bool = True, **settings: str
) -> Iterator[RunningServer]:
    """A server for `database`, with settings by name (`LIMIT_SOCKETS="3"`), until the end."""
    port = free_port()
    server = RunningServer(server_env(database, port, **settings), port)
    try:
        server.start(ready=ready)
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            try:
                server.stop()
            except subprocess.TimeoutExpired:
                server.kill()
                raise
        print(server.log)
        server.give_log_up()
