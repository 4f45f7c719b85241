"""Every way in which a request can fail, in one table.

In charge of: the error codes with their HTTP status, socket close code and text.
Knows about: nothing else in the package.
Does not know: HTTP, sockets, SQL. `db`, `rest`, `ws` and `client` translate at their doors.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["CLOSES", "ERRORS", "Close", "ErrorKind", "Problem", "kind_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorKind:
    """One row of the table: what a code means to a program and to a person."""

    code: str
    status: int
    title: str
    meaning: str
    what_to_do: str
    close_code: int | None = None
    """The code a socket is closed with, where the error ends the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Why the server closed a socket, and what the client does next."""

    code: int
    name: str
    meaning: str
    what_to_do: str


def _table(*rows: ErrorKind) -> MappingProxyType[str, ErrorKind]:
    return MappingProxyType({row.code: row for row in rows})


ERRORS: Final = _table(
    ErrorKind(
        code="UNAUTHENTICATED",
        status=401,
        close_code=4401,
        title="Not signed in",
        meaning="The token is missing, has ended, is not ours, or is no member's: another role, or "
        "a sub that is no id.",
        what_to_do="Get a fresh token from the host application and try again.",
    ),
    ErrorKind(
        code="PERMISSION_DENIED",
        status=403,
        title="Not allowed",
        meaning="The member is known, but may not do this.",
        what_to_do="Do not retry. Offer the action only where /v1/me and can_message allow it.",
    ),
    ErrorKind(
        code="STORE_CONTEXT_ERROR",
        status=403,
        title="Not your store",
        meaning="The store that was named is not one of the member's stores.",
        what_to_do="Name one of the stores in /v1/me, or leave store_id out.",
    ),
    ErrorKind(
        code="USER_NOT_FOUND",
        status=404,
        title="No such member",
        meaning="There is no such member in any store that you both belong to.",
        what_to_do="Look the member up with /v1/members.",
    ),
    ErrorKind(
        code="CONVERSATION_NOT_FOUND",
        status=404,
        title="No such conversation",
        meaning="The conversation does not exist, or is not yours. Which of them is not said.",
        what_to_do="Forget the conversation and load the list again.",
    ),
    ErrorKind(
        code="MESSAGE_NOT_FOUND",
        status=404,
        title="No such message",
        meaning="The message does not exist, is not in a conversation of yours, or has expired.",
        what_to_do="Forget the message.",
    ),
    ErrorKind(
        code="NOT_FOUND",
        status=404,
        title="No such address",
        meaning="Nothing is served at this path.",
        what_to_do="Check the path against /openapi.json.",
    ),
    ErrorKind(
        code="METHOD_NOT_ALLOWED",
        status=405,
        title="Method not allowed",
        meaning="The path exists, but not with this method.",
        what_to_do="Use one of the methods in the Allow header.",
    ),
    ErrorKind(
        code="INVALID_CONTENT",
        status=422,
        title="Message cannot be sent as it is",
        meaning="A message has 1 to 1,000 characters after trimming, and no NUL character.",
        what_to_do="Correct the text and send it under the same id.",
    ),
    ErrorKind(
        code="INVALID_REQUEST",
        status=400,
        title="Request not understood",
        meaning="A value is missing, malformed or out of range; `field` names it where one is.",
        what_to_do="Correct the request. Sending it again unchanged gives the same answer.",
    ),
    ErrorKind(
        code="CONFLICT",
        status=409,
        title="The id is taken",
        meaning="This message id was used before, with another content, conversation or sender.",
        what_to_do="Make a new id. A repeat of the same message under its id is no conflict.",
    ),
    ErrorKind(
        code="LEGAL_HOLD",
        status=409,
        title="Under legal hold",
        meaning="The conversation must be kept for now, so nothing in it can be removed.",
        what_to_do="Try again once the operator has released the hold.",
    ),
    ErrorKind(
        code="PAYLOAD_TOO_LARGE",
        status=413,
        close_code=1009,
        title="Too large",
        meaning="The body or frame is larger than this server accepts.",
        what_to_do="Send less at once.",
    ),
    ErrorKind(
        code="UNSUPPORTED_MEDIA_TYPE",
        status=415,
        title="Not JSON",
        meaning="A body is expected as application/json in UTF-8.",
        what_to_do="Set the Content-Type header to application/json.",
    ),
    ErrorKind(
        code="RATE_LIMIT_EXCEEDED",
        status=429,
        title="Too fast",
        meaning="The member did this more often than the server's limits allow.",
        what_to_do="Wait for the seconds in Retry-After (or retry_after), then go on.",
    ),
    ErrorKind(
        code="INTERNAL",
        status=500,
        close_code=4500,
        title="Our mistake",
        meaning="The server failed in a way that was not foreseen. It is in its log.",
        what_to_do="Try again with the same id; tell the operator if it stays.",
    ),
    ErrorKind(
        code="UNAVAILABLE",
        status=503,
        title="Not available right now",
        meaning="The database is away or busy, or too much is waiting for it.",
        what_to_do="Try again soon with the same id, with growing pauses.",
    ),
)
"""Code -> what it means. The reference page of errors is made from this table."""


CLOSES: Final = MappingProxyType(
    {
        row.code: row
        for row in (
            Close(
                code=1009,
                name="TOO_LARGE",
                meaning="A frame was larger than 64 KiB.",
                what_to_do="Do not send that frame again; reconnect.",
            ),
            Close(
                code=1012,
                name="RESTARTING",
                meaning="The server is being restarted.",
                what_to_do="Reconnect after a random pause, then sync.",
            ),
            Close(
                code=4401,
                name="UNAUTHENTICATED",
                meaning="The token was not accepted, or has ended.",
                what_to_do="Reconnect with a fresh token.",
            ),
            Close(
                code=4403,
                name="OTHER_MEMBER",
                meaning="The token was renewed with one of another member.",
                what_to_do="Use one socket per member.",
            ),
            Close(
                code=4408,
                name="NO_AUTH_IN_TIME",
                meaning="No auth frame came in time.",
                what_to_do="Send the auth frame first, at once.",
            ),
            Close(
                code=4409,
                name="TOO_SLOW",
                meaning="The client read more slowly than its frames came (1006 means the same).",
                what_to_do="Reconnect and sync.",
            ),
            Close(
                code=4429,
                name="TOO_MANY",
                meaning="More frames or more sockets than this server's limits allow.",
                what_to_do="Reconnect after a pause and send less.",
            ),
            Close(
                code=4500,
                name="INTERNAL",
                meaning="The server failed in a way that was not foreseen.",
                what_to_do="Reconnect after a random pause, then sync.",
            ),
        )
    }
)
"""Close code -> what it means."""


class Problem(Exception):  # noqa: N818  it is what problem+json calls it
    """A failure that has a name in the contract; the doors turn it into an answer."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.kind = kind_of(code)
        self.code = self.kind.code
        self.detail = detail or self.kind.meaning
        self.field = field
        self.retry_after = retry_after
        super().__init__(f"{self.code}: {self.detail}")


def kind_of(code: str) -> ErrorKind:
    """The row of `code`; an unknown code counts as INTERNAL."""
    return ERRORS.get(code) or ERRORS["INTERNAL"]
