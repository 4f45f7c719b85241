/**
 * In charge of: telling the state what time it is, just in time for what ends by itself: typing, expiry, waits, "5 min ago".
 * Knows about: when the next such thing is due. Does not know about: what then happens.
 */
import { nextExpiry } from '../state/expiry.js';

const CALM_MS = 20_000;
const SECOND_MS = 1_000;
const SOON_MS = 100;

export class Ticker {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #due_ms = 0;
  #running = false;

  /** @param {import('../state/store.js').Store} store */
  constructor(store) {
    this.store = store;
  }

  /** Now, and from now on. */
  start() {
    this.#running = true;
    this.store.dispatch({ type: 'tick', now_ms: Date.now() });
    this.#plan(Date.now() + this.#pause_ms());
  }

  stop() {
    this.#running = false;
    clearTimeout(this.#timer);
  }

  /** Something may be due sooner than planned; call it after each change of the state. */
  pump() {
    if (!this.#running) return;
    const due_ms = Date.now() + this.#pause_ms();
    if (due_ms < this.#due_ms - SOON_MS) this.#plan(due_ms);
  }

  /** @param {number} due_ms */
  #plan(due_ms) {
    clearTimeout(this.#timer);
    this.#due_ms = due_ms;
    this.#timer = setTimeout(() => this.start(), due_ms - Date.now());
  }

  #pause_ms() {
    const { state } = this.store;
    const ends = Object.values(state.typing).map((typing) => typing.until_ms);
    const expiry = nextExpiry(state);
    if (expiry) ends.push(Date.parse(expiry) + 1);
    // A wait that somebody watches is counted down.
    if (state.outbox.some((item) => item.problem?.code === 'RATE_LIMIT_EXCEEDED')) ends.push(Date.now() + SECOND_MS);
    return Math.max(SOON_MS, Math.min(CALM_MS, ...ends.map((end_ms) => end_ms - Date.now())));
  }
}
