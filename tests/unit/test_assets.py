"""The page's files: small on their way, the same when they arrive."""

from __future__ import annotations

import gzip
from importlib.resources import files

import pytest

from bookconnect_dm import assets as assets_module
from bookconnect_dm.assets import Asset, read_assets, without_comments

brotli = pytest.importorskip("brotli")

UI = files("bookconnect_dm") / "ui"
LIMIT_BYTES = 60 * 1024


def test_the_whole_page_is_small() -> None:
    """Lit and all languages included, each file compressed by itself, as it travels."""
    assets = {path: one for path, one in read_assets(UI).items() if not path.startswith("demo")}
    size = sum(len(one.for_one_who_accepts("gzip, deflate, br")[1]) for one in assets.values())
    zipped = sum(len(one.for_one_who_accepts("gzip")[1]) for one in assets.values())
    print(f"{len(assets)} files, {size} bytes with Brotli, {zipped} with gzip")
    assert size <= LIMIT_BYTES
    assert zipped <= 1.2 * LIMIT_BYTES


@pytest.mark.parametrize(
    ("accepted", "name"),
    [
        ("gzip, deflate, br", "br"),
        ("br;q=0.5, gzip", "br"),
        ("gzip;q=0.5", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br; q=0.0, gzip;q=0", None),
        ("bread", None),
        ("", None),
    ],
)
def test_everybody_gets_what_they_can_read(accepted: str, name: str | None) -> None:
    """And what it is when it is unpacked is the file."""
    one = read_assets(UI)["elements/thread.js"]
    encoding, body = one.for_one_who_accepts(accepted)
    assert encoding == name
    unpack = {"br": brotli.decompress, "gzip": gzip.decompress}.get(name or "", bytes)
    assert unpack(body) == one.plain


def test_a_machine_without_brotli_serves_the_same_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only larger ones."""
    monkeypatch.setattr(assets_module, "brotli", None)
    one = Asset("text/javascript", "", b"never seen before")
    assert one.for_one_who_accepts("gzip, br")[0] == "gzip"


def test_lines_stay_where_they_are_and_licences_stay_at_all() -> None:
    """What a debugger shows can be found in the source."""
    script = "/**\n * Words.\n */\nconst a = '// no'; // kept\n  // gone\n/** one */\n    let  b;\n"
    assert without_comments(script) == "\n\n\nconst a = '// no'; // kept\n\n\nlet  b;\n"
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
