"""The systemd units: read by systemd's own checker, and their command lines by ours."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bookconnect_dm.app import STOP_S
from bookconnect_dm.config import SETTING_NAMES
from tests.helpers.proxies import OPS, program

INSTALLED = "/opt/bookconnect-dm/bin/bookconnect-dm"
OURS = str(Path(sys.executable).parent / "bookconnect-dm")
UNITS = sorted((OPS / "systemd").iterdir())


def test_systemd_finds_nothing_wrong_with_them(tmp_path: Path) -> None:
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text("utf-8").replace(INSTALLED, OURS))
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_would_find_what_is_wrong(tmp_path: Path) -> None:
    unit = tmp_path / "wrong.service"
    unit.write_text("[Service]\nExecStart=/nowhere/at-all\nRestrat=always\n")
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Restrat" in done.stderr


@pytest.mark.parametrize("unit", [u for u in UNITS if u.suffix == ".service"], ids=lambda u: u.name)
def test_each_runs_a_command_that_there_is_with_settings_that_there_are(unit: Path) -> None:
    text = unit.read_text("utf-8")
    command = re.search(rf"^ExecStart={INSTALLED} (.+)$", text, re.MULTILINE)
    assert command is not None
    done = subprocess.run([OURS, *command[1].split(), "--help"], capture_output=True, check=False)
    assert done.returncode == 0
    assert set(re.findall(r"BOOKCONNECT_DM_\w+", text)) <= set(SETTING_NAMES)
    for comment in re.findall(r"^# (.+)\nEnvironmentFile=", text, re.MULTILINE):
        names = [f"BOOKCONNECT_DM_{name}" for name in re.findall(r"[A-Z_]{5,}", comment)]
        assert names
        assert set(names) <= set(SETTING_NAMES)


def test_a_server_has_the_time_to_stop_in_order() -> None:
    text = (OPS / "systemd" / "bookconnect-dm@.service").read_text("utf-8")
    seconds = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert seconds is not None
    assert int(seconds[1]) > 3 * STOP_S
