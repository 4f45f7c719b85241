"""What servers say to each other through the log: who is typing, who is online.

In charge of: the form of a note, its signature, and how old it may be.
Knows about: nothing but bytes. Anybody may put messages into the log, so what is not signed with
the servers' key, or is too long, is no note.
Does not know: clocks, sockets, the database, who hears of what. `presence` tells what notes mean.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import msgspec
from msgspec import Struct

__all__ = ["LIMIT", "PEOPLE", "PREFIX", "STALE_S", "TYPERS", "Note", "sign", "verified"]

PREFIX: Final = "bookconnect_dm"
"""What our messages in the log are called."""
LIMIT: Final = 65_536
"""Bytes of a note with its signature; the database refuses to put a longer one into the log."""
PEOPLE: Final = 700
"""People whose coming or going is in one note at most, some 40 bytes each."""
TYPERS: Final = 350
"""Pairs of conversation and user who is typing there, in one note at most, some 80 bytes each."""
STALE_S: Final = 5.0
"""Who was typing so long ago is not typing."""

_SIGNATURE: Final = hashlib.sha256().digest_size


class Note(Struct, frozen=True, omit_defaults=True):
    """What one server says, and that it lives. `seq` counts its changes of who is online."""

    server: str
    boot: str
    """One life of the server: it forgets who was online in an earlier one."""
    at: float
    """When it was said, by the database's clock, in seconds."""
    seq: int = 0
    full: bool = False
    """`online` is all there is; otherwise it comes on top."""
    online: list[str] = []
    offline: list[str] = []
    typing: list[tuple[str, str]] = []
    """Pairs of conversation and user."""
    asks: bool = False
    """Every server says in full who is online there, please."""
    bye: bool = False
    """The server stops."""


_decoder: msgspec.json.Decoder[Note] = msgspec.json.Decoder(Note)
_encoder = msgspec.json.Encoder()


def sign(note: Note, key: bytes) -> bytes:
    """The bytes that go into the log."""
    body = _encoder.encode(note)
    return _signature(body, key) + body


def verified(data: bytes, key: bytes) -> Note | None:
    """The note in `data`; None unless a server with our key has made it."""
    if not _SIGNATURE < len(data) <= LIMIT:
        return None
    body = data[_SIGNATURE:]
    if not hmac.compare_digest(data[:_SIGNATURE], _signature(body, key)):
        return None
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError:
        return None  # of another release, perhaps


def _signature(body: bytes, key: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")
