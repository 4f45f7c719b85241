/**
 * In charge of: what each server frame does to the state.
 * Knows about: the rule of positions: a frame at or before its conversation's position has been seen and is dropped.
 * Does not know about: sockets, buffering, fetching; what must be fetched is only marked stale.
 */
import { drop, mark, put } from './records.js';
import { withMessage, withRead } from './rows.js';
import { withMessages, withoutMessages } from './thread.js';

/** @typedef {import('./types.js').State} State */

const TYPING_SHOWN_MS = 5000;

/** @param {State} state @param {string} id */
export const markStaleRow = (state, id) => ({ ...state, stale_rows: mark(state.stale_rows, [id]) });

/** @param {State} state @param {string} id */
export function markStaleThread(state, id) {
  const thread = state.threads[id];
  return thread ? { ...state, threads: put(state.threads, id, { ...thread, stale: true }) } : state;
}

/**
 * @param {State} state @param {string} id @param {import('./types.js').Thread | undefined} thread
 */
const withThread = (state, id, thread) => (thread && thread !== state.threads[id]
  ? { ...state, threads: put(state.threads, id, thread) } : state);

/** @param {State} state @param {{message: import('./types.js').Message}} frame */
function onMessage(state, { message }) {
  const id = message.conversation_id;
  if (message.sent_at <= (state.positions[id] ?? '')) return state;
  const my_id = state.me?.id ?? '';
  const positions = put(state.positions, id, message.sent_at);
  const next = withThread({ ...state, positions }, id, withMessages(state.threads[id], [message], state.removed));
  const outbox = state.outbox.filter((item) => item.id !== message.id);
  const typing = state.typing[id]?.user_id === message.sender_id ? drop(state.typing, [id]) : state.typing;
  const row = state.conversations[id];
  if (!row) return markStaleRow({ ...next, outbox, typing }, id);
  // While nobody looks, the first message to arrive is where "New" will stand.
  const unseen = state.open_id === id && !state.visible && message.sender_id !== my_id;
  const divider_at = unseen ? state.divider_at ?? row.last_read_at : state.divider_at;
  const conversations = put(state.conversations, id, withMessage(row, message, my_id));
  return { ...next, outbox, typing, divider_at, conversations };
}

/** @param {State} state @param {{id: string, conversation_id: string, deleted_at: string}} frame */
function onDeleted(state, frame) {
  const id = frame.conversation_id;
  if (frame.deleted_at <= (state.positions[id] ?? '')) return state;
  const next = forgetMessages({ ...state, positions: put(state.positions, id, frame.deleted_at) }, id, [frame.id]);
  const row = next.conversations[id];
  const counts = row && (row.unread_count > 0 || row.last_message?.id === frame.id);
  return counts ? markStaleRow(next, id) : next;
}

/**
 * Takes messages out for good.
 * @param {State} state @param {string} conversation_id @param {string[]} ids
 */
export function forgetMessages(state, conversation_id, ids) {
  if (ids.length === 0) return state;
  const removed = mark(state.removed, ids);
  const next = { ...state, removed, hiding: drop(state.hiding, ids) };
  const thread = state.threads[conversation_id];
  if (!thread) return next;
  return withThread(next, conversation_id, { ...thread, messages: withoutMessages(thread.messages, (id) => id in removed) });
}

/** @param {State} state @param {{conversation_id: string, user_id: string, last_read_at: string}} frame */
export function onRead(state, frame) {
  const id = frame.conversation_id;
  const held = state.conversations[id];
  if (!held) return state;
  const thread = state.threads[id];
  const known = thread?.loaded && !thread.stale ? thread.messages : null;
  const { row, stale } = withRead(held, frame.user_id, frame.last_read_at, state.me?.id ?? '', known);
  const next = { ...state, conversations: put(state.conversations, id, row) };
  return stale ? markStaleRow(next, id) : next;
}

/** @param {State} state @param {string} id */
export function forgetConversation(state, id) {
  return {
    ...state,
    conversations: drop(state.conversations, [id]),
    threads: drop(state.threads, [id]),
    positions: drop(state.positions, [id]),
    stale_rows: drop(state.stale_rows, [id]),
    typing: drop(state.typing, [id]),
    outbox: state.outbox.filter((item) => item.conversation_id !== id),
  };
}

/** @param {State} state @param {{conversation_id: string, user_id: string}} frame */
function onTyping(state, frame) {
  if (frame.user_id === state.me?.id) return state;
  const until_ms = state.now_ms + TYPING_SHOWN_MS;
  return { ...state, typing: put(state.typing, frame.conversation_id, { user_id: frame.user_id, until_ms }) };
}

/** @param {State} state @param {{user_id: string, online: boolean}} frame */
function onPresence(state, frame) {
  const online = frame.online ? mark(state.online, [frame.user_id]) : drop(state.online, [frame.user_id]);
  return { ...state, online };
}

/** @type {Record<string, (state: State, frame: any) => State>} */
const HANDLERS = {
  message: onMessage,
  message_deleted: onDeleted,
  read: onRead,
  conversation: (state, frame) => markStaleRow(state, frame.conversation_id),
  conversation_removed: (state, frame) => forgetConversation(state, frame.conversation_id),
  expiry: (state, frame) => markStaleThread(state, frame.conversation_id),
  reload: (state, frame) => markStaleRow(markStaleThread(state, frame.conversation_id), frame.conversation_id),
  typing: onTyping,
  presence: onPresence,
};

/**
 * The state after a frame; unknown types change nothing.
 * @param {State} state @param {{type: string}} frame
 */
export function onFrame(state, frame) {
  return Object.hasOwn(HANDLERS, frame.type) ? HANDLERS[frame.type](state, frame) : state;
}

