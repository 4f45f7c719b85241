/** What happens to the state, one promise a test. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { initialState } from '../../../src/bookconnect_dm/ui/state/initial.js';
import { threadItems } from '../../../src/bookconnect_dm/ui/state/items.js';
import { inboxRows, readableUpTo, receipt, unreadConversations } from '../../../src/bookconnect_dm/ui/state/select.js';
import { after, answer, BEN, change, contents, deleted, frame, ME, me, message, opened, page, row, said, start, TALK, time } from './world.mjs';

const unread = (state) => state.conversations[TALK].unread_count;

test('a message frame shows the message, counts it, moves the position and the row', () => {
  const state = after(opened(), said(5));
  assert.deepEqual(contents(state), ['m5']);
  assert.equal(state.positions[TALK], time(5));
  assert.equal(unread(state), 1);
  assert.equal(state.conversations[TALK].updated_at, time(5));
  assert.equal(unreadConversations(state), 1);
});

test('a frame at or before the position changes nothing, also when sync came first', () => {
  const synced = after(opened(), { type: 'sync', asked: { [TALK]: time(0) }, answer: answer({ changes: [change({ messages: [message(5)], deleted: [{ id: 'm4', deleted_at: time(6) }], position: time(6) })] }) });
  const state = after(synced, said(4), said(5), deleted('m5', 6));
  assert.deepEqual(contents(state), ['m5']);
  assert.equal(state.positions[TALK], time(6));
});

test('an ack never moves the position: the earlier message of the other one still arrives', () => {
  const mine = message(7, { sender_id: ME });
  const acked = after(opened(), { type: 'sent', message: mine });
  assert.equal(acked.positions[TALK], time(0));
  const state = after(acked, said(6), frame('message', { message: mine }));
  assert.deepEqual(contents(state), ['m6', 'm7']);
  assert.equal(unread(state), 1);
});

test('neither does a page: a frame for what the page had already is counted once and shown once', () => {
  const state = after(opened([message(5)]), said(5));
  assert.deepEqual(contents(state), ['m5']);
  assert.equal(unread(state), 1);
});

test('a row that was read after the message had been committed does not count it twice', () => {
  const fetched = row({ last_message: message(5), updated_at: time(5), unread_count: 1 });
  const state = after(start(), { type: 'row', row: fetched }, said(5));
  assert.equal(unread(state), 1);
});

test('a row from before a frame does not undo the frame, and is fetched again', () => {
  const state = after(start(), said(5), { type: 'row', row: row() });
  assert.equal(state.conversations[TALK].last_message.id, 'm5');
  assert.ok(state.stale_rows[TALK]);
});

test('my own message is not unread', () => {
  assert.equal(unread(after(start(), said(5, { sender_id: ME }))), 0);
});

test('unread stops at one hundred, which is shown as 99+', () => {
  const many = Array.from({ length: 130 }, (_, at) => said(at + 1));
  assert.equal(unread(after(start(), ...many)), 100);
});

test('a deleted message leaves and never comes back, by page, by row or by ack', () => {
  const gone = after(opened([message(5), message(6)]), said(5), said(6), deleted('m6', 7));
  assert.deepEqual(contents(gone), ['m5']);
  assert.ok(gone.stale_rows[TALK], 'the count is asked again');
  const late = after(
    gone,
    { type: 'page', id: TALK, which: 'newest', asked_after: '', page: page([message(5), message(6)]) },
    { type: 'sent', message: message(6) },
    { type: 'row', row: row({ last_message: message(6), updated_at: time(6) }) },
  );
  assert.deepEqual(contents(late), ['m5']);
  assert.notEqual(late.conversations[TALK].last_message?.id === 'm6' && !late.stale_rows[TALK], true);
});

test('what cannot be let go of, since a page is on its way, leaves the state as it is', () => {
  const asked = after(opened([message(5), message(6), message(7)]), { type: 'thread_asked', id: TALK, which: 'newest' });
  assert.equal(after(asked, { type: 'trim', id: TALK, keep: 1 }), asked);
  assert.equal(after(asked, { type: 'trim', id: 'another', keep: 1 }), asked);
  const there = after(asked, { type: 'page', id: TALK, which: 'newest', asked_after: 'm7', page: page([message(6), message(7)]) });
  assert.deepEqual(contents(after(there, { type: 'trim', id: TALK, keep: 1 })), ['m7']);
});

test('a message that arrives while the page is on its way stays behind the page', () => {
  const asked = after(start(), { type: 'open', id: TALK }, { type: 'thread_asked', id: TALK, which: 'newest' }, said(9));
  const state = after(asked, { type: 'page', id: TALK, which: 'newest', asked_after: '', page: page([message(5)]) });
  assert.deepEqual(contents(state), ['m5', 'm9']);
});

test('the newest page of a stale thread replaces what may have a hole', () => {
  const stale = after(opened([message(1), message(2)]), frame('reload', { conversation_id: TALK }));
  assert.ok(stale.threads[TALK].stale);
  const state = after(
    stale,
    { type: 'thread_asked', id: TALK, which: 'newest' },
    said(9),
    { type: 'page', id: TALK, which: 'newest', asked_after: time(2), page: page([message(5), message(6)], { has_more: true, next_cursor: 'c' }) },
  );
  assert.deepEqual(contents(state), ['m5', 'm6', 'm9']);
  assert.equal(state.threads[TALK].older_cursor, 'c');
  assert.ok(!state.threads[TALK].stale);
});

test('an older page for a thread that went stale is thrown away', () => {
  const state = after(
    opened([message(5)]),
    { type: 'thread_asked', id: TALK, which: 'older' },
    { type: 'sync', asked: { [TALK]: time(0) }, answer: answer({ changes: [change({ complete: false, position: time(9) })] }) },
    { type: 'page', id: TALK, which: 'older', asked_after: '', page: page([message(1)]) },
  );
  assert.deepEqual(contents(state), []);
  assert.ok(state.threads[TALK].stale);
});

test('complete: false forgets the messages and takes the position that was given', () => {
  const state = after(opened([message(5)]), said(5), { type: 'sync', asked: { [TALK]: time(5) }, answer: answer({ changes: [change({ complete: false, position: time(3) })] }) });
  assert.deepEqual(contents(state), []);
  assert.equal(state.positions[TALK], time(3));
});

test('a thread of a conversation that sync was not asked about is loaded anew', () => {
  const state = after(opened([message(5)]), { type: 'sync', asked: {}, answer: answer({ conversations: [row()], changes: [change({ position: time(9) })] }) });
  assert.ok(state.threads[TALK].stale);
});

test('what is gone leaves inbox, thread, position and outbox', () => {
  const item = { id: 'o', conversation_id: TALK, content: 'x', written_at: time(9), state: 'waiting', attempts: 0, again_at_ms: 0, problem: null };
  const state = after(opened([message(5)]), { type: 'queued', item }, { type: 'sync', asked: { [TALK]: time(0) }, answer: answer({ gone: [TALK] }) });
  assert.deepEqual([state.conversations[TALK], state.threads[TALK], state.positions[TALK], state.outbox], [undefined, undefined, undefined, []]);
});

test('reload forgets everything of the server and nothing of the member', () => {
  const item = { id: 'o', conversation_id: TALK, content: 'x', written_at: time(9), state: 'waiting', attempts: 0, again_at_ms: 0, problem: null };
  const state = after(opened([message(5)]), { type: 'queued', item }, { type: 'forget' });
  assert.deepEqual([state.conversations, state.positions, state.threads, state.epoch], [{}, {}, {}, null]);
  assert.equal(state.outbox.length, 1);
  assert.equal(state.open_id, TALK);
  assert.equal(state.me.id, ME);
});

test('reading to the end clears the count; a receipt of the other one turns Sent into Seen', () => {
  const state = after(opened(), said(5), said(6, { sender_id: ME }), { type: 'read', conversation_id: TALK, last_read_at: time(6) });
  assert.equal(unread(state), 0);
  assert.deepEqual(receipt(state, TALK), { message_id: 'm6', seen: false });
  const seen = after(state, frame('read', { conversation_id: TALK, user_id: BEN, last_read_at: time(6) }));
  assert.equal(receipt(seen, TALK).seen, true);
  const late = after(seen, frame('read', { conversation_id: TALK, user_id: BEN, last_read_at: time(5) }));
  assert.equal(receipt(late, TALK).seen, true, 'a receipt never moves back');
});

test('reading in another tab recounts from the thread', () => {
  const state = after(opened([message(1)]), said(5), said(6), said(7), frame('read', { conversation_id: TALK, user_id: ME, last_read_at: time(6) }));
  assert.equal(unread(state), 1);
  assert.ok(!state.stale_rows[TALK]);
});

test('without the thread the count is asked for', () => {
  const state = after(start(), said(5), said(6), frame('read', { conversation_id: TALK, user_id: ME, last_read_at: time(5) }));
  assert.ok(state.stale_rows[TALK]);
});

test('what is new can be marked as read up to its newest message, once', () => {
  const state = after(opened(), said(5), said(6, { sender_id: ME }));
  assert.equal(readableUpTo(state, TALK), time(5));
  assert.equal(readableUpTo(after(state, { type: 'read', conversation_id: TALK, last_read_at: time(5) }), TALK), null);
});

test('"New" stands before the first unread message, and stays after it has been read', () => {
  const unseen = row({ last_message: message(6), updated_at: time(6), last_read_at: time(5), unread_count: 1 });
  const state = after(
    start(),
    { type: 'row', row: unseen },
    { type: 'open', id: TALK },
    { type: 'page', id: TALK, which: 'newest', asked_after: '', page: page([message(5), message(6)]) },
    { type: 'read', conversation_id: TALK, last_read_at: time(6) },
  );
  const kinds = threadItems(state, TALK, { timeZone: 'UTC' }).map((item) => (item.kind === 'bubble' ? item.bubble.id : item.kind));
  assert.deepEqual(kinds, ['day', 'm5', 'divider', 'm6']);
  const left = after(state, { type: 'leave' }, { type: 'open', id: TALK });
  assert.ok(threadItems(left, TALK).every((item) => item.kind !== 'divider'));
});

test('a page that opens in a conversation has the divider too, although it hears of the row after the route', () => {
  const asked = after(initialState(), { type: 'me', me }, { type: 'open', id: TALK });
  const unread_row = row({ unread_count: 1, last_read_at: time(3), updated_at: time(5), last_message: message(5) });
  const state = after(asked, { type: 'rows', rows: [unread_row] });
  assert.equal(state.divider_at, time(3));
  // What the server says once it has been read changes nothing on screen.
  assert.equal(after(state, { type: 'row', row: { ...unread_row, unread_count: 0, last_read_at: time(5) } }).divider_at, time(3));
  assert.equal(after(asked, { type: 'rows', rows: [row()] }).divider_at, null);
});

test('what arrives while nobody looks gets the divider', () => {
  const state = after(opened([message(1)]), { type: 'visible', visible: false }, said(5));
  assert.ok(threadItems(state, TALK).some((item) => item.kind === 'divider'));
});

test('bubbles of one sender within five minutes are one group; a new day starts anew', () => {
  const at = (text, given) => message(1, { id: text, sent_at: text, ...given });
  const state = opened([
    at('2026-11-21T23:58:00.000000Z'), at('2026-11-22T00:01:00.000000Z'), at('2026-11-22T00:03:00.000000Z'),
    at('2026-11-22T00:04:00.000000Z', { sender_id: ME }), at('2026-11-22T00:30:00.000000Z', { sender_id: ME }),
  ]);
  const shape = threadItems(state, TALK, { timeZone: 'UTC' }).map((item) => (item.kind === 'bubble' ? `${Number(item.bubble.first)}${Number(item.bubble.last)}` : item.kind));
  assert.deepEqual(shape, ['day', '11', 'day', '10', '01', '11', '11']);
});

test('the inbox is newest first; a talk in which nobody has written is not shown until I open it', () => {
  const other = row({ id: 'c2', updated_at: time(9), last_message: message(9, { conversation_id: 'c2' }) });
  const state = after(start(), said(5), { type: 'row', row: other }, { type: 'row', row: row({ id: 'c3' }) });
  assert.deepEqual(inboxRows(state).map((item) => item.row.id), ['c2', TALK]);
  assert.equal(inboxRows(after(state, { type: 'open', id: 'c3' })).length, 3);
});

test('my unsent words are the preview and bring the row to the top', () => {
  const item = { id: 'o', conversation_id: TALK, content: 'unsent', written_at: '2026-11-22T11:00:00.000000Z', state: 'failed', attempts: 1, again_at_ms: 0, problem: null };
  const other = row({ id: 'c2', updated_at: time(9), last_message: message(9, { conversation_id: 'c2' }) });
  const state = after(start(), { type: 'row', row: other }, { type: 'queued', item });
  const [first] = inboxRows(state);
  assert.equal(first.row.id, TALK);
  assert.deepEqual(first.preview, { content: 'unsent', at: item.written_at, mine: true, outgoing: 'failed' });
});

test('my deletion is out of sight at once, and back when the server refuses', () => {
  const hidden = after(opened([message(5, { sender_id: ME })]), { type: 'hiding', id: 'm5' });
  assert.equal(threadItems(hidden, TALK).length, 0);
  assert.equal(threadItems(after(hidden, { type: 'unhidden', id: 'm5' }), TALK).length, 2);
  assert.deepEqual(contents(after(hidden, { type: 'deleted', id: 'm5', conversation_id: TALK })), []);
});

test('an expired message leaves thread and preview at its time', () => {
  const soon = message(5, { expires_at: '2026-11-22T10:02:00.000000Z' });
  const state = after(opened(), frame('message', { message: soon }), { type: 'tick', now_ms: Date.parse('2026-11-22T10:01:59.999Z') });
  assert.deepEqual(contents(state), ['m5']);
  const later = after(state, { type: 'tick', now_ms: Date.parse('2026-11-22T10:02:00.001Z') });
  assert.deepEqual(contents(later), []);
  assert.equal(later.conversations[TALK].last_message, null);
  assert.ok(later.stale_rows[TALK]);
});

test('typing ends by itself, and with the message', () => {
  const typing = after(opened(), frame('typing', { conversation_id: TALK, user_id: BEN }));
  assert.ok(typing.typing[TALK]);
  assert.ok(!after(typing, said(5)).typing[TALK]);
  assert.ok(!after(typing, { type: 'tick', now_ms: typing.now_ms + 5001 }).typing[TALK]);
});

test('who is online is forgotten with the connection', () => {
  const state = after(start(), frame('presence', { user_id: BEN, online: true }));
  assert.ok(state.online[BEN]);
  assert.ok(!after(state, { type: 'link', link: 'waiting' }).online[BEN]);
});

test('unknown frames change nothing, known names of JavaScript neither', () => {
  const state = start();
  for (const type of ['tomorrow', 'constructor', 'toString', '__proto__']) assert.equal(after(state, frame(type, {})), state);
});

test('another member starts from nothing', () => {
  const state = after(opened([message(5)]), { type: 'another_member' });
  assert.deepEqual([state.me, state.conversations, state.outbox, state.epoch], [null, {}, [], null]);
});

test('a thread that could not be loaded anew is still shown, and still to be loaded anew', () => {
  const state = after(
    opened([message(1)]),
    frame('expiry', { conversation_id: TALK }),
    { type: 'thread_asked', id: TALK, which: 'newest' },
    { type: 'thread_failed', id: TALK, problem: { code: 'UNAVAILABLE', detail: '' } },
  );
  assert.equal(state.threads[TALK].stale, true, 'there may be a hole in it');
  assert.equal(state.threads[TALK].problem, null);
  assert.deepEqual(contents(state), ['m1']);
});

test('an older page that could not be loaded says so, and the rest stays', () => {
  const state = after(
    opened([message(1)]),
    { type: 'thread_asked', id: TALK, which: 'older' },
    { type: 'thread_failed', id: TALK, problem: { code: 'UNAVAILABLE', detail: '' } },
  );
  assert.equal(state.threads[TALK].problem.code, 'UNAVAILABLE');
  assert.deepEqual([state.threads[TALK].loading, state.threads[TALK].stale], [null, false]);
  assert.deepEqual(contents(state), ['m1']);
});
