"""What a schema is, told in two ways: our own catalog, and pg_dump.

Our catalog lists what `verify` watches; pg_dump knows nothing of us and lists everything.
"""

from __future__ import annotations

import os
import re
import subprocess

from tests.helpers.postgres import Database

__all__ = ["catalog_of", "dump_of"]


def catalog_of(db: Database) -> dict[tuple[str, str], str]:
    """Return our own catalog: kind and name to definition."""
    rows = db.run("select kind, name, definition from messaging.catalog()")
    return {(row["kind"], row["name"]): row["definition"] for row in rows}


def dump_of(db: Database) -> list[str]:
    """Return the statements of `pg_dump --schema-only`, sorted."""
    program = db.cluster.embedded._bin_dir / "pg_dump"
    done = subprocess.run(
        [str(program), "--schema-only", f"--dbname={db.url(db.cluster.superuser)}"],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    # Comments name the version; \restrict carries a random key.
    lines = [
        line
        for line in done.stdout.splitlines()
        if line and not re.match(r"--|\\(un)?restrict", line)
    ]
    return sorted(re.split(r"(?<=;)\n", "\n".join(lines)))
