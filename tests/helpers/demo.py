"""A real demo process for tests: started, asked, stopped or killed with its database."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.helpers.canary import look_for_tokens
from tests.helpers.server import free_port

__all__ = ["COMMAND", "RunningDemo"]

COMMAND = str(Path(sys.executable).parent / "bookconnect-dm")


class RunningDemo:
    """A running demo."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [COMMAND, "demo", "--folder", str(folder), "--port", str(self.port), *options],
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
        look_for_tokens(self.said)
        return self.process.returncode

    def token(self, username: str) -> str:
        answer = httpx.post(f"{self.url}/demo/sign-in", json={"username": username})
        assert answer.status_code in {200, 201}, answer.text
        return str(answer.json()["token"])

    def get(self, path: str, username: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token(username)}"}
        return httpx.get(f"{self.url}{path}", headers=headers)
