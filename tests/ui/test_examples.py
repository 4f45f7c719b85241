"""The examples of the how-to page do what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bookconnect_dm import config
from tests.ui.bookshop import expect
from tests.ui.conftest import ON_BOTH, OpenPaper
from tests.ui.paper import PaperShop
from tests.ui.paper_window import UI, PaperWindow

pytestmark = pytest.mark.browser

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "embed-the-page.md"
TEXT = PAGE.read_text("utf-8")
FENCES = re.compile(r"^```\w+ example=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES: dict[str, str] = dict(FENCES.findall(TEXT))
HOSTS = Path(__file__).parents[2] / ".venv" / "hosts" / "node_modules"
PHONE = {"width": 375, "height": 740}


def _open(paper: OpenPaper, shop: PaperShop, script: str, **given: object) -> PaperWindow:
    ada = paper(shop, **given)
    ada.html = EXAMPLES["plain"]
    ada.files = {
        "/shop.css": EXAMPLES["plain:/shop.css"].encode(),
        "/shop.js": EXAMPLES[script].encode(),
    }
    ada.headers = {"content-security-policy": EXAMPLES["policy"].strip()}
    ada.page.goto(f"{shop.origin}/")
    return ada


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, PHONE], ids=["desk", "phone"])
def test_the_whole_page_works_under_its_strict_policy(
    paper: OpenPaper, viewport: dict[str, int]
) -> None:
    """Token, event, button, title and colours of the host's."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    ada = _open(paper, shop, "plain:/shop.js", viewport=viewport)
    expect(ada.row("Ben")).to_be_visible()
    shop.say(talk, shop.ben, "Unread")
    expect(ada.page.locator("body")).to_have_attribute("data-unread", "1")
    expect(ada.page).to_have_title("(1) Our bookshop")
    ada.page.get_by_role("button", name="Write to Ben").click()
    expect(ada.bubbles).to_have_text(["Hello", "Unread"])
    ada.say("Hi")
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    assert shop.heard[0]["token"] == "a signed token"
    font = ada.bubbles.last.evaluate("it => getComputedStyle(it).fontFamily")
    assert "Georgia" in font
    assert ada.page.url.endswith(f"#/messages/{talk}")
    ada.page.go_back()
    expect(ada.page.locator("bookconnect-inbox h1")).to_be_visible()


@ON_BOTH
def test_a_router_of_the_host_s_own(paper: OpenPaper) -> None:
    """The address is the host's, forth and back."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    ada = _open(paper, shop, "router:/shop.js")
    ada.row("Ben").click()
    expect(ada.bubbles).to_have_text(["Hello"])
    assert ada.page.url.endswith(f"?messages={talk}")
    ada.page.go_back()
    expect(ada.bubbles).to_have_count(0)
    ada.page.go_forward()
    expect(ada.bubbles).to_have_text(["Hello"])


FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A host</title>
<style>html, body { margin: 0 } bookconnect-messages { height: 600px }</style></head>
<body><main id="shop"></main><script type="module" src="/shop.js"></script></body></html>"""


def _bundled(example: str, folder: Path) -> bytes:
    """The example as a host's bundler makes it."""
    node = shutil.which("node")
    if node is None or not HOSTS.exists():
        message = "React, Vue and esbuild are not here: make test installs them"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    source = folder / example.rpartition("/")[2]
    source.write_text(EXAMPLES[example], "utf-8")
    made = subprocess.run(
        [
            str(HOSTS / ".bin" / "esbuild"), str(source), "--bundle", "--format=esm",
            "--external:/ui/*", "--jsx=automatic", "--define:process.env.NODE_ENV='production'",
            "--define:__VUE_OPTIONS_API__=false", "--define:__VUE_PROD_DEVTOOLS__=false",
            "--define:__VUE_PROD_HYDRATION_MISMATCH_DETAILS__=false",
        ],
        env={**os.environ, "NODE_PATH": str(HOSTS)}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr.decode()
    return made.stdout


@pytest.mark.parametrize("example", ["react:/shop.jsx", "vue:/shop.js"])
def test_a_host_made_with_a_framework(paper: OpenPaper, tmp_path: Path, example: str) -> None:
    """The token goes in, the count comes out, and what is taken away can be put back."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    ada = paper(shop)
    ada.html = FRAME
    ada.files = {"/shop.js": _bundled(example, tmp_path)}
    ada.page.goto(f"{shop.origin}/")
    expect(ada.row("Ben")).to_be_visible()
    shop.say(talk, shop.ben, "Unread")
    button = ada.page.get_by_role("button", name="Messages (1)")
    expect(button).to_be_visible()
    assert shop.heard[0]["token"] == "a signed token"
    assert len([frame for frame in shop.heard if frame["type"] == "auth"]) == 1, "one sign-in"
    button.click()
    expect(ada.page.locator("bookconnect-messages")).to_have_count(0)
    button.click()
    ada.row("Ben").click()
    expect(ada.bubbles).to_have_text(["Hello", "Unread"])
    ada.say("From a framework")
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    expect(ada.page.get_by_role("button", name="Messages (0)")).to_be_visible()


def test_the_tables_name_what_there_is() -> None:
    """Every attribute, every colour, every event and the setting: neither more nor less."""
    tokens = (UI / "styles" / "tokens.js").read_text("utf-8")
    assert set(re.findall(r"var\((--bc-[\w-]+)", tokens)) == set(
        re.findall(r"`(--bc-[\w-]+)`", TEXT)
    )
    source = (UI / "elements" / "bookconnect-messages.js").read_text("utf-8")
    told = set(re.findall(r"^ \* @attr \{.*\} ([\w-]+) ", source, re.MULTILINE))
    table = TEXT.split("## What you can set")[1].split("## What it tells")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == told
    fired = set(re.findall(r"@fires ([\w-]+)", source))
    assert set(re.findall(r"^\| `(bookconnect-\w+)` \|", TEXT, re.MULTILINE)) == fired
    assert "ORIGINS" in Path(config.__file__).read_text("utf-8")
