"""Who is online, without clocks and logs: servers are objects, and the log is a list."""

from __future__ import annotations

import random

import pytest

from bookconnect_dm.notes import PEOPLE, Note
from bookconnect_dm.presence import BEAT_S, GRACE_S, LEASE_S, Presence, Typing


class Log:
    """Servers that hear each other's notes in one order, like the write-ahead log."""

    def __init__(self, *names: str) -> None:
        self.now = 1000.0
        self.servers = {name: Presence(name, "1", now=self.now) for name in names}
        self.said: list[Note] = []

    def settle(self, *, lose: bool = False) -> None:
        """Everybody says what he has to say, until nobody has."""
        for _ in range(100):
            notes = [
                note
                for server in list(self.servers.values())
                if (note := server.note(self.now, at=self.now, typing=[])) is not None
            ]
            if not notes:
                return
            for note in notes:
                self.said.append(note)
                if not lose:
                    for server in self.servers.values():
                        server.heard(note, self.now, age_s=0)
        raise AssertionError("they talk for ever")

    def later(self, seconds: float, step: float = 1.0) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + step)
            for server in self.servers.values():
                server.tick(self.now)
            self.settle()


def users(presence: Presence) -> set[str]:
    return set(presence._counts)


def test_a_member_is_online_everywhere_and_goes_everywhere() -> None:
    log = Log("a", "b", "c")
    log.settle()
    assert log.servers["a"].came("ada") == [("ada", True)]
    log.settle()
    assert all("ada" in server for server in log.servers.values())
    log.servers["a"].left("ada", log.now)
    assert log.servers["a"].tick(log.now) == []
    log.now += GRACE_S
    assert log.servers["a"].tick(log.now) == [("ada", False)]
    log.settle()
    assert all(not users(server) for server in log.servers.values())


def test_whoever_is_back_at_once_was_never_away() -> None:
    log = Log("a", "b")
    log.servers["a"].came("ada")
    log.later(5)
    said = len(log.said)
    log.servers["a"].left("ada", log.now)
    log.now += GRACE_S / 2
    assert log.servers["a"].came("ada") == []
    log.later(GRACE_S)
    assert len(log.said) == said
    assert "ada" in log.servers["b"]


def test_a_member_on_two_servers_goes_when_both_have_lost_him() -> None:
    log = Log("a", "b", "c")
    log.servers["a"].came("ada")
    assert log.servers["b"].came("ada") == [("ada", True)]
    log.settle()
    log.servers["a"].left("ada", log.now)
    log.later(GRACE_S + 1)
    assert all("ada" in server for server in log.servers.values())
    log.servers["b"].left("ada", log.now)
    log.later(GRACE_S + 1)
    assert not any("ada" in server for server in log.servers.values())


def test_a_starting_server_asks_who_is_online() -> None:
    log = Log("a")
    log.servers["a"].came("ada")
    log.later(10)
    log.servers["b"] = Presence("b", "1", now=log.now)
    log.later(3)
    assert "ada" in log.servers["b"]


def test_a_crashed_server_s_members_go_when_its_lease_ends() -> None:
    log = Log("a", "b")
    log.servers["a"].came("ada")
    log.settle()
    del log.servers["a"]
    log.later(LEASE_S - 1)
    assert "ada" in log.servers["b"]
    log.later(2)
    assert "ada" not in log.servers["b"]


def test_a_server_that_is_back_replaces_its_earlier_life() -> None:
    log = Log("a", "b")
    log.servers["a"].came("ada")
    log.settle()
    log.servers["a"] = Presence("a", "2", now=log.now)
    log.servers["a"].came("ben")
    log.settle()
    assert users(log.servers["b"]) == {"ben"}


def test_a_server_that_says_goodbye_is_gone_at_once() -> None:
    log = Log("a", "b")
    log.servers["a"].came("ada")
    log.settle()
    bye = log.servers["a"].farewell(at=log.now)
    assert log.servers["b"].heard(bye, log.now, age_s=0) == [("ada", False)]


def test_what_was_missed_is_asked_for() -> None:
    log = Log("a", "b")
    log.settle()
    log.servers["a"].came("ada")
    log.settle(lose=True)
    assert "ada" not in log.servers["b"]
    log.later(BEAT_S + 5)
    assert "ada" in log.servers["b"]


def test_nothing_is_said_more_often_than_every_30_s_while_nothing_happens() -> None:
    log = Log("a", "b")
    log.servers["a"].came("ada")
    log.later(10)
    said = len(log.said)
    log.later(300)
    assert len(log.said) - said == 300 // BEAT_S  # a has somebody; b has nothing to say


def test_an_old_note_gives_no_new_lease() -> None:
    server = Presence("b", "1", now=0)
    note = Note(server="a", boot="1", at=0, seq=1, full=True, online=["ada"])
    assert server.heard(note, 100, age_s=LEASE_S) == []
    assert server.heard(note, 100, age_s=LEASE_S - 5) == [("ada", True)]
    assert server.tick(106) == [("ada", False)]


def test_many_people_take_several_notes() -> None:
    log = Log("a", "b")
    for number in range(PEOPLE * 2 + 1):
        log.servers["a"].came(f"user {number}")
    log.settle()
    assert len(log.servers["b"]) == PEOPLE * 2 + 1
    assert max(len(note.online) for note in log.said) == PEOPLE
    log.servers["a"].start_over()
    log.later(5)
    assert users(log.servers["b"]) == users(log.servers["a"])


def test_due_never_asks_for_a_busy_loop() -> None:
    log = Log("a")
    log.servers["a"].came("ada")
    for _ in range(50):
        log.settle()
        due = log.servers["a"].due(log.now)
        assert due > log.now
        log.now = due
        log.servers["a"].tick(log.now)


@pytest.mark.parametrize("seed", range(20))
def test_all_agree_in_the_end_whatever_happened(seed: int) -> None:
    rng = random.Random(seed)
    log = Log("a", "b", "c")
    here: dict[str, set[str]] = {name: set() for name in log.servers}
    boot = 1
    for _ in range(300):
        name, user = rng.choice("abc"), f"u{rng.randrange(8)}"
        server = log.servers[name]
        match rng.randrange(10):
            case 0 | 1 | 2 | 3:
                server.came(user)
                here[name].add(user)
            case 4 | 5 | 6:
                server.left(user, log.now)
                here[name].discard(user)
            case 7:
                log.settle(lose=True)
            case 8:
                boot += 1
                log.servers[name] = Presence(name, str(boot), now=log.now)
                here[name] = set()
            case _:
                log.later(rng.choice([0.5, 3, 40]))
    log.later(LEASE_S + BEAT_S)
    expected = set().union(*here.values())
    for server in log.servers.values():
        assert users(server) == expected


def test_typing_is_told_once_in_3_s_for_a_member_and_conversation() -> None:
    typing = Typing()
    assert typing.add("c", "ada", 0.0)
    assert not typing.add("c", "ada", 2.9)
    assert typing.add("c", "ben", 2.9)
    assert typing.add("d", "ada", 2.9)
    assert typing.take(3, stale_s=5) == [("c", "ada"), ("c", "ben"), ("d", "ada")]
    assert not typing
    assert typing.add("c", "ada", 3.0)


def test_typing_that_waited_too_long_is_dropped() -> None:
    typing = Typing()
    typing.add("c", "ada", 0.0)
    typing.add("c", "ben", 4.0)
    assert typing.take(5.0, stale_s=5) == [("c", "ben")]


def test_typing_remembers_so_many_and_forgets_the_old() -> None:
    typing = Typing()
    for number in range(20_000):
        typing.add("c", f"u{number}", 0.0)
    assert len(typing._told) <= 10_000
    assert not typing.add("c", "new", 1.0)
    typing.add("c", "new", 4.0)
    assert typing.add("c", "new", 4.0)
