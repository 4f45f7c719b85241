from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookconnect_dm.notes import LIMIT, PEOPLE, TYPERS, Note, sign, verified

KEY = b"k" * 64
NOTE = Note(server="one", boot="b", at=1.5, seq=3, online=["u"], typing=[("c", "u")], asks=True)


def test_a_note_comes_back_as_it_was() -> None:
    assert verified(sign(NOTE, KEY), KEY) == NOTE


def test_the_longest_note_fits() -> None:
    people = [str(uuid4()) for _ in range(PEOPLE)]
    pairs = [(str(uuid4()), str(uuid4())) for _ in range(TYPERS)]
    name = "s" * 48
    note = Note(server=name, boot=name, at=1.7e9 + 1e-6, seq=1 << 60, online=people, typing=pairs)
    data = sign(note, KEY)
    assert len(data) <= LIMIT
    assert verified(data, KEY) == note


@given(st.binary(max_size=200))
def test_nobody_else_makes_a_note(data: bytes) -> None:
    assert verified(data, KEY) is None


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_note_that_was_changed_is_none(at: int, by: int) -> None:
    data = bytearray(sign(NOTE, KEY))
    data[at % len(data)] ^= by
    assert verified(bytes(data), KEY) is None


@pytest.mark.parametrize("cut", [0, 1, 31, 32, 33])
def test_a_note_that_was_cut_is_none(cut: int) -> None:
    assert verified(sign(NOTE, KEY)[:cut], KEY) is None


def test_another_key_and_too_much_are_refused() -> None:
    assert verified(sign(NOTE, b"x" * 64), KEY) is None
    long = Note(server="s" * LIMIT, boot="b", at=0)
    assert verified(sign(long, KEY), KEY) is None
