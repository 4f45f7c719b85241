/**
 * In charge of: leaving a piece of the page alone while what it was made from is the same, and the lines in it that are the same while others are not.
 * Knows about: Lit's directives. Does not know about: what the piece shows.
 */
import { Directive, directive, noChange, repeat } from '../vendor/lit.js';

/** @template T @typedef {[items: T[], about: unknown[], make: (item: T) => unknown, keyOf: (item: T) => unknown]} Given */

class Unchanged extends Directive {
  /** @type {unknown[]} */
  #items = [];
  /** @type {unknown[]} */
  #about = [];

  /** @param {unknown} _part @param {Given<any>} given */
  update(_part, [items, about, make, keyOf]) {
    const [held, was] = [this.#items, this.#about];
    [this.#items, this.#about] = [items, about];
    if (about.length !== was.length || about.some((one, at) => one !== was[at])) return repeat(items, keyOf, make);
    if (items === held) return noChange;
    const stays = new Set(held);
    return repeat(items, keyOf, (item) => (stays.has(item) ? noChange : make(item)));
  }
}

/** A line for each of the items. `make` is called for those that are new, and for all when something in `about` is another than the last time. */
export const unchanged = /** @type {<T>(...given: Given<T>) => unknown} */ (directive(Unchanged));
