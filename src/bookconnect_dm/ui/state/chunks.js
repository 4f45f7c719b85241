/**
 * In charge of: cutting a long thread into pieces that stay the same when older pages come on top and new messages below.
 * Knows about: that ids end at random, so an id can say whether a piece begins with it. Does not know about: what is done with a piece.
 */

/** @typedef {import('./items.js').Item} Item */
/**
 * @typedef {object} Chunk
 * @property {string} key
 * @property {Item[]} items
 * @property {Set<string>} ids  of the messages in it
 * @property {string} soonest  when the first of them expires
 * @property {boolean} waits  something in it is on its way
 */

/** One message in so many begins a piece. */
const ABOUT = 16;
const NEVER = '~';

/** @param {string} id */
const begins = (id) => Number.parseInt(id.slice(-4), 16) % ABOUT === 0;

/** @param {string} key @returns {Chunk} */
const empty = (key) => ({ key, items: [], ids: new Set(), soonest: NEVER, waits: false });

/** The pieces that end before the first item that is another than before; the one after them may have grown. @param {Chunk[]} before @param {number} same */
function untouched(before, same) {
  let [kept, count] = [0, 0];
  while (kept < before.length && count + before[kept].items.length < same) {
    count += before[kept].items.length;
    kept += 1;
  }
  return { kept: before.slice(0, kept), count };
}

/**
 * @param {Item[]} items
 * @param {Chunk[]} [before]  the pieces of the time before; those that nothing has happened to are used again
 * @param {number} [same]  so many items from the beginning are those of the time before
 * @returns {Chunk[]}
 */
export function chunksOf(items, before = [], same = 0) {
  const { kept: chunks, count } = untouched(before, same);
  for (let at = count; at < items.length; at += 1) {
    const item = items[at];
    const bubble = item.kind === 'bubble' ? item.bubble : null;
    if (chunks.length === 0) chunks.push(empty('first'));
    if (bubble && begins(bubble.id)) chunks.push(empty(bubble.id));
    const chunk = chunks[chunks.length - 1];
    chunk.items.push(item);
    if (!bubble) continue;
    chunk.ids.add(bubble.id);
    chunk.waits ||= bubble.outgoing !== null;
    if (bubble.expires_at !== null && bubble.expires_at < chunk.soonest) chunk.soonest = bubble.expires_at;
  }
  return chunks;
}
