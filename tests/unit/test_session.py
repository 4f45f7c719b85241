from __future__ import annotations

import json
import math
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from bookconnect_dm import wire
from bookconnect_dm.auth import Identity
from bookconnect_dm.errors import CLOSES, Problem
from bookconnect_dm.session import Action, Close, Join, Reply, Session, State, Verify, error_frame

ADA, BEN = UUID(int=1), UUID(int=2)
ID = "0192f000-0000-7000-8000-000000000001"
START, END = 1000.0, 2000.0


def new(*, rate: float = 50, burst: float = 400) -> Session:
    return Session(frames_per_second=rate, frame_burst=burst, auth_seconds=10, now=START)


def signed_in(session: Session | None = None) -> Session:
    session = session or new()
    session.receive('{"type":"auth","token":"t"}', START)
    session.accepted(Identity(ADA, END))
    return session


def frame(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, **fields})


# --- signing in -----------------------------------------------------------------------------


def test_the_first_frame_asks_for_the_token_to_be_verified() -> None:
    session = new()
    assert session.receive(frame("auth", v=1, token="t"), START) == Verify("t", UNSET)
    assert session.state is State.WAITING


@pytest.mark.parametrize("session", [new(), signed_in()], ids=["first", "renewal"])
def test_another_version_is_said_and_may_be_followed_by_ours(session: Session) -> None:
    before = session.state
    action = session.receive(frame("auth", v=2, token="t", ref=5), START)
    assert isinstance(action, Reply)
    error = action.frame
    assert isinstance(error, wire.ErrorFrame)
    assert (error.code, error.field, error.ref) == ("INVALID_REQUEST", "v", 5)
    assert "send auth with v: 1." in error.detail
    assert session.state is before
    assert session.receive(frame("auth", v=1, token="t"), START) == Verify("t", UNSET)


def test_a_good_token_lets_the_member_in_until_it_ends() -> None:
    session = new()
    session.receive(frame("auth", token="t"), START)
    assert session.accepted(Identity(ADA, END)) == Join(Identity(ADA, END))
    assert (session.state, session.deadline) == (State.LIVE, END)


def test_a_bad_token_closes_with_4401() -> None:
    session = new()
    session.receive(frame("auth", token="t"), START)
    assert session.refused(Problem("UNAUTHENTICATED", "No.")) == Close(4401, "No.")
    assert session.state is State.OVER


def test_a_token_that_cannot_be_judged_now_does_not_sign_the_member_out() -> None:
    session = new()
    session.receive(frame("auth", token="t"), START)
    assert session.refused(Problem("UNAVAILABLE", "Later.")) == Close(1012, "Later.")


@pytest.mark.parametrize(
    "data",
    [frame("ping"), frame("send"), frame("auth"), frame("typing", conversation_id=ID), "{", ""],
)
def test_another_first_frame_closes_with_4401(data: str) -> None:
    action = new().receive(data, START)
    assert isinstance(action, Close)
    assert action.code == 4401


def test_an_unknown_first_frame_is_ignored() -> None:
    session = new()
    assert session.receive(frame("dance"), START) is None
    assert session.state is State.WAITING


def test_no_auth_frame_in_time_closes_with_4408() -> None:
    session = new()
    assert session.deadline == START + 10
    assert session.tick(START + 9.99) is None
    assert session.tick(START + 10) == Close(4408, "no auth frame in time")


def test_without_a_limit_the_auth_frame_may_take_its_time() -> None:
    session = Session(frames_per_second=0, frame_burst=0, auth_seconds=0, now=START)
    assert session.deadline == math.inf
    assert session.tick(START + 1e9) is None
    assert session.receive(frame("auth", token="t"), START + 1e9) == Verify("t", UNSET)
    session.accepted(Identity(ADA, END))
    assert session.deadline == END


def test_an_auth_frame_that_comes_too_late_does_not_help() -> None:
    action = new().receive(frame("auth", token="t"), START + 11)
    assert isinstance(action, Close)
    assert action.code == 4408


# --- living ---------------------------------------------------------------------------------


def test_ping_is_answered() -> None:
    assert signed_in().receive(frame("ping"), START) == Reply(wire.PongFrame())


def test_frames_that_ask_for_something_come_out_as_they_are() -> None:
    session = signed_in()
    action = session.receive(frame("send", ref=1, id=ID, conversation_id=ID, content="x"), START)
    assert action == wire.SendFrame(1, UUID(ID), UUID(ID), "x")
    assert session.receive(frame("delete", ref=2, id=ID), START) == wire.DeleteFrame(2, UUID(ID))


def test_a_broken_frame_is_answered_under_its_ref() -> None:
    action = signed_in().receive(frame("send", ref=7), START)
    assert isinstance(action, Reply)
    assert isinstance(action.frame, wire.ErrorFrame)
    assert (action.frame.code, action.frame.ref, action.frame.field) == (
        "INVALID_REQUEST",
        7,
        "id",
    )


def test_no_json_is_answered_without_a_ref() -> None:
    action = signed_in().receive("{", START)
    assert isinstance(action, Reply)
    assert isinstance(action.frame, wire.ErrorFrame)
    assert action.frame.ref is UNSET


def test_an_unknown_frame_is_ignored() -> None:
    assert signed_in().receive(frame("dance", ref=1), START) is None


def test_the_end_of_the_token_closes_with_4401() -> None:
    session = signed_in()
    assert session.tick(END - 0.01) is None
    assert session.tick(END) == Close(4401, "the token has ended")
    late = signed_in().receive(frame("ping"), END + 1)
    assert isinstance(late, Close)


def test_a_renewal_moves_the_end_and_is_acknowledged() -> None:
    session = signed_in()
    assert session.receive(frame("auth", token="t2", ref=3), START) == Verify("t2", 3)
    answer = session.accepted(Identity(ADA, END + 500), 3)
    assert answer == Reply(wire.AckFrame(ref=3, token_expires_at="1970-01-01T00:41:40.000000Z"))
    assert session.tick(END) is None
    assert session.deadline == END + 500


def test_a_renewal_for_another_member_closes_with_4403() -> None:
    session = signed_in()
    session.receive(frame("auth", token="t2"), START)
    action = session.accepted(Identity(BEN, END))
    assert isinstance(action, Close)
    assert action.code == 4403


def test_a_renewal_that_fails_leaves_the_old_token_standing() -> None:
    session = signed_in()
    session.receive(frame("auth", token="t2", ref=4), START)
    action = session.refused(Problem("UNAUTHENTICATED", "No."), 4)
    assert action == Reply(wire.ErrorFrame("UNAUTHENTICATED", "No.", ref=4))
    assert (session.state, session.deadline) == (State.LIVE, END)


def test_too_many_frames_close_with_4429() -> None:
    session = signed_in(new(rate=1, burst=3))
    actions = [session.receive(frame("ping"), START) for _ in range(3)]
    assert isinstance(actions[1], Reply)
    assert actions[2] == Close(4429, "too many frames")


def test_nothing_is_done_after_the_end() -> None:
    session = signed_in()
    session.tick(END)
    assert session.receive(frame("ping"), END) is None
    assert session.accepted(Identity(ADA, END)) is None
    assert session.refused(Problem("UNAUTHENTICATED")) is None
    assert session.tick(math.inf) is None
    assert session.deadline == math.inf


def test_an_error_frame_leaves_out_what_is_not_known() -> None:
    assert wire.encode(error_frame(Problem("CONFLICT", "Taken."))) == (
        b'{"type":"error","code":"CONFLICT","detail":"Taken."}'
    )
    full = error_frame(Problem("UNAVAILABLE", "Later.", field="x", retry_after=0), "r")
    assert (full.ref, full.field, full.retry_after) == ("r", "x", 0)


# --- whatever comes -------------------------------------------------------------------------

frames = st.sampled_from(
    [
        frame("auth", token="t"),
        frame("ping"),
        frame("send", ref=1, id=ID, conversation_id=ID, content="x"),
        frame("send", ref=1),
        frame("read", ref=1, conversation_id=ID),
        frame("subscribe", ref=1, conversation_ids=None),
        frame("typing", conversation_id=ID),
        frame("dance"),
        "{",
        "",
    ]
)
events = st.lists(
    st.tuples(
        frames | st.text(max_size=20),
        st.floats(0, 30),
        st.sampled_from(["good", "other", "bad", "away"]),
    ),
    max_size=40,
)


@given(events)
def test_whatever_comes_nobody_acts_without_a_good_token_and_nothing_follows_a_close(
    script: list[tuple[str, float, str]],
) -> None:
    session, now, joined, closed = new(rate=2, burst=10), START, False, False
    for data, wait, verdict in script:
        now += wait
        answers: list[Action | None] = [session.tick(now), session.receive(data, now)]
        answers += [judge(session, verdict) for a in answers if isinstance(a, Verify)]
        for answer in answers:
            assert not (closed and answer is not None)
            joined = joined or isinstance(answer, Join)
            assert joined or isinstance(answer, Verify | Close | None)
            if isinstance(answer, Close):
                closed = True
                assert answer.code in CLOSES
        assert closed == (session.state is State.OVER)


def judge(session: Session, verdict: str) -> Action | None:
    if verdict in {"good", "other"}:
        return session.accepted(Identity(ADA if verdict == "good" else BEN, END))
    return session.refused(Problem("UNAUTHENTICATED" if verdict == "bad" else "UNAVAILABLE"))
