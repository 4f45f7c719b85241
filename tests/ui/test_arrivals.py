"""A message that comes while a page is still finding its feet is neither lost nor counted twice."""

from __future__ import annotations

import pytest

from tests.ui.bookshop import expect
from tests.ui.conftest import OpenPaper
from tests.ui.paper import PaperShop

pytestmark = pytest.mark.browser

MOMENTS = [
    ("before", "GET /v1/me"),
    ("before", "GET /v1/conversations"),
    ("after", "GET /v1/conversations"),
    ("before", "socket auth"),
    ("after", "socket auth"),
    ("before", "POST /v1/sync"),
    ("after", "POST /v1/sync"),
]


@pytest.mark.parametrize(("side", "call"), MOMENTS, ids=[" ".join(one) for one in MOMENTS])
def test_a_message_during_the_page_s_first_steps_counts_once(
    paper: OpenPaper, side: str, call: str
) -> None:
    """Told to nobody, held back while catching up, or in two answers at once: it is one message."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    getattr(shop, side)[call] = lambda: shop.say(talk, shop.ben, "Just now")
    ada = paper(shop).enter(attributes="title-badge")
    expect(ada.row("Ben").locator(".badge")).to_have_attribute("data-unread", "1")
    expect(ada.row("Ben")).to_contain_text("Just now")
    expect(ada.page).to_have_title("(1) A bookshop")
    shop.say(talk, shop.ben, "And then")
    expect(ada.row("Ben").locator(".badge")).to_have_attribute("data-unread", "2")
    ada.row("Ben").click()
    expect(ada.bubbles).to_have_text(["Hello", "Just now", "And then"])
    expect(ada.row("Ben").locator(".badge")).to_have_count(0)
    expect(ada.page).to_have_title("A bookshop")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_message_while_the_open_thread_loads_stands_once_in_its_place(
    paper: OpenPaper, moment: str
) -> None:
    """In the page that is being fetched, in a frame, or in both."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    call = f"GET /v1/conversations/{talk}/messages"
    getattr(shop, moment)[call] = lambda: shop.say(talk, shop.ben, "Just now")
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_text(["Hello", "Just now"])
    shop.say(talk, shop.ben, "And then")
    expect(ada.bubbles).to_have_text(["Hello", "Just now", "And then"])


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_message_while_the_page_comes_back_is_there(paper: OpenPaper, moment: str) -> None:
    """The gap's end is as dangerous as its beginning."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_text(["Hello"])
    expect(ada.composer).to_be_visible()
    ada.wait_until_live()
    shop.cut()
    shop.say(talk, shop.ben, "In the gap")
    getattr(shop, moment)["POST /v1/sync"] = lambda: shop.say(talk, shop.ben, "At its end")
    shop.reachable = True
    expect(ada.bubbles).to_have_text(["Hello", "In the gap", "At its end"])
