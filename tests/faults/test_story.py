"""A failing seed can be played again: its decisions are its own."""

from __future__ import annotations

from collections import Counter

from tests.faults.story import ACTS, BLOWS, MEMBERS, tell
from tests.helpers.weather import FATES, FAULTY, fate_of_call


def test_a_seed_always_tells_the_same_story() -> None:
    assert tell(7, 2_000) == tell(7, 2_000)
    assert tell(7, 2_000).digest == tell(7, 2_000).digest
    digests = {tell(seed, 2_000).digest for seed in range(20)}
    assert len(digests) == 20


def test_a_story_has_everything_in_it() -> None:
    story = tell(1, 2_000)
    assert len(story.acts) == MEMBERS
    acts = Counter(act.kind for acts in story.acts for act in acts)
    assert acts.total() == 2_000
    assert acts.keys() == ACTS.keys()
    assert {blow.kind for blow in story.blows} == set(BLOWS)
    assert all(blow.after < 2_000 for blow in story.blows)
    assert len(tell(1, 10_000).blows) == 25


def test_a_call_s_fate_is_its_number_s() -> None:
    fates = [fate_of_call("1/3", number)[0] for number in range(2_000)]
    assert fates == [fate_of_call("1/3", number)[0] for number in range(2_000)]
    seen = Counter(fates)
    assert seen.keys() == FATES.keys() | {"none"}
    assert seen["none"] / len(fates) < 1.1 - FAULTY
    assert fates != [fate_of_call("1/4", number)[0] for number in range(2_000)]
