"""When a message expires: the rule for every history, and the cases that people ask about."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.postgres import Connection, Database
from tests.retention.clock import Clock
from tests.retention.model import ALWAYS, DAY, GRACE, PERIODS, Change, expiry
from tests.retention.views import look
from tests.retention.world import Stage

PROOF = os.environ.get("PROOF") == "1"
START = datetime(2024, 1, 1, tzinfo=UTC)
TIERS = list(PERIODS)

# Steps between changes: the lengths that the rule knows, a little more or less, and anything else.
_STEPS = st.one_of(
    st.builds(
        lambda days, jitter: days * DAY + timedelta(microseconds=jitter),
        st.sampled_from([0, 1, 15, 29, 30, 31, 60, 149, 150, 151, 179, 180, 181, 335, 364, 365]),
        st.sampled_from([-1, 0, 1]),
    ).map(lambda step: max(step, timedelta(microseconds=1))),
    st.timedeltas(timedelta(microseconds=1), 40 * DAY),
    st.timedeltas(timedelta(microseconds=1), 400 * DAY),
)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[datetime, list[Change]]:
    history = [Change(ALWAYS, draw(st.sampled_from(TIERS)))]
    at = START
    moments = [at]
    for step in draw(st.lists(_STEPS, max_size=7)):
        at += step
        moments.append(at)
        history.append(Change(at, draw(st.sampled_from(TIERS))))
    sent = draw(st.sampled_from(moments)) + draw(_STEPS) - draw(_STEPS)
    return sent, history


def _in_the_database(
    owner: Connection, cases: list[tuple[datetime, list[Change]]]
) -> list[datetime]:
    written = [
        {
            "sent": sent.isoformat(),
            "at": ["-infinity", *(change.at.isoformat() for change in history[1:])],
            "tiers": [change.tier for change in history],
        }
        for sent, history in cases
    ]
    rows = owner.execute(
        """
        select messaging.expiry_of(
            (c.value ->> 'sent')::timestamptz,
            array(select jsonb_array_elements_text(c.value -> 'at'))::timestamptz [],
            array(select jsonb_array_elements_text(c.value -> 'tiers'))
        ) as expiry
        from jsonb_array_elements(%s::jsonb) with ordinality as c
        order by c.ordinality
        """,
        (json.dumps(written),),
    ).fetchall()
    return [row["expiry"] for row in rows]


def test_the_database_computes_the_rule_for_every_history(pg: Database) -> None:
    with pg.connect(autocommit=True) as owner:

        @settings(max_examples=2000 if PROOF else 60, deadline=None, derandomize=not PROOF)
        @given(st.lists(_cases(), min_size=1, max_size=20))
        def holds(cases: list[tuple[datetime, list[Change]]]) -> None:
            assert _in_the_database(owner, cases) == [expiry(*case) for case in cases]

        holds()


def _random_case(dice: random.Random) -> tuple[datetime, list[Change]]:
    """As `_cases`, a thousand times as many a second."""

    def step() -> timedelta:
        known = timedelta(days=dice.choice([1, 15, 29, 30, 31, 60, 150, 180, 335, 365]))
        little = timedelta(microseconds=dice.choice([-1, 0, 1]))
        return dice.choice([known + little, dice.random() * 40 * DAY, dice.random() * 400 * DAY])

    moments = [START]
    for _ in range(dice.randrange(7)):
        moments.append(moments[-1] + max(step(), timedelta(microseconds=1)))
    sent = dice.choice(moments) + step() - step()
    at = [ALWAYS, *moments[1:]]
    return sent, [Change(moment, dice.choice(TIERS)) for moment in at]


def test_the_database_computes_the_rule_for_very_many_histories(pg: Database) -> None:
    dice = random.Random(25)
    with pg.connect(autocommit=True) as owner:
        for _ in range(200 if PROOF else 4):
            cases = [_random_case(dice) for _ in range(2500)]
            assert _in_the_database(owner, cases) == [expiry(*case) for case in cases]


@settings(max_examples=20_000 if PROOF else 300, deadline=None, derandomize=not PROOF)
@given(_cases())
def test_the_rule_keeps_its_promises(case: tuple[datetime, list[Change]]) -> None:
    sent, history = case
    assert sent + 30 * DAY <= expiry(sent, history) <= sent + 365 * DAY
    for known in range(1, len(history)):
        change = history[known]
        before, after = expiry(sent, history[:known]), expiry(sent, history[: known + 1])
        if change.at <= sent:
            continue
        if before <= change.at:
            assert after == before, "what has expired stays expired"
        elif change.period > history[known - 1].period:
            assert after >= max(before, sent + change.period), "an upgrade takes nothing away"
        else:
            assert after >= min(before, change.at + GRACE), "nothing goes within the grace"
            assert after <= before, "a downgrade gives nothing"


NAMED = [
    # tier at the send, later changes (day, tier), last day on which it can be read
    pytest.param("free", [], 30, id="free"),
    pytest.param("privileged", [], 180, id="privileged"),
    pytest.param("privileged_plus", [], 365, id="privileged plus"),
    pytest.param("free", [(29, "privileged")], 180, id="upgrade on day 29"),
    pytest.param("free", [(31, "privileged")], 30, id="upgrade on day 31: too late"),
    pytest.param("privileged", [(179, "privileged_plus")], 365, id="upgrade on day 179"),
    pytest.param("privileged", [(181, "privileged_plus")], 180, id="upgrade on day 181: too late"),
    pytest.param("privileged_plus", [(100, "free")], 130, id="downgrade: gone with the grace"),
    pytest.param("privileged_plus", [(0.5, "free")], 30.5, id="downgrade at once: a whole grace"),
    pytest.param("privileged_plus", [(350, "free")], 365, id="downgrade adds nothing"),
    pytest.param(
        "privileged_plus", [(10, "privileged")], 180, id="downgrade to the shorter period"
    ),
    pytest.param(
        "privileged_plus",
        [(100, "free"), (129, "privileged_plus")],
        365,
        id="back within the grace",
    ),
    pytest.param(
        "privileged_plus", [(100, "free"), (131, "privileged_plus")], 130, id="back after the grace"
    ),
    pytest.param(
        "privileged_plus",
        [(100, "free"), (129, "privileged")],
        180,
        id="half-way back in the grace",
    ),
    pytest.param(
        "privileged_plus",
        [(160, "free"), (170, "privileged")],
        190,
        id="an upgrade takes nothing away of the grace",
    ),
    pytest.param(
        "privileged_plus",
        [(200, "privileged"), (210, "free")],
        230,
        id="second downgrade in the grace",
    ),
    pytest.param(
        "privileged_plus",
        [(100, "free"), (110, "privileged_plus"), (120, "free")],
        150,
        id="a second downgrade has a grace of its own",
    ),
]


def history_of(sent: datetime, tier: str, later: list[tuple[float, str]]) -> list[Change]:
    return [Change(ALWAYS, tier), *(Change(sent + day * DAY, to) for day, to in later)]


@pytest.mark.parametrize(("tier", "later", "last_day"), NAMED)
def test_named_histories_in_the_model(
    tier: str, later: list[tuple[float, str]], last_day: float
) -> None:
    assert expiry(START, history_of(START, tier, later)) == START + last_day * DAY


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Australia/Lord_Howe"])
def test_a_day_has_24_hours_wherever_the_session_thinks_it_is(stage: Stage, zone: str) -> None:
    """Thirty calendar days are an hour longer or shorter where the clocks change."""
    sender, _, conversation = stage.pair("privileged")  # 180 days: a change lies within
    stage.run("select set_config('timezone', %s, false)", zone)
    stage.send(sender, conversation)
    hours = "select extract(epoch from %s) / 3600 from public.direct_messages"
    assert stage.value(hours % "retention_expires_at - sent_at") == 180 * 24
    stage.set_tier(sender, "privileged_plus")
    stage.set_tier(sender, "free")
    stage.recalculate()
    since = "(select max(changed_at) from messaging.tier_changes)"
    assert stage.value(hours % f"retention_expires_at - {since}") == 30 * 24


@dataclass
class _Story:
    """One named history as it happens to one pair of members."""

    name: str
    sender: UUID
    recipient: UUID
    conversation_id: UUID
    message_id: UUID
    later: list[tuple[float, str]]
    last_day: float


def _begin(
    stage: Stage, name: str, tier: str, later: list[tuple[float, str]], end: float
) -> _Story:
    sender, recipient = stage.member(tier), stage.member("free")
    conversation_id = stage.converse(sender, recipient)
    message = stage.send(sender, conversation_id, f"secret {sender}")
    return _Story(name, sender, recipient, conversation_id, message["id"], list(later), end)


@pytest.mark.parametrize("sweeping", [True, False], ids=["worker", "cleaner off"])
def test_named_histories_from_both_sides(stage: Stage, clock: Clock, sweeping: bool) -> None:
    """All of them side by side, looked at a little before and after each of their ends.

    With the worker, the row itself stays through the recovery window of 7 days and then goes.
    """
    stories = [
        _begin(stage, str(case.id), *case.values)  # type: ignore[arg-type]  # as in NAMED
        for case in NAMED
    ]
    stops = {story.name: _stops(story) for story in stories}
    for moment in sorted(set().union(*stops.values())):
        # What goes by for real is a minute at most; the ends are looked at a minute and a half off.
        clock.pass_(moment - clock.passed / DAY)
        for story in stories:
            while story.later and story.later[0][0] <= moment:
                stage.set_tier(story.sender, story.later.pop(0)[1])
        stage.recalculate()
        if sweeping:
            stage.soft_delete()
            stage.clean_up(recovery_days=7)
        for story in stories:
            if moment in stops[story.name]:
                _check(stage, story, moment, is_there=not sweeping or moment < story.last_day + 7)


def _stops(story: _Story) -> set[float]:
    """When to look at a story: at each change, and a little before and after each end."""
    ends = [story.last_day, story.last_day + 7]
    return {day for day, _ in story.later} | {end + off for end in ends for off in (-0.001, 0.001)}


def _check(stage: Stage, story: _Story, moment: float, *, is_there: bool) -> None:
    where = f"{story.name}, day {moment}"
    is_readable = moment < story.last_day
    for reader in (story.sender, story.recipient):
        seen = look(stage.owner, reader)
        assert (f"secret {story.sender}" in seen.text) == is_readable, where
        has_preview = seen.inbox(story.conversation_id)["last_message"] is not None
        assert has_preview == is_readable, where
        unread = int(is_readable and reader == story.recipient)
        assert seen.data["unread"] == {str(story.conversation_id): unread}, where
        assert seen.data["unread_conversations"] == unread, where
    assert (stage.expires(story.message_id) is not None) == is_there, where
