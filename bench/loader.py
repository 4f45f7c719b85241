"""Rows of a store that has been talked in for a year, the same ones each time.

In charge of: who talks with whom and how much, how long messages are, how long they stay.
Knows about: PostgreSQL's binary COPY format, our table of messages.
Does not know: databases. `stores` puts the rows in.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

__all__ = ["ACTIVE", "LONG", "PEOPLE", "Shape", "make_shape", "rows", "texts"]

ACTIVE: Final = 500
PEOPLE: Final = 1_500
A_DAY: Final = 50
DAYS: Final = 365
LONG: Final = 1
"""The conversation with 100,000 messages, by number; its members are 4 and 5."""
LONG_MESSAGES: Final = 100_000
INBOXES: Final = {1: 1_000, 2: 200, 3: 20}
"""Members with so many conversations, for the inbox."""
PERIODS: Final = {"free": 30, "privileged": 180, "privileged_plus": 365}
EPOCH_S: Final = 946_684_800
CHOICES: Final = 1 << 16
TEXTS: Final = 1 << 12
WORDS: Final = [
    "the",
    "a",
    "of",
    "and",
    "book",
    "chapter",
    "lighthouse",
    "reader",
    "page",
    "author",
    "ending",
    "evening",
    "shelf",
    "quiet",
    "story",
    "letter",
    "have",
    "you",
    "read",
    "it",
    "again",
    "wonderful",
    "slowly",
    "because",
    "never",
    "always",
    "translation",
    "edition",
    "naïve",
    "café",
    "précis",
    "first",
    "second",
    "winter",
    "garden",
    "signed",
    "copy",
    "borrow",
    "return",
    "tomorrow",
]


@dataclass(frozen=True, slots=True)
class Shape:
    """The conversations of a store: the two members of each, and how much is said in it."""

    ones: list[int]
    others: list[int]
    weights: list[float]


def make_shape(seed: int = 1) -> Shape:
    """Friendships first: a few members know many, most know a dozen."""
    rng = random.Random(seed)
    wanted = {n: INBOXES.get(n, min(60, 4 + int(rng.lognormvariate(2.2, 0.7))))
              for n in range(1, ACTIVE + 1)}  # fmt: skip
    busy = {n: rng.lognormvariate(0, 0.8) for n in range(1, ACTIVE + 1)}
    pairs: dict[tuple[int, int], float] = {(4, 5): 0.0}
    count = dict.fromkeys(range(1, PEOPLE + 1), 0)
    for one, many in wanted.items():
        rank = 0
        for _ in range(4 * many):
            if count[one] >= many:
                break
            # The busy readers know everybody; most people know those who write.
            pool = PEOPLE if one in INBOXES or rng.random() < 0.2 else ACTIVE
            other = rng.randint(len(INBOXES) + 1, pool)
            pair = min(one, other), max(one, other)
            if one == other or pair in pairs:
                continue
            rank += 1
            pairs[pair] = busy[one] / rank  # a best friend, a second best, ...
            count[one] += 1
            count[other] += 1
    ones, others = zip(*pairs, strict=True)
    return Shape(list(ones), list(others), list(pairs.values()))


def messages_in(share: float) -> int:
    """Messages of a year at `share` of the mission's rate."""
    return int(ACTIVE * A_DAY * DAYS * share)


def rows(
    shape: Shape, *, share: float, now_s: float, steady: bool = False, seed: int = 1
) -> Iterator[tuple[int, bytes]]:
    """Pieces of binary COPY, each with its number of rows, in the order of time.

    Without `steady` nothing has expired: every message of the year is readable, which is the most
    that reads can be asked for. With it the senders' tiers have taken theirs, as the sweep does.
    """
    rng = random.Random(seed)
    total = messages_in(share)
    choices, contents = _choices(shape, total), texts(rng)
    # A year less a day: nothing of it expires while the store is in use.
    start = int((now_s - (DAYS - 1) * 86_400 - EPOCH_S) * 1e6)
    step = (DAYS - 1) * 86_400 * 1_000_000 // total
    now = int((now_s - EPOCH_S) * 1e6)
    head = struct.Struct("!hi16si16si16si").pack
    tail = struct.Struct("!iqi?iiq").pack
    tail_deleted = struct.Struct("!iqi?iqiq").pack
    bits, pack_id = rng.getrandbits, struct.Struct("!QQ").pack
    yield 0, b"PGCOPY\n\xff\r\n\x00" + bytes(8)
    piece: list[bytes] = []
    for n in range(total):
        r = bits(96)
        conversation, sender, period = choices[(r & 0xFFFF) << 1 | (r >> 16) & 1]
        sent_at = start + n * step + (r >> 17) % step
        if steady and sent_at + period <= now:
            continue
        expires_at = sent_at + (period if steady else DAYS * 86_400_000_000)
        ms = sent_at // 1000 + EPOCH_S * 1000
        message_id = pack_id(
            ms << 16 | 0x7000 | (r >> 40) & 0xFFF, 1 << 63 | (r >> 34) & (1 << 62) - 1
        )
        text = contents[r >> 84]
        piece += (head(8, 16, message_id, 16, conversation, 16, sender, len(text)), text)
        if r >> 77 & 127:
            piece.append(tail(8, sent_at, 1, False, -1, 8, expires_at))
        else:  # one in 128 was taken back by its sender
            gone_at = sent_at + 30_000_000
            piece.append(tail_deleted(8, sent_at, 1, True, 8, gone_at, 8, expires_at))
        if len(piece) >= 40_000:
            yield len(piece) // 3, b"".join(piece)
            piece = []
    yield len(piece) // 3, b"".join(piece) + struct.pack("!h", -1)


def _choices(shape: Shape, total: int) -> list[tuple[bytes, bytes, int]]:
    """Conversation, sender, his period: two for each number from 0, as often as they talk."""
    long_share = min(0.9, LONG_MESSAGES / total)
    rest = sum(shape.weights)
    weights = [long_share * rest / (1 - long_share), *shape.weights[1:]]
    edges = list(accumulate(weights))
    found: list[tuple[bytes, bytes, int]] = []
    at = 0
    for n in range(CHOICES):
        while edges[at] < (n + 0.5) / CHOICES * edges[-1]:
            at += 1
        for member in (shape.ones[at], shape.others[at]):
            writer = member if member <= ACTIVE else shape.ones[at]  # the quiet ones only read
            period = PERIODS[tier_of(writer)] * 86_400_000_000
            found.append((_id("c", at + 1), _id("e", writer), period))
    return found


def tier_of(member: int) -> str:
    """As stores.sql has it."""
    last = member % 10
    return "free" if last < 7 else "privileged" if last < 9 else "privileged_plus"


def _id(kind: str, number: int) -> bytes:
    return bytes.fromhex(f"{kind}0000000000040008000{number:012x}")


def texts(rng: random.Random) -> list[bytes]:
    """Their lengths: most of a line, some of a page, 100 characters on average."""
    found = []
    for _ in range(TEXTS):
        length = max(2, min(1_000, int(rng.lognormvariate(4.2, 0.9))))
        words = " ".join(rng.choice(WORDS) for _ in range(length // 3 + 1))
        found.append(words[:length].strip().ljust(2, ".").encode())
    return found


def loaded_at() -> float:
    """The moment that is `now` for a store that is loaded now."""
    return float(int(time.time()))
