/**
 * In charge of: leaving a piece of the page alone while what it was made from is the same.
 * Knows about: Lit's directives. Does not know about: what the piece shows.
 */
import { Directive, directive, noChange } from '../vendor/lit.js';

class Unchanged extends Directive {
  /** @type {unknown[]} */
  #made_from = [];
  #made = false;

  /** @param {unknown} _part @param {[unknown[], () => unknown]} given */
  update(_part, [made_from, make]) {
    const same = this.#made && made_from.length === this.#made_from.length && made_from.every((one, at) => one === this.#made_from[at]);
    if (same) return noChange;
    this.#made_from = made_from;
    this.#made = true;
    return make();
  }
}

/** What `make` makes; it is called only when something in `made_from` is another than the last time. */
export const unchanged = /** @type {(made_from: unknown[], make: () => unknown) => unknown} */ (directive(Unchanged));
