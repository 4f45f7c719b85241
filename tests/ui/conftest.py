"""A browser for the run, a server for each test, windows for its members."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.helpers.world import World
from tests.ui.bookshop import (
    CHROMIUM_ARGS,
    Bookshop,
    OpenWindow,
    Window,
    chromium_path,
    expect,
    window_of,
)
from tests.ui.paper import PaperShop
from tests.ui.paper_window import PaperWindow, open_paper

expect.set_options(timeout=20_000)

PROOF = os.environ.get("PROOF") == "1"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for the run; every window has a profile of its own."""
    path = chromium_path()
    if path is None:
        message = "Chromium is not here: install it (Debian: chromium) or set CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
        yield launched
        launched.close()


@pytest.fixture
def shop(live_world: World, tmp_path: Path) -> Iterator[Bookshop]:
    """A running server with its page and the six members, without any conversation."""
    made = Bookshop(live_world, tmp_path / "server.log")
    made.start()
    yield made
    made.kill()


PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}
_SCREENS = [pytest.param({}, id="desk"), pytest.param(PHONE, id="phone")]
SCREENS = pytest.mark.parametrize("given", _SCREENS)
"""For a test that takes `given`: a desk with a mouse, a phone with a finger."""
ON_BOTH = pytest.mark.parametrize("screen", _SCREENS, indirect=True)
"""The same for a test that need not know which."""
ON_A_PHONE = pytest.mark.parametrize("screen", _SCREENS if PROOF else _SCREENS[1:], indirect=True)
"""For a test with a server of its own: the desk's turn is in `make proof`."""


@pytest.fixture
def screen(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What each window of a test is opened on, where the test does not say otherwise."""
    return getattr(request, "param", {})


@pytest.fixture
def window(shop: Bookshop, browser: Browser, screen: dict[str, Any]) -> Iterator[OpenWindow]:
    """Open a member's window; at the end none may have erred or asked elsewhere."""
    opened: list[Window] = []

    def make(member: str, **given: Any) -> Window:
        opened.append(window_of(shop, browser, member, **{**screen, **given}))
        return opened[-1]

    yield make
    for one in opened:
        one.context.close()
    assert [complaint for one in opened for complaint in one.complaints] == []
    assert [url for one in opened for url in one.elsewhere] == []


OpenPaper = Callable[..., PaperWindow]


@pytest.fixture
def paper(browser: Browser, screen: dict[str, Any]) -> Iterator[OpenPaper]:
    """Open a window on shops of paper; at the end no page may have erred or asked elsewhere."""
    opened: list[PaperWindow] = []

    def make(*shops: PaperShop, **given: Any) -> PaperWindow:
        options: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"}
        context = browser.new_context(**{**options, **screen, **given})
        opened.append(open_paper(context, *shops))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
    assert [complaint for one in opened for complaint in one.complaints] == []
