"""A very long talk: smooth, in place, and no heavier after a long day."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import CDPSession

from tests.ui.bookshop import expect
from tests.ui.conftest import PHONE, SCREENS, OpenPaper
from tests.ui.paper import PaperShop, now
from tests.ui.paper_window import PaperWindow

pytestmark = pytest.mark.browser

PROOF = os.environ.get("PROOF") == "1"
LONG = 10_000 if PROOF else 3_000
# So many events, then so many more: what is held does not grow with them.
DAY = (1_200, 6_000) if PROOF else (700, 1_400)

# What the page does is counted, not timed: how long that takes is the bench's to say. Work is a
# change of the thread's DOM, a new rendering of the thread, and a time that is written out: each
# line has two or three, so they tell how many lines were made, the same ones or others.
WATCH = """() => {
  const thread = document.querySelector('bookconnect-messages').shadowRoot
    .querySelector('bookconnect-thread');
  globalThis.work = { changes: 0, renderings: 0, times: 0, most: 0 };
  const linesIn = (it) => it.querySelectorAll?.('.line').length + Number(it.matches?.('.line'));
  const added = (record) => [...record.addedNodes].reduce((sum, it) => sum + (linesIn(it) || 0), 0);
  new MutationObserver((records) => {
    work.changes += records.length;
    work.most = Math.max(work.most, records.reduce((sum, record) => sum + added(record), 0));
  }).observe(
    thread.renderRoot.querySelector('.scroller'),
    { subtree: true, childList: true, attributes: true, characterData: true },
  );
  const proto = Intl.DateTimeFormat.prototype;
  const { get } = Object.getOwnPropertyDescriptor(proto, 'format');
  Object.defineProperty(proto, 'format', { get() { work.times += 1; return get.call(this); } });
  const update = thread.update;
  thread.update = function (...given) { work.renderings += 1; return update.apply(this, given); };
}"""

# Up until so many are held, with a look after each step whether the line in the middle stays.
JUMPS = """async ([id, held]) => {
  const thread = document.querySelector('bookconnect-messages').shadowRoot
    .querySelector('bookconnect-thread');
  const scroller = thread.renderRoot.querySelector('.scroller');
  const { left, top, width, height } = scroller.getBoundingClientRect();
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const jumps = [];
  const until = performance.now() + 120_000;
  while (thread.state.threads[id].messages.length < held) {
    if (performance.now() > until)
      throw new Error('It holds ' + thread.state.threads[id].messages.length);
    scroller.scrollTop -= height / 2;
    await frame();
    const line = thread.renderRoot.elementFromPoint(left + width / 2, top + height / 2)
      ?.closest('.line');
    const before = line?.getBoundingClientRect().top;
    for (let at = 0; line && at < 5; at += 1) {
      await frame();
      const moved = line.isConnected ? line.getBoundingClientRect().top - before : NaN;
      if (!(Math.abs(moved) <= 1)) jumps.push([thread.state.threads[id].messages.length, moved]);
    }
  }
  return jumps;
}"""

# While a finger drags: by how much the line in the middle goes another way than the finger, and
# whether anything else than the finger turns the page back.
WATCH_THE_FINGER = """() => {
  const thread = document.querySelector('bookconnect-messages').shadowRoot
    .querySelector('bookconnect-thread');
  const scroller = thread.renderRoot.querySelector('.scroller');
  const { left, top, width, height } = scroller.getBoundingClientRect();
  globalThis.finger = { frames: 0, jumps: [], back: [] };
  let [line, line_top, at] = [null, 0, scroller.scrollTop];
  const look = () => {
    const down = at - scroller.scrollTop;
    if (down !== 0) finger.frames += 1;
    if (down < -1) finger.back.push(down);
    const moved = line?.isConnected ? line.getBoundingClientRect().top - line_top : NaN;
    if (line && !(Math.abs(moved - down) <= 1)) finger.jumps.push([down, moved]);
    line = thread.renderRoot.elementFromPoint(left + width / 2, top + height / 2)?.closest('.line');
    [line_top, at] = [line?.getBoundingClientRect().top, scroller.scrollTop];
    requestAnimationFrame(look);
  };
  look();
}"""

# How many of the lines that are there now are not there any more when it is asked.
PIECES = """() => {
  const lines = [...document.querySelector('bookconnect-messages').shadowRoot
    .querySelector('bookconnect-thread').renderRoot.querySelectorAll('.line')];
  globalThis.anew = () => lines.filter((it) => !it.isConnected).length;
}"""

# Lines that the browser lays out and paints; the others are only kept.
PAINTED = """() => [...document.querySelector('bookconnect-messages').shadowRoot
  .querySelector('bookconnect-thread').renderRoot.querySelectorAll('.line')]
  .filter((it) => it.checkVisibility({ contentVisibilityAuto: true })).length"""


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


def _load(ada: PaperWindow, talk: str, held: int) -> None:
    """Up to so many messages, as somebody would who never lets go of the wheel."""
    ada.page.evaluate(
        """async ([id, held]) => {
          const thread = document.querySelector('bookconnect-messages').shadowRoot
            .querySelector('bookconnect-thread');
          const scroller = thread.renderRoot.querySelector('.scroller');
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          const until = performance.now() + 300_000;
          while (thread.state.threads[id].messages.length < held) {
            if (performance.now() > until)
              throw new Error('It holds ' + thread.state.threads[id].messages.length);
            scroller.scrollTop = -1e9;
            await frame();
          }
        }""",
        [talk, held],
    )


def _work(ada: PaperWindow) -> dict[str, int]:
    """What has been done since the last time, when all of it has been done."""
    frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    ada.page.evaluate(frames)
    done: dict[str, int] = ada.page.evaluate("work")
    ada.page.evaluate("work.changes = work.renderings = work.times = work.most = 0")
    return done


@SCREENS
def test_a_long_talk_costs_what_a_short_one_costs(paper: OpenPaper, given: dict[str, Any]) -> None:
    """A message touches a handful of nodes, scrolling none, a hover two lines, a page itself."""
    shop = PaperShop()
    shop.page_size = 600  # of more, a page at its end would let go
    talk = _long_talk(shop)
    ada = paper(shop, **given).enter(talk)
    expect(ada.bubbles).to_have_count(shop.page_size)
    _load(ada, talk, LONG - shop.page_size)
    ada.page.evaluate(WATCH)
    ada.page.evaluate(PIECES)
    _load(ada, talk, LONG)
    paged = _work(ada)
    anew = ada.page.evaluate("anew()")
    print(f"a page of {shop.page_size} on top of {LONG - shop.page_size:,}: {paged}, {anew} anew")
    assert 0 < paged["changes"] < shop.page_size
    # A line has three at most; what was there before writes none, but for the one at the seam.
    assert paged["times"] < 4 * shop.page_size
    assert 0 < paged["most"] <= 26, "a page comes in slices: no frame has all of it to show"
    assert anew <= 1, "all pieces that were there still are, but for what stands at the seam"
    assert _held(ada, talk) == LONG
    expect(ada.page.get_by_text("Line 00000")).to_be_visible()
    assert ada.bubbles.count() == LONG
    assert ada.page.evaluate(PAINTED) < shop.page_size + 500

    steps = 100
    ada.page.evaluate(
        """async (steps) => {
          const scroller = document.querySelector('bookconnect-messages').shadowRoot
            .querySelector('bookconnect-thread').renderRoot.querySelector('.scroller');
          for (let step = 0; step < steps; step += 1) {
            scroller.scrollTop += 700;
            await new Promise((done) => requestAnimationFrame(done));
          }
        }""",
        steps,
    )
    scrolled = _work(ada)
    print(f"{steps} screens scrolled: {scrolled}")
    assert scrolled["changes"] == 0
    assert scrolled["renderings"] < 10

    shop.say(talk, shop.ben, "One more")
    expect(ada.page.locator("bookconnect-thread .pill")).to_contain_text("1 new message")
    arrived = _work(ada)
    print(f"a new message: {arrived}")
    assert 0 < arrived["changes"] < 20
    assert arrived["renderings"] < 10
    assert 0 < arrived["times"] < 300

    shop.tell({"type": "presence", "user_id": shop.ben.id, "online": True})
    shop.tell({"type": "typing", "conversation_id": talk, "user_id": shop.ben.id})
    expect(ada.thread.locator(".presence")).to_have_text("typing…")
    assert _work(ada)["changes"] == 0

    has_touch = "has_touch" in given
    pill = ada.page.locator("bookconnect-thread .pill")
    pill.tap() if has_touch else pill.click()
    expect(ada.bubbles.last).to_be_in_viewport()
    if not has_touch:
        ada.thread.locator("h1").hover()
    expect(ada.page.locator("bookconnect-thread .kept")).to_have_count(0)
    _work(ada)
    ada.bubbles.last.tap() if has_touch else ada.bubbles.last.hover()
    expect(ada.page.locator("bookconnect-thread .kept")).to_be_visible()
    assert 0 < _work(ada)["changes"] < 20


def test_a_long_day_leaves_the_page_as_light_as_it_was(paper: OpenPaper) -> None:
    """A day in fast motion: what nobody reads is let go of, and can be loaded again."""
    shop = PaperShop()
    talk = _long_talk(shop, 20)
    ada = paper(shop, **PHONE).enter(talk)
    expect(ada.bubbles).to_have_count(20)
    heap = [_heap_after(ada, shop, talk, events) for events in DAY]
    print(
        f"heap after {DAY[0]:,} events {heap[0] / 1e6:.1f} MB, {DAY[1]:,} later {heap[1] / 1e6:.1f}"
    )
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
    ada = paper(shop, **PHONE).enter(talk)
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
    assert ada.page.evaluate(JUMPS, [talk, 260]) == []


def test_a_finger_goes_up_through_page_after_page_and_nothing_jumps(paper: OpenPaper) -> None:
    """The browser scrolls by itself, between the frames; what comes on top does not disturb it."""
    shop = PaperShop()
    talk = _long_talk(shop, 400)
    ada = paper(shop, **PHONE).enter(talk)
    expect(ada.bubbles).to_have_count(50)
    session = ada.context.new_cdp_session(ada.page)
    ada.page.evaluate(WATCH_THE_FINGER)
    for _ in range(60):
        _swipe(session)
        if _held(ada, talk) >= 150:
            break
    assert _held(ada, talk) >= 150
    finger = ada.page.evaluate("finger")
    print(f"{finger['frames']} frames under a finger")
    assert finger["frames"] > 5
    assert finger["jumps"] == []
    assert finger["back"] == []


def _swipe(session: CDPSession) -> None:
    """A finger comes down on the messages, drags them down and lets go in full flight."""
    for kind, at in [("touchStart", 150), *(("touchMove", y) for y in range(200, 650, 50))]:
        points = [{"x": 180, "y": at}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
