"""What a host sets: languages, time zones, several servers, routes, notifications, buttons."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.ui.bookshop import expect
from tests.ui.conftest import ON_BOTH, OpenPaper
from tests.ui.paper import Member, PaperShop, now, wire

pytestmark = pytest.mark.browser

PHONE = {"width": 375, "height": 740}
LATIN = re.compile(r"[A-Za-z]{3,}")


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, PHONE], ids=["desk", "phone"])
def test_a_page_in_arabic_is_arabic_and_mirrored(
    paper: OpenPaper, viewport: dict[str, int]
) -> None:
    """Words, counts, dates, sides and arrows; names and messages stay as they were written."""
    shop = PaperShop()
    nour = Member("nour", "نور الهدى")
    shop.members.append(nour)
    talk = shop.converse(nour)
    shop.put(talk, nour, "مرحبا، هل قرأت الكتاب؟", at=now() - timedelta(days=2))
    shop.put(talk, shop.ada, "ليس بعد")
    ada = paper(shop, viewport=viewport, locale="ar").enter(lang="ar")
    row = ada.row("نور")
    expect(row).to_be_visible()
    for one in ("bookconnect-inbox", "bookconnect-inbox header"):
        assert not LATIN.search(ada.page.locator(one).inner_text())
    row.click()
    expect(ada.bubbles).to_have_count(2)
    mine, theirs = ada.bubbles.last.bounding_box(), ada.bubbles.first.bounding_box()
    assert mine is not None
    assert theirs is not None
    assert mine["x"] < theirs["x"], "mine stand on the left in a language that begins on the right"
    assert not LATIN.search(ada.thread.inner_text())
    if viewport == PHONE:
        arrow = ada.page.locator("bookconnect-thread .back svg")
        assert arrow.evaluate("it => new DOMMatrix(getComputedStyle(it).transform).a") == -1
    assert ada.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    ada.page.evaluate("document.documentElement.lang = 'en'")
    expect(ada.composer).to_have_attribute("placeholder", "Write a message")


def test_times_are_those_of_the_member_s_place_and_language(paper: OpenPaper) -> None:
    """The attribute counts before the browser's own zone; a day begins where the member lives."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Late", at=datetime(2026, 1, 10, 23, 30, tzinfo=UTC))
    ada = paper(shop, timezone_id="Europe/London", locale="de-DE")
    ada.enter(talk, attributes='time-zone="Asia/Tokyo"', lang="de")
    expect(ada.page.locator("bookconnect-thread .day")).to_contain_text("11. Januar")
    expect(ada.page.locator("bookconnect-thread time")).to_have_text(re.compile("^0?8:30$"))


def test_several_servers_are_one_inbox(paper: OpenPaper) -> None:
    """One list by time, one count, one search; what is written goes to the server it belongs to."""
    one, two = PaperShop("https://one.test"), PaperShop("https://two.test")
    edgar = Member("edgar", "Edgar Solberg")
    fern = Member("fern", "Fern Abara")
    two.members = [edgar, fern]
    with_ben, with_edgar = one.converse(one.ben), two.converse(edgar)
    one.put(with_ben, one.ben, "From the first")
    two.put(with_edgar, edgar, "From the second")
    for shop, talk in ((one, with_ben), (two, with_edgar)):
        shop.rows[talk]["last_read_at"] = wire(now() - timedelta(days=9))
    ada = paper(one, two)
    ada.page.add_init_script(
        "heard = []; addEventListener('bookconnect-unread', (e) => heard.push(e.detail))"
    )
    ada.enter(attributes='server="https://one.test https://two.test" title-badge')
    names = ada.page.locator("bookconnect-inbox .row .name")
    expect(names).to_have_text(["Edgar Solberg", "Ben Okafor"])
    expect(ada.page).to_have_title("(2) A bookshop")
    assert one.heard[0]["token"] == "token for https://one.test"
    assert two.heard[0]["token"] == "token for https://two.test"
    ada.row("Edgar").click()
    expect(ada.bubbles).to_have_text(["From the second"])
    expect(ada.page).to_have_title("(1) A bookshop")
    ada.say("To the second")
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    assert [m["content"] for m in two.messages[with_edgar]][-1] == "To the second"
    one.say(with_ben, one.ben, "Live from the first")
    expect(names).to_have_text(["Ben Okafor", "Edgar Solberg"])
    ada.row("Ben").click()
    expect(ada.bubbles).to_have_text(["From the first", "Live from the first"])
    ada.page.reload()
    expect(ada.bubbles).to_have_text(["From the first", "Live from the first"])
    ada.page.get_by_role("link", name="New message").click()
    found = ada.page.locator("bookconnect-new-message button.row")
    expect(found).to_have_count(3)
    found.filter(has_text="Fern").click()
    ada.composer.wait_for()
    ada.say("Hello Fern")
    expect(ada.row("Fern")).to_contain_text("You: Hello Fern")
    assert len(two.rows) == 2
    assert len(one.rows) == 1


def test_one_server_that_is_away_hides_nothing_of_the_others(paper: OpenPaper) -> None:
    """The strip says so, the other one works, and both are there when it is back."""
    one, two = PaperShop("https://one.test"), PaperShop("https://two.test")
    talk, other = one.converse(one.ben), two.converse(Member("edgar", "Edgar Solberg"))
    one.put(talk, one.ben, "Here")
    two.put(other, two.ada, "There")
    two.reachable = False
    ada = paper(one, two).enter(attributes='server="https://one.test https://two.test"')
    expect(ada.row("Ben")).to_be_visible()
    expect(ada.page.locator("bookconnect-inbox .strip")).to_contain_text("Reconnecting")
    ada.row("Ben").click()
    ada.say("Works")
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    two.reachable = True
    expect(ada.row("Edgar")).to_be_visible()


# A browser's own notifications cannot be seen by a test: these note what is asked of them.
PRETEND = """
  globalThis.notes = [];
  globalThis.Notification = class {
    static permission = sessionStorage.permission ?? 'default';
    static async requestPermission() {
      sessionStorage.permission = Notification.permission = 'granted';
      return 'granted';
    }
    constructor(title, given) {
      Object.assign(this, { title, ...given, open: true });
      notes.push(this);
    }
    close() { this.open = false; }
  };
  Object.defineProperty(document, 'hidden', { get: () => globalThis.away === true });
  Object.defineProperty(document, 'visibilityState', {
    get: () => (globalThis.away ? 'hidden' : 'visible'),
  });
  globalThis.leave = (away) => {
    globalThis.away = away; document.dispatchEvent(new Event('visibilitychange'));
  };
"""


@ON_BOTH
def test_notifications_are_asked_for_and_taken_back(paper: OpenPaper) -> None:
    """Only where the host offers it and the member wants it; gone when the message is."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Before")
    ada = paper(shop)
    ada.page.add_init_script(PRETEND)
    ada.enter(talk)
    expect(ada.bubbles).to_have_count(1)
    expect(ada.page.locator("[data-act=notify]")).to_have_count(0)
    ada.enter(attributes="notifications")
    ada.page.reload()
    expect(ada.row("Ben")).to_be_visible()
    shop.say(talk, shop.ben, "Not asked for")
    expect(ada.row("Ben").locator(".badge")).to_be_visible()
    assert ada.page.evaluate("notes.length") == 0
    ada.page.get_by_role("button", name="Turn notifications on").click()
    expect(ada.page.get_by_role("button", name="Turn notifications off")).to_be_visible()
    ada.row("Ben").click()
    expect(ada.bubbles).to_have_count(2)
    shop.say(talk, shop.ben, "Looked at")
    expect(ada.bubbles).to_have_count(3)
    assert ada.page.evaluate("notes.length") == 0
    ada.page.evaluate("leave(true)")
    shop.say(talk, shop.ben, "Hello from " + "far " * 60)
    ada.page.wait_for_function("notes.length === 1")
    title, body, shown = ada.page.evaluate("[notes[0].title, notes[0].body, notes[0].open]")
    assert (title, shown) == ("Ben Okafor", True)
    assert len(body) <= 141
    ada.page.evaluate("leave(false)")
    ada.page.wait_for_function("!notes[0].open")
    back = ada.page.locator("bookconnect-thread .back")
    if back.is_visible():
        back.click()
    ada.page.get_by_role("button", name="Turn notifications off").click()
    ada.row("Ben").click()
    expect(ada.bubbles).to_have_count(4)
    ada.page.evaluate("leave(true)")
    shop.say(talk, shop.ben, "Silence")
    expect(ada.bubbles).to_have_count(5)
    assert ada.page.evaluate("notes.length") == 1


@ON_BOTH
def test_a_host_s_router_owns_the_route(paper: OpenPaper) -> None:
    """`route` goes in, `bookconnect-route` comes out, the address stays the host's."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    ada = paper(shop)
    ada.page.add_init_script(
        "routes = []; addEventListener('bookconnect-route', (e) => routes.push(e.detail.route))"
    )
    ada.enter(attributes=f'routing="none" route="{talk}" id="it"'.replace("'", ""))
    ada.page.evaluate("it.removeAttribute('routing'); it.routing = 'none'; it.route = ''")
    ada.page.evaluate("(route) => { it.route = route }", talk)
    expect(ada.bubbles).to_have_text(["Hello"])
    address = ada.page.url
    ada.page.evaluate("it.route = ''")
    ada.page.get_by_role("link", name="New message").click()
    expect(ada.page.locator("bookconnect-new-message")).to_be_visible()
    assert ada.page.url == address
    assert ada.page.evaluate("routes") == ["new"]
    ada.page.evaluate("it.route = ''")
    expect(ada.page.locator("bookconnect-new-message")).to_have_count(0)


@ON_BOTH
def test_a_message_button_opens_a_conversation_from_anywhere(paper: OpenPaper) -> None:
    """Known or new; a free member is led to the explanation; without a name it is no button."""
    shop = PaperShop()
    dora = Member("dora", "Dora Weiss")
    shop.members.append(dora)
    shop.put(shop.converse(shop.ben), shop.ben, "Hello")
    ada = paper(shop).enter()
    expect(ada.row("Ben")).to_be_visible()
    ada.page.evaluate(
        "document.body.insertAdjacentHTML('afterbegin', `"
        "<bookconnect-message-button username=ben></bookconnect-message-button>"
        "<bookconnect-message-button username=dora lang=ar></bookconnect-message-button>"
        "<bookconnect-message-button username=nobody>Write</bookconnect-message-button>"
        "<bookconnect-message-button>Nothing</bookconnect-message-button>`)"
    )
    expect(ada.page.get_by_role("button", name="مراسلة")).to_be_visible()
    ada.page.get_by_role("button", name="Message", exact=True).click()
    expect(ada.page.locator("bookconnect-thread h1")).to_have_text("Ben Okafor")
    ada.page.get_by_role("button", name="مراسلة").press("Enter")
    expect(ada.page.locator("bookconnect-thread h1")).to_have_text("Dora Weiss")
    ada.page.get_by_role("button", name="Write", exact=True).click()
    expect(ada.page.locator(".toast")).to_contain_text("nobody")
    expect(ada.page.get_by_role("button", name="Nothing")).to_be_disabled()
    height = ada.page.locator("bookconnect-message-button button").first.bounding_box()
    assert height is not None
    assert height["height"] >= 44
