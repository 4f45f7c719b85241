/**
 * In charge of: telling the server what the member has read.
 * Knows about: that reading needs an open thread at its end in a visible page.
 * Does not know about: scrolling; the thread says when its end is in sight.
 */
import { ApiError } from '../net/problem.js';
import { readableUpTo } from '../state/select.js';

const AGAIN_MS = 3_000;
const FINAL = new Set(['CONVERSATION_NOT_FOUND', 'MESSAGE_NOT_FOUND', 'INVALID_REQUEST', 'PERMISSION_DENIED']);

export class Reader {
  /** @type {Map<string, string>} */
  #owed = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #busy = false;
  /** @type {string | null} */
  #atEnd = null;

  /** @param {import('../state/store.js').Store} store @param {import('../net/api.js').Api} api @param {import('../net/live.js').Live} live */
  constructor(store, api, live) {
    this.store = store;
    this.api = api;
    this.live = live;
  }

  /** The end of this conversation is in sight, or of none. @param {string | null} id */
  looksAt(id) {
    this.#atEnd = id;
    this.pump();
  }

  /** Marks what has been read; call it after each change of the state. */
  pump() {
    const { state } = this.store;
    const id = state.open_id;
    if (id && state.visible && this.#atEnd === id) {
      const up_to = readableUpTo(state, id);
      if (up_to) {
        this.#owed.set(id, up_to);
        // At once on this page; the server's word comes later and can only be the same or more.
        this.store.dispatch({ type: 'read', conversation_id: id, last_read_at: up_to });
      }
    }
    if (this.#owed.size > 0 && !this.#busy) void this.#pay();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#owed.clear();
  }

  async #pay() {
    this.#busy = true;
    clearTimeout(this.#timer);
    for (const [id, up_to] of [...this.#owed]) {
      try {
        await this.#tell(id, up_to);
        if (this.#owed.get(id) === up_to) this.#owed.delete(id);
      } catch (error) {
        if (isFinal(error)) this.#owed.delete(id);
      }
    }
    this.#timer = setTimeout(() => {
      this.#busy = false;
      this.pump();
    }, this.#owed.size > 0 ? AGAIN_MS : 0);
  }

  /** @param {string} conversation_id @param {string} up_to */
  async #tell(conversation_id, up_to) {
    if (!this.store.state.conversations[conversation_id]) return;
    const answer = this.live.isLive
      ? await this.live.request({ type: 'read', conversation_id, up_to }) : await this.api.read(conversation_id, up_to);
    if (answer.last_read_at) this.store.dispatch({ type: 'read', conversation_id, last_read_at: answer.last_read_at });
  }
}

/** Asking the same again would give the same answer. @param {unknown} error */
const isFinal = (error) => error instanceof ApiError && FINAL.has(error.code);
