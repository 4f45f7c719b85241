"""`bookconnect-dm demo`, as a newcomer runs it: up, chat, Ctrl-C, up again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import LiteralString

import httpx
import psycopg
import pytest

from bookconnect_dm.embedded import EmbeddedPostgres
from tests.helpers.demo import COMMAND as _COMMAND
from tests.helpers.demo import RunningDemo
from tests.helpers.live import live
from tests.helpers.postgres import clusters_folder


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with clusters_folder() as made:
        yield made / "demo"
        EmbeddedPostgres(made / "demo").destroy()


def test_the_demo_serves_keeps_its_data_and_stops_cleanly(folder: Path) -> None:
    demo = RunningDemo(folder)
    try:
        page = httpx.get(f"{demo.url}/")
        assert page.status_code == 200
        assert "text/html" in page.headers["content-type"]
        assert httpx.head(f"{demo.url}/").status_code == 200
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
    demo = RunningDemo(folder)
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


def test_reset_starts_anew_and_an_upgrade_shows_at_once(folder: Path) -> None:
    demo = RunningDemo(folder, "--reset")
    try:
        last = demo.get("/v1/conversations", "ben").json()["conversations"][0]["last_message"]
        assert last["content"] != "Kept until tomorrow?"
        secrets = folder / "secrets.json"
        assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
        for secret in ("postgresql://", *_passwords(folder)):
            assert secret not in demo.said
        asyncio.run(_upgrade_fern(demo, folder))
    finally:
        assert demo.stop() == 0, demo.said


def test_after_a_kill_the_next_start_works_and_what_was_removed_stays_removed(
    folder: Path,
) -> None:
    demo = RunningDemo(folder)
    _run_as_owner(
        folder,
        "delete from auth.users using public.users as u where auth.users.id = u.id"
        " and u.username = 'ben'",
    )
    _run_as_owner(
        folder, "delete from public.conversations where id = 'c0000000-0000-4000-8000-000000000002'"
    )
    _run_as_owner(
        folder,
        "delete from public.store_members using public.users as u"
        " where store_members.user_id = u.id and u.username = 'dora'",
    )
    demo.process.kill()
    demo.process.communicate(timeout=30)
    demo = RunningDemo(folder)
    try:
        assert "Filling the shelves" not in demo.said
        assert demo.get("/v1/me", "cleo").json()["username"] == "cleo"
        refused = httpx.post(f"{demo.url}/demo/sign-in", json={"username": "ben"})
        assert refused.status_code == 404, refused.text
        inbox = demo.get("/v1/conversations", "ada").json()["conversations"]
        assert [(c["other_participant"] or {}).get("username") for c in inbox] == [None, "dora"]
        assert demo.get("/v1/me", "dora").json()["stores"] == []
    finally:
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
    logins = ("postgres", "bookconnect_dm_server", "bookconnect_dm_retention")
    return [postgres.password_of(login) for login in logins]


def _run_as_owner(folder: Path, statement: LiteralString) -> None:
    with psycopg.connect(EmbeddedPostgres(folder).admin_url) as connection:
        assert connection.execute(statement).rowcount == 1


async def _upgrade_fern(demo: RunningDemo, folder: Path) -> None:
    """She changes her plan, and both see when her words will go now: the worker is there."""
    conversation = demo.get("/v1/conversations", "fern").json()["conversations"][0]["id"]
    path = f"/v1/conversations/{conversation}/messages"

    def days() -> set[int]:
        messages = [
            message
            for message in demo.get(path, "edgar").json()["messages"]
            if message["sender"]["username"] == "fern"
        ]
        times = [
            (datetime.fromisoformat(m[at]) for at in ("sent_at", "expires_at")) for m in messages
        ]
        return {(end - begin).days for begin, end in times}

    assert days() == {30}
    async with live(f"{demo.url.replace('http', 'ws')}/v1/realtime", demo.token("edgar")) as edgar:
        upgrade: LiteralString = (
            "update public.users set user_tier = 'privileged_plus' where username = 'fern'"
        )
        await asyncio.to_thread(_run_as_owner, folder, upgrade)
        # Measured: within 3 seconds on a quiet machine.
        told = await edgar.hear("expiry", "reload", timeout_s=60)
    assert told["conversation_id"] == conversation
    assert days() == {365}
