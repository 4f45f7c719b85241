/**
 * In charge of: cutting a long thread into pieces, and those that came on top into parts, all of which stay the same when older pages come on top and new messages below.
 * Knows about: items, and how the thread was cut the time before. Does not know about: what is done with a piece.
 */

/** @typedef {import('./items.js').Item} Item */
/**
 * @typedef {object} Chunk
 * @property {string} key  the id of its first message
 * @property {Item[]} items
 * @property {Set<string>} ids  of the messages in it
 * @property {string} soonest  when the first of them expires
 * @property {boolean} waits  something in it is on its way
 * @property {string} part  the part that it stands in, when it came on top of what was there; '' else
 * @property {number} place  which of its part it is, from the newest on
 */

/** So many messages are a piece: what a frame puts on top. A page of fifty is three of them. */
export const MOST = 17;
/** So many pieces are a part. The browser looks at each part in each frame, and lays one out as a whole. */
const PIECES = 6;
/** On top of so many, pieces are far: need not be laid out while they are out of sight. It is decided once: what is on screen would jump if its height became a guess. */
const MANY = 40;
const NEVER = '~';

/** @param {string} key @param {Chunk} [held] @returns {Chunk} */
const empty = (key, held) => ({ key, items: [], ids: new Set(), soonest: NEVER, waits: false, part: held?.part ?? '', place: held?.place ?? 0 });

/** The pieces that end before the first item that is another than before; the one after them may have grown. @param {Chunk[]} before @param {number} same */
function untouched(before, same) {
  let [kept, count] = [0, 0];
  while (kept < before.length && count + before[kept].items.length < same) {
    count += before[kept].items.length;
    kept += 1;
  }
  return { kept: before.slice(0, kept), count };
}

/** The pieces that lie wholly in what is the same at the end. @param {Chunk[]} before @param {number} same_end */
function untouchedBelow(before, same_end) {
  let [kept, count] = [before.length, 0];
  while (kept > 0 && count + before[kept - 1].items.length <= same_end) {
    count += before[kept - 1].items.length;
    kept -= 1;
  }
  return { kept: before.slice(kept), count };
}

/** @param {Item[]} items @param {Map<string, Chunk>} known  where a piece began the time before, one begins again */
function cut(items, known) {
  /** @type {Chunk[]} */
  const chunks = [];
  /** A day and a divider stand with the message that they are for. @type {Item[]} */
  let above = [];
  for (const item of items) {
    above.push(item);
    if (item.kind !== 'bubble') continue;
    const { bubble } = item;
    let chunk = chunks[chunks.length - 1];
    if (!chunk || chunk.ids.size >= MOST || known.has(bubble.id)) chunks.push(chunk = empty(bubble.id, known.get(bubble.id)));
    chunk.items.push(...above);
    above = [];
    chunk.ids.add(bubble.id);
    chunk.waits ||= bubble.outgoing !== null;
    if (bubble.expires_at !== null && bubble.expires_at < chunk.soonest) chunk.soonest = bubble.expires_at;
  }
  return chunks;
}

/** @param {Chunk} chunk @param {Chunk | undefined} held */
const sameAs = (chunk, held) => (held?.items.length === chunk.items.length && held.items.every((item, at) => item === chunk.items[at]) ? held : chunk);

/**
 * A new piece stands in the part of the one below it, or begins one.
 * @param {Chunk} chunk @param {Chunk | undefined} below @param {boolean} far
 */
function settle(chunk, below, far) {
  if (far && (below?.place ?? 0) % PIECES === 0) [chunk.part, chunk.place] = [chunk.key, 1];
  else if (below?.part) [chunk.part, chunk.place] = [below.part, below.place + Number(far)];
}

/**
 * @param {Item[]} items
 * @param {Chunk[]} [before]  the pieces of the time before; those that nothing has happened to are used again
 * @param {number} [same]  so many items from the beginning are those of the time before
 * @param {number} [same_end]  so many at the end, when older ones have come on top
 * @returns {Chunk[]}
 */
export function chunksOf(items, before = [], same = 0, same_end = 0) {
  const above = untouched(before, same);
  const below = untouchedBelow(before, same_end);
  const known = new Map(before.slice(above.kept.length, before.length - below.kept.length).map((chunk) => [chunk.key, chunk]));
  const made = cut(items.slice(above.count, items.length - below.count), known).map((chunk) => sameAs(chunk, known.get(chunk.key)));
  for (let at = made.length - 1; at >= 0; at -= 1) {
    if (!known.has(made[at].key)) settle(made[at], made[at + 1] ?? below.kept[0], same_end > MANY);
  }
  return [...above.kept, ...made, ...below.kept];
}

/** The pieces by the parts that they stand in. @param {Chunk[]} chunks */
export function partsOf(chunks) {
  /** @type {{key: string, chunks: Chunk[]}[]} */
  const parts = [];
  for (const chunk of chunks) {
    if (parts.at(-1)?.key !== chunk.part) parts.push({ key: chunk.part, chunks: [] });
    parts[parts.length - 1].chunks.push(chunk);
  }
  return parts;
}
