/** The promise to send. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { afterFailure, outgoing, revived, sendable } from '../../../src/bookconnect_dm/ui/state/outbox.js';

const item = (id, given = {}) => ({ ...outgoing(id, 'c1', id, '2026-11-22T10:00:00.000000Z'), ...given });
const ids = (items) => items.map((one) => one.id);

test('one message of a conversation is under way at a time, so that order holds', () => {
  const box = [item('a'), item('b'), item('c', { conversation_id: 'c2' })];
  assert.deepEqual(ids(sendable(box, 0)), ['a', 'c']);
  assert.deepEqual(ids(sendable([item('a', { state: 'sending' }), item('b')], 0)), []);
});

test('one that waits holds the next ones back, one that has failed does not', () => {
  assert.deepEqual(ids(sendable([item('a', { again_at_ms: 10 }), item('b')], 5)), []);
  assert.deepEqual(ids(sendable([item('a', { again_at_ms: 10 }), item('b')], 10)), ['a']);
  assert.deepEqual(ids(sendable([item('a', { state: 'failed' }), item('b')], 0)), ['b']);
});

test('a refusal is final, a busy server is asked again with growing pauses, and not for ever', () => {
  assert.equal(afterFailure(item('a'), { code: 'INVALID_CONTENT', detail: '' }, 0).state, 'failed');
  const busy = { code: 'UNAVAILABLE', detail: '' };
  assert.deepEqual([0, 1, 2].map((attempts) => afterFailure(item('a', { attempts }), busy, 0).again_at_ms), [1000, 2000, 4000]);
  assert.equal(afterFailure(item('a', { attempts: 7 }), busy, 0).state, 'failed');
});

test('the wait that the server names is kept', () => {
  assert.equal(afterFailure(item('a'), { code: 'RATE_LIMIT_EXCEEDED', detail: '', retry_after_s: 3 }, 100).again_at_ms, 3100);
});

test('without a network it waits for as long as it takes', () => {
  let one = item('a');
  for (let tries = 0; tries < 50; tries += 1) one = { ...one, ...afterFailure(one, { code: 'NETWORK', detail: '' }, 0) };
  assert.equal(one.state, 'waiting');
});

test('after a reload nothing is on its way, what had failed still has, and what is broken is left out', () => {
  const problem = { code: 'CONFLICT', detail: '' };
  const back = revived(JSON.parse(JSON.stringify([item('a', { state: 'sending', attempts: 3 }), item('b', { state: 'failed', problem }), null, { id: 1 }])));
  assert.deepEqual(back.map((one) => [one.id, one.state, one.attempts]), [['a', 'waiting', 0], ['b', 'failed', 0]]);
  assert.deepEqual(back[1].problem, problem);
  assert.deepEqual(revived('nonsense'), []);
});
