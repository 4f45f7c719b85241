/**
 * In charge of: one action in, the next state out. The only place where state changes.
 * Knows about: every action by name. Does not know about: the network, timers, the page.
 */
import { expire } from './expiry.js';
import { forgetConversation, forgetMessages, markStaleRow, onFrame, onRead } from './frames.js';
import { emptyThread, initialState } from './initial.js';
import { afterFailure, changed } from './outbox.js';
import { drop, mark, put } from './records.js';
import { forgetAll, onSync, withRow } from './sync.js';
import { trimmed, withMessages, withPage } from './thread.js';
import { toWire } from '../text/time.js';

/** @typedef {import('./types.js').State} State */
/** @typedef {{type: string, [name: string]: any}} Action */

/** @param {State} state @param {string} id @param {Partial<import('./types.js').Thread>} changes */
const patchThread = (state, id, changes) => ({
  ...state, threads: put(state.threads, id, { ...(state.threads[id] ?? emptyThread()), ...changes }),
});

/** @param {State} state @param {Action} action */
function onPage(state, { id, which, page, asked_after }) {
  const thread = withPage(state.threads[id], page, which, state.removed, asked_after);
  const threads = put(state.threads, id, thread);
  if (state.outbox.length === 0) return { ...state, threads };
  const arrived = new Set(thread.messages.map((message) => message.id));
  return { ...state, outbox: state.outbox.filter((item) => !arrived.has(item.id)), threads };
}

/** @param {State} state @param {Action} action */
function onThreadFailed(state, { id, problem }) {
  const held = state.threads[id];
  // What is held stays to be read, and stays to be fetched anew: there may be a hole in it.
  const anew = held?.loaded && held.loading === 'newest';
  return patchThread(state, id, anew ? { loading: null, stale: true } : { loading: null, problem });
}

/** @param {State} state @param {Action} action */
function onSent(state, { message }) {
  const id = message.conversation_id;
  const held = state.threads[id];
  // What is up to the position is held, or comes with its page: a late answer must not bring back what has been deleted meanwhile.
  const overtaken = message.sent_at <= (state.positions[id] ?? '');
  const thread = overtaken ? held : withMessages(held, [message], state.removed);
  const threads = thread ? put(state.threads, id, thread) : state.threads;
  return { ...state, threads, outbox: state.outbox.filter((item) => item.id !== message.id) };
}

/** @param {State} state @param {Action} action */
function onSendFailed(state, { id, problem, now_ms }) {
  const item = state.outbox.find((candidate) => candidate.id === id);
  return item ? { ...state, outbox: changed(state.outbox, id, afterFailure(item, problem, now_ms)) } : state;
}

/** @param {State} state @param {Action} action */
function onOpen(state, { id }) {
  if (state.open_id === id) return state;
  const row = state.conversations[id];
  const divider_at = row && row.unread_count > 0 ? row.last_read_at ?? '' : null;
  return { ...state, open_id: id, divider_at };
}

/** @param {State} state @param {Action} action */
function onTick(state, { now_ms }) {
  const over = Object.keys(state.typing).filter((id) => state.typing[id].until_ms <= now_ms);
  return expire({ ...state, now_ms, typing: drop(state.typing, over) }, toWire(now_ms));
}

/** @param {State} state @param {Action} action */
function onLink(state, { link }) {
  if (state.link === link) return state;
  // Who is online is known only while the socket lives; waiting messages try at once when it comes back.
  const online = link === 'waiting' || link === 'offline' ? {} : state.online;
  const outbox = link === 'live'
    ? state.outbox.map((item) => (item.problem?.code === 'NETWORK' ? { ...item, again_at_ms: 0 } : item)) : state.outbox;
  return { ...state, link, online, outbox, threads: link === 'live' ? forgiven(state.threads) : state.threads };
}

/** A page that could not be loaded without a connection is worth another try with one. @param {State['threads']} threads */
function forgiven(threads) {
  const entries = Object.entries(threads).map(([id, thread]) => [id, thread.problem ? { ...thread, problem: null } : thread]);
  return Object.fromEntries(entries);
}

/** @param {State} state @param {string} id */
const withoutUndo = (state, id) => (state.undo?.id === id ? { ...state, undo: null } : state);

/** @type {Record<string, (state: State, action: any) => State>} */
const HANDLERS = {
  me: (state, { me }) => ({ ...state, me }),
  link: onLink,
  visible: (state, { visible }) => ({ ...state, visible }),
  tick: onTick,
  frame: (state, { frame }) => onFrame(state, frame),
  sync: (state, { answer, asked }) => onSync(state, answer, asked),
  synced: (state) => ({ ...state, inbox_loaded: true, inbox_problem: null }),
  another_member: (state) => ({ ...initialState(state.now_ms), link: state.link, visible: state.visible }),
  forget: forgetAll,
  rows: (state, { rows }) => ({ ...rows.reduce(withRow, state), inbox_loaded: true, inbox_problem: null }),
  inbox_failed: (state, { problem }) => ({ ...state, inbox_problem: state.inbox_loaded ? null : problem }),
  row: (state, { row }) => withRow(state, row),
  row_asked: (state, { id }) => ({ ...state, stale_rows: drop(state.stale_rows, [id]) }),
  row_failed: (state, { id }) => markStaleRow(state, id),
  conversation_gone: (state, { id }) => forgetConversation(state, id),
  open: onOpen,
  leave: (state) => ({ ...state, open_id: null, divider_at: null }),
  thread_asked: (state, { id, which }) => patchThread(state, id, {
    loading: which, problem: null, ...(which === 'newest' ? { stale: false } : {}),
  }),
  page: onPage,
  // The thread asks each time that it has been shown: another state that says the same would be shown, and asked about, without end.
  trim: (state, { id, keep }) => {
    const held = state.threads[id];
    const threads = held ? put(state.threads, id, trimmed(held, keep)) : state.threads;
    return threads === state.threads ? state : { ...state, threads };
  },
  thread_failed: onThreadFailed,
  queued: (state, { item }) => ({ ...state, outbox: [...state.outbox, item] }),
  sending: (state, { id }) => ({ ...state, outbox: changed(state.outbox, id, { state: 'sending' }) }),
  sent: onSent,
  send_failed: onSendFailed,
  retried: (state, { id }) => ({
    ...state, outbox: changed(state.outbox, id, { state: 'waiting', attempts: 0, again_at_ms: 0, problem: null }),
  }),
  discarded: (state, { id }) => ({ ...state, outbox: state.outbox.filter((item) => item.id !== id) }),
  outbox_revived: (state, { outbox }) => {
    const held = new Set(state.outbox.map((item) => item.id));
    return { ...state, outbox: [...outbox.filter((/** @type {any} */ item) => !held.has(item.id)), ...state.outbox] };
  },
  hiding: (state, { id }) => ({ ...state, hiding: mark(state.hiding, [id]) }),
  unhidden: (state, { id }) => ({ ...withoutUndo(state, id), hiding: drop(state.hiding, [id]) }),
  undoable: (state, { undo }) => ({ ...state, undo }),
  undo_over: (state, { id }) => withoutUndo(state, id),
  deleted: (state, { id, conversation_id }) => {
    const next = forgetMessages(state, conversation_id, [id]);
    return next.conversations[conversation_id]?.last_message?.id === id ? markStaleRow(next, conversation_id) : next;
  },
  read: (state, { conversation_id, last_read_at }) => (state.me
    ? onRead(state, { conversation_id, user_id: state.me.id, last_read_at }) : state),
};

/**
 * @param {State} state @param {Action} action
 * @returns {State}
 */
export function reduce(state, action) {
  if (!Object.hasOwn(HANDLERS, action.type)) throw new Error(`no such action: ${action.type}`);
  return HANDLERS[action.type](state, action);
}
