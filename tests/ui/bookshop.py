"""A real server with its page, and real browsers that look at it.

In charge of: starting, stopping and killing the server process; windows of members that record
what a page must never do (errors in the console, requests to elsewhere).
Knows about: the demo's routes, Playwright. Does not know: what any test is about.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    expect,
)

from tests.helpers.world import World

__all__ = ["CHROMIUM_ARGS", "Bookshop", "Window", "chromium_path", "expect"]

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    # A page that a test has changed on its way counts as a foreign one, and may not ask 127.0.0.1.
    "--disable-features=LocalNetworkAccessChecks",
]

_READY_S = 90.0
_STOP_S = 15.0
_SERVER = (
    "import os\n"
    "from bookconnect_dm import app\n"
    "from bookconnect_dm.config import Settings\n"
    "app.run(Settings.from_env(os.environ), demo=True)\n"
)


def chromium_path() -> Path | None:
    """Find Chromium: CHROMIUM, else Debian's."""
    path = Path(os.environ.get("CHROMIUM") or "/usr/bin/chromium")
    return path if path.exists() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Bookshop:
    """The demo's server as a process of its own, on a database that a test owns."""

    def __init__(self, world: World, log: Path, **limits: str) -> None:
        self.world = world
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._env = {
            **{name: text for name, text in os.environ.items() if not name.startswith("BOOKC")},
            "BOOKCONNECT_DM_DATABASE_URL": world.db.server_url,
            "BOOKCONNECT_DM_FEED_URL": world.db.feed_url,
            "BOOKCONNECT_DM_JWT_SECRET": secrets.token_hex(32),
            "BOOKCONNECT_DM_PORT": str(self.port),
            "BOOKCONNECT_DM_INSTANCE": f"ui_{self.port}",
            "BOOKCONNECT_DM_LOG_LEVEL": "warning",
            **limits,
        }

    def start(self) -> None:
        """Start the server and wait until it delivers live."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVER], env=self._env, stdout=log, stderr=log
            )
        until = time.monotonic() + _READY_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise AssertionError(f"The server did not start:\n{self.said}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server as an operator would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_STOP_S)
            self._process = None

    def kill(self) -> None:
        """Kill the server without any warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_S)
            self._process = None

    @property
    def said(self) -> str:
        """What the server has printed."""
        return self._log.read_text("utf-8", errors="replace")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False


class Window:
    """A member's browser window; it remembers what it should never have done."""

    def __init__(self, shop: Bookshop, context: BrowserContext, member: str) -> None:
        self.shop = shop
        self.context = context
        self.member = member
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.forgiven: list[re.Pattern[str]] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(f"{message.type}: {message.text} {message.location}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.port != self.shop.port:
            self.elsewhere.append(request.url)

    def forgive(self, pattern: str) -> None:
        """Expect console errors like this one: the network's own, while a test cuts it."""
        self.forgiven.append(re.compile(pattern))

    @property
    def complaints(self) -> list[str]:
        """Errors that nobody has forgiven."""
        return [one for one in self.errors if not any(p.search(one) for p in self.forgiven)]

    def enter(self, route: str = "") -> Window:
        """Open the page as this member and wait for the inbox."""
        self.page.goto(f"{self.shop.url}/?as={self.member}#/messages/{route}".rstrip("/"))
        self.page.locator("bookconnect-inbox").wait_for(state="attached")
        return self

    def row(self, name: str) -> Locator:
        """The inbox row of the conversation with somebody."""
        return self.page.locator("bookconnect-inbox a.row", has_text=name)

    def open(self, name: str) -> Window:
        """Open the conversation with somebody from the inbox."""
        self.row(name).click()
        self.composer.wait_for()
        return self

    @property
    def composer(self) -> Locator:
        """The field to write in."""
        return self.page.get_by_role("textbox", name=re.compile("^Write to"))

    @property
    def bubbles(self) -> Locator:
        """Every message on screen, oldest first."""
        return self.page.locator("bookconnect-thread .bubble")

    def bubble(self, text: str) -> Locator:
        """One message on screen."""
        return self.page.locator("bookconnect-thread .bubble", has_text=text)

    def say(self, text: str) -> None:
        """Write a message and send it."""
        self.composer.fill(text)
        self.send()

    def send(self) -> None:
        """Send what is written."""
        send_what_is_written(self.page)


def send_what_is_written(page: Page) -> None:
    """With the Enter key, or a finger on glass."""
    composer = page.locator("bookconnect-composer")
    if page.evaluate("matchMedia('(pointer: coarse)').matches"):
        composer.locator(".send").click()
    else:
        composer.get_by_role("textbox").press("Enter")


OpenWindow = Callable[..., Window]


def window_of(shop: Bookshop, browser: Browser, member: str, **given: Any) -> Window:
    """A new window in a browser profile of its own."""
    options: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"}
    context = browser.new_context(**{**options, **given})
    context.set_default_timeout(20_000)
    return Window(shop, context, member)
