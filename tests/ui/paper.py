"""A shop of paper: the page's real files and a server that a test writes by hand.

In charge of: answering the page's requests and sockets inside the browser, so that a state which
a real server reaches once a year takes a second; time, numbers and failures are the test's.
Knows about: the contract's shapes, Playwright's routes. Does not know: what any test is about.
"""

from __future__ import annotations

import json
import mimetypes
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    WebSocketRoute,
)

import bookconnect_dm

__all__ = ["HOST_PAGE", "Member", "PaperShop", "PaperWindow", "open_paper", "wire"]

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

_PAGE = 50
_EXPIRES = timedelta(days=365)


def wire(at: datetime) -> str:
    """A moment as the wire has it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody with a name."""

    username: str
    displayname: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def shape(self) -> dict[str, Any]:
        """As the wire has a member."""
        return {
            "id": self.id,
            "username": self.username,
            "displayname": self.displayname,
            "avatar_url": None,
        }


class PaperShop:
    """One server: its members, its conversations, and everybody who listens."""

    def __init__(
        self, origin: str = "https://books.test", *, tier: str = "privileged_plus"
    ) -> None:
        self.origin = origin
        self.tier = tier
        self.grace_ends_at: str | None = None
        self.ada = Member("ada", "Ada Lindqvist")
        self.ben = Member("ben", "Ben Okafor")
        self.members = [self.ben]
        self.rows: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, list[dict[str, Any]]] = {}
        self.sockets: list[WebSocketRoute] = []
        self.heard: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.removed: list[str] = []
        self.deleted: dict[str, list[dict[str, str]]] = {}
        self.reachable = True
        self.page_size = _PAGE
        self.refuses: dict[str, tuple[int, dict[str, Any]]] = {}
        self._clock = now() - timedelta(seconds=30)

    # What the test does.

    def converse(self, other: Member, *, created_at: datetime | None = None) -> str:
        """A conversation between Ada and somebody."""
        at = wire(created_at or now() - timedelta(days=300))
        conversation_id = str(uuid.uuid4())
        self.rows[conversation_id] = {
            "id": conversation_id, "store_id": str(uuid.UUID(int=1)), "created_at": at,
            "updated_at": at, "last_read_at": wire(now()), "unread_count": 0,
            "other_participant": {**other.shape, "last_read_at": at}, "last_message": None,
        }  # fmt: skip
        self.messages[conversation_id] = []
        return conversation_id

    def put(
        self, talk: str, sender: Member, content: str, *, at: datetime | None = None,
        lives: timedelta = _EXPIRES, message_id: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A message that is simply there."""
        self._clock = max(self._clock + timedelta(microseconds=1), now()) if at is None else at
        message = {
            "id": message_id or str(uuid.uuid4()), "conversation_id": talk, "sender_id": sender.id,
            "content": content, "sent_at": wire(self._clock),
            "expires_at": wire(self._clock + lives), "is_deleted": False,
        }  # fmt: skip
        self.messages[talk].append(message)
        self.rows[talk]["updated_at"] = message["sent_at"]
        self.rows[talk]["last_message"] = {k: message[k] for k in _LAST}
        return message

    def say(self, talk: str, sender: Member, content: str, **given: Any) -> dict[str, Any]:
        """A message that is delivered live."""
        message = self.put(talk, sender, content, **given)
        self.tell({"type": "message", "message": message})
        return message

    def tell(self, frame: dict[str, Any]) -> None:
        """A frame to everybody."""
        for socket in list(self.sockets):
            socket.send(json.dumps(frame))

    def later(self) -> str:
        """A moment after everything that has happened."""
        self._clock = max(self._clock + timedelta(microseconds=1), now())
        return wire(self._clock)

    def cut(self) -> None:
        """The server is gone: sockets die, calls find nobody."""
        self.reachable = False
        for socket in self.sockets:
            socket.close(code=1012)
        self.sockets.clear()

    # What the page gets.

    def answer(self, request: Request) -> tuple[int, Any]:
        """The answer to one call."""
        parts = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.calls.append(f"{request.method} {parts.path}")
        for pattern, refusal in self.refuses.items():
            if re.search(pattern, self.calls[-1]):
                return refusal
        body: dict[str, Any] = json.loads(request.post_data or "{}")
        for method, pattern, handle in self._table():
            if method == request.method and (found := re.fullmatch(pattern, parts.path)):
                return handle(*found.groups(), {**query, **body})
        return 404, {"code": "NOT_FOUND", "detail": parts.path}

    def _table(self) -> Iterator[tuple[str, str, Callable[..., tuple[int, Any]]]]:
        yield "GET", "/v1/me", lambda _: (200, self._me())
        yield "GET", "/v1/conversations", lambda _: (200, self._inbox())
        yield "POST", "/v1/conversations", self._start
        yield "GET", "/v1/conversations/([^/]+)", self._row
        yield "GET", "/v1/conversations/([^/]+)/messages", self._page
        yield "POST", "/v1/conversations/([^/]+)/messages", self._sent
        yield (
            "POST",
            "/v1/conversations/([^/]+)/read",
            lambda *_: (200, {"last_read_at": None}),
        )
        yield "POST", "/v1/sync", self._sync
        yield "DELETE", "/v1/messages/([^/]+)", lambda gone, _: self._delete(gone)
        yield "GET", "/v1/members", self._found

    def _me(self) -> dict[str, Any]:
        days = {"free": 30, "privileged": 180}.get(self.tier, 365)
        retention = {"tier": self.tier, "retention_days": days, "grace_ends_at": self.grace_ends_at}
        return {
            **self.ada.shape, "tier": self.tier, "can_start_conversations": self.tier != "free",
            "stores": [], "retention": retention,
        }  # fmt: skip

    def _inbox(self) -> dict[str, Any]:
        return {"conversations": list(self.rows.values()), "next_cursor": None}

    def _row(self, talk: str, _: Any) -> tuple[int, Any]:
        if talk not in self.rows:
            return 404, {"code": "CONVERSATION_NOT_FOUND", "detail": "No."}
        return 200, self.rows[talk]

    def _page(self, talk: str, query: dict[str, str]) -> tuple[int, Any]:
        if talk not in self.rows:
            return 404, {"code": "CONVERSATION_NOT_FOUND", "detail": "No."}
        alive = [m for m in self.messages[talk] if m["expires_at"] > wire(now())]
        before = query.get("before", "~")
        older = [m for m in alive if m["sent_at"] < before]
        limit = max(self.page_size, int(query.get("limit", _PAGE)))
        page, has_more = older[-limit:], len(older) > limit
        cursor = page[0]["sent_at"] if has_more else None
        return 200, {"messages": page, "has_more": has_more, "next_cursor": cursor}

    def _start(self, body: dict[str, str]) -> tuple[int, Any]:
        other = next(one for one in self.members if one.id == body["recipient_id"])
        for talk, row in self.rows.items():
            if row["other_participant"]["id"] == other.id:
                return 200, {"conversation_id": talk, "is_existing": True}
        return 201, {"conversation_id": self.converse(other), "is_existing": False}

    def _sent(self, talk: str, body: dict[str, str]) -> tuple[int, Any]:
        return 201, self._send(talk, body["id"], body["content"])

    def _send(self, talk: str, message_id: str, content: str) -> dict[str, Any]:
        known = [m for m in self.messages[talk] if m["id"] == message_id]
        return known[0] if known else self.say(talk, self.ada, content, message_id=message_id)

    def _delete(self, message_id: str) -> tuple[int, Any]:
        self.removed.append(message_id)
        for talk, held in self.messages.items():
            if any(m["id"] == message_id for m in held):
                self.messages[talk] = [m for m in held if m["id"] != message_id]
                self.rows[talk]["last_message"] = None
                frame = {"type": "message_deleted", "id": message_id, "conversation_id": talk}
                self.tell({**frame, "deleted_at": wire(now())})
        return 204, None

    def _sync(self, body: dict[str, Any]) -> tuple[int, Any]:
        changes = []
        for talk, row in self.rows.items():
            since = body["positions"].get(talk)
            fresh = [m for m in self.messages[talk] if since is not None and m["sent_at"] > since]
            changes.append(
                {"conversation_id": talk, "messages": fresh, "complete": True,
                 "deleted": self.deleted.get(talk, []),
                 "position": max(since or "", row["updated_at"])}
            )  # fmt: skip
        rows = list(self.rows.values())
        return 200, {"epoch": "paper", "reload": False, "conversations": rows, "changes": changes,
                     "reads": [], "gone": [], "next_cursor": None}  # fmt: skip

    def _found(self, query: dict[str, str]) -> tuple[int, Any]:
        text = query.get("query", "").lower()
        found = [one for one in self.members if text in one.displayname.lower()]
        return 200, {"members": [{**one.shape, "can_message": True} for one in found]}

    def listen(self, socket: WebSocketRoute) -> None:
        """A page's socket."""
        if not self.reachable:
            socket.close(code=1012)
            return
        socket.on_message(lambda text: self._frame(socket, json.loads(text)))

    def _frame(self, socket: WebSocketRoute, frame: dict[str, Any]) -> None:
        self.heard.append(frame)
        kind, ack = frame["type"], {"type": "ack", "ref": frame.get("ref")}
        if kind == "auth" and "ref" not in frame:
            self.sockets.append(socket)
            ready = {"type": "ready", "v": 1, "user_id": self.ada.id, "epoch": "paper"}
            socket.send(json.dumps({**ready, "token_expires_at": None, "limits": {}}))
        elif f"socket {kind}" in self.refuses:
            refusal = self.refuses[f"socket {kind}"][1]
            socket.send(json.dumps({"type": "error", "ref": frame["ref"], **refusal}))
        elif kind == "send":
            sent = self._send(frame["conversation_id"], frame["id"], frame["content"])
            socket.send(json.dumps({**ack, "message": sent}))
        elif kind == "delete":
            self._delete(frame["id"])
            socket.send(json.dumps(ack))
        elif kind == "ping":
            socket.send('{"type":"pong"}')
        elif "ref" in frame:
            socket.send(json.dumps({**ack, "last_read_at": frame.get("up_to")}))


_LAST = ("id", "content", "sent_at", "sender_id", "expires_at")


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
        self.forgiven = r"net::ERR_|status of [45]\d\d|WebSocket connection"
        context.set_default_timeout(10_000)
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
        status, body = shop.answer(route.request)
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
        """Write and send."""
        self.composer.fill(text)
        self.composer.press("Enter")


_CORS = {"access-control-allow-origin": "*", "access-control-expose-headers": "retry-after"}


def _type(path: str) -> dict[str, str]:
    return {"content-type": "text/javascript" if path.endswith(".js") else "text/css"}


def open_paper(context: BrowserContext, *shops: PaperShop) -> PaperWindow:
    """A window on these shops; the first one's origin is the page's."""
    return PaperWindow(context, list(shops))
