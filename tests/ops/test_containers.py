"""Dockerfile and compose: linted, and held against the code. Building is for where Docker is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml  # type: ignore[import-untyped]

from bookconnect_dm.config import SETTING_NAMES
from bookconnect_dm.embedded import wheel_bin_dir
from tests.conftest import MakeCluster
from tests.helpers.proxies import OPS

DOCKER = OPS / "docker"
ROOT = OPS.parent


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
    return found


def test_hadolint_finds_nothing_wrong_with_the_dockerfile() -> None:
    command = [str(Path(sys.executable).parent / "hadolint"), str(DOCKER / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_dockerfile_copies_what_there_is_and_runs_as_nobody() -> None:
    text = (DOCKER / "Dockerfile").read_text("utf-8")
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source.removeprefix('./')}" in ignored, source
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE)[-1] == "10001:10001"
    assert set(re.findall(r"BOOKCONNECT_DM_\w+", text)) <= set(SETTING_NAMES)
    assert not re.search(r"PASSWORD|SECRET", text)


def test_every_service_is_pinned_and_leans_on_one_that_there_is() -> None:
    services = compose()["services"]
    assert set(services) == {
        "postgres", "migrate", "passwords", "server-1", "server-2", "caddy"
    }  # fmt: skip
    for name, service in services.items():
        assert service["image"] == "bookconnect-dm" or re.search(r":\d", service["image"]), name
        assert set(service.get("depends_on", ())) <= set(services), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            known = source in compose()["volumes"] or (DOCKER / source).exists()
            assert known, f"{name}: {volume}"


def test_every_setting_in_it_exists_and_every_secret_is_asked_for() -> None:
    text = (DOCKER / "compose.yaml").read_text("utf-8")
    assert set(re.findall(r"BOOKCONNECT_DM_\w+", text)) <= set(SETTING_NAMES)
    asked = set(re.findall(r"\$\{(\w+):\?\}", text))
    assert asked == set(re.findall(r"\$\{(\w+)", text)), "none has a default"
    assert asked == set(re.findall(r"(\w+)=\.\.\.", text)), "the head names them all"
    for one in ("server-1", "server-2"):
        settings = compose()["services"][one]["environment"]
        needed = {"DATABASE_URL", "FEED_URL", "JWT_SECRET", "INSTANCE"}
        assert {f"BOOKCONNECT_DM_{name}" for name in needed} <= set(settings)


def test_the_commands_in_it_are_commands() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "bookconnect-dm",
         *compose()["services"]["migrate"]["command"], "--help"],
        capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0


def test_its_caddyfile_is_the_example_with_the_servers_names() -> None:
    example = (OPS / "caddy" / "Caddyfile").read_text("utf-8").split("\n", 1)[1]
    ours = (DOCKER / "Caddyfile").read_text("utf-8").split("\n", 1)[1]
    assert ours == example.replace("127.0.0.1:8080 127.0.0.1:8081", "server-1:8080 server-2:8080")


def test_its_sql_gives_the_logins_their_passwords_as_often_as_it_is_run(
    make_cluster: MakeCluster,
) -> None:
    db = make_cluster(18).database()
    service = compose()["services"]["passwords"]
    names = ("server", "feed", "retention")
    passwords = {f"{name.upper()}_PASSWORD": f"{name}'s \"password" for name in names}
    command = [str(wheel_bin_dir() / service["command"][0]), *service["command"][1:]]
    command = [part.replace("/passwords.sql", str(DOCKER / "passwords.sql")) for part in command]
    for _ in range(2):
        done = subprocess.run(
            [*command, db.admin_url],
            env={**os.environ, **passwords},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    for name in names:
        login = f"bookconnect_dm_{name}"
        password = passwords[f"{name.upper()}_PASSWORD"]
        with psycopg.connect(db.admin_url, user=login, password=password) as connection:
            assert connection.info.user == login
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(db.admin_url, user="bookconnect_dm_server", password="wrong")
