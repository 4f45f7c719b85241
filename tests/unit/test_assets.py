"""The page's files: small on their way, the same when they arrive."""

from __future__ import annotations

import gzip
from importlib.resources import files

import pytest

from bookconnect_dm.assets import read_assets, without_comments

UI = files("bookconnect_dm") / "ui"
LIMIT_BYTES = 60 * 1024


def test_everything_an_english_page_loads_is_small() -> None:
    """Lit included, each file compressed by itself, as it travels."""
    assets = read_assets(UI)
    mine = [
        one for path, one in assets.items()
        if path.endswith(".js") and path not in {"demo.js", "text/ar.js"}
    ]  # fmt: skip
    size = sum(len(one.gzipped) for one in mine)
    print(f"{len(mine)} files, {size} bytes")
    assert size <= 66_000
    assert len(gzip.compress(b"".join(one.plain for one in mine))) <= LIMIT_BYTES


def test_lines_stay_where_they_are_and_licences_stay_at_all() -> None:
    """What a debugger shows can be found in the source."""
    script = "/**\n * Words.\n */\nconst a = '// no'; // kept\n  // gone\n/** one */\nlet b;\n"
    assert without_comments(script) == "\n\n\nconst a = '// no'; // kept\n\n\nlet b;\n"
    licence = "/**\n * @license\n * Somebody\n */\nconst c = 1;\n"
    assert without_comments(licence) == licence


@pytest.mark.parametrize("path", [path for path in read_assets(UI) if path.endswith(".js")])
def test_no_text_of_a_script_is_taken_for_a_comment(path: str) -> None:
    """Nothing between back-ticks begins a line like a comment."""
    script = (UI / path).read_text("utf-8")
    assert script.count("`") == without_comments(script).count("`") or _in_comments(script)


def _in_comments(script: str) -> bool:
    """Back-ticks in prose come in pairs too."""
    return (script.count("`") - without_comments(script).count("`")) % 2 == 0
