"""Ten thousand messages: smooth, in place, and no heavier after a long day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.ui.bookshop import expect
from tests.ui.conftest import OpenPaper
from tests.ui.paper import PaperShop, PaperWindow, now

pytestmark = pytest.mark.browser

LONG = 10_000
# Of one task, by the clock on the wall: a machine that does other things too takes its time.
LONGEST_TASK_MS = 250

# A frame's own work, as the browser counts it; how busy the machine is does not count.
WATCH = """() => {
  globalThis.slow = [];
  new PerformanceObserver((list) => { for (const it of list.getEntries()) slow.push(it.duration); })
    .observe({ type: 'longtask' });
}"""


def _long_talk(shop: PaperShop, count: int = LONG) -> str:
    talk = shop.converse(shop.ben)
    began = now() - timedelta(days=200)
    for number in range(count):
        sender = shop.ben if number % 5 else shop.ada
        text = f"Line {number:05} " + "and so on " * (number % 7)
        shop.put(talk, sender, text, at=began + timedelta(minutes=20 * number))
    return talk


def _held(ada: PaperWindow, talk: str) -> int:
    return int(
        ada.page.evaluate(
            "(id) => document.querySelector('bookconnect-messages').shadowRoot"
            ".querySelector('bookconnect-thread').state.threads[id].messages.length",
            talk,
        )
    )


def _load_all(ada: PaperWindow, talk: str) -> None:
    """Up to the beginning, as somebody would who never lets go of the wheel."""
    ada.page.evaluate(
        """async (id) => {
          const thread = document.querySelector('bookconnect-messages').shadowRoot
            .querySelector('bookconnect-thread');
          const scroller = thread.renderRoot.querySelector('.scroller');
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          while (thread.state.threads[id].older_cursor) {
            scroller.scrollTop = -1e9;
            await frame();
          }
        }""",
        talk,
    )


def test_ten_thousand_messages_scroll_smoothly(paper: OpenPaper) -> None:
    """All on one page; a new one, a hover and a scroll cost what they cost in a short one."""
    shop = PaperShop()
    shop.page_size = 500
    talk = _long_talk(shop)
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_count(shop.page_size)
    _load_all(ada, talk)
    assert _held(ada, talk) == LONG
    expect(ada.page.get_by_text("Line 00000")).to_be_visible()
    ada.page.evaluate(WATCH)
    frames: list[float] = ada.page.evaluate(
        """async () => {
          const scroller = document.querySelector('bookconnect-messages').shadowRoot
            .querySelector('bookconnect-thread').renderRoot.querySelector('.scroller');
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          const took = [];
          for (let step = 0; step < 150; step += 1) {
            await frame();
            const began = performance.now();
            scroller.scrollTop += 700;
            scroller.getBoundingClientRect();
            took.push(performance.now() - began);
          }
          return took;
        }"""
    )
    shop.say(talk, shop.ben, "One more")
    expect(ada.page.locator("bookconnect-thread .pill")).to_contain_text("1 new message")
    slow: list[float] = ada.page.evaluate("slow")
    print(f"slowest step {max(frames):.1f} ms, long tasks {[round(one) for one in slow]}")
    assert max(frames) < 50
    assert [one for one in slow if one > LONGEST_TASK_MS] == []


def test_a_long_day_leaves_the_page_as_light_as_it_was(paper: OpenPaper) -> None:
    """7,200 events in fast motion: what nobody reads is let go of, and can be loaded again."""
    shop = PaperShop()
    talk = _long_talk(shop, 20)
    ada = paper(shop).enter(talk)
    expect(ada.bubbles).to_have_count(20)
    heap = [_heap_after(ada, shop, talk, events) for events in (1_200, 6_000)]
    print(f"heap after 1,200 events {heap[0] / 1e6:.1f} MB, after 7,200 {heap[1] / 1e6:.1f} MB")
    assert heap[1] < 1.15 * heap[0] + 1e6
    assert ada.bubbles.count() <= 601
    assert _held(ada, talk) <= 601
    before = ada.bubbles.count()
    ada.page.locator("bookconnect-thread .scroller").evaluate("it => { it.scrollTop = -1e9 }")
    expect(ada.bubbles).to_have_count(before + 50)


def _heap_after(ada: PaperWindow, shop: PaperShop, talk: str, events: int) -> float:
    """The heap's size when these have arrived, twenty a frame, and the dust has settled."""
    sent = [shop.put(talk, shop.ben, f"Event {number}") for number in range(events)]
    ada.page.evaluate(
        """async (sent) => {
          const thread = document.querySelector('bookconnect-messages').shadowRoot
            .querySelector('bookconnect-thread');
          for (const [at, message] of sent.entries()) {
            thread.client.store.dispatch({ type: 'frame', frame: { type: 'message', message } });
            if (at % 20 === 0) await new Promise((done) => requestAnimationFrame(done));
          }
        }""",
        sent,
    )
    expect(ada.bubbles.last).to_have_text(f"Event {events - 1}")
    session = ada.context.new_cdp_session(ada.page)
    session.send("HeapProfiler.enable")
    session.send("HeapProfiler.collectGarbage")
    return float(session.send("Runtime.getHeapUsage")["usedSize"])


def test_what_is_read_stays_in_place_whatever_happens_around_it(paper: OpenPaper) -> None:
    """Older pages on top, new messages below, one deleted below: the line does not move."""
    shop = PaperShop()
    talk = _long_talk(shop, 400)
    ada = paper(shop, viewport={"width": 375, "height": 740}).enter(talk)
    scroller = ada.page.locator("bookconnect-thread .scroller")
    expect(ada.bubbles).to_have_count(50)
    scroller.evaluate("it => { it.scrollTop = -1200 }")
    line = ada.page.locator(".line", has_text="Line 00383")

    def top() -> float:
        box: Any = line.bounding_box()
        return float(box["y"])

    expect(line).to_be_in_viewport()
    before = top()
    shop.say(talk, shop.ben, "Below " * 40)
    expect(ada.page.locator("bookconnect-thread .pill")).to_contain_text("1 new message")
    assert abs(top() - before) <= 1
    newest = shop.messages[talk][-2]
    deleted = {
        "id": newest["id"],
        "conversation_id": talk,
        "deleted_at": shop.messages[talk][-1]["sent_at"],
    }
    shop.tell({"type": "message_deleted", **deleted, "deleted_at": shop.later()})
    expect(ada.page.get_by_text("Line 00399")).to_have_count(0)
    assert abs(top() - before) <= 1
