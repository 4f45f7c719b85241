/**
 * In charge of: taking messages away at their time, also when no server says so.
 * Knows about: expires_at, of messages and of the inbox's last words. Does not know about: timers; the caller says what time it is.
 */
import { markStaleRow } from './frames.js';
import { mark, put } from './records.js';

/** @typedef {import('./types.js').State} State */
/** @typedef {import('./types.js').Message} Message */

/** The soonest end in a list of messages; lists never change, so each is looked through once. @type {WeakMap<Message[], string>} */
const soonest = new WeakMap();
const NEVER = '~';

/** @param {Message[]} messages */
function soonestOf(messages) {
  const known = soonest.get(messages);
  if (known !== undefined) return known;
  const found = messages.reduce((least, message) => (message.expires_at < least ? message.expires_at : least), NEVER);
  soonest.set(messages, found);
  return found;
}

/** @param {State} state @param {string} id @param {string} now */
function expireThread(state, id, now) {
  const thread = state.threads[id];
  if (soonestOf(thread.messages) > now) return state;
  const gone = thread.messages.filter((message) => message.expires_at <= now).map((message) => message.id);
  const messages = thread.messages.filter((message) => message.expires_at > now);
  return { ...state, removed: mark(state.removed, gone), threads: put(state.threads, id, { ...thread, messages }) };
}

/** An expired message leaves the inbox at once too; the row that is fetched says what comes instead. @param {State} state @param {string} id @param {string} now */
function expireRow(state, id, now) {
  const row = state.conversations[id];
  const last = row.last_message;
  if (!last || (last.expires_at ?? NEVER) > now) return state;
  const next = { ...state, removed: mark(state.removed, [last.id]), conversations: put(state.conversations, id, { ...row, last_message: null }) };
  return markStaleRow(next, id);
}

/**
 * The state without what has expired.
 * @param {State} state @param {string} now  wire time
 */
export function expire(state, now) {
  let next = state;
  for (const id of Object.keys(state.threads)) {
    const before = next;
    next = expireThread(next, id, now);
    if (next !== before && next.conversations[id]) next = markStaleRow(next, id);
  }
  for (const id of Object.keys(state.conversations)) next = expireRow(next, id, now);
  return next;
}

/**
 * The next time at which something expires, or null.
 * @param {State} state
 */
export function nextExpiry(state) {
  let next = NEVER;
  for (const thread of Object.values(state.threads)) {
    const one = soonestOf(thread.messages);
    if (one < next) next = one;
  }
  for (const { last_message } of Object.values(state.conversations)) {
    if (last_message?.expires_at && last_message.expires_at < next) next = last_message.expires_at;
  }
  return next === NEVER ? null : next;
}
