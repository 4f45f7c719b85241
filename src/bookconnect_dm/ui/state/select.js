/**
 * In charge of: what the page shows, made from the state: rows in order, groups of bubbles, days, the divider, the state of my last message.
 * Knows about: the state's shape and the member's calendar. Does not know about: markup, words, colours.
 */
import { dayOf } from '../text/time.js';

/** @typedef {import('./types.js').State} State */
/** @typedef {import('./types.js').Conversation} Conversation */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Outgoing} Outgoing */

const GROUP_MS = 5 * 60_000;

/**
 * @typedef {object} Preview
 * @property {string} content
 * @property {string} at
 * @property {boolean} mine
 * @property {'waiting' | 'sending' | 'failed' | null} outgoing
 */

/**
 * The newest thing said in a conversation, my unsent words included.
 * @param {State} state @param {Conversation} row
 * @returns {Preview | null}
 */
export function preview(state, row) {
  const unsent = state.outbox.findLast((item) => item.conversation_id === row.id);
  if (unsent) return { content: unsent.content, at: unsent.written_at, mine: true, outgoing: unsent.state };
  const inThread = state.threads[row.id]?.messages.findLast((message) => !state.hiding[message.id]);
  const inRow = row.last_message && !state.hiding[row.last_message.id] ? row.last_message : null;
  const newest = inThread && inThread.sent_at > (inRow?.sent_at ?? '') ? inThread : inRow;
  if (!newest) return null;
  return { content: newest.content, at: newest.sent_at, mine: newest.sender_id === state.me?.id, outgoing: null };
}

/** A conversation that somebody opened but nobody has written in is not shown. @param {State} state @param {Conversation} row */
const wasNeverUsed = (state, row) => row.last_message === null && row.updated_at === row.created_at
  && state.open_id !== row.id && !state.outbox.some((item) => item.conversation_id === row.id);

/** @typedef {{row: Conversation, preview: Preview | null, at: string}} InboxItem */

/** @param {InboxItem} one @param {InboxItem} other */
export const newestFirst = (one, other) => (one.at < other.at ? 1 : one.at > other.at ? -1 : one.row.id < other.row.id ? 1 : -1);

/**
 * The inbox, newest first.
 * @param {State} state
 * @returns {InboxItem[]}
 */
export function inboxRows(state) {
  const shown = Object.values(state.conversations).filter((row) => !wasNeverUsed(state, row));
  const items = shown.map((row) => {
    const newest = preview(state, row);
    const at = newest && newest.at > row.updated_at ? newest.at : row.updated_at;
    return { row, preview: newest, at };
  });
  return items.sort(newestFirst);
}

/** How many conversations have something unread. @param {State} state */
export const unreadConversations = (state) => Object.values(state.conversations).filter((row) => row.unread_count > 0).length;

/**
 * @typedef {object} Bubble
 * @property {string} id
 * @property {string} content
 * @property {string} at
 * @property {boolean} mine
 * @property {string | null} expires_at
 * @property {Outgoing | null} outgoing
 * @property {boolean} first  of its group
 * @property {boolean} last  of its group
 */
/** @typedef {{kind: 'day', at: string} | {kind: 'divider'} | {kind: 'bubble', bubble: Bubble}} Item */

/** @typedef {{source: Message | Outgoing, id: string, at: string, mine: boolean, outgoing: Outgoing | null}} Said */

/** @param {State} state @param {string} id @returns {Said[]} */
function everything(state, id) {
  /** @type {Said[]} */
  const said = [];
  for (const source of state.threads[id]?.messages ?? []) {
    if (state.hiding[source.id]) continue;
    said.push({ source, id: source.id, at: source.sent_at, mine: source.sender_id === state.me?.id, outgoing: null });
  }
  const unsent = state.outbox.filter((item) => item.conversation_id === id);
  if (unsent.length === 0) return said;
  const ids = new Set(said.map((one) => one.id));
  const more = unsent.filter((item) => !ids.has(item.id)).map((item) => ({ source: item, id: item.id, at: item.written_at, mine: true, outgoing: item }));
  return [...said, ...more];
}

/** @param {Said} one @param {Said} next @param {import('../text/time.js').Place} place */
const together = (one, next, place) => one.mine === next.mine && Date.parse(next.at) - Date.parse(one.at) < GROUP_MS
  && dayOf(one.at, place) === dayOf(next.at, place) && one.outgoing?.state !== 'failed';

/** What stands for a message is made once for each place it can have in its group, so that "the same" can be seen without looking inside. @type {WeakMap<object, Item[]>} */
const shapes = new WeakMap();
/** @type {Item} */
const DIVIDER = { kind: 'divider' };

/** @param {Said} said @param {boolean} first @param {boolean} last @returns {Item} */
function bubbleOf(said, first, last) {
  const { source, id, at, mine, outgoing } = said;
  const known = shapes.get(source) ?? [];
  const shape = Number(first) + 2 * Number(last) + 4 * Number(mine);
  const expires_at = 'expires_at' in source ? source.expires_at : null;
  known[shape] ??= { kind: 'bubble', bubble: { id, content: source.content, at, mine, expires_at, outgoing, first, last } };
  shapes.set(source, known);
  return known[shape];
}

/** @type {WeakMap<object, Item>} */
const days = new WeakMap();

/** @param {Said} said @returns {Item} */
function dayBefore({ source, at }) {
  const item = days.get(source) ?? { kind: 'day', at };
  days.set(source, item);
  return item;
}

/**
 * The thread as the page shows it, oldest first. An item that has not changed is the same object as before.
 * @param {State} state @param {string} id @param {import('../text/time.js').Place} [place]
 * @returns {Item[]}
 */
export function threadItems(state, id, place = {}) {
  /** @type {Item[]} */
  const items = [];
  const divider_at = state.open_id === id ? state.divider_at : null;
  let divided = divider_at === null;
  const all = everything(state, id);
  let first = true;
  for (const [at, said] of all.entries()) {
    const previous = all[at - 1];
    if (!previous || dayOf(previous.at, place) !== dayOf(said.at, place)) items.push(dayBefore(said));
    const isNew = !divided && !said.mine && said.at > (divider_at ?? '');
    if (isNew) items.push(DIVIDER);
    divided ||= isNew;
    const next = all[at + 1];
    const nextIsNew = !divided && next && !next.mine && next.at > (divider_at ?? '');
    const last = !next || Boolean(nextIsNew) || !together(said, next, place);
    items.push(bubbleOf(said, first || isNew, last));
    first = last;
  }
  return items;
}

/**
 * Whether the other one has seen my newest confirmed message, and which one that is.
 * @param {State} state @param {string} id
 * @returns {{message_id: string, seen: boolean} | null}
 */
export function receipt(state, id) {
  const newest = state.threads[id]?.messages.findLast((message) => !state.hiding[message.id]);
  if (!newest || newest.sender_id !== state.me?.id) return null;
  const read_at = state.conversations[id]?.other_participant?.last_read_at ?? '';
  return { message_id: newest.id, seen: read_at >= newest.sent_at };
}

/**
 * Up to where a conversation that is being looked at can be marked as read, or null when there is nothing new.
 * @param {State} state @param {string} id
 */
export function readableUpTo(state, id) {
  const row = state.conversations[id];
  const newest = state.threads[id]?.messages.findLast((message) => message.sender_id !== state.me?.id);
  if (!row || !newest || newest.sent_at <= (row.last_read_at ?? '')) return null;
  return newest.sent_at;
}
