"""What the documents say is what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from bookconnect_dm import __version__
from bookconnect_dm.config import SETTING_NAMES

ROOT = Path(__file__).resolve().parents[2]


def _read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", _read("Makefile"), re.MULTILINE))


def test_every_make_command_in_the_documents_exists() -> None:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")]
    pages += sorted((ROOT / "docs").rglob("*.md"))
    for page in pages:
        named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE)
        assert set(named) <= _targets(), page.name


def test_every_verb_of_the_contract_is_a_target() -> None:
    assert {"demo", "test", "check", "bench", "proof", "help"} <= _targets()


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (\S+) - \d{4}-\d\d-\d\d$", _read("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == __version__


def test_every_setting_is_documented_and_no_other() -> None:
    page = _read("docs/reference/settings.md")
    rows = re.findall(r"^\| `(BOOKCONNECT_DM_\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(SETTING_NAMES)


def test_the_written_reference_says_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "write_reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_link_between_documents_leads_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        # What stands in a block of code is an example of somebody's own page.
        prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", prose):
            path = "".join(target)
            if "://" not in path and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {path}")
    assert not broken, broken


def test_every_decision_has_its_four_parts() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert pages
    for page in pages:
        text = page.read_text("utf-8")
        assert re.match(rf"# {page.name[:4]}\. \S", text), page.name
        for part in ("Situation", "Choice", "What we gave up", "How we would notice"):
            assert part in text, f"{page.name}: {part}"


def test_the_architecture_names_every_module() -> None:
    text = _read("ARCHITECTURE.md")
    modules = {p.stem for p in (ROOT / "src" / "bookconnect_dm").glob("*.py")} - {"__init__"}
    assert not [name for name in sorted(modules) if f"`{name}`" not in text]
