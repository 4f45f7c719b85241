"""What goes, goes: from memory, storage and screen, at its time; a deletion can be undone first."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from playwright.sync_api import Page

from tests.ui.bookshop import expect
from tests.ui.conftest import ON_BOTH, SCREENS, OpenPaper
from tests.ui.paper import PaperShop, now, wire
from tests.ui.paper_window import PaperWindow

pytestmark = pytest.mark.browser

SECRET = "The ending of the book"

# Everything that the page holds: its state, every shadow root's text and attributes, storage.
EVERYTHING = """() => {
  const said = [];
  const look = (root) => { for (const it of root.querySelectorAll('*')) {
    said.push(it.shadowRoot ? '' : it.outerHTML);
    if (it.state) said.push(JSON.stringify(it.state));
    if (it.shadowRoot) look(it.shadowRoot);
  } };
  look(document);
  return [...said, JSON.stringify(localStorage), JSON.stringify(sessionStorage)].join();
}"""


def _everything(page: Page) -> str:
    return str(page.evaluate(EVERYTHING))


def _delete(ada: PaperWindow, text: str) -> None:
    bubble = ada.page.locator("bookconnect-thread .bubble", has_text=text)
    touch = ada.page.evaluate("matchMedia('(hover: none)').matches")
    bubble.tap() if touch else bubble.hover()
    ada.page.get_by_role("button", name="Delete").click()


@SCREENS
def test_a_deletion_can_be_undone_for_a_moment(paper: OpenPaper, given: dict[str, object]) -> None:
    """It is out of sight at once; the server hears of it only when the moment has passed."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ada, "Stays")
    shop.put(talk, shop.ada, SECRET)
    ada = paper(shop, **given).enter(talk)
    expect(ada.bubbles).to_have_text(["Stays", SECRET])
    _delete(ada, SECRET)
    expect(ada.bubbles).to_have_text(["Stays"])
    ada.page.get_by_role("button", name="Undo").click()
    expect(ada.bubbles).to_have_text(["Stays", SECRET])
    expect(ada.page.locator(".toast")).to_have_count(0)
    assert shop.removed == []
    _delete(ada, SECRET)
    expect(ada.page.locator(".toast")).to_contain_text("Deleted for both of you.")
    expect(ada.page.locator(".toast")).to_have_count(0)
    assert len(shop.removed) == 1
    # The inbox's preview follows with the server's own word.
    expect(ada.page.locator(".row .said")).to_contain_text("Stays")
    assert SECRET not in _everything(ada.page)


def test_a_deletion_is_done_although_the_page_goes_away(paper: OpenPaper) -> None:
    """Leaving is as good as waiting; what could not be told then is told by the next page."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ada, SECRET)
    shop.put(talk, shop.ben, "Answer")
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_count(2)
    ada.page.wait_for_function("document.querySelector('bookconnect-messages')")
    shop.reachable = False
    _delete(ada, SECRET)
    ada.page.goto(f"{shop.origin}/elsewhere.html")
    assert shop.removed == []
    shop.reachable = True
    ada.enter(talk)
    expect(ada.bubbles).to_have_text(["Answer"])
    ada.page.wait_for_function("Object.keys(localStorage).every((key) => !key.includes(':del:'))")
    assert len(shop.removed) == 1


def test_a_deletion_that_is_refused_comes_back_with_its_reason(paper: OpenPaper) -> None:
    """A legal hold, for instance."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ada, SECRET)
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_text([SECRET])
    shop.refuses["socket delete"] = (409, {"code": "LEGAL_HOLD", "detail": "Held."})
    _delete(ada, SECRET)
    expect(ada.bubbles).to_have_count(0)
    expect(ada.page.locator(".toast")).to_contain_text("being kept for now")
    expect(ada.bubbles).to_have_text([SECRET])


@ON_BOTH
@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
def test_expired_text_leaves_memory_storage_and_screen_at_its_time(
    paper: OpenPaper, *, offline: bool
) -> None:
    """Thread, inbox and what was said to screen readers; the server is not needed for it."""
    shop = PaperShop()
    talk, other = shop.converse(shop.ben), shop.converse(shop.members[0])
    shop.put(talk, shop.ben, "Stays")
    shop.put(other, shop.ben, f"{SECRET}, in the inbox only", lives=timedelta(seconds=6))
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_text(["Stays"])
    shop.say(talk, shop.ben, SECRET, lives=timedelta(seconds=5))
    expect(ada.page.locator("bookconnect-thread [aria-live=polite]")).to_contain_text(SECRET)
    assert SECRET in _everything(ada.page)
    if offline:
        shop.cut()
        ada.context.set_offline(offline=True)
        expect(ada.page.locator(".strip:visible").first).to_be_visible()
    expect(ada.bubbles).to_have_text(["Stays"])
    expect(ada.page.locator("bookconnect-inbox")).not_to_contain_text("in the inbox only")
    assert SECRET not in _everything(ada.page)


@ON_BOTH
def test_deleted_text_is_gone_at_the_first_sync(paper: OpenPaper) -> None:
    """Deleted by the other one while this page was away."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Stays")
    gone = shop.put(talk, shop.ben, SECRET)
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_count(2)
    shop.cut()
    shop.messages[talk].pop()
    shop.deleted[talk] = [{"id": gone["id"], "deleted_at": wire(now())}]
    shop.reachable = True
    expect(ada.bubbles).to_have_text(["Stays"])
    assert SECRET not in _everything(ada.page)


def test_new_expiry_times_do_not_throw_anybody_out(paper: OpenPaper) -> None:
    """A tier changes while an old page is read: times change, the place on screen does not."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    began = now() - timedelta(hours=20)
    for number in range(160):
        shop.put(talk, shop.ben, f"Line {number:03}", at=began + timedelta(minutes=number))
    ada = paper(shop).enter(talk)
    scroller = ada.page.locator("bookconnect-thread .scroller")
    expect(ada.bubbles.last).to_be_visible()
    scroller.evaluate("it => { it.scrollTop = -1e6 }")
    expect(ada.bubbles).to_have_count(100)
    line = ada.page.locator(".line", has_text="Line 080")
    line.scroll_into_view_if_needed()
    before = line.bounding_box()
    soon = wire(now() + timedelta(days=2, minutes=1))
    for message in shop.messages[talk]:
        message["expires_at"] = soon
    shop.tell({"type": "expiry", "conversation_id": talk})
    expect(ada.page.locator("bookconnect-thread .goes").first).to_contain_text("2 days")
    assert ada.bubbles.count() >= 100
    after = line.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) <= 2


@ON_BOTH
def test_a_downgrade_s_grace_is_said_calmly_with_its_end(paper: OpenPaper) -> None:
    """Once, in the inbox, with the date; not when it is over."""
    shop = PaperShop(tier="privileged")
    shop.converse(shop.ben)
    shop.grace_ends_at = wire(now() + timedelta(days=12))
    ada = paper(shop).enter()
    notice = ada.page.locator("bookconnect-inbox .notice")
    expect(notice).to_have_count(1)
    day = (now() + timedelta(days=12)).strftime("%-d %b")
    expect(notice).to_contain_text(f"keep their old time until {day}")
    shop.grace_ends_at = wire(now() - timedelta(days=1))
    ada.page.reload()
    expect(ada.page.locator("bookconnect-inbox h1")).to_be_visible()
    expect(notice).to_have_count(0)


@ON_BOTH
def test_too_many_at_once_says_when_it_goes_on(paper: OpenPaper) -> None:
    """Counted down, then sent; nothing is lost and nothing has to be pressed."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    ada = paper(shop).enter(talk)
    ada.composer.wait_for()
    refusal = {"code": "RATE_LIMIT_EXCEEDED", "detail": "Slow down.", "retry_after": 4}
    shop.refuses["socket send"] = (429, refusal)
    ada.say("Patience")
    expect(ada.page.locator("[data-state=sending]")).to_contain_text("Goes on in")
    shop.refuses.clear()
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    assert [m["content"] for m in shop.messages[talk]] == ["Patience"]
    assert json.dumps(shop.heard).count("Patience") == 2
