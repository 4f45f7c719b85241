"""What is felt rather than read: who is there, who types, motion, zoom, attacks that stay text."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.ui.bookshop import expect
from tests.ui.conftest import ON_BOTH, OpenPaper
from tests.ui.paper import Member, PaperShop

pytestmark = pytest.mark.browser

SCREENS = [{"width": 1280, "height": 800}, {"width": 375, "height": 740}]
BOTH = pytest.mark.parametrize("viewport", SCREENS, ids=["desk", "phone"])


@BOTH
def test_who_is_there_and_who_types(paper: OpenPaper, viewport: dict[str, int]) -> None:
    """Shown in row and thread, over when a message comes or five seconds have passed."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    ada = paper(shop, viewport=viewport).enter()
    expect(ada.row("Ben")).to_be_visible()
    typing = {"type": "typing", "conversation_id": talk, "user_id": shop.ben.id}
    shop.tell({"type": "presence", "user_id": shop.ben.id, "online": True})
    expect(ada.page.locator("bookconnect-inbox .dot")).to_be_visible()
    shop.tell(typing)
    expect(ada.row("Ben")).to_contain_text("typing…")
    ada.row("Ben").click()
    expect(ada.thread.locator(".presence")).to_have_text("typing…")
    shop.say(talk, shop.ben, "Said")
    expect(ada.thread.locator(".presence")).to_have_text("online")
    shop.tell(typing)
    expect(ada.thread.locator(".presence")).to_have_text("typing…")
    expect(ada.thread.locator(".presence")).to_have_text("online")
    shop.tell({"type": "presence", "user_id": shop.ben.id, "online": False})
    expect(ada.thread.locator(".presence")).to_have_count(0)
    ada.composer.press_sequentially("I type for less than three seconds")
    assert [frame["type"] for frame in shop.heard].count("typing") == 1


@pytest.mark.parametrize("width", [768, 1280])
def test_the_mouse_moves_nothing_but_itself(paper: OpenPaper, width: int) -> None:
    """What appears beside a bubble has its place there, however wide the bubble is."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    for sender in (shop.ben, shop.ada):
        shop.put(talk, sender, "So it goes on and on. " * 9)
    ada = paper(shop, viewport={"width": width, "height": 740}).enter(talk)
    expect(ada.bubbles).to_have_count(2)
    places = "all => all.map((it) => JSON.stringify(it.getBoundingClientRect()))"
    before = ada.bubbles.evaluate_all(places)
    for at in (0, 1):
        ada.bubbles.nth(at).hover()
        expect(ada.page.locator("bookconnect-thread .kept")).to_be_visible()
        until = ada.page.locator("bookconnect-thread .kept span")
        assert until.evaluate("it => it.scrollWidth <= it.clientWidth"), "the date is cut short"
        assert ada.bubbles.evaluate_all(places) == before


def test_a_small_picture_made_of_letters_can_be_seen(paper: OpenPaper) -> None:
    """Where the machine has no coloured ones, an emoji is drawn in the colour of the text."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ada, "❤")
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_text(["❤"])
    ink = ada.bubbles.first.evaluate("it => getComputedStyle(it).color")
    assert ink == ada.thread.evaluate("it => getComputedStyle(it).color")


@ON_BOTH
def test_nothing_moves_where_motion_is_not_welcome(paper: OpenPaper) -> None:
    """No transition and no animation that takes time, but those that only wait."""
    shop = PaperShop()
    talk = shop.converse(shop.ben)
    shop.put(talk, shop.ben, "Hello")
    ada = paper(shop, reduced_motion="reduce").enter(talk)
    expect(ada.bubbles).to_have_count(1)
    shop.say(talk, shop.ben, "Arrives without a leap")
    expect(ada.bubbles).to_have_count(2)
    running = ada.page.evaluate(
        "document.getAnimations().filter((it) => it.effect.getTiming().duration > 1).length"
    )
    assert running == 0
    assert ada.bubbles.last.evaluate("it => getComputedStyle(it).animationName") == "none"
    button = ada.page.locator("bookconnect-composer .send")
    took = str(button.evaluate("it => getComputedStyle(it).transitionDuration"))
    assert set(took.split(", ")) == {"0s"}


@pytest.mark.parametrize("size", [(640, 400), (320, 256)], ids=["200 %", "400 %"])
def test_everything_can_be_read_and_done_when_zoomed(
    paper: OpenPaper, size: tuple[int, int]
) -> None:
    """A window of 1280 by 800 or 1024 at these zooms has so many pixels left."""
    shop = PaperShop()
    talk = shop.converse(Member("max", "Maximiliane-Alexandra von Hohenzollern-Sigmaringen"))
    shop.put(talk, shop.ada, "x" * 400)
    width, height = size
    screen = {"width": width, "height": height}
    ada = paper(shop, viewport=screen, device_scale_factor=2).enter(talk)
    expect(ada.bubbles).to_have_count(1)
    ada.say("Zoomed")
    expect(ada.bubbles.last).to_be_in_viewport()
    assert ada.page.evaluate("document.documentElement.scrollWidth") <= width
    expect(ada.page.locator("bookconnect-composer .send")).to_be_in_viewport(ratio=1)
    expect(ada.page.get_by_role("link", name="Back")).to_be_in_viewport(ratio=1)


def _attacks() -> list[str]:
    """The list that the pure tests use too."""
    source = (Path(__file__).parent / "pure" / "text.test.mjs").read_text("utf-8")
    listed = source.split("const ATTACKS = [")[1].split("\n];")[0]
    return re.findall(r"""(?<=['"`])[^'"`\n]{6,}(?=['"`],)""", listed)


@ON_BOTH
def test_attacks_stay_text_wherever_they_stand(paper: OpenPaper) -> None:
    """Thirty of them in messages, names and pictures; nothing runs, loads or becomes markup."""
    shop = PaperShop()
    attacks = [*_attacks(), *(f"{one} {at}" for at, one in enumerate(EXTRA))]
    assert len(attacks) >= 30
    for at, attack in enumerate(attacks[:30]):
        member = Member(f"m{at}", attack)
        talk = shop.converse(member)
        if not attack.startswith("http"):  # that would be a picture like any other
            shop.rows[talk]["other_participant"]["avatar_url"] = attack
        elif at % 2:
            shop.rows[talk]["other_participant"]["avatar_url"] = "/\\elsewhere.example/x.png"
        else:
            shop.rows[talk]["other_participant"]["avatar_url"] = "//elsewhere.example/x.png"
        shop.put(talk, member, attack, at=datetime.now(UTC) - timedelta(minutes=30 - at))
    shop.page_size = 100
    everything = shop.converse(shop.ben)
    for attack in attacks:
        shop.put(everything, shop.ben, attack)
    ada = paper(shop)
    ada.page.on("dialog", lambda dialog: ada.errors.append(f"dialog: {dialog.message}"))
    ada.enter(everything)
    expect(ada.bubbles).to_have_count(len(attacks))
    texts = ada.bubbles.all_text_contents()
    assert texts == attacks
    expect(ada.page.locator("bookconnect-inbox a.row")).to_have_count(31)
    strange = ada.page.evaluate(
        """() => {
          const found = [];
          const look = (root) => { for (const it of root.querySelectorAll('*')) {
            if (/^(script|iframe|object|embed|base|meta|math|x)$/i.test(it.localName)
              && it.getRootNode() !== document) found.push(it.localName);
            for (const { name, value } of it.attributes) {
              const bad = /^\\s*(javascript|data|vbscript):/i.test(value)
                && /^(href|src)$/.test(name);
              if (bad || name.startsWith('on')) found.push(name);
            }
            if (it.shadowRoot) look(it.shadowRoot);
          } };
          look(document);
          return found;
        }"""
    )
    assert strange == []
    assert not [one for one in ada.errors if "dialog" in one or "elsewhere" in one]
    assert "alert" not in json.dumps(shop.calls)


EXTRA = (
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<body onload=alert(1)>",
    "<script>alert(1)</script>",
    "<iframe src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<form action=javascript:alert(1)>",
    "<marquee onstart=alert(1)>",
    "<link rel=stylesheet href=//evil.example>",
    "<template><script>alert(1)",
    "<math><mtext><script>alert(1)</script>",
    "javascript:alert(document.cookie)",
    "data:text/html,alert(1)",
    "{{7*7}}",
    "${7*7}",
    "<%= 7*7 %>",
    "&#60;script&#62;",
    "<scr<script>ipt>",
    "<!--><img src=x>",
    "]]><script>alert(1)</script>",
    "<x:script xmlns:x='a'>",
    "<noscript><img src=x>",
    "<style>*{}</style>",
    "<textarea><script>",
    "<title>owned</title>",
)
