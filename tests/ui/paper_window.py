"""A browser window on shops of paper: the page's real files, every request answered on the spot.

In charge of: routes and sockets inside the browser, what a page should never have printed or asked.
Knows about: Playwright's routes. Does not know: what a shop answers; what any test is about.
"""

from __future__ import annotations

import json
import mimetypes
import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Route, WebSocketRoute

import bookconnect_dm
from tests.ui.bookshop import send_what_is_written
from tests.ui.paper import PaperShop

__all__ = ["HOST_PAGE", "UI", "PaperWindow", "open_paper"]

UI = Path(bookconnect_dm.__file__).parent / "ui"

HOST_PAGE = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><title>A bookshop</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>html, body {{ margin: 0; height: 100%; }} bookconnect-messages {{ height: 100dvh; }}</style>
</head><body><main style="height:100%"><h1 hidden>Messages</h1>
<bookconnect-messages routing="hash" {attributes}></bookconnect-messages></main>
<script type="module">
import '/ui/index.js';
document.querySelector('bookconnect-messages').getToken = async (server) => `token for ${{server}}`;
</script></body></html>"""


class PaperWindow:
    """A browser window on one shop or several."""

    def __init__(self, context: BrowserContext, shops: list[PaperShop]) -> None:
        self.context = context
        self.shops = {urlsplit(shop.origin).netloc: shop for shop in shops}
        self.origin = shops[0].origin
        self.html = ""
        self.headers: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.errors: list[str] = []
        self.unanswered: list[Route] = []
        self.forgiven = r"net::ERR_|status of [45]\d\d|WebSocket connection"
        context.set_default_timeout(20_000)
        context.route("**/*", self._route)
        context.route_web_socket(re.compile("/v1/realtime$"), self._socket)
        self.page: Page = self.new_page()

    def new_page(self) -> Page:
        """Another tab of the same member."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        page.on("console", self._printed)
        return page

    def _printed(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def close(self) -> None:
        """The window goes; so do the calls that nobody has answered."""
        for route in self.unanswered:
            route.abort()
        self.context.close()

    @property
    def complaints(self) -> list[str]:
        """What the page should not have printed."""
        return [one for one in self.errors if not re.search(self.forgiven, one)]

    def _route(self, route: Route) -> None:
        parts = urlsplit(route.request.url)
        shop = self.shops.get(parts.netloc)
        if shop is None:
            self.errors.append(f"asked elsewhere: {route.request.url}")
            route.abort()
        elif parts.path.startswith("/v1/"):
            self._call(shop, route)
        elif parts.path in self.files:
            kind = mimetypes.guess_type(parts.path)[0] or "text/html"
            route.fulfill(
                body=self.files[parts.path], headers={**self.headers, "content-type": kind}
            )
        elif parts.path.startswith("/ui/"):
            route.fulfill(
                path=UI / parts.path.removeprefix("/ui/"), headers=_CORS | _type(parts.path)
            )
        elif parts.path == "/favicon.ico":
            route.fulfill(status=204)
        else:
            headers = {"content-type": "text/html; charset=utf-8", **self.headers}
            route.fulfill(body=self.html, headers=headers)

    def _call(self, shop: PaperShop, route: Route) -> None:
        if not shop.reachable:
            route.abort("connectionrefused")
            return
        answer = shop.answer(route.request)
        if answer is None:
            self.unanswered.append(route)
            return
        status, body = answer
        headers = {**_CORS, "content-type": "application/json"}
        if status == 429:
            headers["retry-after"] = str(body.get("retry_after", 1))
        route.fulfill(status=status, body=json.dumps(body), headers=headers)

    def _socket(self, socket: WebSocketRoute) -> None:
        self.shops[urlsplit(socket.url).netloc].listen(socket)

    def enter(self, route: str = "", *, attributes: str = "", lang: str = "en") -> PaperWindow:
        """Load the host's page."""
        self.html = HOST_PAGE.format(attributes=attributes, lang=lang)
        self.page.goto(f"{self.origin}/#/messages/{route}".rstrip("/"))
        self.page.locator("bookconnect-inbox").wait_for(state="attached")
        return self

    def wait_until_live(self) -> None:
        """The line is open, and what was missed before is here."""
        self.page.wait_for_function(
            "document.querySelector('bookconnect-messages').shadowRoot"
            ".querySelector('bookconnect-inbox').clients.worst.link === 'live'"
        )

    @property
    def thread(self) -> Locator:
        """The open conversation."""
        return self.page.locator("bookconnect-thread")

    @property
    def bubbles(self) -> Locator:
        """Its messages."""
        return self.page.locator("bookconnect-thread .bubble")

    @property
    def composer(self) -> Locator:
        """The field to write in."""
        return self.page.locator("bookconnect-composer textarea")

    def row(self, name: str) -> Locator:
        """The inbox row of the conversation with somebody."""
        return self.page.locator("bookconnect-inbox a.row", has_text=name)

    def say(self, text: str) -> None:
        """Write a message and send it."""
        self.composer.fill(text)
        self.send()

    def send(self) -> None:
        """Send what is written."""
        send_what_is_written(self.page)


_CORS = {"access-control-allow-origin": "*", "access-control-expose-headers": "retry-after"}


def _type(path: str) -> dict[str, str]:
    return {"content-type": "text/javascript" if path.endswith(".js") else "text/css"}


def open_paper(context: BrowserContext, *shops: PaperShop) -> PaperWindow:
    """A window on these shops; the first one's origin is the page's."""
    return PaperWindow(context, list(shops))
