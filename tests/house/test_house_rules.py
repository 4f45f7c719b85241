"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "bookconnect_dm"


def _tracked() -> list[Path]:
    """Every file of the repository: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def _texts() -> list[tuple[Path, str]]:
    texts = []
    for path in _tracked():
        try:
            texts.append((path.relative_to(ROOT), path.read_text("utf-8")))
        except UnicodeDecodeError:
            continue  # a picture
    return texts


def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _strings(tree: ast.AST) -> list[tuple[int, str]]:
    """Every string of a module that is not a docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docstrings.add(id(node.body[0].value))  # type: ignore[attr-defined]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstrings.add(id(node.value))  # an attribute's docstring
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    ]


_STATEMENT = re.compile(
    r"^\s*(select\s.+|insert\s+into\s|update\s+\w+(\.\w+)?\s+set\s|delete\s+from\s|with\s+\w+\s+as\s"
    r"|(create|alter|drop)\s+(table|role|user|database|function|schema|index|policy|publication|view)\s"
    r"|grant\s+\w+\s+on\s|revoke\s|set\s+local\s|truncate\s|begin\s*;|copy\s+\w+\s+(from|to)\s)",
    re.IGNORECASE | re.DOTALL,
)


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.name)
def test_no_sql_statement_stands_in_python(path: Path) -> None:
    """SQL lives in .sql files; the feed's replication commands are no SQL."""
    found = [
        f"{path.name}:{line}: {text[:60]!r}"
        for line, text in _strings(ast.parse(path.read_text("utf-8")))
        if _STATEMENT.match(text)
    ]
    assert not found, found


def test_sql_in_python_would_be_noticed() -> None:
    for statement in (
        "select 1",
        " SELECT a\nfrom b",
        "insert into x values (1)",
        "update x set a = 1",
        "alter role x password 'y'",
        "set local role x",
        "with a as (select 1) select * from a",
    ):
        assert _STATEMENT.match(statement), statement
    for prose in ("selected", "update the page", "with a smile", "START_REPLICATION SLOT x"):
        assert not _STATEMENT.match(prose), prose


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.name)
def test_every_module_says_what_it_is_in_charge_of(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    for promise in ("In charge of:", "Knows about:", "Does not know:"):
        assert promise in docstring, promise


def _code_lines(text: str) -> int:
    """Lines that hold code: no comments, no docstrings, no blank lines."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    begins = True  # a statement that is a string alone is documentation
    for token in tokens:
        if token.type in nothing:
            begins = begins or token.type != tokenize.COMMENT
        elif token.type == tokenize.STRING and begins:
            begins = False
        else:
            lines.update(range(token.start[0], token.end[0] + 1))
            begins = False
    return len(lines)


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.name)
def test_no_module_outgrows_one_idea(path: Path) -> None:
    lines = _code_lines(path.read_text("utf-8"))
    assert lines <= 400, f"{path.name} has {lines} lines of code"


# Pieces, so that this file does not contain what it forbids.
_HOSTS = [
    ".".join(parts)
    for parts in (
        ("files", "pythonhosted", "org"),
        ("pypi", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("proxy", "golang", "org"),
    )
]
_HOMES = re.compile(r"(?<![\w.])/(home|Users)/\w+|(?<![\w.])/[r]oot/")


def test_no_file_names_a_package_registry() -> None:
    found = [f"{path}: {host}" for path, text in _texts() for host in _HOSTS if host in text]
    assert not found, found


def test_no_file_carries_a_home_or_checkout_path() -> None:
    folders = (f"{ROOT}/", f"{ROOT.parent}/shared")
    found = [
        str(path)
        for path, text in _texts()
        if any(folder in text for folder in folders)
        or (_HOMES.search(text) and path != Path(__file__).relative_to(ROOT))
    ]
    assert not found, found


def test_constraints_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    wrong = [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin)]
    assert not wrong, wrong
    names = [pin.split("==")[0].lower().replace("_", "-") for pin in pins]
    assert len(names) == len(set(names))


def test_no_unfinished_work_without_an_issue() -> None:
    marker = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))")
    found = [
        str(path)
        for path, text in _texts()
        if path.suffix in {".py", ".js", ".sql", ".sh"}
        and "vendor" not in path.parts
        and path != Path(__file__).relative_to(ROOT)
        and marker.search(text)
    ]
    assert not found, found
