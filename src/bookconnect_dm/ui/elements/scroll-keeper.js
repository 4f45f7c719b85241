/**
 * In charge of: where a thread stands: at its end unless the reader has gone up, and then exactly where they are.
 * Knows about: a scroller that counts from its end (column-reverse: 0 is the end, up is negative). Older messages on top move nothing there;
 * newer ones below would, and are made up for here.
 * Does not know about: messages.
 */

const NEAR_PX = 48;

export class ScrollKeeper {
  #height_px = 0;

  /** @param {() => HTMLElement | null} scroller */
  constructor(scroller) {
    this.scroller = scroller;
    this.atEnd = true;
  }

  /** Call it on each scroll. True when the end came into sight or went out of it. */
  scrolled() {
    const scroller = this.scroller();
    const before = this.atEnd;
    this.atEnd = !scroller || -scroller.scrollTop < NEAR_PX;
    return before !== this.atEnd;
  }

  /** Call it before the content changes. */
  before() {
    this.#height_px = this.scroller()?.scrollHeight ?? 0;
  }

  /** Call it after: `grew_below` says that the content became longer or shorter at its end. @param {boolean} grew_below */
  after(grew_below) {
    const scroller = this.scroller();
    if (!scroller || !grew_below) return;
    if (this.atEnd) scroller.scrollTop = 0;
    else scroller.scrollTop -= scroller.scrollHeight - this.#height_px;
  }

  /** To the end; at once, or smoothly where motion is welcome. @param {boolean} smooth */
  toEnd(smooth) {
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.scroller()?.scrollTo({ top: 0, behavior: smooth && !calm ? 'smooth' : 'instant' });
    if (!smooth) this.atEnd = true;
  }
}
