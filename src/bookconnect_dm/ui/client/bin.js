/**
 * In charge of: deletions: out of sight at once, undone on a word, told to the server when the moment for that has passed.
 * Knows about: storage, so that a page that closes too early deletes when it opens again.
 * Does not know about: what is shown meanwhile.
 */
import { ApiError, toProblem } from '../net/problem.js';
import { PASSING } from '../state/outbox.js';

export const UNDO_MS = 6_000;
const AGAIN_MS = 3_000;

export class Bin {
  /** @type {Map<string, {conversation_id: string, timer: ReturnType<typeof setTimeout> | undefined, is_due: boolean}>} */
  #held = new Map();
  /** @type {import('./keeper.js').Keeper | null} */
  #keeper = null;

  /**
   * @param {import('../state/store.js').Store} store @param {import('../net/api.js').Api} api @param {import('../net/live.js').Live} live
   * @param {(problem: import('../state/types.js').Problem) => void} onRefused
   */
  constructor(store, api, live, onRefused) {
    this.store = store;
    this.api = api;
    this.live = live;
    this.onRefused = onRefused;
  }

  /** A member is known: what an earlier page did not get done is done now. @param {import('./keeper.js').Keeper} keeper */
  remember(keeper) {
    this.#keeper = keeper;
    for (const [id, conversation_id] of keeper.deletions()) this.#take(conversation_id, id, 0);
  }

  /** Deletes a message of mine for both, in a moment. @param {string} conversation_id @param {string} id */
  put(conversation_id, id) {
    this.#keeper?.keepDeletion(id, conversation_id);
    this.#take(conversation_id, id, UNDO_MS);
    this.store.dispatch({ type: 'undoable', undo: { id, conversation_id } });
  }

  /** @param {string} id */
  undo(id) {
    if (this.#held.get(id)?.is_due) return;
    this.#forget(id);
    this.store.dispatch({ type: 'unhidden', id });
  }

  /** Somebody is about to undo: no hurry. @param {string} id */
  hold(id) {
    clearTimeout(this.#held.get(id)?.timer);
  }

  /** @param {string} id */
  release(id) {
    const held = this.#held.get(id);
    if (held && !held.is_due) this.#take(held.conversation_id, id, UNDO_MS);
  }

  /** The page, or the element in it, goes away: nothing can be undone any more. */
  empty() {
    for (const [id, held] of this.#held) {
      clearTimeout(held.timer);
      void this.api.remove(id, true).catch(() => {});
    }
  }

  stop() {
    this.empty();
    this.#held.clear();
  }

  /** @param {string} conversation_id @param {string} id @param {number} wait_ms */
  #take(conversation_id, id, wait_ms) {
    clearTimeout(this.#held.get(id)?.timer);
    this.store.dispatch({ type: 'hiding', id });
    const timer = setTimeout(() => void this.#tell(id), wait_ms);
    this.#held.set(id, { conversation_id, timer, is_due: wait_ms !== UNDO_MS });
  }

  /** @param {string} id */
  async #tell(id) {
    const held = this.#held.get(id);
    if (!held) return;
    held.is_due = true;
    this.store.dispatch({ type: 'undo_over', id });
    try {
      if (this.live.isLive) await this.live.request({ type: 'delete', id });
      else await this.api.remove(id);
    } catch (error) {
      const isGone = error instanceof ApiError && error.code === 'MESSAGE_NOT_FOUND';
      if (!isGone) return this.#failed(id, toProblem(error));
    }
    this.#forget(id);
    return this.store.dispatch({ type: 'deleted', id, conversation_id: held.conversation_id });
  }

  /** @param {string} id @param {import('../state/types.js').Problem} problem */
  #failed(id, problem) {
    const held = this.#held.get(id);
    if (held && PASSING.has(problem.code)) {
      held.timer = setTimeout(() => void this.#tell(id), AGAIN_MS);
      return;
    }
    this.#forget(id);
    this.store.dispatch({ type: 'unhidden', id });
    this.onRefused(problem);
  }

  /** @param {string} id */
  #forget(id) {
    clearTimeout(this.#held.get(id)?.timer);
    this.#held.delete(id);
    this.#keeper?.dropDeletion(id);
  }
}
