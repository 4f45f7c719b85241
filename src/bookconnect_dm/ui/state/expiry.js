/**
 * In charge of: taking messages away at their time, also when no server says so.
 * Knows about: expires_at. Does not know about: timers; the caller says what time it is.
 */
import { markStaleRow } from './frames.js';
import { put } from './records.js';

/** @typedef {import('./types.js').State} State */

/**
 * The state without what has expired.
 * @param {State} state @param {string} now  wire time
 */
export function expire(state, now) {
  let next = state;
  for (const [id, thread] of Object.entries(state.threads)) {
    if (!thread.messages.some((message) => message.expires_at <= now)) continue;
    const messages = thread.messages.filter((message) => message.expires_at > now);
    next = { ...next, threads: put(next.threads, id, { ...thread, messages }) };
    if (next.conversations[id]) next = markStaleRow(withoutPreview(next, id, messages), id);
  }
  return next;
}

/**
 * An expired message also leaves the inbox at once; the row that is fetched says what comes instead.
 * @param {State} state @param {string} id @param {import('./types.js').Message[]} left
 */
function withoutPreview(state, id, left) {
  const row = state.conversations[id];
  if (!row.last_message || left.some((message) => message.id === row.last_message?.id)) return state;
  return { ...state, conversations: put(state.conversations, id, { ...row, last_message: null }) };
}

/**
 * The next time at which something expires, or null.
 * @param {State} state
 */
export function nextExpiry(state) {
  let next = /** @type {string | null} */ (null);
  for (const thread of Object.values(state.threads)) {
    for (const message of thread.messages) if (next === null || message.expires_at < next) next = message.expires_at;
  }
  return next;
}
