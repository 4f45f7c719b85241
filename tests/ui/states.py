"""Every state that the page can be in, each by name: for the eye (screenshots) and for axe.

In charge of: putting a shop of paper and a window into a state and waiting until it shows.
Knows about: the paper's shop and window. Does not know: who looks at the state, in which size or
colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from playwright.sync_api import expect

from tests.ui.paper import Member, PaperShop, now, wire
from tests.ui.paper_window import PaperWindow

__all__ = ["STATES", "State"]

CLEO = Member("cleo", "Cleo Marchetti")
NOUR = Member("nour", "نور الهدى")
MAX = Member("max", "Maximiliane-Alexandra von Hohenzollern-Sigmaringen-Freudenstadt")
DORA = Member("dora", "Dora Weiss")
ZOE = Member("zoe", "Zoë")
OTTO = Member("otto", "Otto Lang")

LONG_WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
URL = "https://books.example/" + "a-very-long-path/" * 10 + "?page=12"


@dataclass(frozen=True, slots=True)
class State:
    """One state: what is in the shop, what is done, and how the page is loaded."""

    name: str
    says: str
    arrange: Callable[[PaperShop], str]
    act: Callable[[PaperWindow, PaperShop, str], Any]
    tier: str = "privileged_plus"
    attributes: str = ""
    lang: str = "en"

    def show(self, ada: PaperWindow, shop: PaperShop) -> None:
        """Bring the window into this state; it is there when this returns."""
        route = self.arrange(shop)
        ada.enter(route, attributes=self.attributes, lang=self.lang)
        self.act(ada, shop, route)


def _stream(shop: PaperShop, talk: str, other: Member, lines: list[tuple[bool, str, int]]) -> None:
    """Lines as (mine, text, minutes ago)."""
    for mine, text, ago in lines:
        shop.put(talk, shop.ada if mine else other, text, at=now() - timedelta(minutes=ago))


def _lively(shop: PaperShop) -> str:
    """A talk of two readers over two days; the other one has seen all of it."""
    talk = shop.converse(shop.ben)
    day = 24 * 60
    _stream(shop, talk, shop.ben, [
        (False, "Have you finished the Calvino?", day + 63),
        (True, "Almost. Two chapters to go, and I do not want it to end.", day + 58),
        (True, "Do not tell me anything.", day + 57),
        (False, "My lips are sealed 🤐", day + 55),
        (False, "There is a reading on Thursday, by the way. Page & Anchor, half past seven.", 33),
        (False, "Shall I keep a seat for you?", 32),
        (True, "Yes please!", 12),
        (True, "I will bring the tea. Here is the edition: https://books.example/calvino", 11),
    ])  # fmt: skip
    shop.rows[talk]["other_participant"]["last_read_at"] = wire(now())
    return talk


def _inbox(shop: PaperShop) -> str:
    """All kinds of rows, newest first: unread, long, right to left, one emoji, old."""
    _lively(shop)
    shop.members += [CLEO, NOUR, MAX, DORA, ZOE, OTTO]
    old = [
        (ZOE, "The shop will be closed for stocktaking.", 60 * 24 * 40),
        (DORA, "📚", 60 * 24 * 4),
    ]
    for other, text, ago in old:
        _stream(shop, shop.converse(other), other, [(False, text, ago)])
    talk = shop.converse(MAX)
    _stream(
        shop, talk, MAX, [(True, "A line that is so long that it cannot be shown whole.", 60 * 26)]
    )
    talk = shop.converse(NOUR)
    _stream(shop, talk, NOUR, [(False, "مرحبا، هل قرأت الكتاب؟", 60 * 5)])
    talk = shop.converse(CLEO)
    _stream(shop, talk, CLEO, [(False, "Do you still have the second volume?", 4)])
    shop.rows[talk]["last_read_at"] = wire(now() - timedelta(days=9))
    return ""


def _extremes(shop: PaperShop) -> str:
    talk = shop.converse(MAX)
    shop.members.append(MAX)
    _stream(shop, talk, MAX, [
        (False, "A thousand characters: " + "so it goes on and on, " * 44 + "to the end", 50),
        (True, LONG_WORD * 2, 40),
        (False, URL, 30),
        (True, "مرحبا، هل قرأت الكتاب؟ وصلت الطبعة الجديدة إلى المتجر اليوم.", 20),
        (False, "One line\n\nand another after a gap", 10),
        (True, "📚", 5),
        (False, "🤐👍🏽", 4),
    ])  # fmt: skip
    return talk


def _unread(shop: PaperShop) -> str:
    talk = _lively(shop)
    shop.rows[talk]["last_read_at"] = wire(now() - timedelta(minutes=34))
    shop.messages[talk] = shop.messages[talk][:-2]
    return talk


def _long(shop: PaperShop, chapters: int = 40) -> str:
    talk = shop.converse(shop.ben)
    _stream(shop, talk, shop.ben, [
        (at % 3 == 0, f"Chapter {at}: " + "and then " * (at % 5) + "a turn.", 400 - 6 * at)
        for at in range(chapters)
    ])  # fmt: skip
    return talk


def _expiring(shop: PaperShop) -> str:
    talk = shop.converse(shop.ben)
    for mine, text, ago, lives in [
        (False, "The list for the spring sale", 180, timedelta(hours=8)),
        (True, "Thanks, copied", 170, timedelta(days=2, hours=5)),
        (True, "See you there", 3, timedelta(days=365)),
    ]:
        at = now() - timedelta(minutes=ago)
        lives_from = lives + timedelta(minutes=ago)
        shop.put(talk, shop.ada if mine else shop.ben, text, at=at, lives=lives_from)
    return talk


def _empty(shop: PaperShop) -> str:
    return shop.converse(shop.ben)


def _gone(shop: PaperShop) -> str:
    """The other one's account has been erased."""
    talk = _lively(shop)
    shop.rows[talk]["other_participant"] = None
    return talk


def _nothing(shop: PaperShop) -> str:
    del shop
    return ""


def _new(shop: PaperShop) -> str:
    shop.members += [CLEO, NOUR, MAX, DORA, ZOE, OTTO]
    shop.closed = {DORA.id}
    _lively(shop)
    return "new"


def _live(ada: PaperWindow, *_: Any) -> None:
    """Wait until the inbox is there and the line is open."""
    expect(ada.page.locator("bookconnect-inbox a.row").first).to_be_attached()
    ada.wait_until_live()


def _thread(ada: PaperWindow, *_: Any) -> None:
    expect(ada.bubbles.last).to_be_visible()
    _live(ada)


def _busy_inbox(ada: PaperWindow, shop: PaperShop, _: str) -> None:
    _live(ada)
    online = [shop.ben, NOUR, CLEO]
    for one in online:
        shop.tell({"type": "presence", "user_id": one.id, "online": True})
    expect(ada.page.locator("bookconnect-inbox .dot")).to_have_count(len(online))


def _search(text: str) -> Callable[[PaperWindow, PaperShop, str], None]:
    def act(ada: PaperWindow, *_: Any) -> None:
        _live(ada)
        ada.page.locator("bookconnect-inbox input").fill(text)
        expect(
            ada.page.locator("bookconnect-inbox .note, bookconnect-inbox .section")
        ).to_be_visible()

    return act


def _stuck(call: str) -> Callable[[PaperWindow, PaperShop, str], None]:
    """The answer to this call never comes."""

    def act(ada: PaperWindow, shop: PaperShop, _: str) -> None:
        shop.stuck.add(call)
        ada.page.reload()
        expect(ada.page.locator(".skeleton").first).to_be_attached()

    return act


def _busy(call: str) -> Callable[[PaperWindow, PaperShop, str], None]:
    """The server has no time for this call."""

    def act(ada: PaperWindow, shop: PaperShop, _: str) -> None:
        shop.refuses[call] = (503, {"code": "UNAVAILABLE", "detail": "Try again in a moment."})
        ada.page.reload()
        expect(ada.page.get_by_role("button", name="Try again").last).to_be_visible()

    return act


def _typing(ada: PaperWindow, shop: PaperShop, talk: str) -> None:
    _thread(ada)
    shop.tell({"type": "presence", "user_id": shop.ben.id, "online": True})
    shop.tell({"type": "typing", "conversation_id": talk, "user_id": shop.ben.id})
    expect(ada.thread.locator(".presence")).to_have_text("typing…")


def _pill(ada: PaperWindow, shop: PaperShop, talk: str) -> None:
    _thread(ada)
    ada.page.locator("bookconnect-thread .scroller").evaluate("it => { it.scrollTop = -500 }")
    for text in ("There is more", "And more"):
        shop.say(talk, shop.ben, text)
    expect(ada.page.locator("bookconnect-thread .pill")).to_contain_text("2 new messages")


def _older_failed(ada: PaperWindow, shop: PaperShop, _: str) -> None:
    _thread(ada)
    shop.refuses[MESSAGES] = (503, {"code": "UNAVAILABLE", "detail": "Try again in a moment."})
    ada.page.set_viewport_size({"width": 375, "height": 740})
    for _time in range(2):  # what is said at the top takes room of its own there
        ada.thread.locator(".scroller").evaluate("it => { it.scrollTop = -1e6 }")
        expect(ada.thread.locator("[data-act=older]")).to_be_in_viewport()


def _failed(ada: PaperWindow, shop: PaperShop, _: str) -> None:
    _thread(ada)
    shop.refuses["socket send"] = (409, {"code": "CONFLICT", "detail": "No."})
    ada.say("This one is refused, whatever the reason may be")
    expect(ada.page.locator("bookconnect-thread [data-act=resend]")).to_be_visible()


def _waits(ada: PaperWindow, shop: PaperShop, _: str) -> None:
    _thread(ada)
    wait = {"code": "RATE_LIMIT_EXCEEDED", "detail": "Slow down.", "retry_after": 40}
    shop.refuses["socket send"] = (429, wait)
    ada.say("One more")
    expect(ada.page.locator("[data-state=sending]")).to_contain_text("Goes on in")


def _offline(ada: PaperWindow, *_: Any) -> None:
    _thread(ada)
    ada.context.set_offline(offline=True)
    expect(ada.page.locator(".strip").first).to_be_attached()
    ada.say("Written on the train")
    expect(ada.page.locator("[data-state=sending]")).to_contain_text("Waiting to send")


def _reconnecting(ada: PaperWindow, shop: PaperShop, _: str) -> None:
    _thread(ada)
    shop.cut()
    expect(ada.page.locator(".strip.late").first).to_be_attached()


def _signed_out(ada: PaperWindow, shop: PaperShop, _: str) -> None:
    _thread(ada)
    ada.page.evaluate(
        "void (document.querySelector('bookconnect-messages').shadowRoot.querySelector("
        "'bookconnect-thread').client.tokens.getToken = () => { throw Error('no'); })"
    )
    shop.hang_up(4401)
    expect(ada.page.get_by_role("button", name="Sign in again").last).to_be_visible()


def _kept(ada: PaperWindow, *_: Any) -> None:
    _thread(ada)
    ada.bubbles.last.focus()
    ada.page.keyboard.press("ArrowUp")
    ada.page.keyboard.press("ArrowDown")
    expect(ada.page.locator("bookconnect-thread .kept")).to_be_visible()


def _undo(ada: PaperWindow, shop: PaperShop, talk: str) -> None:
    _kept(ada, shop, talk)
    ada.page.keyboard.press("Delete")
    undo = ada.page.get_by_role("button", name="Undo")
    undo.focus()
    expect(undo).to_be_focused()


def _draft(text: str) -> Callable[[PaperWindow, PaperShop, str], None]:
    def act(ada: PaperWindow, *_: Any) -> None:
        _live(ada)
        ada.composer.fill(text)

    return act


def _found(text: str) -> Callable[[PaperWindow, PaperShop, str], None]:
    def act(ada: PaperWindow, *_: Any) -> None:
        people = ada.page.locator("bookconnect-new-message li")
        expect(people.first).to_be_visible()
        if text:
            ada.page.locator("bookconnect-new-message input").fill(text)
            expect(ada.page.locator("bookconnect-new-message .note")).to_be_visible()

    return act


def _grace(shop: PaperShop) -> str:
    shop.grace_ends_at = wire(now() + timedelta(days=12))
    return _inbox(shop)


def _empty_inbox(ada: PaperWindow, *_: Any) -> None:
    expect(ada.page.locator("bookconnect-inbox .empty")).to_be_visible()


def _arabic(ada: PaperWindow, *_: Any) -> None:
    _thread(ada)
    expect(ada.composer).to_have_attribute("placeholder", "اكتب رسالة")


def _arabic_talk(shop: PaperShop) -> str:
    talk = shop.converse(NOUR)
    shop.members.append(NOUR)
    _stream(shop, talk, NOUR, [
        (False, "مرحبا، هل قرأت الكتاب؟", 60 * 25),
        (True, "ليس بعد، سأبدأ الليلة", 60 * 24),
        (False, "The English edition is here too: ISBN 978-3-16-148410-0", 14),
        (True, "شكرا!", 2),
    ])  # fmt: skip
    _stream(shop, shop.converse(shop.ben), shop.ben, [(False, "See you on Thursday", 60 * 30)])
    return talk


FIRST = "GET /v1/(me|conversations)|POST /v1/sync"
MESSAGES = "GET /v1/conversations/[^/]+/messages"

STATES = [
    State("inbox", "unread, online, long names, right to left, one emoji", _inbox, _busy_inbox),
    State("inbox-empty", "one sentence, one action", _nothing, _empty_inbox),
    State("inbox-empty-free", "for who cannot start", _nothing, _empty_inbox, tier="free"),
    State("inbox-loading", "bones in the shape of rows", _inbox, _stuck(FIRST)),
    State("inbox-failed", "what happened, one action", _nothing, _busy(FIRST)),
    State("inbox-search", "conversations and members", _inbox, _search("o")),
    State("inbox-search-nothing", "said in a sentence", _inbox, _search("Zarathustra")),
    State("inbox-grace", "a plan has changed; notifications on offer", _grace, _busy_inbox,
          tier="privileged", attributes="notifications"),
    State("thread", "groups, days, seen; typing", _lively, _typing),
    State("thread-new", "the divider, in a phone's first view", _unread, _thread),
    State("thread-extremes", "1,000 characters, long words, a URL of 200, Arabic, emoji, names",
          _extremes, _thread),
    State("thread-pill", "further up, two new ones below", _long, _pill),
    State("thread-failed", "not sent, and the way on", _lively, _failed),
    State("thread-waits", "too many at once, counted down", _lively, _waits),
    State("thread-expiring", "what goes within three days says so", _expiring, _thread),
    State("thread-kept", "when a message goes, and its deletion, by keyboard", _lively, _kept),
    State("thread-undo", "a moment to undo", _lively, _undo),
    State("thread-empty", "the beginning", _empty, _draft("")),
    State("thread-loading", "bones in the shape of bubbles", _lively, _stuck(MESSAGES)),
    State("thread-not-loaded", "what happened, one action", _lively, _busy(MESSAGES)),
    State("thread-older-failed", "what came before, one action",
          lambda shop: _long(shop, 60), _older_failed),
    State("thread-not-found", "a conversation that is not mine, or not any more",
          lambda _: "01890000-0000-7000-8000-000000000000",
          lambda ada, *_: expect(ada.page.get_by_text("not here any more")).to_be_visible()),
    State("thread-former-member", "read only, and why", _gone, _thread),
    State("thread-offline", "what is written waits", _lively, _offline),
    State("thread-reconnecting", "the server is away", _lively, _reconnecting),
    State("thread-signed-out", "the host is asked for a token", _lively, _signed_out),
    State("composer-long", "six lines and a counter", _lively, _draft("Line by line\n" * 74)),
    State("composer-over", "too much", _lively, _draft("x" * 1012)),
    State("new", "everybody, and who takes no new messages", _new, _found("")),
    State("new-nothing", "nobody of that name", _new, _found("Zarathustra")),
    State("new-free", "what a free member can do", _new, _found(""), tier="free"),
    State("arabic", "mirrored, with dates of its own", _arabic_talk, _arabic, lang="ar"),
]  # fmt: skip
