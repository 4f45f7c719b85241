"""Run pgspot over every SQL file that makes functions.

pgspot knows one safe search_path (`pg_catalog, pg_temp`) and no function bodies in the standard
form, so it is shown the same text with two things respelled: the empty search_path, which is
stricter still, and `begin atomic`, whose names are bound when the function is made.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SQL = ROOT / "src" / "bookconnect_dm" / "sql"
FOLDERS = ("host", "functions", "migrations")

IGNORED = {
    "PS001": "with the empty path, operators come from pg_catalog alone",
    "PS002": "re-applying code is the point; nobody else may create in schema messaging",
    "PS005": "a helper in pg_temp only; the house's own test asks the catalog about all others",
    "PS010": "a schema of the right name may exist already (auth, on a host)",
    "PS012": "the standalone host's tables are made where they are missing",
    "PS014": "as PS012, for their index",
    "PS015": "as PS002, for views",
    "PS017": "transition tables (removed, added) have no schema",
}

# A standard body ends at an `end;` in the column of its `begin`.
ATOMIC = re.compile(r"^( *)begin atomic\n(.*?)^\1end;", re.MULTILINE | re.DOTALL)


def respell(text: str) -> str:
    """Return `text` in the words that pgspot knows."""
    text = re.sub(r"set search_path = ''", "set search_path = pg_catalog, pg_temp", text)
    text = ATOMIC.sub(
        lambda found: f"set search_path = pg_catalog, pg_temp as $atomic${found[2]}$atomic$;", text
    )
    return f"set search_path = pg_catalog, pg_temp;\n{text}"


def run(text: str, name: str, *options: str) -> tuple[list[str], str | None]:
    """Run pgspot over `text`; return its findings, and what it stumbled over if it did."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / name
        copy.write_text(text, "utf-8")
        ignore = [f"--ignore={code}" for code in IGNORED]
        done = subprocess.run(
            [sys.executable, "-m", "pgspot", *ignore, *options, str(copy)],
            capture_output=True,
            text=True,
            check=False,
        )
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    findings = [line for line in lines if re.match(r"PS\d", line)]
    unknown = [line for line in lines if not re.match(r"PS\d|Errors:", line)]
    return findings, " ".join(unknown) or None


def check(path: Path) -> bool:
    """Check one file; print what was found."""
    text = respell(path.read_text("utf-8"))
    findings, stumbled = run(text, path.name)
    if stumbled:
        # Its parser of function bodies knows no fields of row variables: the rest can be checked.
        findings, stumbled = run(text, path.name, "--no-plpgsql")
    for line in [*findings, *([f"pgspot failed: {stumbled}"] if stumbled else [])]:
        print(f"{path.relative_to(ROOT)}: {line}")
    return not findings and not stumbled


def main() -> int:
    """Check them all."""
    files = [path for folder in FOLDERS for path in sorted((SQL / folder).glob("*.sql"))]
    results = [check(path) for path in files]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
