"""A server of paper: a test writes its rows by hand, and it answers as the real one would.

In charge of: answers to the page's calls and frames, made from the rows at the time of asking, so
that a state which a real server reaches once a year takes a second; time, numbers and failures are
the test's.
Knows about: the contract's shapes. Does not know: windows; what any test is about.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Request, WebSocketRoute

__all__ = ["Member", "PaperShop", "now", "wire"]

_PAGE = 50
_MANY = 100
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
    id: str = ""

    def __post_init__(self) -> None:
        """One name, one id: the colour of a face is the same in every picture."""
        object.__setattr__(
            self, "id", self.id or str(uuid.uuid5(uuid.NAMESPACE_DNS, self.username))
        )

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
        self.stuck: set[str] = set()
        self.closed: set[str] = set()
        # What happens, once, just before a call or frame is answered, and just after.
        self.before: dict[str, Callable[[], object]] = {}
        self.after: dict[str, Callable[[], object]] = {}
        self._clock = now() - timedelta(seconds=30)

    # What the test does.

    def converse(self, other: Member, *, created_at: datetime | None = None) -> str:
        """A conversation between Ada and somebody."""
        at = wire(created_at or now() - timedelta(days=300))
        conversation_id = str(uuid.uuid4())
        self.rows[conversation_id] = {
            "id": conversation_id, "store_id": str(uuid.UUID(int=1)), "created_at": at,
            "updated_at": at, "last_read_at": wire(now()),
            "other_participant": {**other.shape, "last_read_at": at},
        }  # fmt: skip
        self.messages[conversation_id] = []
        return conversation_id

    def put(
        self, talk: str, sender: Member, content: str, *, at: datetime | None = None,
        lives: timedelta = _EXPIRES, message_id: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A message that is simply there, and has been read."""
        message = self._add(talk, sender, content, at=at, lives=lives, message_id=message_id)
        self._read(talk, message["sent_at"])
        return message

    def _add(
        self, talk: str, sender: Member, content: str, *, at: datetime | None = None,
        lives: timedelta = _EXPIRES, message_id: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        self._clock = max(self._clock + timedelta(microseconds=1), now()) if at is None else at
        message = {
            "id": message_id or str(uuid.uuid4()), "conversation_id": talk, "sender_id": sender.id,
            "content": content, "sent_at": wire(self._clock),
            "expires_at": wire(self._clock + lives), "is_deleted": False,
        }  # fmt: skip
        self.messages[talk].append(message)
        self.rows[talk]["updated_at"] = message["sent_at"]
        return message

    def _read(self, talk: str, up_to: str) -> str:
        row = self.rows[talk]
        row["last_read_at"] = max(row["last_read_at"], up_to)
        return str(row["last_read_at"])

    def say(self, talk: str, sender: Member, content: str, **given: Any) -> dict[str, Any]:
        """A message that is delivered live, to whoever listens."""
        message = self._add(talk, sender, content, **given)
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
        self.hang_up(1012)

    def hang_up(self, code: int) -> None:
        """Every socket ends with this code."""
        for socket in self.sockets:
            socket.close(code=code)
        self.sockets.clear()

    # What the page gets.

    def answer(self, request: Request) -> tuple[int, Any] | None:
        """The answer to one call; none for one that is stuck."""
        parts = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.calls.append(f"{request.method} {parts.path}")
        if any(re.search(pattern, self.calls[-1]) for pattern in self.stuck):
            return None
        for pattern, refusal in self.refuses.items():
            if re.search(pattern, self.calls[-1]):
                return refusal
        body: dict[str, Any] = json.loads(request.post_data or "{}")
        self._happens(self.before, self.calls[-1])
        answer = self._answer(request.method, parts.path, {**query, **body})
        self._happens(self.after, self.calls[-1])
        return answer

    def _answer(self, verb: str, path: str, given: dict[str, Any]) -> tuple[int, Any]:
        for method, pattern, handle in self._table():
            if method == verb and (found := re.fullmatch(pattern, path)):
                return handle(*found.groups(), given)
        return 404, {"code": "NOT_FOUND", "detail": path}

    @staticmethod
    def _happens(what: dict[str, Callable[[], object]], when: str) -> None:
        if when in what:
            what.pop(when)()

    def _table(self) -> Iterator[tuple[str, str, Callable[..., tuple[int, Any]]]]:
        yield "GET", "/v1/me", lambda _: (200, self._me())
        yield "GET", "/v1/conversations", lambda _: (200, self._inbox())
        yield "POST", "/v1/conversations", self._start
        yield "GET", "/v1/conversations/([^/]+)", self._row
        yield "GET", "/v1/conversations/([^/]+)/messages", self._page
        yield "POST", "/v1/conversations/([^/]+)/messages", self._sent
        yield "POST", "/v1/conversations/([^/]+)/read", self._marked
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
        return {"conversations": self._shapes(), "next_cursor": None}

    def _alive(self, talk: str) -> list[dict[str, Any]]:
        at = wire(now())
        return [m for m in self.messages[talk] if m["expires_at"] > at]

    def _shape(self, talk: str) -> dict[str, Any]:
        """A conversation as it is at this moment: its last message and its count are counted."""
        row, alive = self.rows[talk], self._alive(talk)
        theirs = [m["sent_at"] for m in alive if m["sender_id"] != self.ada.id]
        unread = sum(sent_at > row["last_read_at"] for sent_at in theirs)
        last = {k: alive[-1][k] for k in _LAST} if alive else None
        return {**row, "last_message": last, "unread_count": min(_MANY, unread)}

    def _shapes(self) -> list[dict[str, Any]]:
        return [self._shape(talk) for talk in self.rows]

    def _marked(self, talk: str, body: dict[str, str]) -> tuple[int, Any]:
        return 200, {"last_read_at": self._mark(talk, body["up_to"])}

    def _mark(self, talk: str, up_to: str) -> str:
        at = self._read(talk, up_to)
        frame = {"type": "read", "conversation_id": talk, "user_id": self.ada.id}
        self.tell({**frame, "last_read_at": at})
        return at

    def _row(self, talk: str, _: Any) -> tuple[int, Any]:
        if talk not in self.rows:
            return 404, {"code": "CONVERSATION_NOT_FOUND", "detail": "No."}
        return 200, self._shape(talk)

    def _page(self, talk: str, query: dict[str, str]) -> tuple[int, Any]:
        if talk not in self.rows:
            return 404, {"code": "CONVERSATION_NOT_FOUND", "detail": "No."}
        alive = self._alive(talk)
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
                frame = {"type": "message_deleted", "id": message_id, "conversation_id": talk}
                self.tell({**frame, "deleted_at": wire(now())})
        return 204, None

    def _sync(self, body: dict[str, Any]) -> tuple[int, Any]:
        changes = []
        for talk, row in self.rows.items():
            since = body["positions"].get(talk)
            fresh = [m for m in self._alive(talk) if since is not None and m["sent_at"] > since]
            changes.append(
                {"conversation_id": talk, "messages": fresh, "complete": True,
                 "deleted": self.deleted.get(talk, []),
                 "position": max(since or "", row["updated_at"])}
            )  # fmt: skip
        return 200, {"epoch": "paper", "reload": False, "conversations": self._shapes(),
                     "changes": changes, "reads": [], "gone": [], "next_cursor": None}  # fmt: skip

    def _found(self, query: dict[str, str]) -> tuple[int, Any]:
        text = query.get("query", "").lower()
        found = [one for one in self.members if text in one.displayname.lower()]
        shapes = [
            {**one.shape, "can_message": self.tier != "free" and one.id not in self.closed}
            for one in found
        ]
        return 200, {"members": shapes}

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
            self._happens(self.before, "socket auth")
            self.sockets.append(socket)
            ready = {"type": "ready", "v": 1, "user_id": self.ada.id, "epoch": "paper"}
            socket.send(json.dumps({**ready, "token_expires_at": None, "limits": {}}))
            self._happens(self.after, "socket auth")
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
        elif kind == "read":
            at = self._mark(frame["conversation_id"], frame["up_to"])
            socket.send(json.dumps({**ack, "last_read_at": at}))
        elif "ref" in frame:
            socket.send(json.dumps(ack))


_LAST = ("id", "content", "sent_at", "sender_id", "expires_at")
