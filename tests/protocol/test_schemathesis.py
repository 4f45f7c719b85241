"""schemathesis against a real server: nothing breaks, and no answer is undocumented.

A few hundred cases; with PROOF=1 at least 2,000.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World

IS_PROOF = bool(os.environ.get("PROOF"))
LEAST = 2_000 if IS_PROOF else 300
EXAMPLES = 150 if IS_PROOF else 10
SEED = os.environ.get("SEED", "20261122")

# A document cannot say that two parameters exclude each other: here a 400 for them is right.
CONFIG = """
[[operations]]
include-name = "GET /v1/conversations/{conversation_id}/messages"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "429"]
"""


def run(server: RunningServer, world: World, folder: Path, *more: str) -> str:
    """All checks, stateful runs included; fails with the findings. Gives the summary."""
    (folder / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
    command = [
        "run", f"{server.url}/openapi.json",
        "--header", f"Authorization: Bearer {token_for(world.ada)}",
        "--phases", "examples,coverage,fuzzing,stateful",
        "--max-examples", str(EXAMPLES),
        "--seed", SEED,
        "--generation-database", "none",
        "--request-timeout", "20",
        "--suppress-health-check", "all",
        "--no-color",
        *more,
    ]  # fmt: skip
    done = subprocess.run(
        [str(Path(sys.executable).with_name("schemathesis")), *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=3_600,
        check=False,
    )
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    assert done.returncode == 0
    return done.stdout


def cases(summary: str) -> int:
    found = re.search(r"([\d,]+) generated", summary)
    assert found
    return int(found[1].replace(",", ""))


def test_no_5xx_and_no_undocumented_answer(
    server: RunningServer, shared: World, tmp_path: Path
) -> None:
    conversation = shared.converse(shared.ada, shared.ben)
    shared.send(shared.ben, conversation, "Something to find")
    summary = run(server, shared, tmp_path, "--checks", "all")
    assert cases(summary) >= LEAST
    assert "request_failed" not in server.log


def test_the_same_with_limits(own: World, tmp_path: Path) -> None:
    """What is refused for being too much is documented too; what a limit hides is not looked at."""
    own.converse(own.ada, own.ben)
    with running_server(
        own.db, LIMIT_SENDS_PER_SECOND="1", LIMIT_SEND_BURST="5", LIMIT_STARTS_PER_HOUR="5"
    ) as server:
        answers = "not_a_server_error,status_code_conformance,content_type_conformance"
        checks = f"{answers},response_headers_conformance,response_schema_conformance"
        run(server, own, tmp_path, "--checks", checks)
        assert "request_failed" not in server.log
        metrics = httpx.get(f"{server.url}/metrics").text
    assert re.search(r'bookconnect_dm_\w*limited\w*\{limit="sends"\} [1-9]', metrics)
