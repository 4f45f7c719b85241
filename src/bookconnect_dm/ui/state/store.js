/**
 * In charge of: holding the state and telling those who look at it.
 * Knows about: the reducer. Does not know about: what the state means.
 */
import { initialState } from './initial.js';
import { reduce } from './reduce.js';

/** @typedef {import('./types.js').State} State */

export class Store {
  #listeners = new Set();

  constructor(now_ms = Date.now()) {
    this.state = initialState(now_ms);
  }

  /** @param {import('./reduce.js').Action} action */
  dispatch(action) {
    const next = reduce(this.state, action);
    if (next === this.state) return;
    this.state = next;
    for (const listener of [...this.#listeners]) listener(next);
  }

  /**
   * Calls back after each change until the answer is called.
   * @param {(state: State) => void} listener
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
