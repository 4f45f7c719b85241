/**
 * In charge of: fetching what the state marks as missing or stale: the open thread, older pages, single rows.
 * Knows about: which marks there are. Does not know about: why they were set.
 */
import { ApiError, toProblem } from '../net/problem.js';
import { slicesOf } from '../state/thread.js';

const FIRST_PAUSE_MS = 60;
const LONGEST_PAUSE_MS = 5_000;
const FRAME_MS = 16;
const PAGE = 50;
const BIG_PAGE = 100;
const MOST_PAGES_ANEW = 10;

export class Loader {
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #rows = new Map();
  /** Threads that could not be loaded anew just now. @type {Map<string, ReturnType<typeof setTimeout>>} */
  #resting = new Map();
  /** @type {Map<string, number>} */
  #tries = new Map();

  /** @param {import('../state/store.js').Store} store @param {import('../net/api.js').Api} api */
  constructor(store, api) {
    this.store = store;
    this.api = api;
  }

  /** Fetches what is wanted now; call it after each change of the state. */
  pump() {
    const { state } = this.store;
    if (!state.me || state.link === 'offline' || state.link === 'signed_out') return;
    for (const id of Object.keys(state.stale_rows)) this.#scheduleRow(id);
    const id = state.open_id;
    if (id && !this.#resting.has(id) && this.#wantsNewest(state.threads[id])) void this.load(id, 'newest');
  }

  stop() {
    for (const timers of [this.#rows, this.#resting]) {
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
    }
  }

  /** A page of a thread. @param {string} id @param {'newest' | 'older'} which */
  async load(id, which) {
    const held = this.store.state.threads[id];
    if (held?.loading) return;
    if (which === 'older' && !held?.older_cursor) return;
    const asked_after = held?.messages.at(-1)?.sent_at ?? '';
    this.store.dispatch({ type: 'thread_asked', id, which });
    try {
      if (which === 'older') return await this.#older(id, held?.older_cursor);
      const page = await this.#anew(id, held?.messages ?? []);
      this.#tries.delete(`thread ${id}`);
      this.store.dispatch({ type: 'page', id, which, page, asked_after });
    } catch (error) {
      if (isGone(error)) this.store.dispatch({ type: 'conversation_gone', id });
      else if (which === 'newest' && held?.loaded) this.#rest(id);
      this.store.dispatch({ type: 'thread_failed', id, problem: toProblem(error) });
    }
  }

  /** A slice a frame, while each of them continues what is held. @param {string} id @param {string | null | undefined} cursor */
  async #older(id, cursor) {
    for (const page of slicesOf(await this.api.messages(id, cursor))) {
      if (this.store.state.threads[id]?.older_cursor !== cursor) return;
      this.store.dispatch({ type: 'page', id, which: 'older', page, asked_after: '' });
      cursor = page.next_cursor;
      if (page.goes_on) await new Promise((done) => { setTimeout(done, FRAME_MS); });
    }
  }

  /** The newest page, and what lies between it and the oldest message that is held: nobody who reads further up is thrown out. @param {string} id @param {import('../state/types.js').Message[]} held */
  async #anew(id, held) {
    const limit = held.length > PAGE ? BIG_PAGE : PAGE;
    let page = await this.api.messages(id, null, limit);
    for (let more = 1; more < MOST_PAGES_ANEW; more += 1) {
      if (!page.has_more || held.length === 0 || page.messages[0].sent_at <= held[0].sent_at) break;
      const older = await this.api.messages(id, page.next_cursor, limit);
      page = { ...older, messages: [...older.messages, ...page.messages] };
    }
    return page;
  }

  /** @param {import('../state/types.js').Thread | undefined} thread */
  #wantsNewest(thread) {
    if (!thread) return true;
    return thread.loading === null && (thread.loaded ? thread.stale : thread.problem === null);
  }

  /** A thread that is on screen is loaded anew by itself, each time a little later. @param {string} id */
  #rest(id) {
    clearTimeout(this.#resting.get(id));
    this.#resting.set(id, setTimeout(() => {
      this.#resting.delete(id);
      this.pump();
    }, this.#pauseOf(`thread ${id}`)));
  }

  /** @param {string} what */
  #pauseOf(what) {
    const tries = this.#tries.get(what) ?? 0;
    this.#tries.set(what, tries + 1);
    return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tries);
  }

  /** Rows wait a moment: an event can be a breath ahead of what a query sees. @param {string} id */
  #scheduleRow(id) {
    if (this.#rows.has(id)) return;
    this.#rows.set(id, setTimeout(() => void this.#row(id), this.#pauseOf(id)));
  }

  /** @param {string} id */
  async #row(id) {
    this.store.dispatch({ type: 'row_asked', id });
    try {
      const row = await this.api.conversation(id);
      this.#rows.delete(id);
      this.store.dispatch({ type: 'row', row });
      if (!(id in this.store.state.stale_rows)) this.#tries.delete(id);
    } catch (error) {
      this.#rows.delete(id);
      this.store.dispatch(isGone(error) ? { type: 'conversation_gone', id } : { type: 'row_failed', id });
    }
  }
}

/** @param {unknown} error */
const isGone = (error) => error instanceof ApiError && error.code === 'CONVERSATION_NOT_FOUND';
