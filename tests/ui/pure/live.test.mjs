/** One socket's life, against a socket that the test moves. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { backoff_ms } from '../../../src/bookconnect_dm/ui/net/backoff.js';
import { Live } from '../../../src/bookconnect_dm/ui/net/live.js';
import { ApiError } from '../../../src/bookconnect_dm/ui/net/problem.js';
import { Tokens } from '../../../src/bookconnect_dm/ui/net/tokens.js';

/** A WebSocket whose other end is the test. */
class FakeSocket {
  static OPEN = 1;
  static all = [];

  constructor(url) {
    Object.assign(this, { url, readyState: 0, sent: [], closed: null });
    FakeSocket.all.push(this);
  }

  open() {
    this.readyState = 1;
    this.onopen?.();
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  says(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  dies(code) {
    this.readyState = 3;
    this.onclose?.({ code });
  }

  close(code) {
    this.readyState = 3;
    this.closed = code;
  }
}

const READY = { type: 'ready', v: 1, user_id: 'u', epoch: 'e', limits: {} };

/** Waits until something holds; a turn of the loop is enough for promises, timers of the back-off take a little longer. */
async function until(holds) {
  for (let turn = 0; turn < 400; turn += 1) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail(`never: ${holds}`);
}

function setUp({ tokens = ['t1', 't2', 't3', 't4'], catchUp = async () => {} } = {}) {
  FakeSocket.all = [];
  const seen = { links: [], frames: [], errors: [], asked: 0, syncs: 0 };
  const getToken = async () => {
    const token = tokens[seen.asked];
    seen.asked += 1;
    if (token instanceof Error) throw token;
    return token;
  };
  const live = new Live('ws://a.example/v1/realtime', new Tokens(getToken), {
    onLink: (link) => seen.links.push(link),
    onFrame: (frame) => seen.frames.push(frame),
    onReady: () => {},
    onError: (error) => seen.errors.push(error.code),
    catchUp: () => {
      seen.syncs += 1;
      return catchUp(seen.syncs);
    },
  }, { WebSocket: FakeSocket, random: () => 0, isOnline: () => seen.online !== false });
  const socket = () => FakeSocket.all.at(-1);
  return { live, seen, socket };
}

async function goLive(set) {
  set.live.start();
  await until(() => FakeSocket.all.length > 0);
  set.socket().open();
  set.socket().says(READY);
  await until(() => set.live.isLive);
}

test('auth is the first frame; after ready frames wait until sync has ended, then come in order', async () => {
  let release = () => {};
  const set = setUp({ catchUp: () => new Promise((resolve) => { release = resolve; }) });
  set.live.start();
  await until(() => FakeSocket.all.length > 0);
  set.socket().open();
  assert.deepEqual(set.socket().sent, [{ type: 'auth', v: 1, token: 't1' }]);
  set.socket().says(READY);
  set.socket().says({ type: 'message', n: 1 });
  set.socket().says({ type: 'presence', n: 2 });
  set.socket().says({ type: 'read', n: 3 });
  assert.deepEqual(set.seen.frames.map((frame) => frame.n), [2], 'only what is not on any clock goes on at once');
  release();
  await until(() => set.live.isLive);
  assert.deepEqual(set.seen.frames.map((frame) => frame.n), [2, 1, 3]);
  assert.deepEqual(set.seen.links, ['connecting', 'syncing', 'live']);
  set.live.stop();
});

test('resync catches up again on the same socket, and once more if it comes in the middle', async () => {
  const set = setUp();
  await goLive(set);
  set.socket().says({ type: 'resync' });
  set.socket().says({ type: 'resync' });
  set.socket().says({ type: 'message', n: 1 });
  await until(() => set.live.isLive && set.seen.syncs === 3);
  assert.equal(FakeSocket.all.length, 1);
  assert.deepEqual(set.seen.frames.map((frame) => frame.n), [1]);
  set.live.stop();
});

for (const code of [1006, 1012, 4409, 4429, 4500, 1009]) {
  test(`a socket closed with ${code} comes back, with a new catch-up`, async () => {
    const set = setUp();
    await goLive(set);
    set.socket().dies(code);
    assert.equal(set.seen.links.at(-1), 'waiting');
    await until(() => FakeSocket.all.length === 2);
    set.socket().open();
    set.socket().says(READY);
    await until(() => set.live.isLive);
    assert.equal(set.seen.syncs, 2);
    assert.equal(set.seen.asked, 1, 'the token is still good');
    set.live.stop();
  });
}

test('4401 asks the host for a new token; a second refusal in a row is the end until somebody asks', async () => {
  const set = setUp();
  await goLive(set);
  set.socket().dies(4401);
  await until(() => FakeSocket.all.length === 2);
  set.socket().open();
  assert.equal(set.socket().sent[0].token, 't2');
  set.socket().dies(4401);
  await until(() => set.seen.links.at(-1) === 'signed_out');
  assert.deepEqual(set.seen.errors, ['UNAUTHENTICATED']);
  set.live.wake();
  await until(() => FakeSocket.all.length === 3);
  set.live.stop();
});

test('a host that cannot give a token signs out; one that has no network is asked again', async () => {
  const out = setUp({ tokens: [new Error('nobody')] });
  out.live.start();
  await until(() => out.seen.links.at(-1) === 'signed_out');
  const away = setUp({ tokens: [new TypeError('Failed to fetch'), 't2'] });
  away.live.start();
  await until(() => FakeSocket.all.length === 1);
  assert.deepEqual(away.seen.links, ['connecting', 'waiting', 'waiting']);
  away.live.stop();
});

test('an ack answers its own request, an error too, and a lost socket answers all', async () => {
  const set = setUp();
  await goLive(set);
  const [first, second, third] = ['a', 'b', 'c'].map((id) => set.live.request({ type: 'send', id }));
  const [, a, b] = set.socket().sent;
  set.socket().says({ type: 'error', ref: b.ref, code: 'RATE_LIMIT_EXCEEDED', detail: 'slow', retry_after: 2 });
  set.socket().says({ type: 'ack', ref: a.ref, message: { id: 'a' } });
  assert.equal((await first).message.id, 'a');
  await assert.rejects(second, (error) => error instanceof ApiError && error.code === 'RATE_LIMIT_EXCEEDED' && error.retry_after_s === 2);
  set.socket().dies(1006);
  await assert.rejects(third, { code: 'NETWORK' });
  await assert.rejects(set.live.request({ type: 'send' }), { code: 'NETWORK' });
  set.live.stop();
});

test('a sync that fails gives the socket up and comes back', async () => {
  const set = setUp({ catchUp: async (turn) => {
    if (turn === 1) throw new ApiError({ code: 'UNAVAILABLE', detail: '' });
  } });
  set.live.start();
  await until(() => FakeSocket.all.length > 0);
  set.socket().open();
  set.socket().says(READY);
  await until(() => FakeSocket.all.length === 2);
  assert.equal(FakeSocket.all[0].closed, 1000);
  set.socket().open();
  set.socket().says(READY);
  await until(() => set.live.isLive);
  set.live.stop();
});

test('frames of a socket that has been given up are not heard', async () => {
  const set = setUp();
  await goLive(set);
  const old = set.socket();
  const heard = old.onmessage;
  old.dies(1006);
  heard({ data: '{"type":"message"}' });
  assert.deepEqual(set.seen.frames, []);
  set.live.stop();
});

test('without a network nothing is tried until it is back', async () => {
  const set = setUp();
  await goLive(set);
  set.seen.online = false;
  set.live.sleep();
  assert.equal(set.seen.links.at(-1), 'offline');
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(FakeSocket.all.length, 1);
  set.seen.online = true;
  set.live.wake();
  await until(() => FakeSocket.all.length === 2);
  set.live.stop();
});

test('a token is renewed before its end on the same socket', async () => {
  const set = setUp();
  set.live.start();
  await until(() => FakeSocket.all.length > 0);
  set.socket().open();
  set.socket().says({ ...READY, token_expires_at: new Date(Date.now() + 1_300).toISOString() });
  await until(() => set.socket().sent.length === 2);
  assert.equal(set.socket().sent[1].token, 't2');
  assert.ok(set.socket().sent[1].ref);
  set.live.stop();
});

test('what is not JSON or has no type is ignored', async () => {
  const set = setUp();
  await goLive(set);
  for (const data of ['', '{', 'null', '[]', '{"type":5}']) set.socket().onmessage({ data });
  assert.deepEqual(set.seen.frames, []);
  assert.ok(set.live.isLive);
  set.live.stop();
});

test('pauses grow, stay below a limit and differ from page to page', () => {
  assert.equal(backoff_ms(0, () => 0), 100);
  assert.ok(backoff_ms(0, () => 0.999) <= 600);
  assert.ok(backoff_ms(3, () => 0.999) > 3_900);
  assert.ok(backoff_ms(1_000, () => 0.999) <= 20_100);
  assert.ok(new Set(Array.from({ length: 50 }, () => backoff_ms(4))).size > 40);
});
