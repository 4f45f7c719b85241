"""The Supabase page, walked on a database with a project's roles: its commands, SQL and calls.

Supabase's own parts are not here: its command line is stood in for by what it does with a file,
and what `pg_cron` would run is run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.docs.test_walk import Block, blocks
from tests.helpers.migrating import findings
from tests.helpers.postgres import Cluster, Database
from tests.helpers.supabase_cli import apply_files
from tests.helpers.world import World, make_world

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "supabase.md"
ADDRESS = "postgresql://postgres:...@db.project.supabase.co:5432/postgres"
CALL = re.compile(r"supabase\.rpc\('(\w+)', \{([^}]*)\}\)", re.DOTALL)


def paste(block: Block, db: Database, folder: Path) -> str:
    """Run a block of the page as somebody would, in one's project's folder."""
    plain = {name: value for name, value in os.environ.items() if "BOOKCONNECT" not in name}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text.replace(ADDRESS, db.admin_url)],
        env={**plain, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("cluster", ["pg18"], indirect=True)
def test_the_page_does_what_it_says(cluster: Cluster, tmp_path: Path) -> None:
    project = cluster.empty_database(host="supabase")
    shell = [block for block in blocks("supabase") if block.language == "sh"]
    assert [block.needs for block in shell] == ["", "supabase", ""]
    paste(shell[0], project, tmp_path)
    apply_files(project, (tmp_path / "supabase" / "migrations").glob("*.sql"))
    paste(shell[2], project, tmp_path)

    sql = [block for block in blocks("supabase") if block.language == "sql"]
    assert [block.needs for block in sql] == ["", "pg_cron"]
    project.run_script(sql[0].text)
    published = project.run(
        "select tablename from pg_publication_tables where pubname = 'supabase_realtime' order by 1"
    )
    assert [row["tablename"] for row in published] == [
        "conversation_participants",
        "direct_messages",
    ]
    assert findings(project) == []
    world = make_world(project)
    calls_as_written(world)
    jobs = re.findall(r"\$\$(select .+?)\$\$", sql[1].text)
    assert len(jobs) == 2
    for job in jobs:
        project.run(job)
    project.drop()


def calls_as_written(world: World) -> None:
    """Each call of the page in its order, by the names of its arguments, as PostgREST makes it."""
    values: dict[str, object] = {
        "recipient_id": world.ben,
        "content": "Have you read it?",
        "message_id": uuid4(),
        "page_limit": 20,
        "state": '{"epoch": null, "positions": {}, "cursor": null}',
    }
    made = []
    for name, body in CALL.findall(PAGE.read_text("utf-8")):
        names = [part.split(":")[0].strip() for part in body.split(",") if part.strip()]
        arguments = ", ".join(f"{one} => %s" for one in names)
        with world.db.as_user(world.ada) as ada:
            row = ada.execute(
                f"select * from public.{name}({arguments})", [values[one] for one in names]
            ).fetchone()
        if name == "start_conversation":
            assert row is not None
            values["conversation_id"] = row["conversation_id"]
        made.append(name)
    assert made[:2] == ["start_conversation", "send_message"]
    assert {"delete_message", "sync_conversations", "get_conversation_messages"} <= set(made)
