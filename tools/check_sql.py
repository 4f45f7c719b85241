"""Run squawk over every migration as it is applied, with its includes; pgspot over each file.

sqlfluff reads the files as they are written (make check calls it). pgspot knows no function bodies
in the standard form, so `begin atomic`, whose names are bound when the function is made, is shown
to it as a body with a pinned search_path.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bookconnect_dm import migrations

SQL = Path(__file__).resolve().parents[1] / "src" / "bookconnect_dm" / "sql"
FOLDERS = ("host", "functions", "migrations")

IGNORED = {
    "PS002": "re-applying code is the point; the last step of a migration refuses what others made",
    "PS010": "a schema of the right name may exist already (auth, on a host)",
    "PS012": "the standalone host's tables are made where they are missing",
    "PS015": "as PS002, for a view in schema messaging, where nobody else may create",
}

# A standard body ends at an `end;` in the column of its `begin`.
ATOMIC = re.compile(r"^( *)begin atomic\n(.*?)^\1end;", re.MULTILINE | re.DOTALL)


def written() -> dict[str, str]:
    """Every file that makes functions."""
    files = [file for folder in FOLDERS for file in sorted((SQL / folder).glob("*.sql"))]
    return {file.stem: file.read_text("utf-8") for file in (*files, SQL / "catalog.sql")}


def rendered() -> dict[str, str]:
    """Every text of every host's plan, once, by a name for people."""
    texts = {"runner": migrations.runner()}
    for adapter in migrations.ADAPTERS:
        texts.update({m.name.replace("/", "_"): m.text for m in migrations.plan(adapter)})
    return texts


def respell(text: str) -> str:
    """Return `text` in the words that pgspot knows."""
    text = ATOMIC.sub(
        lambda found: f"set search_path = pg_catalog, pg_temp as $atomic${found[2]}$atomic$;", text
    )
    return f"set search_path = pg_catalog, pg_temp;\n{text}"


def pgspot(path: Path, *options: str) -> tuple[list[str], str | None]:
    """Run pgspot over a file; return its findings, and what it stumbled over if it did."""
    ignore = [f"--ignore={code}" for code in IGNORED]
    done = subprocess.run(
        [sys.executable, "-m", "pgspot", *ignore, *options, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    findings = [line for line in lines if re.match(r"PS\d", line)]
    unknown = [line for line in lines if not re.match(r"PS\d|Errors:", line)]
    return findings, " ".join(unknown) or None


def check_pgspot(folder: Path, name: str, text: str) -> list[str]:
    """Judge one text; a line for each finding."""
    path = folder / f"{name}.sql"
    path.write_text(respell(text), "utf-8")
    findings, stumbled = pgspot(path)
    if stumbled:
        # Its parser of function bodies knows no fields of row variables: the rest can be checked,
        # and plpgsql_check reads the bodies (tests/sql/test_bodies.py).
        findings, stumbled = pgspot(path, "--no-plpgsql")
    return [f"{name}: {line}" for line in [*findings, *([stumbled] if stumbled else [])]]


def check_squawk(folder: Path, texts: dict[str, str]) -> list[str]:
    """Judge all texts at once; its report where there is one."""
    files = []
    for name, text in texts.items():
        files.append(folder / f"{name}.sql")
        files[-1].write_text(text, "utf-8")
    squawk = Path(sys.executable).with_name("squawk")
    done = subprocess.run([squawk, *files], capture_output=True, text=True, check=False)
    return [done.stdout + done.stderr] if done.returncode else []


def main() -> int:
    """Check them all."""
    with tempfile.TemporaryDirectory() as folder:
        lines = check_squawk(Path(folder), rendered())
        for name, text in written().items():
            lines += check_pgspot(Path(folder), name, text)
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
