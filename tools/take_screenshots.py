"""Take a picture of every state of the page: three widths, light and dark, one sheet each.

    python tools/take_screenshots.py [--only NAME ...] [--loose DIR]

Writes docs/images/states/NAME.webp and the list in docs/explain/page-states.md. With --loose the
single pictures are kept too, as PNG in that folder, to look at them closely.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

from tests.ui.bookshop import CHROMIUM_ARGS, chromium_path  # noqa: E402 - needs the path above
from tests.ui.paper import PaperShop  # noqa: E402
from tests.ui.paper_window import open_paper  # noqa: E402
from tests.ui.states import STATES, State  # noqa: E402

SHEETS = HERE / "docs" / "images" / "states"
DOC = HERE / "docs" / "explain" / "page-states.md"
LIST = re.compile(r"(?<=<!-- states -->\n).*(?=<!-- end of states -->)", re.DOTALL)
HEIGHT = 740
WIDTHS = (375, 768, 1280)
SCHEMES = ("light", "dark")
# A sheet: phones and tablets above, desktops below, with a gap around each.
GAP = 24
SCALE = 0.6

SHEET = """async ([pictures, places, size, scale]) => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = size.map((side) => Math.round(side * scale));
  const paint = canvas.getContext('2d');
  paint.fillStyle = '#8c8f88';
  paint.fillRect(0, 0, canvas.width, canvas.height);
  paint.imageSmoothingQuality = 'high';
  for (const [at, picture] of pictures.entries()) {
    const image = new Image();
    image.src = `data:image/png;base64,${picture}`;
    await image.decode();
    const [left, top, width, height] = places[at].map((side) => Math.round(side * scale));
    paint.drawImage(image, left, top, width, height);
  }
  return canvas.toDataURL('image/webp', 0.86).split(',')[1];
}"""


@dataclass(frozen=True)
class Picture:
    """One picture of a state."""

    width: int
    scheme: str
    png: bytes


def take(browser: Browser, state: State, scheme: str) -> Iterator[Picture]:
    """One load of the page, three widths."""
    context = browser.new_context(
        viewport={"width": WIDTHS[-1], "height": HEIGHT},
        locale="ar" if state.lang == "ar" else "en-GB",
        color_scheme="dark" if scheme == "dark" else "light",
    )
    shop = PaperShop(tier=state.tier)
    window = open_paper(context, shop)
    state.show(window, shop)
    for width in WIDTHS:
        window.page.set_viewport_size({"width": width, "height": HEIGHT})
        window.page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 60)))"
        )
        yield Picture(width, scheme, window.page.screenshot(animations="disabled", caret="initial"))
    window.close()


def sheet_of(page: Page, pictures: list[Picture]) -> bytes:
    """All pictures of a state on one sheet, as WebP."""
    small = [one for one in pictures if one.width < WIDTHS[-1]]
    large = [one for one in pictures if one.width == WIDTHS[-1]]
    places = []
    for row, ones in enumerate((small, large)):
        left = GAP
        for one in ones:
            places.append((left, GAP + row * (HEIGHT + GAP), one.width, HEIGHT))
            left += one.width + GAP
    size = (max(left + width + GAP for left, _, width, _ in places), 2 * HEIGHT + 3 * GAP)
    encoded = [base64.b64encode(one.png).decode() for one in small + large]
    return base64.b64decode(page.evaluate(SHEET, [encoded, places, size, SCALE]))


def listing() -> str:
    """The list for the page of the documentation."""
    return "\n".join(
        f"## {state.name}\n\n{state.says[0].upper()}{state.says[1:]}.\n\n"
        f"![{state.name}](../images/states/{state.name}.webp)\n"
        for state in STATES
    )


def main() -> None:
    """Take them all, or those that are asked for."""
    parser = argparse.ArgumentParser(description="Take a picture of every state of the page.")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--loose", type=Path, metavar="DIR")
    given = parser.parse_args()
    SHEETS.mkdir(parents=True, exist_ok=True)
    wanted = [one for one in STATES if not given.only or one.name in given.only]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGS)
        desk = browser.new_page()
        for state in wanted:
            pictures = [one for scheme in SCHEMES for one in take(browser, state, scheme)]
            sheet = sheet_of(desk, pictures)
            (SHEETS / f"{state.name}.webp").write_bytes(sheet)
            print(f"{state.name}: {len(sheet) // 1024} kB", flush=True)
            for one in pictures if given.loose else []:
                given.loose.mkdir(parents=True, exist_ok=True)
                name = f"{state.name}-{one.width}-{one.scheme}.png"
                (given.loose / name).write_bytes(one.png)
        browser.close()
    if DOC.exists():
        DOC.write_text(LIST.sub("\n" + listing() + "\n", DOC.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
