"""Writing, on a desk and on a phone: input methods, pasting, new lines, drafts, signing out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ui.bookshop import expect
from tests.ui.conftest import ON_BOTH, SCREENS, OpenPaper
from tests.ui.paper import Member, PaperShop
from tests.ui.paper_window import PaperWindow

pytestmark = pytest.mark.browser

PASTE = """async ([plain, rich]) => {
  const kinds = { 'text/plain': plain, ...(rich ? { 'text/html': rich } : {}) };
  const blobs = Object.entries(kinds).map(([type, text]) => [type, new Blob([text], { type })]);
  await navigator.clipboard.write([new ClipboardItem(Object.fromEntries(blobs))]);
}"""


def _paste(ada: PaperWindow, plain: str, rich: str = "") -> None:
    ada.page.evaluate(PASTE, [plain, rich])
    ada.composer.focus()
    ada.page.keyboard.press("Control+v")


def _sent(shop: PaperShop) -> list[str]:
    return [frame["content"] for frame in shop.heard if frame["type"] == "send"]


@SCREENS
def test_enter_chooses_a_word_while_an_input_method_is_composing(
    paper: OpenPaper, given: dict[str, Any]
) -> None:
    """Nothing is sent, and a message that arrives meanwhile does not disturb the writing."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    ada = paper(shop, **given).enter(talk)
    keys = ada.context.new_cdp_session(ada.page)
    ada.composer.focus()
    keys.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    expect(ada.composer).to_have_value("にほん")
    shop.say(talk, shop.ben, "While you write")
    expect(ada.bubbles).to_have_text(["While you write"])
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    keys.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    keys.send("Input.dispatchKeyEvent", {"type": "keyUp", **enter})
    keys.send("Input.insertText", {"text": "日本"})
    expect(ada.composer).to_have_value("日本")
    # One browser ends the composition before it tells of the key; only the key's code says so.
    ada.composer.evaluate(
        "it => it.dispatchEvent(new KeyboardEvent('keydown',"
        " { key: 'Enter', keyCode: 229, bubbles: true, cancelable: true }))"
    )
    assert _sent(shop) == []
    expect(ada.composer).to_have_value("日本")
    ada.page.get_by_role("button", name="Send").click()
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    assert _sent(shop) == ["日本"]


@SCREENS
def test_what_is_pasted_is_plain_text_and_all_of_it(
    paper: OpenPaper, given: dict[str, Any]
) -> None:
    """Rich text loses its looks, lines stay lines, too much is counted and never cut."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    ada = paper(shop, **given)
    ada.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=shop.origin)
    ada.enter(talk)
    ada.composer.wait_for()
    _paste(ada, "Bold\nand plain", "<b>Bold</b><br><img src=x onerror=alert(1)>and plain")
    expect(ada.composer).to_have_value("Bold\nand plain")
    ada.page.get_by_role("button", name="Send").click()
    expect(ada.bubbles.last).to_have_text("Bold\nand plain", use_inner_text=True)
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    long = "\n".join(f"Paragraph {number} " + "of many words " * 6 for number in range(60))
    _paste(ada, long)
    assert ada.composer.input_value() == long
    expect(ada.page.locator("bookconnect-composer .count")).to_contain_text("too many")
    expect(ada.page.get_by_role("button", name="Send")).to_be_disabled()
    wide, tall = ada.composer.evaluate("it => [it.scrollWidth <= it.clientWidth, it.clientHeight]")
    assert wide
    assert tall < 200
    ada.page.keyboard.press("Control+a")
    _paste(ada, "x" * 1_000)
    ada.page.get_by_role("button", name="Send").click()
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    assert [len(content) for content in _sent(shop)] == [14, 1_000]


@SCREENS
def test_each_conversation_has_its_draft_and_enter_is_what_its_keyboard_says(
    paper: OpenPaper, given: dict[str, Any]
) -> None:
    """Drafts wait where they were written, through a reload; on glass Enter is a new line."""
    shop = PaperShop()
    dora = Member("dora", "Dora Weiss")
    for other in (shop.ben, dora):
        shop.put(shop.converse(other), other, f"Hello from {other.displayname}")
    ada = paper(shop, **given).enter()
    for name in ("Ben", "Dora"):
        ada.row(name).click()
        expect(ada.bubbles).to_contain_text([name])
        expect(ada.composer).to_have_value("")
        ada.composer.press_sequentially(f"For {name}")
        ada.page.go_back()
    ada.page.reload()
    ada.row("Ben").click()
    expect(ada.composer).to_have_value("For Ben")
    assert ada.composer.get_attribute("enterkeyhint") == "enter"
    ada.composer.press("End")
    ada.composer.press("Enter")
    if "has_touch" in given:
        expect(ada.composer).to_have_value("For Ben\n")
        ada.page.get_by_role("button", name="Send").tap()
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    expect(ada.composer).to_have_value("")
    ada.page.go_back()
    ada.row("Dora").click()
    expect(ada.composer).to_have_value("For Dora")
    assert _sent(shop) == ["For Ben"]


KEPT = (
    "Object.keys(localStorage).filter((key) => key.startsWith('bookconnect-dm:https://books.test'))"
)


@ON_BOTH
def test_signing_out_takes_what_the_browser_kept_along(paper: OpenPaper) -> None:
    """Draft, unsent message and the number in the title; the next member finds nothing."""
    shop = PaperShop()
    talk, other = shop.converse(shop.ben), shop.converse(Member("dora", "Dora Weiss"))
    shop.put(talk, shop.ben, "Hello")
    ada = paper(shop).enter(talk, attributes="title-badge")
    expect(ada.bubbles).to_have_count(1)
    shop.say(other, Member("dora", "Dora Weiss"), "Unread")
    expect(ada.page).to_have_title("(1) A bookshop")
    shop.refuses["POST .*/messages"] = (503, {"code": "UNAVAILABLE", "detail": "Later."})
    shop.cut()
    ada.say("Never sent")
    ada.composer.fill("A secret draft")
    assert len(ada.page.evaluate(KEPT)) == 2
    assert all(shop.ada.id in key for key in ada.page.evaluate(KEPT))
    # Somebody else in the same browser sees nothing of it, also without a sign-out.
    shop.reachable = True
    shop.ada = Member("eve", "Eve Other")
    ada.page.reload()
    expect(ada.composer).to_have_value("")
    expect(ada.bubbles).to_have_text(["Hello"])
    shop.ada = Member("ada", "Ada Lindqvist")
    shop.refuses["socket send"] = (429, {"code": "RATE_LIMIT_EXCEEDED", "retry_after": 60})
    ada.page.reload()
    expect(ada.composer).to_have_value("A secret draft")
    expect(ada.bubbles).to_have_text(["Hello", "Never sent"])
    ada.page.evaluate("document.querySelector('bookconnect-messages').signOut()")
    expect(ada.page.locator("bookconnect-thread")).to_have_count(0)
    assert ada.page.evaluate(KEPT) == []
    expect(ada.page).to_have_title("A bookshop")
    assert [m["content"] for m in shop.messages[talk]] == ["Hello"]


def test_a_host_that_forgets_the_token_is_told_so(paper: OpenPaper) -> None:
    """An empty box says nothing to a developer; the console does."""
    shop = PaperShop()
    ada = paper(shop)
    ada.page.clock.install()
    ada.html = (
        "<!doctype html><html lang=en><title>x</title><bookconnect-messages></bookconnect-messages>"
        "<script type=module src=/ui/index.js></script></html>"
    )
    ada.page.goto(f"{shop.origin}/")
    ada.page.wait_for_function("Boolean(customElements.get('bookconnect-messages'))")
    with ada.page.expect_console_message(lambda said: "getToken" in said.text):
        ada.page.clock.run_for(7_000)
    ada.forgiven += "|set its property getToken"
