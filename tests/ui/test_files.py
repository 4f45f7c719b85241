"""The page's files: what is vendored is what was published, what is pure passes its own tests."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import bookconnect_dm
from bookconnect_dm.content import SPACE

UI = Path(bookconnect_dm.__file__).parent / "ui"
VENDOR = UI / "vendor"
PURE = Path(__file__).parent / "pure"
HAZARDS = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "eval(",
    "new Function",
    "document.write",
    "document.cookie",
    "postMessage",
    "srcdoc",
)


def _node(*arguments: str) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    if node is None:
        pytest.fail("node is not here: install Node.js 18 or newer (Debian: nodejs)")
    return subprocess.run(
        [node, *arguments], capture_output=True, text=True, timeout=180, check=False
    )


@pytest.mark.parametrize("path", sorted(PURE.glob("*.test.mjs")), ids=lambda path: path.name)
def test_pure_modules_pass_their_own_tests(path: Path) -> None:
    """Node's own runner; no browser, no server."""
    ran = _node("--test", "--test-reporter=tap", str(path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"# pass [1-9]", ran.stdout), "it must have run something"


def test_vendored_files_have_the_checksums_they_came_with() -> None:
    """Each vendored file is listed, each listed file is there, unchanged."""
    lines = (VENDOR / "SHA256SUMS").read_text("utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    ours = {"README.md", "SHA256SUMS", "lit.d.ts", "lit.js"}
    there = {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*") if path.is_file()}
    assert there - ours == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_vendored_licence_is_there() -> None:
    """BSD-3-Clause asks for its text to travel with the code."""
    assert "BSD 3-Clause License" in (VENDOR / "LICENSE").read_text("utf-8")


def test_trimming_list_is_the_server_s() -> None:
    """One list in SQL, Python and JavaScript."""
    module = json.dumps((UI / "text" / "trim.js").as_uri())
    show = "(it) => console.log(JSON.stringify(it.TRIMMED))"
    ranges = json.loads(_node("-e", f"import({module}).then({show})").stdout)
    characters = {chr(at) for first, last in ranges for at in range(first, last + 1)}
    assert characters == set(SPACE)


def test_the_table_of_tests_names_tests_that_are_there() -> None:
    """docs/explain/page-states.md says what shows each thing that the page does."""
    folder = Path(__file__).parent
    table = (folder.parents[1] / "docs" / "explain" / "page-states.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", table))
    there = {
        name
        for path in folder.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert len(named) > 30
    assert named <= there, named - there


def test_every_module_says_what_it_is_for() -> None:
    """In charge of, knows about, does not know about."""
    for path in UI.rglob("*.js"):
        if VENDOR in path.parents:
            continue
        head = path.read_text("utf-8")[:700]
        assert "In charge of:" in head, path
        assert re.search(r"Does not know\b", head), path


def test_no_module_needs_anything_from_outside_the_folder() -> None:
    """Imports are relative, nothing is evaluated, no markup is made from strings."""
    for path in UI.rglob("*.js"):
        if VENDOR in path.parents and path.name != "lit.js":
            continue
        text = path.read_text("utf-8")
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        for target in re.findall(r"(?:from|import) '([^']+)'", code):
            assert (path.parent / target).is_file(), f"{path}: {target}"
        for hazard in HAZARDS:
            assert hazard not in code, f"{path}: {hazard}"
        assert " style=" not in code, f"{path}: a strict policy refuses inline styles"
