"""One connection's side of the protocol: frames in, actions out.

In charge of: what a frame means at this moment (not yet signed in, signed in, over), the frame
rate, the end of the token, and which close code each fault has.
Knows about: the frames of `wire` and the close codes of the contract.
Does not know: sockets, tokens' contents, the database, clocks. `ws` does what the actions say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final
from uuid import UUID

from msgspec import UNSET, UnsetType

from bookconnect_dm import wire
from bookconnect_dm.auth import Identity
from bookconnect_dm.decoding import Ref
from bookconnect_dm.errors import Problem
from bookconnect_dm.limits import Bucket

__all__ = ["Action", "Close", "Join", "Reply", "Session", "State", "Verify", "error_frame"]

RESTARTING: Final = 1012
UNAUTHENTICATED: Final = 4401
OTHER_MEMBER: Final = 4403
NO_AUTH_IN_TIME: Final = 4408
TOO_MANY: Final = 4429


class State(Enum):
    """Where a connection stands."""

    WAITING = auto()
    """No token was accepted yet."""
    LIVE = auto()
    """Frames are taken."""
    OVER = auto()
    """A close was decided; whatever still comes in is dropped."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Look at this token, then call `Session.accepted` or `Session.refused`."""

    token: str
    ref: Ref | UnsetType


@dataclass(frozen=True, slots=True)
class Join:
    """The member is known: let frames for him begin, then send `ready`."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this frame."""

    frame: wire.ServerFrame


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket with this code."""

    code: int
    reason: str


Action = (
    Verify
    | Join
    | Reply
    | Close
    | wire.SendFrame
    | wire.DeleteFrame
    | wire.ReadFrame
    | wire.TypingFrame
    | wire.SubscribeFrame
)
"""What the shell does next. A client's frame stands for doing what it asks, under its `ref`."""


class Session:
    """The protocol state of one connection. Every method says what to do; none of them waits."""

    def __init__(
        self, *, frames_per_second: float, frame_burst: float, auth_seconds: float, now: float
    ) -> None:
        self._frames = Bucket(frames_per_second, frame_burst, now=now)
        self._deadline = now + auth_seconds if auth_seconds else math.inf
        self._user_id: UUID | None = None
        self.state = State.WAITING

    def count_frames_by(self, frames: Bucket) -> None:
        """From now on frames count for the member, whichever of his sockets they come through."""
        self._frames = frames

    @property
    def deadline(self) -> float:
        """When `tick` must be called at the latest."""
        return math.inf if self.state is State.OVER else self._deadline

    def tick(self, now: float) -> Close | None:
        """The time is `now`: the close that is due, if one is."""
        if self.state is State.OVER or now < self._deadline:
            return None
        if self.state is State.WAITING:
            return self._close(NO_AUTH_IN_TIME, "no auth frame in time")
        return self._close(UNAUTHENTICATED, "the token has ended")

    def receive(self, data: str | bytes, now: float) -> Action | None:
        """A frame came in: what to do about it."""
        if self.state is State.OVER:
            return None
        if (due := self.tick(now)) is not None:
            return due
        if self._frames.take(now) > 0:
            return self._close(TOO_MANY, "too many frames")
        if self.state is State.WAITING:
            return self._first(data)
        return self._next(data)

    def accepted(
        self, identity: Identity, ref: Ref | UnsetType = UNSET
    ) -> Join | Reply | Close | None:
        """The token of the last `Verify` is good."""
        if self.state is State.OVER:
            return None
        if self.state is State.WAITING:
            self._user_id = identity.user_id
            self._deadline = identity.expires_at
            self.state = State.LIVE
            return Join(identity)
        if identity.user_id != self._user_id:
            return self._close(OTHER_MEMBER, "renewed with another member's token")
        self._deadline = identity.expires_at
        return Reply(wire.AckFrame(ref=ref, token_expires_at=expiry_text(identity)))

    def refused(self, problem: Problem, ref: Ref | UnsetType = UNSET) -> Reply | Close | None:
        """The token of the last `Verify` is not good; a renewal may be tried again."""
        if self.state is State.OVER:
            return None
        if self.state is State.WAITING:
            # Only a token that was looked at sends the member to sign in again.
            known = problem.code == "UNAUTHENTICATED"
            return self._close(UNAUTHENTICATED if known else RESTARTING, problem.detail)
        return Reply(error_frame(problem, ref))

    def _first(self, data: str | bytes) -> Verify | Reply | Close | None:
        try:
            frame = wire.decode_client_frame(data)
        except wire.MalformedError as error:
            return self._close(UNAUTHENTICATED, error.detail)
        if frame is None:
            return None
        if not isinstance(frame, wire.AuthFrame):
            return self._close(UNAUTHENTICATED, "the first frame must be auth")
        return _verify(frame)

    def _next(self, data: str | bytes) -> Action | None:
        try:
            frame = wire.decode_client_frame(data)
        except wire.MalformedError as error:
            problem = Problem("INVALID_REQUEST", error.detail, field=error.field)
            return Reply(error_frame(problem, UNSET if error.ref is None else error.ref))
        if isinstance(frame, wire.AuthFrame):
            return _verify(frame)
        if isinstance(frame, wire.PingFrame):
            return Reply(wire.PongFrame())
        return frame

    def _close(self, code: int, reason: str) -> Close:
        self.state = State.OVER
        return Close(code, reason)


def _verify(frame: wire.AuthFrame) -> Verify | Reply:
    """Another version than ours is no fault of the token: the member may try again at once."""
    known = wire.PROTOCOL_VERSION
    if frame.v == known:
        return Verify(frame.token, frame.ref)
    detail = f"This server speaks version {known} of the protocol: send auth with v: {known}."
    return Reply(error_frame(Problem("INVALID_REQUEST", detail, field="v"), frame.ref))


def error_frame(problem: Problem, ref: Ref | UnsetType = UNSET) -> wire.ErrorFrame:
    """`problem` as the frame that answers the frame called `ref`."""
    return wire.ErrorFrame(
        code=problem.code,
        detail=problem.detail,
        ref=ref,
        field=problem.field or UNSET,
        retry_after=UNSET if problem.retry_after is None else problem.retry_after,
    )


def expiry_text(identity: Identity) -> str:
    """When the token ends, as it goes over the wire."""
    return wire.format_time(datetime.fromtimestamp(identity.expires_at, UTC))
