"""What is read, on a desk and on a phone: screens, threads, times, plans, and calls that fail."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Locator

from tests.ui.bookshop import expect
from tests.ui.conftest import SCREENS, OpenPaper
from tests.ui.paper import Member, PaperShop, now, wire

pytestmark = pytest.mark.browser

DORA = Member("dora", "Dora Weiss")


def _top(line: Locator) -> float:
    return float(line.evaluate("it => it.getBoundingClientRect().top"))


@SCREENS
def test_from_the_inbox_through_a_long_thread_and_back(
    paper: OpenPaper, given: dict[str, Any]
) -> None:
    """Screens, days, groups, the divider, links, an older page, the pill, the way back."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    # All on one day, whatever the time is now.
    began = (now() - timedelta(days=2)).replace(hour=9)
    for number in range(90):
        shop.put(talk, shop.ben, f"Old {number:02}", at=began + timedelta(minutes=number))
    unread = ["See https://books.example/x.", "One more", "And one"]
    for number, text in enumerate(unread):
        shop.put(talk, shop.ben, text, at=now() - timedelta(seconds=20 - number))
    shop.rows[talk]["last_read_at"] = wire(now() - timedelta(hours=1))
    ada = paper(shop, **given).enter()
    inbox = ada.page.locator("bookconnect-inbox")
    expect(ada.row("Ben").locator(".badge")).to_have_attribute("data-unread", "3")
    ada.row("Ben").click()
    expect(ada.bubbles).to_have_count(50)
    expect(inbox).to_be_visible(visible="has_touch" not in given)
    expect(ada.thread.locator(".divider")).to_be_in_viewport()
    expect(ada.thread.locator(".day")).to_have_count(2)
    expect(ada.thread.locator(".line.last .under time").last).to_be_visible()
    assert ada.thread.locator(".line", has_text=re.compile("more|one")).locator("time").count() == 1
    link = ada.bubbles.locator("a")
    expect(link).to_have_attribute("href", "https://books.example/x")
    expect(link).to_have_attribute("rel", re.compile("noopener"))
    line = ada.thread.locator(".line", has_text="Old 44")
    ada.thread.locator(".scroller").evaluate("it => { it.scrollTop -= 2000 }")
    before = _top(line)
    expect(ada.thread.locator(".line", has_text="Old 00")).to_have_count(1)
    assert abs(_top(line) - before) <= 1
    shop.say(talk, shop.ben, "Below")
    pill = ada.thread.locator(".pill")
    expect(pill).to_have_text("1 new message")
    assert abs(_top(line) - before) <= 1
    pill.click()
    expect(ada.bubbles.last).to_be_in_viewport()
    expect(pill).to_have_count(0)
    ada.page.reload()
    expect(ada.bubbles.last).to_have_text("Below")
    expect(ada.thread.locator(".divider")).to_have_count(0)
    ada.page.go_back()
    expect(ada.thread).to_have_count(0)
    expect(inbox).to_be_visible()
    ada.page.go_forward()
    expect(ada.bubbles.last).to_have_text("Below")


@SCREENS
def test_what_a_plan_allows_and_keeps_is_said_where_it_is_wanted(
    paper: OpenPaper, given: dict[str, Any]
) -> None:
    """A free member answers, sees why starting is not offered, and finds no dead button."""
    shop = PaperShop(tier="free")
    shop.members.append(DORA)
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    ada = paper(shop, **given).enter(talk)
    opening = ada.thread.locator(".opening")
    expect(opening).to_contain_text("kept for 30 days; with Privileged for 180 days")
    ada.composer.fill("An answer")
    ada.page.get_by_role("button", name="Send").click()
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    mine = ada.bubbles.last
    mine.tap() if given else mine.hover()
    expect(ada.thread.locator(".kept")).to_contain_text("Until")
    theirs = ada.bubbles.first
    theirs.tap() if given else theirs.hover()
    expect(ada.thread.locator(".kept")).to_contain_text("Until")
    ada.enter("new")
    new = ada.page.locator("bookconnect-new-message")
    expect(new.locator(".card")).to_contain_text("With Privileged you also start conversations")
    expect(new.locator("button.row")).to_have_count(1)
    expect(new.locator("div.quiet")).to_have_text(re.compile("@dora · You can reply if they write"))
    shop.tier = "privileged"
    shop.grace_ends_at = wire(now() + timedelta(days=12))
    ada.enter()
    ada.page.reload()
    expect(ada.page.locator("bookconnect-inbox .notice")).to_contain_text("keep their old time")
    ada.row("Ben").click()
    expect(opening).to_contain_text("kept for 180 days; with Privileged Plus for a year.")
    shop.rows[talk]["other_participant"] = None
    ada.page.reload()
    expect(ada.page.get_by_text("This member has left.")).to_be_visible()
    expect(ada.bubbles).to_have_count(2)
    expect(opening).to_have_count(0)


@SCREENS
def test_an_older_page_that_fails_says_so_and_waits_to_be_asked_again(
    paper: OpenPaper, given: dict[str, Any]
) -> None:
    """No hammering: one call, one sentence, one action."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    for number in range(60):
        shop.put(talk, shop.ben, f"Line {number:02}", at=now() - timedelta(minutes=90 - number))
    ada = paper(shop, **given).enter(talk)
    expect(ada.bubbles).to_have_count(50)
    ada.wait_until_live()
    pages = f"GET /v1/conversations/{talk}/messages"
    shop.refuses[pages] = (503, {"code": "UNAVAILABLE", "detail": "Later."})
    scroller = ada.thread.locator(".scroller")
    scroller.evaluate("it => { it.scrollTop = -1e6 }")
    again = ada.thread.get_by_role("button", name="Try again")
    expect(again).to_be_in_viewport()
    expect(ada.thread.locator(".older")).to_contain_text("Earlier messages could not be loaded.")
    calls = shop.calls.count(pages)
    scroller.evaluate("it => { it.scrollTop += 40 }")
    shop.say(talk, shop.ben, "Meanwhile")
    expect(ada.bubbles.last).to_have_text("Meanwhile")
    assert shop.calls.count(pages) == calls
    shop.refuses.clear()
    again.click()
    expect(ada.bubbles).to_have_count(61)
    expect(ada.thread.locator(".opening")).to_have_count(1)


def test_a_thread_with_a_hole_in_it_is_loaded_anew_until_it_is_whole(paper: OpenPaper) -> None:
    """What was missed comes although the server was busy when it was asked for first."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Before")
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_text(["Before"])
    ada.wait_until_live()
    shop.put(talk, shop.ben, "Told to nobody")
    pages = f"GET /v1/conversations/{talk}/messages"
    shop.refuses[pages] = (503, {"code": "UNAVAILABLE", "detail": "Later."})
    calls = shop.calls.count(pages)
    with ada.page.expect_response(lambda answer: answer.status == 503):
        shop.tell({"type": "expiry", "conversation_id": talk})
    with ada.page.expect_response(lambda answer: answer.status == 503):
        pass
    assert shop.calls.count(pages) <= calls + 20
    expect(ada.bubbles).to_have_text(["Before"])
    shop.refuses.clear()
    expect(ada.bubbles).to_have_text(["Before", "Told to nobody"])


@SCREENS
def test_a_sign_in_that_ends_is_asked_for_again(paper: OpenPaper, given: dict[str, Any]) -> None:
    """By itself first; when the host says no, the member gets a button, and keeps every word."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    ada = paper(shop, **given).enter(talk)
    expect(ada.bubbles).to_have_count(1)
    ada.page.evaluate(
        "signedIn = false; asked = 0; void (document.querySelector('bookconnect-messages')"
        ".shadowRoot.querySelector('bookconnect-thread').client.tokens.getToken = () => {"
        " asked += 1; if (!signedIn) throw Error('no'); return 'a new token'; })"
    )
    shop.hang_up(4401)
    again = ada.page.get_by_role("button", name="Sign in again").last
    expect(again).to_be_visible()
    asked = ada.page.evaluate("asked")
    shop.heard.clear()
    ada.page.evaluate("signedIn = true")
    again.click()
    expect(ada.bubbles).to_have_text(["Hello"])
    expect(again).to_have_count(0)
    assert asked <= 4
    assert shop.heard[0]["token"] == "a new token"
    shop.hang_up(4401)
    ada.composer.fill("Still here")
    ada.page.get_by_role("button", name="Send").click()
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()


def test_two_tabs_of_one_browser_send_what_waits_once(paper: OpenPaper) -> None:
    """They share the storage: what one wrote offline, both know, and it arrives once."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_count(1)
    shop.cut()
    ada.say("Written in the first tab")
    expect(ada.page.locator("[data-state=sending]")).to_be_visible()
    second = ada.new_page()
    shop.reachable = True
    second.goto(ada.page.url)
    bubbles = second.locator("bookconnect-thread .bubble")
    expect(bubbles).to_have_text(["Hello", "Written in the first tab"])
    expect(second.locator("[data-state=sent]")).to_be_visible()
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    assert [m["content"] for m in shop.messages[talk]] == ["Hello", "Written in the first tab"]
    ada.say("And live")
    expect(bubbles).to_have_text(["Hello", "Written in the first tab", "And live"])
    expect(ada.row("Ben").locator(".badge")).to_have_count(0)


@SCREENS
def test_only_the_newest_of_mine_says_what_became_of_it(
    paper: OpenPaper, given: dict[str, Any]
) -> None:
    """Also when nothing else about the one before it has changed."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ada, "An hour ago", at=now() - timedelta(hours=1))
    ada = paper(shop, **given).enter(talk)
    states = ada.thread.locator(".line:has([data-state=sent]) .bubble")
    expect(states).to_have_text(["An hour ago"])
    # While the Tab key's stop stays where it is, and what came was written on another device.
    ada.bubbles.first.focus()
    shop.say(talk, shop.ada, "Now")
    expect(states).to_have_text(["Now"])
    expect(ada.thread.locator("[data-state]")).to_have_count(1)
    newest = shop.messages[talk].pop()
    gone = {"id": newest["id"], "conversation_id": talk, "deleted_at": shop.later()}
    shop.tell({"type": "message_deleted", **gone})
    expect(states).to_have_text(["An hour ago"])
    expect(ada.bubbles).to_have_count(1)
