"""Dashboard and alerts: every query is parsed by promtool and asks for what a real server shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from bookconnect_dm.metrics import FAMILIES
from tests.helpers.server import RunningServer, running_server, token_for
from tests.helpers.world import World

OPS = Path(__file__).resolve().parents[2] / "ops"
DASHBOARD = OPS / "grafana" / "bookconnect-dm.json"
ALERTS = OPS / "prometheus" / "alerts.yml"
NAME = re.compile(r"\bbookconnect_dm_\w+")


def promtool(*arguments: str, stdin: str = "") -> str:
    """Run promtool, and give what it said; it must be content."""
    program = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if program is None:
        message = "promtool is not here: install prometheus or set PROMTOOL"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run(
        [program, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def queries() -> list[str]:
    """Every query of the dashboard, with its variable filled in."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [
        target["expr"].replace("$instance", ".*") for panel in panels for target in panel["targets"]
    ]


def lively(world: World, server: RunningServer) -> str:
    """Let a little of everything happen; give what a scraper then reads."""
    conversation = world.converse(world.ada, world.ben)
    headers = {"authorization": f"Bearer {token_for(world.ada)}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=20) as client:
        path = f"/v1/conversations/{conversation}/messages"
        assert client.post(path, json={"content": "hello"}).status_code == 201
        assert client.post(path, json={"content": " "}).status_code == 422
        assert client.get("/nowhere").status_code == 404
        server.wait_for(200)
        text = ""
        for _ in range(600):
            text = client.get("/metrics").text
            if "bookconnect_dm_retention_runs_total{" in text:
                break
        return text


def test_a_real_server_shows_each_metric_and_dashboard_and_alerts_ask_for_no_other(
    live_world: World, worker_url: str, tmp_path: Path
) -> None:
    with running_server(
        live_world.db,
        RETENTION_URL=worker_url,
        RETENTION_LOOK_SECONDS="0.2",
        BACKUP_FOLDER=str(tmp_path / "backups"),
    ) as server:
        text = lively(live_world, server)
    assert "bookconnect_dm_backup_newest_timestamp_seconds 0.0" in text, "none was ever made"
    # promtool's own taste: names, units, help, counters.
    promtool("check", "metrics", stdin=text)
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    shown = {name for name in shown if name.startswith("bookconnect_dm_")}
    created = {name for name in shown if name.endswith("_created")}
    assert shown - created == {family.shown for family in FAMILIES}
    samples = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line[:1] != "#"}
    asked = {name for query in queries() for name in NAME.findall(query)}
    asked |= set(NAME.findall(ALERTS.read_text("utf-8")))
    labelled = {family.shown for family in FAMILIES if family.labels}
    assert asked <= samples | labelled, asked - samples - labelled
    page = (OPS.parent / "docs" / "reference" / "metrics.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert documented == shown - created


def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    assert len(queries()) >= 20
    rules = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries())]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    said = promtool("check", "rules", str(file))
    assert f"{len(rules)} rules found" in said


def test_a_broken_query_would_be_noticed(tmp_path: Path) -> None:
    rules = [{"record": "a:b", "expr": "sum(rate(bookconnect_dm_sends_total[5m))"}]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    with pytest.raises(AssertionError, match="could not parse expression"):
        promtool("check", "rules", str(file))


def test_panels_have_a_title_a_description_and_room() -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert all(panel["title"] and panel["description"] for panel in panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_alerts_fire_when_they_must_and_only_then() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(ALERTS))
    assert "SUCCESS" in promtool("test", "rules", str(ALERTS.with_name("alerts_test.yml")))


def test_every_alert_has_a_test() -> None:
    tested = ALERTS.with_name("alerts_test.yml").read_text("utf-8")
    names = re.findall(r"- alert: (\w+)", ALERTS.read_text("utf-8"))
    assert [name for name in names if f"alertname: {name}" not in tested] == []
