"""What a message may say, and the ids that messages get.

In charge of: trimming, the limits of a text, and making UUIDv7.
Knows about: Unicode, and the one list of characters that count as space at the ends of a text.
Does not know: who sends, or where. The database checks the same again, for those who do not ask us.
"""

from __future__ import annotations

import secrets
from typing import Final
from uuid import UUID

from bookconnect_dm.errors import Problem

__all__ = ["LENGTH", "SPACE", "checked_content", "trimmed", "uuid7"]

LENGTH: Final = 1000
"""Code points, after trimming."""

SPACE: Final = (
    "\u0009\u000a\u000b\u000c\u000d\u0020\u0085\u00a0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""The same list in SQL, Python and JavaScript: their own ideas of white space differ."""


def trimmed(text: str) -> str:
    """`text` without space at its ends."""
    return text.strip(SPACE)


def checked_content(content: str) -> str:
    """What will be stored for `content`. Raises `Problem` INVALID_CONTENT."""
    text = trimmed(content)
    if not text:
        raise _invalid("A message needs at least one visible character.")
    if len(text) > LENGTH:
        raise _invalid("A message has at most 1,000 characters.")
    if "\0" in text:
        raise _invalid("A message cannot hold the NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _invalid("The text holds half a character (a lone surrogate).") from None
    return text


def uuid7(now_ms: int) -> UUID:
    """An id that sorts by the millisecond in which it was made (RFC 9562)."""
    random_bits = secrets.randbits(74)
    high, low = random_bits >> 62, random_bits & ((1 << 62) - 1)
    return UUID(int=(now_ms & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)


def _invalid(detail: str) -> Problem:
    return Problem("INVALID_CONTENT", detail, field="content")
