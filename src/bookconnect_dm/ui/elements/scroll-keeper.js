/**
 * In charge of: where a thread stands: at its end unless the reader has gone up, and then exactly where they are.
 * Knows about: a scroller that counts from its end (column-reverse: 0 is the end, up is negative): older messages on top move nothing there.
 * What changes below would, so the line in the middle of the view is put back where it was.
 * Does not know about: messages.
 */

const NEAR_PX = 48;
const GLIDE_SCREENS = 2;
const GLIDE_MS = 500;

export class ScrollKeeper {
  /** @type {Element | null} */
  #anchor = null;
  #top_px = 0;
  #going = false;

  /** @param {() => HTMLElement | null} scroller @param {string} line  selects what can be held on to */
  constructor(scroller, line) {
    this.scroller = scroller;
    this.line = line;
    this.atEnd = true;
  }

  /** Call it on each scroll. True when the end came into sight or went out of it. */
  scrolled() {
    const scroller = this.scroller();
    const before = this.atEnd;
    this.atEnd = !scroller || -scroller.scrollTop < NEAR_PX;
    if (this.atEnd) this.#going = false;
    return before !== this.atEnd;
  }

  /** Call it before the content changes. @param {boolean} above  only on top: nothing has to be looked for */
  before(above) {
    const scroller = this.scroller();
    // The reader's hand may be ahead of the event that tells of it.
    this.scrolled();
    this.#anchor = above || this.atEnd || this.#going || !scroller ? null : this.#middle(scroller);
    this.#top_px = this.#anchor?.getBoundingClientRect().top ?? 0;
  }

  /** Call it after. */
  after() {
    const scroller = this.scroller();
    if (!scroller) return;
    if (this.atEnd) scroller.scrollTop = 0;
    else if (this.#going) this.#arrive();
    else if (this.#anchor?.isConnected) {
      const moved_px = this.#anchor.getBoundingClientRect().top - this.#top_px;
      if (moved_px !== 0) scroller.scrollTop += moved_px;
    }
    this.#anchor = null;
  }

  /** To the end; at once, or smoothly where motion is welcome. @param {boolean} smooth */
  toEnd(smooth) {
    const scroller = this.scroller();
    if (!scroller) return;
    const glides = smooth && !matchMedia('(prefers-reduced-motion: reduce)').matches;
    // From far away the last stretch is enough; nothing is held on to on the way.
    if (glides) scroller.scrollTop = Math.max(scroller.scrollTop, -GLIDE_SCREENS * scroller.clientHeight);
    this.#going = glides;
    scroller.scrollTo({ top: 0, behavior: glides ? 'smooth' : 'instant' });
    if (glides) setTimeout(() => this.#arrive(), GLIDE_MS);
    else this.atEnd = true;
  }

  /** A glide that something has stopped on its way ends where it was going. */
  #arrive() {
    const scroller = this.scroller();
    if (scroller && this.#going) scroller.scrollTop = 0;
    this.#going = false;
  }

  /** @param {HTMLElement} scroller */
  #middle(scroller) {
    const { top, height, left, width } = scroller.getBoundingClientRect();
    const root = /** @type {ShadowRoot} */ (scroller.getRootNode());
    for (const part of [0.5, 0.4, 0.6, 0.2, 0.8]) {
      const hit = root.elementFromPoint(left + width / 2, top + height * part)?.closest(this.line);
      if (hit) return hit;
    }
    return null;
  }
}
