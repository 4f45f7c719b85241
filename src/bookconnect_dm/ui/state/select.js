/**
 * In charge of: what the page shows, made from the state: rows in order, their last words, the state of my last message.
 * Knows about: the state's shape. Does not know about: what a thread shows (items), markup, words, colours.
 */

/** @typedef {import('./types.js').State} State */
/** @typedef {import('./types.js').Conversation} Conversation */

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
