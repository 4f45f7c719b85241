"""The arithmetic of capacity: what can be told without a database."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bookconnect_dm import pages
from bookconnect_dm.capacity import PERIODS, Plan, figures, message_row

COMMAND = [str(Path(sys.executable).parent / "bookconnect-dm"), "capacity"]


def test_a_message_of_a_hundred_characters_takes_204_bytes() -> None:
    """Header 24, three ids 48, text 1 + 100, two times 16, a flag, gaps; a pointer of 4."""
    assert message_row(100) == 200
    assert message_row(100, is_deleted=True) == 208
    assert message_row(4000) < 150


@pytest.mark.parametrize(("size", "header"), [(1, 1), (126, 1), (127, 4), (1000, 4)])
def test_short_texts_have_a_short_header(size: int, header: int) -> None:
    assert pages.text(size)[0] == size + header


def test_runs_fill_leaves_by_half_and_random_entries_by_ln_2() -> None:
    entry = pages.index_entry((16, 1), (8, 8))
    assert pages.fill_of_runs(1, entry) == pages.RANDOM
    assert pages.fill_of_runs(1_000_000, entry) == pytest.approx(0.5, rel=0.001)
    fills = [pages.fill_of_runs(run, entry) for run in range(1, 5_000, 50)]
    assert fills == sorted(fills, reverse=True)


def test_the_missions_store() -> None:
    found = figures(Plan())
    assert found.readable == 25_000 * (0.7 * 30 + 0.2 * 180 + 0.1 * 365)
    assert found.stored == found.readable + 25_000 * 7 * (0.7 + 0.2)
    assert found.index_share() > 3 * found.index_share(rebuilt=True)
    assert sum(r.entries for r in found.relations if r.name == "conversations") == 2_500
    assert found.connections == 2 * 11 + 4
    assert found.sockets == 750


def test_more_of_anything_never_takes_less() -> None:
    base = Plan()
    before = figures(base)
    for change in (
        {"members": 1_000},
        {"messages_per_day": 100.0},
        {"characters": 200.0},
        {"bytes_per_character": 3.0},
        {"days": 400.0},
        {"recovery_days": 30.0},
        {"free": 0.0, "privileged": 0.9},
    ):
        after = figures(replace(base, **change))
        assert after.table_bytes() >= before.table_bytes(), change
        assert after.index_bytes() >= before.index_bytes(), change
        assert after.stored >= before.stored, change


def test_nothing_is_older_than_its_tier_allows() -> None:
    young = figures(Plan(days=PERIODS["free"]))
    assert young.stored == young.readable == 25_000 * 30


@pytest.mark.parametrize("members", [2, 1_000, 5_000_000])
def test_any_size_is_answered(members: int) -> None:
    found = figures(Plan(members=members, days=3_650))
    assert found.sends_per_second[1] >= found.sends_per_second[0]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def test_the_command_needs_no_settings_and_prints_a_table() -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    for words in ("2,337,500", "direct_messages_pkey", "together", "sends a second", "sockets"):
        assert words in done.stdout


def test_tiers_that_do_not_make_a_hundred_are_refused() -> None:
    done = run("--free", "90")
    assert (done.returncode, done.stdout) == (1, "")
    assert "make 100 together" in done.stderr
