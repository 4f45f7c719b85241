/**
 * A page against a model of the server: after any mixture of sends, deletions, reads, lost connections, slow feeds, late pages and acks,
 * what the page shows once it is live and everything has arrived equals what a fresh page would load.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { after, answer, BEN, ME, me, message, page, row, TALK, time } from './world.mjs';
import { initialState } from '../../../src/bookconnect_dm/ui/state/initial.js';

/** A seeded source of numbers, so that a failure can be run again. */
function dice(seed) {
  let state = seed >>> 0;
  return (sides) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** The server: one conversation with a clock, and a feed that lags behind. */
class Server {
  clock = 0;
  messages = [];
  deleted = [];
  read = { [ME]: 0, [BEN]: 0 };
  feed = [];

  send(sender_id) {
    this.clock += 1;
    const sent = message(this.clock, { sender_id });
    this.messages.push(sent);
    this.feed.push({ type: 'message', message: sent });
    return sent;
  }

  remove(victim) {
    this.clock += 1;
    this.messages = this.messages.filter((one) => one !== victim);
    this.deleted.push({ id: victim.id, deleted_at: time(this.clock) });
    this.feed.push({ type: 'message_deleted', id: victim.id, conversation_id: TALK, deleted_at: time(this.clock) });
  }

  mark(user_id) {
    this.read[user_id] = this.clock;
    this.feed.push({ type: 'read', conversation_id: TALK, user_id, last_read_at: time(this.clock) });
  }

  row() {
    const last = this.messages.at(-1);
    const unread_count = this.messages.filter((one) => one.sender_id !== ME && one.sent_at > time(this.read[ME])).length;
    const updated = this.newest ?? 0;
    return row({
      last_message: last ?? null, updated_at: time(updated), unread_count: Math.min(100, unread_count), last_read_at: time(this.read[ME]),
      other_participant: { id: BEN, username: 'ben', displayname: 'Ben', avatar_url: null, last_read_at: time(this.read[BEN]) },
    });
  }

  get newest() {
    return this.highest;
  }

  sync(positions) {
    const named = TALK in positions;
    const since = positions[TALK] ?? '';
    return answer({
      conversations: !named || since < time(this.clock) ? [this.row()] : [],
      changes: [{
        conversation_id: TALK, position: time(this.clock), complete: true,
        messages: named ? this.messages.filter((one) => one.sent_at > since) : [],
        deleted: named ? this.deleted.filter((one) => one.deleted_at > since) : [],
      }],
      reads: [ME, BEN].map((user_id) => ({ conversation_id: TALK, user_id, last_read_at: time(this.read[user_id]) })),
    });
  }
}

/** The page: buffers while it catches up, as net/live does. */
class Page {
  state = after(initialState(Date.parse('2026-11-22T10:01:00Z')), { type: 'me', me });
  buffer = null;
  connected = false;
  cut = 0;

  do(...actions) {
    this.state = after(this.state, ...actions);
  }

  hear(one) {
    if (!this.connected) return;
    if (this.buffer) this.buffer.push(one);
    else this.do({ type: 'frame', frame: one });
  }
}

function play(seed) {
  const roll = dice(seed);
  const server = new Server();
  const client = new Page();
  const late = [];
  const connect = () => {
    client.connected = true;
    client.buffer = [];
  };
  const catchUp = () => {
    const asked = client.state.positions;
    client.do({ type: 'sync', asked, answer: server.sync(asked) }, { type: 'synced' });
    for (const one of client.buffer.splice(0)) client.do({ type: 'frame', frame: one });
    client.buffer = null;
  };
  const ask = () => {
    const held = client.state.threads[TALK];
    if (held?.loading) return;
    const asked_after = held?.messages.at(-1)?.sent_at ?? '';
    client.do({ type: 'thread_asked', id: TALK, which: 'newest' });
    const seen = server.messages.slice(-6);
    const has_more = server.messages.length > 6;
    late.push(() => client.do({ type: 'page', id: TALK, which: 'newest', asked_after, page: page(seen, { has_more, next_cursor: has_more ? seen[0].sent_at : null }) }));
  };
  const fetchRow = () => {
    client.do({ type: 'row_asked', id: TALK });
    const fetched = server.row();
    late.push(() => client.do({ type: 'row', row: fetched }));
  };
  client.do({ type: 'open', id: TALK });
  for (let step = 0; step < 120; step += 1) {
    const what = roll(12);
    if (what <= 2) server.highest = (server.send(BEN), server.clock);
    else if (what === 3) {
      const mine = server.send(ME);
      server.highest = server.clock;
      if (client.connected) late.push(() => client.do({ type: 'sent', message: mine }));
    } else if (what === 4 && server.messages.length) server.remove(server.messages[roll(server.messages.length)]);
    else if (what === 5) server.mark(roll(2) ? ME : BEN);
    else if (what <= 8) for (let many = roll(4); many >= 0 && server.feed.length; many -= 1) client.hear(server.feed.shift());
    else if (what === 9 && late.length) late.splice(roll(late.length), 1)[0]();
    else if (what === 10) {
      if (!client.connected) connect();
      else if (client.buffer) catchUp();
      else if (roll(3) === 0) {
        client.connected = false;
        client.buffer = null;
      }
    } else if (what === 11 && client.connected && !client.buffer) ask();
  }
  if (!client.connected) connect();
  if (client.buffer) catchUp();
  const settle = () => {
    while (server.feed.length) client.hear(server.feed.shift());
    while (late.length) late.shift()();
  };
  settle();
  for (let turn = 0; turn < 5; turn += 1) {
    const thread = client.state.threads[TALK];
    if (!thread?.loaded || thread.stale) ask();
    if (client.state.stale_rows[TALK]) fetchRow();
    settle();
  }
  return { server, state: client.state };
}

test('any history ends in what a fresh page would load', () => {
  for (let seed = 1; seed <= 1500; seed += 1) {
    const { server, state } = play(seed);
    const held = state.threads[TALK].messages;
    const from = held[0]?.sent_at ?? '';
    const truth = held.length ? server.messages.filter((one) => one.sent_at >= from) : server.messages;
    assert.deepEqual(held.map((one) => one.id), truth.map((one) => one.id), `thread, seed ${seed}`);
    const fresh = server.row();
    const shown = state.conversations[TALK];
    assert.equal(shown.unread_count, fresh.unread_count, `unread, seed ${seed}`);
    assert.equal(shown.last_message?.id, fresh.last_message?.id, `last message, seed ${seed}`);
    assert.equal(shown.last_read_at, fresh.last_read_at, `my reading, seed ${seed}`);
    assert.equal(shown.other_participant.last_read_at, fresh.other_participant.last_read_at, `their reading, seed ${seed}`);
    assert.equal(state.positions[TALK], time(server.clock), `position, seed ${seed}`);
  }
});
