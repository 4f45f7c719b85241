"""What the page promises to everybody: small screens, keyboards, screen readers, strict hosts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, Route

from tests.ui.bookshop import Bookshop, OpenWindow, expect
from tests.ui.conftest import ON_A_PHONE

pytestmark = [pytest.mark.browser, pytest.mark.feed]

LONG = "A word " + "verylong" * 40 + " and https://books.example/" + "path/" * 40
STRICT_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; require-trusted-types-for 'script';"
    " trusted-types lit-html"
)


def _fill(shop: Bookshop) -> None:
    """A lifelike conversation, an extreme one, and one that is unread."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    for number in range(12):
        world.send(world.ben if number % 3 else world.ada, talk, f"Line {number} of our talk")
    world.send(world.ben, talk, LONG)
    world.send(world.ada, talk, "x" * 1000)
    world.send(world.ada, talk, "📚")
    world.send(world.ada, talk, "مرحبا، هل قرأت الكتاب؟")
    world.send(world.cleo, world.converse(world.ada, world.cleo), "A new one")


def _problems(page: Page) -> list[str]:
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        for node in one["nodes"]
    ]


def test_no_screen_scrolls_sideways(shop: Bookshop, window: OpenWindow) -> None:
    """Long words, links and a thousand characters included; nothing else scrolls either."""
    _fill(shop)
    ada = window("ada").enter()
    for width in (320, 375, 768, 1280):
        ada.page.set_viewport_size({"width": width, "height": 740})
        ada.enter()
        expect(ada.row("Ben Okafor")).to_be_visible()
        _assert_fits(ada.page, width, "inbox")
        ada.open("Ben Okafor")
        expect(ada.bubbles.last).to_be_visible()
        _assert_fits(ada.page, width, "thread")
        scroller = ada.page.locator("bookconnect-thread .scroller")
        assert scroller.evaluate("it => it.scrollWidth <= it.clientWidth")
        widest = ada.bubbles.evaluate_all("all => Math.max(...all.map(it => it.offsetWidth))")
        thread = ada.page.locator("bookconnect-thread").evaluate("it => it.offsetWidth")
        assert widest <= min(560, 0.7 * thread + 1)
        ada.enter("new")
        expect(ada.page.locator("bookconnect-new-message button.row").first).to_be_visible()
        _assert_fits(ada.page, width, "new message")


def _assert_fits(page: Page, width: int, what: str) -> None:
    wide, tall = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert (wide <= width, tall <= 740) == (True, True), f"{what}: {wide} x {tall} at {width}"


def test_phone_shows_one_screen_at_a_time_and_goes_back(shop: Bookshop, window: OpenWindow) -> None:
    """Inbox, thread, back by our button and by the browser's."""
    _fill(shop)
    ada = window("ada", viewport={"width": 375, "height": 740}).enter()
    inbox = ada.page.locator("bookconnect-inbox")
    ada.open("Ben Okafor")
    expect(inbox).to_be_hidden()
    ada.page.get_by_role("link", name="Back").click()
    expect(inbox).to_be_visible()
    expect(ada.composer).to_have_count(0)
    ada.open("Ben Okafor")
    ada.page.go_back()
    expect(inbox).to_be_visible()


def test_axe_finds_no_violation(shop: Bookshop, window: OpenWindow) -> None:
    """The demo's door, and the page in it; every state in every look is in test_states."""
    _fill(shop)
    scheme, size = "dark", {"width": 375, "height": 800}
    ada = window("ada", color_scheme=scheme, viewport=size, reduced_motion="reduce")
    ada.page.goto(shop.url)
    ada.page.locator(".person").first.wait_for()
    assert _problems(ada.page) == []
    ada.enter()
    expect(ada.row("Cleo Marchetti")).to_be_visible()
    assert _problems(ada.page) == []
    ada.open("Cleo Marchetti")
    ada.say("An answer")
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    ada.bubble("An answer").hover()
    ada.page.get_by_role("button", name="Delete").click()
    assert _problems(ada.page) == []
    ada.composer.fill("x" * 1001)
    assert _problems(ada.page) == []
    ada.composer.fill("")
    ada.enter("new")
    expect(ada.page.locator("bookconnect-new-message button.row").first).to_be_visible()
    assert _problems(ada.page) == []
    cleo = window("cleo", color_scheme=scheme, viewport=size).enter("new")
    expect(cleo.page.get_by_text("You can reply to everyone")).to_be_visible()
    expect(cleo.page.locator("bookconnect-new-message .row .name").first).to_be_visible()
    assert _problems(cleo.page) == []


def test_keyboard_alone_is_enough(shop: Bookshop, window: OpenWindow) -> None:
    """Tab to the inbox, Enter, write, arrows through the messages, Delete, back to the field."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    world.send(world.ada, talk, "First")
    world.send(world.ada, talk, "Second")
    ada = window("ada").enter()
    expect(ada.row("Ben Okafor")).to_be_visible()
    ada.row("Ben Okafor").focus()
    ada.page.keyboard.press("Enter")
    expect(ada.composer).to_be_focused()
    ada.page.keyboard.type("Third")
    ada.page.keyboard.press("Shift+Enter")
    ada.page.keyboard.type("on two lines")
    ada.page.keyboard.press("Enter")
    expect(ada.bubbles.last).to_have_text("Third\non two lines", use_inner_text=True)
    expect(ada.page.locator("[data-state=sending]")).to_have_count(0)
    ada.page.keyboard.press("Shift+Tab")
    expect(ada.bubble("Third")).to_be_focused()
    ada.page.keyboard.press("ArrowUp")
    expect(ada.bubble("Second")).to_be_focused()
    expect(ada.page.get_by_text("Until")).to_be_visible()
    ada.page.keyboard.press("Delete")
    ada.page.keyboard.press("Enter")
    expect(ada.bubble("Second")).to_have_count(0)
    expect(ada.composer).to_be_focused()


@ON_A_PHONE
def test_only_new_messages_are_announced(shop: Bookshop, window: OpenWindow) -> None:
    """Not those that were there, not those of an older page, not mine."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    with world.db.as_user(world.ben) as connection:
        for number in range(60):
            connection.execute(
                "select public.send_message(conversation_id => %s, content => %s)",
                (talk, f"Old {number}"),
            )
    ada = window("ada").enter()
    ada.open("Ben Okafor")
    expect(ada.bubble("Old 59")).to_be_visible()
    thread = ada.page.get_by_role("log", name="Conversation with Ben Okafor")
    expect(thread).to_have_attribute("aria-live", "off")
    said = ada.page.locator("bookconnect-thread [aria-live=polite][role=status]")
    expect(said).to_have_text("")
    ada.page.locator("bookconnect-thread .scroller").evaluate("it => it.scrollTo(0, -1e6)")
    expect(ada.bubble("Old 3")).not_to_have_count(0)
    expect(said).to_have_text("")
    world.send(world.ben, talk, "Hear this")
    expect(said).to_have_text("Ben Okafor: Hear this")
    ada.say("Mine")
    expect(ada.bubble("Mine")).to_be_visible()
    expect(said).to_have_text("Ben Okafor: Hear this")


def test_older_pages_do_not_move_what_is_being_read(shop: Bookshop, window: OpenWindow) -> None:
    """Neither does what arrives below; a pill tells of it and leads there."""
    world = shop.world
    talk = world.converse(world.ada, world.ben)
    with world.db.as_user(world.ben) as connection:
        for number in range(160):
            connection.execute(
                "select public.send_message(conversation_id => %s, content => %s)",
                (talk, f"Line {number:03}"),
            )
    ada = window("ada").enter()
    ada.open("Ben Okafor")
    ada.say("I have read it all")
    expect(ada.page.locator("[data-state=sending]")).to_have_count(0)
    scroller = ada.page.locator("bookconnect-thread .scroller")
    expect(ada.bubble("Line 159")).to_be_visible()

    def top_of(text: str) -> float:
        return float(ada.bubble(text).evaluate("it => it.getBoundingClientRect().top"))

    scroller.evaluate("it => { it.scrollTop = -(it.scrollHeight - it.clientHeight) + 300 }")
    before = top_of("Line 120")
    expect(ada.bubble("Line 070")).to_have_count(1)
    assert abs(top_of("Line 120") - before) <= 1
    world.send(world.ben, talk, "Below")
    pill = ada.page.locator("bookconnect-thread .pill")
    expect(pill).to_have_text("1 new message")
    assert abs(top_of("Line 120") - before) <= 1
    pill.click()
    expect(ada.bubble("Below")).to_be_in_viewport()
    expect(pill).to_have_count(0)


def test_free_member_is_told_what_they_can_do(shop: Bookshop, window: OpenWindow) -> None:
    """They answer freely, see why they cannot start, and find no dead button."""
    world = shop.world
    world.send(world.ada, world.converse(world.ada, world.cleo), "Hello Cleo")
    cleo = window("cleo").enter()
    cleo.open("Ada Lindqvist")
    cleo.say("Hello Ada")
    expect(cleo.page.locator("[data-state]")).to_have_attribute("data-state", re.compile("s"))
    cleo.enter("new")
    expect(cleo.page.get_by_text("You can reply to everyone who writes to you")).to_be_visible()
    expect(cleo.page.locator("bookconnect-new-message button.row")).to_have_count(1)
    quiet = cleo.page.locator("bookconnect-new-message div.quiet")
    expect(quiet.first).to_contain_text("You can reply if they write")


def test_unknown_conversation_says_so_and_leads_back(shop: Bookshop, window: OpenWindow) -> None:
    """Also when it exists and is somebody else's: there is no telling."""
    world = shop.world
    foreign = world.converse(world.ada, world.ben)
    dora = window("dora")
    dora.forgive("status of 404")
    dora.enter(str(foreign))
    expect(dora.page.get_by_text("This conversation is not here any more.")).to_be_visible()
    dora.page.get_by_role("link", name="Back to messages").click()
    expect(dora.page.get_by_text("No conversations yet.")).to_be_visible()


@ON_A_PHONE
def test_attacks_in_names_and_messages_are_text(shop: Bookshop, window: OpenWindow) -> None:
    """Markup stays markup to read; nothing runs, nothing loads."""
    world = shop.world
    attack = '<img src=x onerror="document.title=1"><script>document.title=1</script>'
    world.db.run(
        "update public.users set displayname = %s, avatar_url = %s where id = %s",
        attack,
        'javascript:document.title="x"',
        world.ben,
    )
    talk = world.converse(world.ada, world.ben)
    world.send(world.ben, talk, attack)
    world.send(world.ben, talk, "javascript:alert(1) https://safe.example/ok")
    ada = window("ada").enter()
    ada.page.locator("bookconnect-inbox a.row").click()
    expect(ada.bubbles.first).to_have_text(attack)
    expect(ada.page.locator("bookconnect-thread h1")).to_have_text(attack)
    links = ada.page.locator("bookconnect-thread .bubble a")
    expect(links).to_have_count(1)
    expect(links).to_have_attribute("href", "https://safe.example/ok")
    expect(links).to_have_attribute("rel", re.compile("noopener"))
    assert ada.page.locator("bookconnect-thread img, bookconnect-inbox img").count() == 0


@ON_A_PHONE
def test_page_works_under_a_strict_content_security_policy(
    shop: Bookshop, window: OpenWindow
) -> None:
    """No inline script, no inline style, trusted types on: nothing is reported, all is styled."""
    _fill(shop)
    ada = window("ada")

    def strict(route: Route) -> None:
        answer = route.fetch()
        headers = {**answer.headers, "content-security-policy": STRICT_CSP}
        route.fulfill(response=answer, headers=headers)

    ada.page.route(f"{shop.url}/?as=ada", strict)
    ada.enter()
    ada.open("Ben Okafor")
    ada.say("Under a strict policy")
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
    colour = ada.bubble("Under a strict policy").evaluate("it => getComputedStyle(it).color")
    assert colour == "rgb(255, 255, 255)"


@ON_A_PHONE
def test_events_tell_the_host_and_a_button_opens_a_conversation(
    shop: Bookshop, window: OpenWindow
) -> None:
    """Two lines of HTML: unread and open come out, a press on the button goes in."""
    world = shop.world
    world.send(world.ben, world.converse(world.ada, world.ben), "Unread")
    ada = window("ada")
    ada.page.add_init_script(
        "window.heard = [];"
        "for (const name of ['bookconnect-unread', 'bookconnect-open', 'bookconnect-error'])"
        " addEventListener(name, (event) => heard.push([name, event.detail]));"
    )
    ada.enter()
    expect(ada.row("Ben Okafor").locator(".badge")).to_be_visible()
    assert ["bookconnect-unread", {"conversations": 1}] in ada.page.evaluate("heard")
    ada.page.evaluate(
        "const button = document.createElement('bookconnect-message-button');"
        "button.username = 'dora'; document.querySelector('#top').append(button);"
    )
    ada.page.get_by_role("button", name="Message", exact=True).click()
    expect(ada.page.locator("bookconnect-thread h1")).to_have_text("Dora Weiss")
    names = json.dumps(ada.page.evaluate("heard"))
    assert '"username": "dora"' in names
    assert '"conversation_id"' in names


@ON_A_PHONE
def test_counter_appears_near_the_end_and_too_much_cannot_be_sent(
    shop: Bookshop, window: OpenWindow
) -> None:
    """From 900 characters on; over 1,000 the text stays and the button waits."""
    world = shop.world
    world.send(world.ben, world.converse(world.ada, world.ben), "Before")
    ada = window("ada").enter()
    ada.open("Ben Okafor")
    count = ada.page.locator("bookconnect-composer .count")
    send = ada.page.get_by_role("button", name="Send")
    ada.composer.fill("x" * 899)
    expect(count).to_be_hidden()
    ada.composer.fill("📚" * 950)
    expect(count).to_have_text("50 characters left")
    ada.composer.fill("x" * 1003)
    expect(count).to_have_text("3 too many")
    expect(send).to_be_disabled()
    ada.composer.press("Enter")
    expect(ada.bubbles).to_have_text(["Before"])
    ada.composer.fill("\u3000  \u0085")
    expect(send).to_be_disabled()
    ada.composer.fill("📚" * 1000)
    ada.send()
    expect(ada.page.locator("[data-state=sent]")).to_be_visible()
