/**
 * In charge of: telling the state what time it is, just in time for what ends by itself: typing, expiry, "5 min ago".
 * Knows about: when the next such thing is due. Does not know about: what then happens.
 */
import { nextExpiry } from '../state/expiry.js';

const CALM_MS = 20_000;
const SOON_MS = 250;

export class Ticker {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {import('../state/store.js').Store} store */
  constructor(store) {
    this.store = store;
  }

  start() {
    this.store.dispatch({ type: 'tick', now_ms: Date.now() });
    this.#timer = setTimeout(() => this.start(), this.#pause_ms());
  }

  stop() {
    clearTimeout(this.#timer);
  }

  /** Something may be due sooner than planned. */
  hurry() {
    this.stop();
    this.#timer = setTimeout(() => this.start(), this.#pause_ms());
  }

  #pause_ms() {
    const { state } = this.store;
    const ends = Object.values(state.typing).map((typing) => typing.until_ms);
    const expiry = nextExpiry(state);
    if (expiry) ends.push(Date.parse(expiry) + 1);
    return Math.max(SOON_MS, Math.min(CALM_MS, ...ends.map((end_ms) => end_ms - Date.now())));
  }
}
