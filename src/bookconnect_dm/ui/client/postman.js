/**
 * In charge of: carrying the outbox to the server: over the socket when it is live, else by REST.
 * Knows about: that repeating a send under its id is harmless.
 * Does not know about: which message goes when (state/outbox says that).
 */
import { toProblem } from '../net/problem.js';
import { sendable } from '../state/outbox.js';

export class Postman {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {import('../state/store.js').Store} store @param {import('../net/api.js').Api} api @param {import('../net/live.js').Live} live */
  constructor(store, api, live) {
    this.store = store;
    this.api = api;
    this.live = live;
  }

  /** Sends what can be sent now; call it after each change of the state. */
  pump() {
    const { state } = this.store;
    if (state.outbox.length === 0 || !state.me || state.link === 'offline' || state.link === 'signed_out') return;
    for (const item of sendable(state.outbox, Date.now())) void this.#deliver(item);
    this.#wakeUp();
  }

  stop() {
    clearTimeout(this.#timer);
  }

  /** @param {import('../state/types.js').Outgoing} item */
  async #deliver({ id, conversation_id, content }) {
    this.store.dispatch({ type: 'sending', id });
    try {
      const message = this.live.isLive
        ? (await this.live.request({ type: 'send', id, conversation_id, content })).message
        : await this.api.send(conversation_id, id, content);
      this.store.dispatch({ type: 'sent', message });
    } catch (error) {
      this.store.dispatch({ type: 'send_failed', id, problem: toProblem(error), now_ms: Date.now() });
    }
  }

  #wakeUp() {
    clearTimeout(this.#timer);
    const waits = this.store.state.outbox.filter((item) => item.state === 'waiting' && item.again_at_ms > Date.now());
    if (waits.length === 0) return;
    const next_ms = Math.min(...waits.map((item) => item.again_at_ms)) - Date.now();
    this.#timer = setTimeout(() => this.pump(), Math.max(50, next_ms));
  }
}
