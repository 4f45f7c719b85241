/**
 * In charge of: what an answer of POST /v1/sync does to the state.
 * Knows about: positions, epochs, and when held messages must be forgotten and loaded anew.
 * Does not know about: when to ask; frames.
 */
import { forgetConversation, forgetMessages, markStaleRow, onRead } from './frames.js';
import { initialState } from './initial.js';
import { drop, later, put } from './records.js';
import { mergeRow } from './rows.js';
import { withMessages } from './thread.js';

/** @typedef {import('./types.js').State} State */
/** @typedef {{conversation_id: string, messages: import('./types.js').Message[], deleted: {id: string, deleted_at: string}[], position: string | null, complete: boolean}} Change */
/** @typedef {{epoch: string, reload: boolean, conversations: import('./types.js').Conversation[], changes: Change[], reads: {conversation_id: string, user_id: string, last_read_at: string}[], gone: string[], next_cursor: string | null}} Answer */

/**
 * Everything of the server's is forgotten; what the member wrote and where they are stays.
 * @param {State} state
 */
export function forgetAll(state) {
  const { me, link, outbox, open_id, visible, online, now_ms } = state;
  return { ...initialState(now_ms), me, link, outbox, open_id, visible, online, inbox_loaded: state.inbox_loaded };
}

/** A page that opens in a conversation hears only now what is new in it. @param {State} state @param {import('./types.js').Conversation} incoming */
function dividerFor(state, { id, unread_count, last_read_at }) {
  const isFirst = state.open_id === id && !state.conversations[id];
  return isFirst && unread_count > 0 ? last_read_at ?? '' : null;
}

/** @param {State} state @param {import('./types.js').Conversation} incoming */
export function withRow(state, incoming) {
  const { row, stale } = mergeRow(state.conversations[incoming.id], incoming, state.removed);
  const next = {
    ...state,
    conversations: put(state.conversations, incoming.id, row),
    stale_rows: drop(state.stale_rows, [incoming.id]),
    divider_at: state.divider_at ?? dividerFor(state, incoming),
  };
  return stale ? markStaleRow(next, incoming.id) : next;
}

/** @param {State} state @param {Change} change @param {Record<string, string>} asked */
function withChange(state, change, asked) {
  const id = change.conversation_id;
  const position = change.complete ? later(state.positions[id], change.position) : change.position;
  let next = { ...state, positions: put(state.positions, id, position ?? '') };
  next = forgetMessages(next, id, change.deleted.map((deletion) => deletion.id));
  const thread = next.threads[id];
  if (!thread) return next;
  // A conversation that was not named brings a position but no messages: what is held may end before it.
  const stale = thread.stale || !change.complete || !(id in asked);
  const messages = change.complete ? thread.messages : [];
  const kept = withMessages({ ...thread, messages, stale }, change.messages, next.removed) ?? thread;
  return { ...next, threads: put(next.threads, id, kept) };
}

/**
 * The state after one page of an answer; `asked` are the positions that the request named. An answer that says `reload` is not for here: see client/catch-up.
 * @param {State} state @param {Answer} answer @param {Record<string, string>} asked
 */
export function onSync(state, answer, asked) {
  /** @type {State} */
  let next = { ...state, epoch: answer.epoch };
  for (const id of answer.gone) next = forgetConversation(next, id);
  for (const row of answer.conversations) next = withRow(next, row);
  for (const change of answer.changes) {
    next = withChange(next, change, asked);
    const sent = new Set(change.messages.map((message) => message.id));
    if (sent.size > 0) next = { ...next, outbox: next.outbox.filter((item) => !sent.has(item.id)) };
  }
  for (const read of answer.reads) next = onRead(next, read);
  return next;
}
