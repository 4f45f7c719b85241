/**
 * In charge of: cutting a long thread into pieces that stay the same when older pages come on top and new messages below.
 * Knows about: that ids end at random, so an id can say whether a piece begins with it. Does not know about: what is done with a piece.
 */

/** @typedef {import('./select.js').Item} Item */
/** @typedef {{key: string, items: Item[]}} Chunk */

/** One message in so many begins a piece. */
const ABOUT = 16;

/** @param {Item} item */
const begins = (item) => item.kind === 'bubble' && Number.parseInt(item.bubble.id.slice(-4), 16) % ABOUT === 0;

/**
 * @param {Item[]} items
 * @returns {Chunk[]}
 */
export function chunksOf(items) {
  /** @type {Chunk[]} */
  const chunks = [{ key: 'first', items: [] }];
  for (const item of items) {
    if (begins(item) && item.kind === 'bubble') chunks.push({ key: item.bubble.id, items: [] });
    chunks[chunks.length - 1].items.push(item);
  }
  return chunks;
}
