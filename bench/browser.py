"""How quick the page is, in a real browser.

    python -m bench.browser [--messages 10000] [--events 7200] [--times 20]

Each figure is the page's own part: the server is a stand-in inside the browser (`tests/ui/paper`)
that answers at once, so nothing of a network or a database is in them. Each line has a baseline of
the same run beside it, since a busy machine makes everything slow: an empty frame for what is one
piece of work, ten messages for what is said of ten thousand. Scrolling goes from the newest message
to the oldest, a screen a frame, while page after page of fifty comes on top; between its stretches
as many frames pass in which nothing happens, and as many in which a bare list of so many lines, all
there from the beginning and made of nothing but text, is scrolled alike: what the browser itself
takes. The late ones of all three are counted.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.ui.bookshop import CHROMIUM_ARGS, chromium_path
from tests.ui.paper import PaperShop, now
from tests.ui.paper_window import PaperWindow, open_paper

# In the page: what the bench measures with. A bubble is there when the frame that has it is done.
TOOLS = """
globalThis.bench = {
  thread: () => document.querySelector('bookconnect-messages').shadowRoot
    .querySelector('bookconnect-thread'),
  scroller: () => bench.thread().renderRoot.querySelector('.scroller'),
  frame: () => new Promise((done) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now());
    port2.postMessage(0);
  })),
  async until(seen) { for (;;) { const at = await bench.frame(); if (seen()) return at; } },
  // When the inbox first had a row on screen; it is asked in every frame from the beginning.
  inbox: () => document.querySelector('bookconnect-messages')?.shadowRoot
    ?.querySelector('bookconnect-inbox')?.shadowRoot,
  last: () => [...bench.thread().renderRoot.querySelectorAll('.bubble')].at(-1)?.textContent,
};
"""
PAINTED = "bench.painted = bench.until(() => bench.inbox()?.querySelector('a.row'));"

# From the answer with the rows to the frame that shows them.
INBOX = """async () => {
  const answers = performance.getEntriesByType('resource');
  const rows = answers.find((it) => it.name.includes('/v1/conversations?'));
  return await bench.painted - rows.responseEnd;
}"""
THREAD = """async () => {
  const at = performance.now();
  bench.inbox().querySelector('a.row').click();
  return await bench.until(() => bench.thread()?.renderRoot.querySelector('.bubble')) - at;
}"""
EMPTY_FRAME = "async () => { const at = performance.now(); return await bench.frame() - at; }"
SEND = """async (text) => {
  const composer = bench.thread().renderRoot.querySelector('bookconnect-composer');
  const area = composer.renderRoot.querySelector('textarea');
  area.value = text;
  area.dispatchEvent(new Event('input'));
  await composer.updateComplete;
  const at = performance.now();
  area.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', cancelable: true }));
  return await bench.until(() => bench.last() === text) - at;
}"""
RECEIVE = """async (message) => {
  const at = performance.now();
  bench.thread().client.store.dispatch({ type: 'frame', frame: { type: 'message', message } });
  return await bench.until(() => bench.last() === message.content) - at;
}"""
FRAMES = """async (count) => {
  const took = [];
  let at = await bench.frame();
  for (let step = 0; step < count; step += 1) {
    const next = await bench.frame();
    took.push(next - at);
    at = next;
  }
  return took;
}"""
# So many screens up; the beginning has been reached when the last ones moved nothing.
SCROLL = """async ([id, count]) => {
  const scroller = bench.scroller();
  const took = [];
  let still = 0;
  let at = await bench.frame();
  while (took.length < count && still < 10) {
    const before = scroller.scrollTop;
    scroller.scrollTop -= 700;
    const waits = bench.thread().state.threads[id].older_cursor;
    still = scroller.scrollTop === before && !waits ? still + 1 : 0;
    const next = await bench.frame();
    took.push(next - at);
    at = next;
  }
  return took;
}"""
# A list of text in a box as high as the thread's; at its top it begins at its end again.
PLAIN = """(lines) => {
  globalThis.plain = document.createElement('div');
  plain.style.cssText = 'height: 660px; overflow-y: scroll; font: 15px/1.45 sans-serif';
  for (let at = 0; at < lines; at += 1) {
    const line = document.createElement('p');
    line.textContent = `Line ${at} ` + 'and so on '.repeat(at % 7);
    plain.append(line);
  }
  document.body.append(plain);
}"""
PLAIN_SCROLL = """async (count) => {
  const took = [];
  let at = await bench.frame();
  for (let step = 0; step < count; step += 1) {
    plain.scrollTop = plain.scrollTop > 0 ? plain.scrollTop - 700 : plain.scrollHeight;
    const next = await bench.frame();
    took.push(next - at);
    at = next;
  }
  return took;
}"""
LOAD_ALL = """async (id) => {
  while (bench.thread().state.threads[id].older_cursor) {
    bench.scroller().scrollTop = -1e9;
    await bench.frame();
  }
}"""
DAY = """async (sent) => {
  for (const [at, message] of sent.entries()) {
    bench.thread().client.store.dispatch({ type: 'frame', frame: { type: 'message', message } });
    if (at % 20 === 0) await bench.frame();
  }
}"""


STRETCH = 100
LATE_MS = 50


@dataclass(frozen=True)
class Open:
    """A window with one conversation open."""

    window: PaperWindow
    shop: PaperShop
    talk: str

    def does(self, script: str, given: object = None) -> Any:
        """Run something in the page."""
        return self.window.page.evaluate(script, given)

    def message(self, text: str) -> dict[str, Any]:
        """The next message of the other one, which nobody has been told of yet."""
        return self.shop.put(self.talk, self.shop.ben, text)


def opened(browser: Browser, messages: int, *, whole: bool = True) -> Open:
    """Open a conversation that is so long, and hold all of it or only its end."""
    shop = PaperShop()
    if whole:
        shop.page_size = max(50, messages // 10)
    talk = shop.converse(shop.ben)
    began = now() - timedelta(days=200)
    for number in range(messages):
        sender = shop.ben if number % 5 else shop.ada
        text = f"Line {number} " + "and so on " * (number % 7)
        shop.put(talk, sender, text, at=began + timedelta(minutes=20 * number))
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    window = open_paper(context, shop)
    window.page.add_init_script(TOOLS + PAINTED)
    window.enter(talk)
    window.bubbles.last.wait_for()
    it = Open(window, shop, talk)
    if whole:
        it.does(LOAD_ALL, talk)
    return it


def first_paints(browser: Browser, times: int) -> tuple[list[float], list[float]]:
    """The inbox of a page that has just been loaded, and a thread by a click."""
    inbox, thread = [], []
    for _ in range(times):
        shop = PaperShop()
        talk = shop.converse(shop.ben)
        for number in range(50):
            shop.put(talk, shop.ben if number % 3 else shop.ada, f"Line {number} of our talk")
        window = open_paper(browser.new_context(viewport={"width": 1280, "height": 800}), shop)
        window.page.add_init_script(TOOLS + PAINTED)
        window.enter()
        window.row("Ben").wait_for()
        inbox.append(window.page.evaluate(INBOX))
        thread.append(window.page.evaluate(THREAD))
        window.close()
    return inbox, thread


def heap_mb(it: Open) -> float:
    """What the page holds when the dust has settled."""
    session = it.window.context.new_cdp_session(it.window.page)
    session.send("HeapProfiler.enable")
    session.send("HeapProfiler.collectGarbage")
    return float(session.send("Runtime.getHeapUsage")["usedSize"]) / 1e6


def say(name: str, took_ms: list[float], baseline: tuple[str, float]) -> None:
    """One line: the middle, the slowest, and how many times the baseline the middle is."""
    middle, (what, base_ms) = statistics.median(took_ms), baseline
    ratio = f"{middle / base_ms:.1f} x {what} ({base_ms:.1f} ms)"
    print(f"{name:<44} {middle:7.1f} ms  slowest {max(took_ms):7.1f} ms  {ratio}", flush=True)


def repeat(times: int, once: Callable[[int], float]) -> list[float]:
    """So many times; the first is to warm up."""
    return [once(number) for number in range(times + 1)][1:]


def talk_figures(browser: Browser, messages: int, times: int) -> None:
    """A long talk beside one of ten messages."""
    sizes = {size: opened(browser, size) for size in (10, messages)}
    short, long = sizes[10], sizes[messages]
    frame = ("an empty frame", statistics.median(repeat(times, lambda _: short.does(EMPTY_FRAME))))
    for name, once in (
        ("send to bubble", lambda it, at: it.does(SEND, f"Sent {at}")),
        ("receive to bubble", lambda it, at: it.does(RECEIVE, it.message(f"Received {at}"))),
    ):
        took = {
            size: repeat(times, lambda at, it=it, once=once: once(it, at))
            for size, it in sizes.items()
        }
        say(f"{name}, 10 messages", took[10], frame)
        say(f"{name}, {messages:,}", took[messages], ("with 10", statistics.median(took[10])))
    for it in (short, long):
        it.window.close()
    scroll_figures(browser, messages)


def scroll_figures(browser: Browser, messages: int) -> None:
    """From the newest message to the oldest, beside frames of nothing and of a bare list."""
    it = opened(browser, messages, whole=False)
    bare = browser.new_page(viewport={"width": 1280, "height": 800})
    bare.evaluate(TOOLS)
    bare.evaluate(PLAIN, messages)
    scrolled: list[float] = []
    idle: list[float] = []
    plain: list[float] = []
    while len(scrolled) % STRETCH == 0:
        stretch: list[float] = it.does(SCROLL, [it.talk, STRETCH])
        scrolled += stretch
        idle += it.does(FRAMES, len(stretch))
        plain += bare.evaluate(PLAIN_SCROLL, len(stretch))
    empty = ("an empty frame", statistics.median(idle))
    say(f"a frame of scrolling through {messages:,}", scrolled, empty)
    say(f"the same, a bare list of {messages:,} lines", plain, empty)
    late, late_idle, late_plain = (
        sum(one > LATE_MS for one in took) for took in (scrolled, idle, plain)
    )
    print(
        f"{'  of which over 50 ms':<44} {late:7} of {len(scrolled):,}; "
        f"{late_idle} of as many empty; {late_plain} of as many of the bare list"
    )
    bare.close()
    it.window.close()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="How quick the page is, in a real browser.")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=7_200)
    parser.add_argument("--times", type=int, default=20)
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGS)
        inbox, thread = first_paints(browser, max(3, given.times // 4))
        it = opened(browser, 20)
        frame = ("an empty frame", statistics.median(repeat(10, lambda _: it.does(EMPTY_FRAME))))
        say("rows have come to inbox on screen", inbox, frame)
        say("open a thread of 50, click to bubbles", thread, frame)
        sixth = given.events // 6
        it.does(DAY, [it.message(f"Event {number}") for number in range(sixth)])
        early = heap_mb(it)
        it.does(DAY, [it.message(f"Event {number}") for number in range(given.events - sixth)])
        late = heap_mb(it)
        print(f"{f'heap after {sixth:,} events':<44} {early:7.1f} MB")
        print(f"{f'heap after {given.events:,} events':<44} {late:7.1f} MB  {late / early:.2f} x")
        it.window.close()
        talk_figures(browser, given.messages, given.times)
        browser.close()


if __name__ == "__main__":
    main()
