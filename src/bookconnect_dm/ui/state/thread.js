/**
 * In charge of: the messages of one conversation as one list without holes or repeats, whatever order pages, frames, answers and acks come in.
 * Knows about: sent_at as the order, ids that must never come back.
 * Does not know about: positions, rows of the inbox, the network.
 */
import { MOST } from './chunks.js';
import { emptyThread } from './initial.js';

/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Thread} Thread */
/** @typedef {{messages: Message[], next_cursor: string | null, has_more: boolean, goes_on?: boolean}} Page */

/** @param {Message} one @param {Message} other */
const bySentAt = (one, other) => (one.sent_at < other.sent_at ? -1 : Number(one.sent_at > other.sent_at));

/**
 * Both lists as one; where an id is in both, the incoming message counts.
 * @param {Message[]} held @param {Message[]} incoming @param {Record<string, true>} removed
 */
export function mergeMessages(held, incoming, removed) {
  const fresh = incoming.filter((message) => !removed[message.id] && !message.is_deleted);
  if (fresh.length === 0) return held;
  const newest = held.at(-1)?.sent_at ?? '';
  if (fresh.every((message) => message.sent_at > newest)) return [...held, ...[...fresh].sort(bySentAt)];
  const oldest = held[0].sent_at;
  if (fresh.every((message) => message.sent_at < oldest)) return [...[...fresh].sort(bySentAt), ...held];
  const byId = new Map(held.map((message) => [message.id, message]));
  for (const message of fresh) byId.set(message.id, message);
  return [...byId.values()].sort(bySentAt);
}

/** @param {Message[]} held @param {(id: string) => boolean} isGone */
export function withoutMessages(held, isGone) {
  return held.some((message) => isGone(message.id)) ? held.filter((message) => !isGone(message.id)) : held;
}

/**
 * Adds messages that frames, answers and acks bring. One from before the oldest page would stand alone above a hole: it comes with its page.
 * A thread that is still loading takes all: the page that arrives merges with them.
 * @param {Thread | undefined} thread @param {Message[]} incoming @param {Record<string, true>} removed
 */
export function withMessages(thread, incoming, removed) {
  if (!thread) return thread;
  const messages = mergeMessages(thread.messages, incoming.filter((message) => message.sent_at >= thread.from), removed);
  return messages === thread.messages ? thread : { ...thread, messages };
}

/**
 * Only the newest messages of a thread; a position is where the page before it begins, so the rest can be loaded again.
 * @param {Thread} thread @param {number} keep
 * @returns {Thread}
 */
export function trimmed(thread, keep) {
  if (thread.messages.length <= keep || thread.loading !== null) return thread;
  const messages = thread.messages.slice(-keep);
  return { ...thread, messages, from: messages[0].sent_at, older_cursor: messages[0].sent_at };
}

/**
 * A page in slices, the newest first, each a page of its own: a frame shows one of them, and `goes_on` says that there is another.
 * @param {Page} page
 * @returns {Page[]}
 */
export function slicesOf(page) {
  const slices = [];
  let end = page.messages.length;
  for (; end > MOST; end -= MOST) {
    const messages = page.messages.slice(end - MOST, end);
    slices.push({ messages, has_more: true, next_cursor: messages[0].sent_at, goes_on: true });
  }
  return [...slices, { ...page, messages: page.messages.slice(0, end) }];
}

/**
 * A page has come. The newest page replaces what was held when it was asked for, since between the two there may be a hole; what has arrived
 * since (`asked_after`: the newest that was held at the time of asking) stays. An older page for a thread that went stale meanwhile is of no use.
 * @param {Thread | undefined} thread
 * @param {Page} page
 * @param {'newest' | 'older'} which @param {Record<string, true>} removed @param {string} asked_after
 * @returns {Thread}
 */
export function withPage(thread, page, which, removed, asked_after) {
  const before = thread ?? emptyThread();
  if (which === 'older' && before.stale) return { ...before, loading: null };
  const newest = page.messages.at(-1)?.sent_at ?? asked_after;
  const held = which === 'newest' ? before.messages.filter((message) => message.sent_at > newest) : before.messages;
  const messages = mergeMessages(held, page.messages, removed);
  const older_cursor = page.has_more ? page.next_cursor : null;
  const from = older_cursor === null ? '' : page.messages[0]?.sent_at ?? before.from;
  return { messages, loaded: true, loading: page.goes_on ? which : null, older_cursor, from, stale: before.stale, problem: null };
}
