from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookconnect_dm.content import LENGTH, SPACE, checked_content, trimmed, uuid7
from bookconnect_dm.errors import Problem

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "trim.json").read_text("utf-8"))


def test_the_list_of_space_is_the_one_of_the_contract() -> None:
    expected = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)}
    expected |= {0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF}
    assert {ord(c) for c in SPACE} == expected


@pytest.mark.parametrize("content", ["", " ", "\n\t", "\u3000\ufeff\u00a0", SPACE])
def test_blank_content_is_refused(content: str) -> None:
    with pytest.raises(Problem) as caught:
        checked_content(content)
    assert (caught.value.code, caught.value.field) == ("INVALID_CONTENT", "content")


@pytest.mark.parametrize("content", ["x" * 1001, "😀" * 1001, "a\0b", "half \ud83d", "\udc00"])
def test_content_that_cannot_be_stored_is_refused(content: str) -> None:
    with pytest.raises(Problem) as caught:
        checked_content(content)
    assert caught.value.code == "INVALID_CONTENT"


def test_a_thousand_characters_are_counted_after_trimming() -> None:
    assert checked_content("  " + "😀" * LENGTH + "\n") == "😀" * LENGTH


def test_characters_that_only_look_like_space_stay() -> None:
    assert checked_content("\u200bx\u180e") == "\u200bx\u180e"


@given(st.text())
def test_what_is_accepted_is_trimmed_short_and_storable(content: str) -> None:
    try:
        text = checked_content(content)
    except Problem:
        return
    assert text == trimmed(content) == trimmed(text)
    assert 1 <= len(text) <= LENGTH
    assert "\0" not in text
    text.encode()


def test_uuid7_sorts_by_the_time_it_was_made() -> None:
    made = [uuid7(ms) for ms in (0, 1, 1_790_000_000_000, 2**48 - 1)]
    assert made == sorted(made)
    assert {u.version for u in made} == {7}
    assert {u.variant for u in made} == {"specified in RFC 4122"}
    assert len({uuid7(5) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: ascii(v["content"])[:30])
def test_trimming_is_the_same_as_in_sql_and_javascript(vector: dict[str, str]) -> None:
    assert trimmed(vector["content"]) == vector["trimmed"]
