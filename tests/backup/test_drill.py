"""The restore drill, with real processes: what is promised after the worst day is kept.

A demo runs and is written to, its backup is killed and made again, a member is erased, a message
deleted, the folder destroyed; then it goes back to a moment in the middle.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from bookconnect_dm.embedded import EmbeddedPostgres
from bookconnect_dm.repository import Repository
from tests.helpers.demo import COMMAND, RunningDemo
from tests.helpers.postgres import clusters_folder

pytestmark = [pytest.mark.durability, pytest.mark.feed]

HUGO = UUID("b0000000-0000-4000-8000-0000000000aa")
STORE = UUID("a0000000-0000-4000-8000-000000000001")
LIMIT_S = 300.0


@dataclass
class Shop:
    """The demo's folder, its backups, and the process that serves it now."""

    folder: Path
    demo: RunningDemo | None = None
    said: list[str] = field(default_factory=list)

    @property
    def repository(self) -> Repository:
        return Repository(self.folder.with_name(f"{self.folder.name}-backups"))

    def open(self) -> RunningDemo:
        self.demo = RunningDemo(self.folder)
        return self.demo

    def close(self) -> None:
        if self.demo is not None and self.demo.process.poll() is None:
            assert self.demo.stop(signal.SIGTERM) == 0, self.demo.said

    def run(self, *arguments: str, is_well: bool = True) -> str:
        """A command of the package, to its end."""
        done = subprocess.run(
            [COMMAND, *arguments, "--folder", str(self.folder)],
            env={k: v for k, v in os.environ.items() if "BOOKCONNECT" not in k},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        said = done.stdout + done.stderr
        self.said.append(said)
        assert (done.returncode == 0) is is_well, said
        return said

    def sql(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        url = EmbeddedPostgres(self.folder).admin_url
        with psycopg.connect(url, row_factory=dict_row, connect_timeout=10) as connection:
            cursor = connection.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def call(self, who: str, method: str, path: str, **body: object) -> httpx.Response:
        assert self.demo is not None
        return httpx.request(
            method,
            f"{self.demo.url}{path}",
            headers={"authorization": f"Bearer {self.demo.token(who)}"},
            json=body or None,
            timeout=30,
        )

    def say(self, who: str, conversation: str, content: str) -> str:
        answer = self.call(
            who, "POST", f"/v1/conversations/{conversation}/messages", content=content
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def texts(self, who: str, conversation: str) -> list[str]:
        answer = self.call(who, "GET", f"/v1/conversations/{conversation}/messages?limit=100")
        assert answer.status_code == 200, answer.text
        return [message["content"] for message in answer.json()["messages"]]

    def wait_for_metric(self, name: str, *, at_least: float) -> None:
        def is_there() -> bool:
            assert self.demo is not None
            text = httpx.get(f"{self.demo.url}/metrics", timeout=30).text
            values = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
            return bool(values) and float(values[0]) >= at_least

        _wait(is_there)

    def now(self) -> str:
        """The database's own clock, as `--to` takes it."""
        return str(self.sql("select clock_timestamp() at time zone 'UTC' as it")[0]["it"]) + "Z"

    def wait_for_the_archive(self) -> None:
        """All that is committed has reached the archive: what is seconds behind is not promised."""
        target = self.sql("select pg_current_wal_flush_lsn() as it")[0]["it"]
        _wait(
            lambda: self.sql(
                "select coalesce(bool_or(flush_lsn >= %s), false) as it from pg_stat_replication"
                " where application_name = 'pg_receivewal'",
                target,
            )[0]["it"]
        )

    def destroy(self) -> None:
        """Power off, and the disk is gone."""
        assert self.demo is not None
        self.demo.process.kill()
        self.demo.process.communicate(timeout=30)
        EmbeddedPostgres(self.folder).destroy()
        assert not self.folder.exists()


def _wait(is_true: Callable[[], object], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.02)


@pytest.fixture
def shop() -> Iterator[Shop]:
    with clusters_folder(in_memory=True) as base:
        made = Shop(base / "demo")
        try:
            yield made
        finally:
            if made.demo is not None and made.demo.process.poll() is None:
                made.demo.process.kill()
                made.demo.process.communicate(timeout=30)
            EmbeddedPostgres(made.folder).destroy()


def _kill_a_backup(shop: Shop) -> None:
    """`kill -9` once it has begun to copy."""
    process = subprocess.Popen(
        [COMMAND, "backup", "--folder", str(shop.folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    copied = f"{shop.repository.folder.name}/lines/*/base/*-full/base"
    _wait(lambda: list(shop.folder.parent.glob(copied)) or process.poll() is not None)
    assert process.poll() is None, "it was over before it could be killed"
    process.kill()
    process.wait(30)


def _hire_hugo(shop: Shop) -> str:
    """A member whom the demo does not put back by itself, and his conversation with Ada."""
    shop.sql("insert into auth.users (id) values (%s)", HUGO)
    shop.sql(
        "insert into public.users (id, username, displayname, user_tier)"
        " values (%s, 'hugo', 'Hugo', 'privileged')",
        HUGO,
    )
    shop.sql("insert into public.store_members (store_id, user_id) values (%s, %s)", STORE, HUGO)
    answer = shop.call("hugo", "POST", "/v1/conversations", recipient="ada")
    return str(answer.json()["conversation_id"])


def test_the_drill(shop: Shop) -> None:
    shop.open()
    _kill_a_backup(shop)
    assert shop.repository.backups() == [], "a half is none"
    assert "is made: full" in shop.run("backup")

    with_hugo = _hire_hugo(shop)
    with_ben = str(shop.call("ada", "POST", "/v1/conversations", recipient="ben").json()[
        "conversation_id"
    ])  # fmt: skip
    before = shop.texts("ada", with_ben)
    shop.say("ada", with_ben, "after the backup")
    unwanted = shop.say("ada", with_ben, "deleted by its sender later")
    shop.say("hugo", with_hugo, "words of somebody who will be erased")
    shop.say("ada", with_hugo, "words to somebody who will be erased")
    known = shop.call("ben", "POST", "/v1/sync", epoch=None, positions={}).json()
    moment = shop.now()

    shop.say("ben", with_ben, "after the moment")
    assert shop.call("ada", "DELETE", f"/v1/messages/{unwanted}").status_code == 204
    second = shop.now()
    shop.sql("delete from auth.users where id = %s", HUGO)
    shop.say("ben", with_ben, "after the erasure")
    shop.wait_for_the_archive()
    shop.destroy()

    began, began_at = time.monotonic(), time.time()
    said = shop.run("restore", "--to", moment)
    took_s = time.monotonic() - began
    print(f"{said}\nthe restore took {took_s:.1f} s in all")
    assert "members erased: 1\n  messages of theirs: 1\n" in said
    assert "messages deleted by their senders: 1\n" in said
    shop.open()
    assert shop.texts("ada", with_ben) == [*before, "after the backup"]
    assert shop.texts("ada", with_hugo) == ["words to somebody who will be erased"]
    assert shop.sql("select id from auth.users where id = %s", HUGO) == []
    assert shop.sql("select id from public.users where username = 'hugo'") == []
    answer = shop.call(
        "ben", "POST", "/v1/sync", epoch=known["epoch"],
        positions={one["conversation_id"]: one["position"] for one in known["changes"]},
    ).json()  # fmt: skip
    assert answer["reload"] is True, "positions of a history that is no more"
    assert answer["epoch"] != known["epoch"]
    shop.wait_for_metric("bookconnect_dm_backup_newest_timestamp_seconds", at_least=began_at)
    shop.close()

    # It was too far back. What the first attempt lost was not removed by anybody, and comes back.
    shop.run("restore", "--to", second)
    with EmbeddedPostgres(shop.folder):
        texts = shop.sql(
            "select content from public.direct_messages"
            " where conversation_id = %s and not is_deleted order by sent_at",
            with_ben,
        )
        assert [row["content"] for row in texts] == [
            *before, "after the backup", "after the moment",
        ]  # fmt: skip
        assert shop.sql("select id from auth.users where id = %s", HUGO) == []
        slots = shop.sql("select slot_name from pg_replication_slots")
        assert [slot["slot_name"] for slot in slots] == ["bookconnect_dm_archive"]
    shop.run("backup", "verify")
    assert shop.run("backup", "list", "--max-age", "1h").count("proved") == 1
    _nothing_leaked(shop)


def _nothing_leaked(shop: Shop) -> None:
    """Backups are their owner's alone, copies are gone, and no command has said a password."""
    for path in shop.repository.folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    beside = {path.name for path in shop.folder.resolve().parent.iterdir()}
    beside |= {path.name for path in EmbeddedPostgres(shop.folder).cluster_folder.parent.iterdir()}
    assert not {name for name in beside if name.endswith(("-new", "-end", "-trial", "-old"))}
    secret = EmbeddedPostgres(shop.folder).password_of("postgres")
    assert secret not in "".join(shop.said)
