/** Small makers for states, rows and messages. */
import { initialState } from '../../../src/bookconnect_dm/ui/state/initial.js';
import { reduce } from '../../../src/bookconnect_dm/ui/state/reduce.js';

export const ME = 'b0000000-0000-4000-8000-00000000000a';
export const BEN = 'b0000000-0000-4000-8000-00000000000b';
export const TALK = 'c0000000-0000-4000-8000-000000000001';

/** The moment `at` microseconds after a fixed one, in wire form. */
export const time = (at) => `2026-11-22T10:00:${String(Math.floor(at / 1e6)).padStart(2, '0')}.${String(at % 1e6).padStart(6, '0')}Z`;

export const message = (at, given = {}) => ({
  id: given.id ?? `m${at}`, conversation_id: TALK, sender_id: BEN, content: `said at ${at}`, sent_at: time(at),
  expires_at: '2027-11-22T10:00:00.000000Z', is_deleted: false, ...given,
});

export const row = (given = {}) => ({
  id: TALK, store_id: 's', created_at: time(0), updated_at: time(0), last_read_at: time(0),
  other_participant: { id: BEN, username: 'ben', displayname: 'Ben Okafor', avatar_url: null, last_read_at: time(0) },
  last_message: null, unread_count: 0, ...given,
});

export const me = { id: ME, username: 'ada', displayname: 'Ada', tier: 'privileged_plus', can_start_conversations: true, stores: [], retention: { tier: 'privileged_plus', retention_days: 365, grace_ends_at: null } };

export const change = (given = {}) => ({ conversation_id: TALK, messages: [], deleted: [], position: time(0), complete: true, ...given });
export const answer = (given = {}) => ({ epoch: 'e1', reload: false, conversations: [], changes: [], reads: [], gone: [], next_cursor: null, ...given });
export const page = (messages, given = {}) => ({ messages, has_more: false, next_cursor: null, ...given });

/** The state after these actions. */
export const after = (state, ...actions) => actions.reduce(reduce, state);

/** Me, one talk, caught up to position 0. */
export const start = (given = {}) => after(
  initialState(Date.parse('2026-11-22T10:01:00Z')),
  { type: 'me', me },
  { type: 'sync', asked: {}, answer: answer({ conversations: [row(given)], changes: [change()] }) },
  { type: 'synced' },
);

/** The same with the thread open and loaded. */
export const opened = (messages = [], given = {}) => after(
  start(given),
  { type: 'open', id: TALK },
  { type: 'thread_asked', id: TALK, which: 'newest' },
  { type: 'page', id: TALK, which: 'newest', asked_after: '', page: page(messages) },
);

export const frame = (type, given) => ({ type: 'frame', frame: { type, ...given } });
export const said = (...given) => frame('message', { message: message(...given) });
export const deleted = (id, at) => frame('message_deleted', { id, conversation_id: TALK, deleted_at: time(at) });
export const contents = (state) => state.threads[TALK].messages.map((one) => one.id);
