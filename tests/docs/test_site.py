"""The documentation's site: built strictly, complete, and asking nobody for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.postgres import Database

ROOT = Path(__file__).resolve().parents[2]
NAMED_BY_THE_MISSION = {
    "explain/architecture-overview.html": "Architecture",
    "reference/api-specification.html": "API specification",
    "explain/frontend-implementation.html": "Frontend implementation",
    "how-to/deploy.html": "Deployment guide",
    "explain/database-design.html": "The database",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_it_has_the_pages_that_the_mission_names(site: Path) -> None:
    for name, title in NAMED_BY_THE_MISSION.items():
        assert f"{title}</h1>" in re.sub(
            r"<a [^>]*headerlink.*?</a>", "", (site / name).read_text("utf-8")
        ), name


def test_every_page_of_docs_is_in_it_and_in_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text("utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / name).exists(), name
        assert f'href="{name}"' in start or name == "index.html", name


def test_it_fetches_nothing_from_anywhere_else(site: Path) -> None:
    found = [
        f"{page.name}: {tag}"
        for page in site.rglob("*.html")
        for tag in re.findall(r"<(?:link|script|img|iframe)\b[^>]*>", page.read_text("utf-8"))
        if re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag)
    ]
    for sheet in site.rglob("*.css"):
        found += re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\s]+", sheet.read_text())
    assert not found, found


def test_a_link_to_nowhere_fails_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# Start\n\n[gone](gone.md), [nowhere](#nowhere)\n")
    settings = (ROOT / "mkdocs.yml").read_text("utf-8").replace("tools/docs_site.py", "hooks.py")
    settings = settings[: settings.index("nav:")]
    (tmp_path / "hooks.py").write_text("")
    (tmp_path / "mkdocs.yml").write_text(settings)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "gone.md" in done.stderr
    assert "nowhere" in done.stderr


def test_the_api_page_lists_the_functions_that_clients_may_call(pg: Database) -> None:
    """With the arguments' names, which PostgREST passes, and their defaults' presence."""
    page = (ROOT / "docs" / "reference" / "api-specification.md").read_text("utf-8")
    block = page[page.index("```sql") : page.index("```\n\nFor the service role")]
    told = {}
    for name, arguments in re.findall(r"^(\w+)\(([^)]*)\)", block, re.MULTILINE):
        parts = [part.split() for part in arguments.split(",") if part.strip()]
        told[name] = [(part[0], "default" in part) for part in parts]
    rows = pg.run(
        "select p.proname, p.proargnames[1:p.pronargs] as names, p.pronargdefaults as defaults"
        " from pg_proc as p where p.pronamespace = 'public'::regnamespace"
        " and has_function_privilege('authenticated', p.oid, 'execute')"
        " and p.prorettype <> 'trigger'::regtype"
    )
    found = {
        row["proname"]: [
            (name, number >= len(row["names"] or ()) - row["defaults"])
            for number, name in enumerate(row["names"] or ())
        ]
        for row in rows
    }
    assert told == found
