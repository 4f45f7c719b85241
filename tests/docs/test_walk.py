"""A newcomer's walk: every command of the operator's pages, in their order, pasted as written.

What is not run says in the page itself what it needs (```sh needs=systemd); the last test lists
them, so that none joins unseen. Replaced are addresses, `...` for passwords and the length of a
run. `serve` goes to the background, as in a second terminal.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from bookconnect_dm.embedded import wheel_bin_dir
from tests.conftest import MakeCluster
from tests.helpers.postgres import Database
from tests.helpers.server import free_port

pytestmark = pytest.mark.feed

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
WALK = ("install", "run-retention", "load", "deploy", "migrate")
NOT_RUN = {
    "docker": 1,
    "network": 1,  # fetches packages; make demo does the same
    "root": 1,
    "supabase": 1,
    "systemd": 2,
    "terminal": 1,  # asks for a password
    "conversation": 1,  # wants an id of yours
}
LONG = "--members 50 --seconds 60 --messages 60"
SHORT = "--members 6 --seconds 12 --messages 36000"
PASSWORD = "a-password-of-thirty-two-bytes-or-more"


@dataclass(frozen=True)
class Block:
    """A block of a page that somebody would paste."""

    page: str
    language: str
    needs: str
    text: str


def blocks(page: str) -> list[Block]:
    text = (HOW_TO / f"{page}.md").read_text("utf-8")
    found = re.findall(r"^```(sh|sql)(?: needs=(\w+))?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [Block(page, *parts) for parts in found]


def as_script(db: Database, port: int) -> str:
    """One session of a shell: what a page exports, the next one has."""
    lines = [
        "set -euo pipefail",
        "trap 'kill $(jobs -p) 2> /dev/null' EXIT",
        f"export BOOKCONNECT_DM_PORT={port} BOOKCONNECT_DM_INSTANCE=walk",
    ]
    for block in (block for page in WALK for block in blocks(page) if not block.needs):
        lines.append("echo " + shlex.quote(f"== {block.page}: {block.text.splitlines()[0]}"))
        text = replaced(block.text, db, port)
        if block.language == "sql":
            psql = 'psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 "$BOOKCONNECT_DM_ADMIN_URL"'
            text = f"{psql} <<'END'\n{text}END"
        lines.append(text)
    return "\n".join(lines)


def replaced(text: str, db: Database, port: int) -> str:
    host = re.search(r"@([^/]+)/", db.admin_url)
    assert host is not None
    text = text.replace("owner@db.example/app", db.admin_url.removeprefix("postgresql://"))
    text = text.replace("@db.example/app", f"@{host[1]}/{db.name}")
    text = text.replace("database app", f"database {db.name}").replace("...", PASSWORD)
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace(LONG, SHORT)
    ready = f"until (exec 3<> /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.2; done"
    serve = f"bookconnect-dm serve > serve.log 2>&1 &\n{ready}"
    return re.sub(r"^bookconnect-dm serve$", serve, text, flags=re.MULTILINE)


def test_every_command_works_as_it_is_written(make_cluster: MakeCluster, tmp_path: Path) -> None:
    db = make_cluster(18, max_slot_wal_keep_size="1GB").empty_database()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{wheel_bin_dir()}"
    plain = {name: value for name, value in os.environ.items() if "BOOKCONNECT" not in name}
    done = subprocess.run(
        ["bash", "-c", as_script(db, free_port())],
        env={**plain, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    print(done.stdout)
    log = tmp_path / "serve.log"
    assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")
    for words in ("applied catalog", "every message reached its reader", "rolled back host/roles"):
        assert words in done.stdout
    assert (tmp_path / "before-rollback.dump").stat().st_size > 0


def test_what_is_not_run_is_named_and_nothing_else() -> None:
    needs = Counter(block.needs for page in WALK for block in blocks(page) if block.needs)
    assert needs == NOT_RUN
    for page in WALK:
        text = (HOW_TO / f"{page}.md").read_text("utf-8")
        unnamed = re.findall(r"^```\n([^`]+)^```$", text, re.DOTALL | re.MULTILINE)
        assert not [block for block in unnamed if "bookconnect-dm" in block], page
