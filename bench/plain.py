"""The baseline of every send: a plain INSERT, as fast as PostgreSQL takes it or at a pace.

In charge of: pgbench with one row a statement, 16 clients, prepared, into the mission's own table.
Knows about: stores.sql, which makes that table.
"""

from __future__ import annotations

import re
import resource
import subprocess
import tempfile
from pathlib import Path

from bench.harness import Bench
from bookconnect_dm.embedded import wheel_bin_dir

__all__ = ["CLIENTS", "inserts", "paced"]

CLIENTS = 16
SCRIPT = """\
\\set n random(1, {conversations})
\\set s random(1, 500)
insert into mission.direct_messages (conversation_id, sender_id, content, retention_expires_at)
values (
    ('c0000000-0000-4000-8000-' || lpad(to_hex(:n::int), 12, '0'))::uuid,
    ('e0000000-0000-4000-8000-' || lpad(to_hex(:s::int), 12, '0'))::uuid,
    '{content}', now() + interval '30 days'
);
"""


def inserts(
    bench: Bench, database: str, *, conversations: int, seconds: float
) -> tuple[float, float]:
    """Rows a second, and milliseconds of processor time a row, pgbench's own among them."""
    used, clock = _children_s(), bench.cpu()
    said = _pgbench(bench, database, conversations, seconds)
    rate = re.search(r"tps = ([\d.]+)", said)
    rows = re.search(r"actually processed: (\d+)", said)
    if rate is None or rows is None:
        raise SystemExit(f"pgbench said something else: {said[-500:]}")
    cost_s = clock.so_far()["database"] + _children_s() - used
    return float(rate[1]), cost_s / int(rows[1]) * 1e3


def paced(
    bench: Bench, database: str, *, conversations: int, seconds: float, rate: int
) -> list[float]:
    """Milliseconds from the moment that each row was due, at random ones, to its commit."""
    with tempfile.TemporaryDirectory() as folder:
        log = ["--log", f"--log-prefix={folder}/log"]
        _pgbench(bench, database, conversations, seconds, f"--rate={rate}", *log)
        lines = [line for path in Path(folder).iterdir() for line in path.read_text().splitlines()]
    return [int(line.split()[2]) / 1e3 for line in lines]


def _pgbench(bench: Bench, database: str, conversations: int, seconds: float, *options: str) -> str:
    content = ("Have you read the one about the lighthouse? " * 3)[:97]
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT.format(conversations=conversations, content=content))
        script.flush()
        done = subprocess.run(
            [
                str(wheel_bin_dir() / "pgbench"), "--no-vacuum", "--protocol=prepared",
                f"--client={CLIENTS}", "--jobs=2", f"--time={max(1, round(seconds))}",
                f"--file={script.name}", *options, bench.admin_url(database),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"pgbench failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
