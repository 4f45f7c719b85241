"""Every state, in both colours and on both kinds of screen: nothing for axe to find."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import ViewportSize

from tests.ui.conftest import OpenPaper
from tests.ui.paper import PaperShop
from tests.ui.paper_window import PaperWindow
from tests.ui.states import STATES, State

pytestmark = pytest.mark.browser

DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 320, "height": 640}
# In full every size in every colour; else each size once and each colour once.
LOOKS = [(DESK, "light"), (PHONE, "dark")]
if os.environ.get("PROOF") == "1":
    LOOKS += [(DESK, "dark"), (PHONE, "light")]
SHEETS = Path(__file__).parents[2] / "docs" / "images" / "states"


def _violations(ada: PaperWindow) -> list[str]:
    found: list[dict[str, Any]] = Axe().run(ada.page).response["violations"]
    return [f"{one['id']}: {node['target']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("state", STATES, ids=[state.name for state in STATES])
def test_axe_finds_nothing_and_nothing_sticks_out(paper: OpenPaper, state: State) -> None:
    """Names, roles, contrast, order; and no state is wider or higher than its window."""
    shop = PaperShop(tier=state.tier)
    locale = "ar" if state.lang == "ar" else "en-GB"
    ada = paper(shop, locale=locale, reduced_motion="reduce", color_scheme="light")
    state.show(ada, shop)
    for size, scheme in LOOKS:
        ada.page.set_viewport_size(size)
        ada.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        assert _violations(ada) == [], f"{size['width']} px, {scheme}"
        wide, tall = ada.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert (wide <= size["width"], tall <= size["height"]) == (True, True), (wide, tall)


def test_every_state_has_its_sheet_and_no_sheet_is_heavy() -> None:
    """`make screenshots` was run when a state was added; nobody waits for the pictures."""
    sheets = {path.stem: path.stat().st_size for path in SHEETS.glob("*.webp")}
    assert set(sheets) == {state.name for state in STATES}
    assert max(sheets.values()) < 500_000
    assert sum(sheets.values()) < 4_000_000
    listed = (SHEETS.parents[1] / "explain" / "page-states.md").read_text("utf-8")
    for state in STATES:
        assert f"../images/states/{state.name}.webp" in listed
