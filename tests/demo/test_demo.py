"""`bookconnect-dm demo`, as a newcomer runs it: up, chat, Ctrl-C, up again."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bookconnect_dm.embedded import EmbeddedPostgres
from tests.helpers.postgres import clusters_folder

_COMMAND = str(Path(sys.executable).parent / "bookconnect-dm")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with clusters_folder() as made:
        yield made / "demo"
        EmbeddedPostgres(made / "demo").destroy()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Demo:
    """A running demo."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [_COMMAND, "demo", "--folder", str(folder), "--port", str(self.port), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if f"{self.url}/" in line:
                return
        self.process.communicate(timeout=30)
        pytest.fail(f"the demo ended: {self.said}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        rest, _ = self.process.communicate(timeout=30)
        self.said += rest
        return self.process.returncode

    def token(self, username: str) -> str:
        answer = httpx.post(f"{self.url}/demo/sign-in", json={"username": username})
        assert answer.status_code in {200, 201}, answer.text
        return str(answer.json()["token"])

    def get(self, path: str, username: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token(username)}"}
        return httpx.get(f"{self.url}{path}", headers=headers)


def test_the_demo_serves_keeps_its_data_and_stops_cleanly(folder: Path) -> None:
    demo = _Demo(folder)
    try:
        page = httpx.get(f"{demo.url}/")
        assert page.status_code == 200
        assert "text/html" in page.headers["content-type"]
        inbox = demo.get("/v1/conversations", "ada").json()
        assert [c["other_participant"]["username"] for c in inbox["conversations"]] == [
            "ben",
            "cleo",
            "dora",
        ]
        assert inbox["unread_conversations"] == 1
        conversation = inbox["conversations"][0]["id"]
        headers = {"authorization": f"Bearer {demo.token('ada')}"}
        sent = httpx.post(
            f"{demo.url}/v1/conversations/{conversation}/messages",
            headers=headers,
            json={"content": "Kept until tomorrow?"},
        )
        assert sent.status_code == 201, sent.text
    finally:
        code = demo.stop()
    assert code == 0, demo.said
    assert "Traceback" not in demo.said
    assert EmbeddedPostgres(folder).pid is None

    begin = time.monotonic()
    demo = _Demo(folder)
    took_s = time.monotonic() - begin
    try:
        last = demo.get("/v1/conversations", "ben").json()["conversations"][0]["last_message"]
        assert last["content"] == "Kept until tomorrow?"
        token = subprocess.run(
            [_COMMAND, "token", "--user", "ben"],
            cwd=folder.parent,
            env={**os.environ, "BOOKCONNECT_DM_JWT_SECRET": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "make demo" in token.stderr  # no demo in that folder
    finally:
        assert demo.stop(signal.SIGTERM) == 0, demo.said
    assert took_s < 20, (
        f"the second start took {took_s:.1f} s; the promise is 5 s on a quiet machine"
    )


def test_reset_starts_anew(folder: Path) -> None:
    demo = _Demo(folder, "--reset")
    try:
        last = demo.get("/v1/conversations", "ben").json()["conversations"][0]["last_message"]
        assert last["content"] != "Kept until tomorrow?"
        secrets = folder / "secrets.json"
        assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
        for secret in ("postgresql://", *_passwords(folder)):
            assert secret not in demo.said
    finally:
        assert demo.stop() == 0, demo.said


def test_after_a_kill_the_next_start_works(folder: Path) -> None:
    demo = _Demo(folder)
    demo.process.kill()
    demo.process.communicate(timeout=30)
    demo = _Demo(folder)
    assert demo.get("/v1/me", "cleo").json()["username"] == "cleo"
    assert demo.stop() == 0, demo.said


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [_COMMAND, "demo", "--folder", str(tmp_path / "demo"), "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"Port {port} is not free" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "demo").exists()


def _passwords(folder: Path) -> list[str]:
    postgres = EmbeddedPostgres(folder)
    return [postgres.password_of(role) for role in ("postgres", "bookconnect_dm_server")]
