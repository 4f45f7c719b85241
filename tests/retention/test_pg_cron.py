"""Retention by pg_cron: the SQL that is shipped, in a PostgreSQL 15 that has the extension."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bookconnect_dm.schedule import pg_cron_jobs
from tests.conftest import MakeCluster
from tests.helpers.postgres import Cluster, Database
from tests.retention.clock import Clock
from tests.retention.world import Stage

LIBRARY = Path("/usr/lib/postgresql/15/lib/pg_cron.so")
IS_FULL = bool(os.environ.get("PROOF"))


@pytest.fixture
def cron_pg(make_cluster: MakeCluster) -> Database:
    """A migrated database that pg_cron is set up for (it serves one, which must be named first)."""
    if not LIBRARY.exists():
        message = "pg_cron is not here: install postgresql-15-cron"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    cluster: Cluster = make_cluster(
        15,
        **{
            "shared_preload_libraries": "pg_cron",
            "cron.database_name": "test_1",
            "cron.use_background_workers": "on",
        },
    )
    return cluster.database()


def test_the_jobs_keep_the_schedule_and_make_whole_passes(cron_pg: Database) -> None:
    cron_pg.run_script(pg_cron_jobs(("01:00", "14:30"), 7))
    cron_pg.run_script(pg_cron_jobs(("01:00", "14:30"), 7))
    jobs = cron_pg.run("select jobname, schedule, command from cron.job order by jobname")
    assert [(job["jobname"], job["schedule"]) for job in jobs] == [
        ("bookconnect_dm retention 01:00", "0 1 * * *"),
        ("bookconnect_dm retention 14:30", "30 14 * * *"),
    ]
    with cron_pg.connect(autocommit=True) as owner:
        stage, clock = Stage(owner, cron_pg), Clock(owner)
        sender, _, conversation = stage.pair("privileged")
        stage.run(
            "insert into public.direct_messages (conversation_id, sender_id, content)"
            " select %s, %s, 'x' from generate_series(1, 2500)",
            conversation, sender,
        )  # fmt: skip
        clock.pass_(181)
        owner.execute(jobs[0]["command"])
        assert stage.value("select count(*) from public.direct_messages where is_deleted") == 2500
        clock.pass_(8)
        with stage.another() as other:
            other.run("select pg_advisory_lock(hashtext('bookconnect_dm retention'), 0)")
            owner.execute(jobs[0]["command"])
            assert stage.value("select count(*) from public.direct_messages") == 2500
            other.run("select pg_advisory_unlock_all()")  # closing alone takes effect a bit later
        if IS_FULL:
            _wait_for_pg_cron(stage)
        else:
            owner.execute(jobs[0]["command"])
        assert stage.run("select id from public.direct_messages") == []
        batches = stage.run("select step, messages from messaging.cleanup_ledger order by id")
        assert [(row["step"], row["messages"]) for row in batches] == [
            ("soft_delete", 2000), ("soft_delete", 500), ("cleanup", 2000), ("cleanup", 500),
        ]  # fmt: skip
        runs = stage.run("select outcome, counts from messaging.retention_runs order by id")
        assert [(run["outcome"], run["counts"]["cleanup"]) for run in runs][-1] == (
            "complete", 2500,
        )  # fmt: skip


def _wait_for_pg_cron(stage: Stage) -> None:
    """Let pg_cron itself do it: its shortest pause is a minute."""
    stage.run("update cron.job set schedule = '* * * * *' where jobname like '%%01:00'")
    until = time.monotonic() + 150
    while stage.run("select id from public.direct_messages"):
        failed = stage.run(
            "select return_message from cron.job_run_details where status = 'failed'"
        )
        assert not failed
        assert time.monotonic() < until
        time.sleep(0.5)
