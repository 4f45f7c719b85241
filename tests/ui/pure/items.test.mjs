/** What a thread shows: the same however it came about, and made anew only where something has changed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chunksOf, partsOf, MOST } from '../../../src/bookconnect_dm/ui/state/chunks.js';
import { build, threadItems } from '../../../src/bookconnect_dm/ui/state/items.js';
import { after, BEN, frame, ME, message, opened, said, TALK } from './world.mjs';

const UTC = { timeZone: 'UTC' };
const LONG = 10_000;

/** Minutes apart, five in a row from one member, on many days; ids that end at random, as the real ones do. */
const line = (at, given = {}) => message(at, {
  id: `00000000-0000-7000-8000-${((at * 2654435761) % 2 ** 32).toString(16).padStart(12, '0')}`, sender_id: Math.floor(at / 5) % 2 ? ME : BEN,
  sent_at: new Date(Date.parse('2026-11-22T12:00:00Z') + at * 150_000).toISOString().replace('Z', '000Z'), ...given,
});
const lines = (from, to) => Array.from({ length: to - from }, (_, at) => line(from + at));

/** A small generator: the same seed, the same history. */
function dice(seed) {
  let state = seed;
  return (sides) => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

const unsent = (at) => ({ id: `o${at}`, conversation_id: TALK, content: 'unsent', written_at: line(at).sent_at, state: 'waiting', attempts: 0, again_at_ms: 0, problem: null });

/** Something that can happen to a thread. */
function happening(roll, state, at) {
  const held = state.threads[TALK].messages;
  const one = held[roll(held.length)] ?? line(0);
  return [
    () => frame('message', { message: line(at) }),
    () => frame('message', { message: line(at, { sender_id: ME }) }),
    () => frame('message_deleted', { id: one.id, conversation_id: TALK, deleted_at: line(at).sent_at }),
    () => ({ type: 'hiding', id: one.id }),
    () => ({ type: 'unhidden', id: one.id }),
    () => ({ type: 'queued', item: unsent(at) }),
    () => ({ type: 'send_failed', id: state.outbox[0]?.id, problem: { code: 'CONFLICT', detail: '' }, now_ms: 0 }),
    () => ({ type: 'discarded', id: state.outbox[0]?.id }),
    () => ({ type: 'page', id: TALK, which: 'older', asked_after: '', page: { messages: [line(500 - at)], has_more: true, next_cursor: 'c' } }),
    () => ({ type: 'tick', now_ms: state.now_ms + 1000 }),
    () => ({ type: 'leave' }),
    () => ({ type: 'open', id: TALK }),
    () => ({ type: 'visible', visible: roll(2) === 0 }),
  ][roll(13)]();
}

test('whatever happens, what is built step by step is what is built at once, and the pieces are all of it', () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const roll = dice(seed);
    let state = opened(lines(480, 500));
    let [built, chunks] = [null, []];
    for (let at = 501; at < 581; at += 1) {
      state = after(state, happening(roll, state, at));
      const next = build(state, TALK, UTC, built);
      const stood = new Map(chunks.map((chunk) => [chunk, [...chunk.items]]));
      if (next !== built) chunks = chunksOf(next.items, chunks, next.same, next.same_end);
      built = next;
      assert.deepEqual(built.items, threadItems(state, TALK, UTC), `seed ${seed}, step ${at}`);
      assert.deepEqual(chunks.flatMap(({ items }) => items), built.items, `seed ${seed}, step ${at}: pieces`);
      for (const chunk of chunks) {
        if (stood.has(chunk)) assert.deepEqual(chunk.items, stood.get(chunk), 'a piece that is used again is as it was');
        assert.deepEqual(chunksOf(chunk.items), [{ ...chunk, part: '', place: 0 }], 'what is told of a piece is what is in it');
      }
      const parts = partsOf(chunks);
      assert.deepEqual(parts.flatMap((part) => part.chunks), chunks);
      assert.equal(new Set(parts.map(({ key }) => key)).size, parts.length, 'a part is in one piece');
      for (const part of parts) {
        assert.ok(part.key === '' || part.chunks.length < 20, 'and stays small');
      }
      assert.equal(new Set(chunks.map(({ key }) => key)).size, chunks.length);
    }
  }
});

test('a new message in ten thousand makes one item and one piece anew, and looks at no other', () => {
  const state = opened(lines(0, LONG));
  const built = build(state, TALK, UTC);
  const chunks = chunksOf(built.items);
  assert.ok(chunks.length > LONG / 40, 'there are many pieces');
  const next = build(after(state, frame('message', { message: line(LONG) })), TALK, UTC, built);
  const pieces = chunksOf(next.items, chunks, next.same);
  const held = new Set(built.items);
  assert.ok(next.items.filter((item) => !held.has(item)).length <= 3, 'itself and its day, and the one before it, which is not the last of its group now');
  assert.ok(next.items.length - next.same <= 4);
  assert.ok(pieces.filter((piece, at) => piece !== chunks[at]).length <= 2);
});

test('an older page on top of ten thousand leaves every piece below it as it is, wherever the pages meet', () => {
  let state = opened(lines(500, LONG));
  let built = build(state, TALK, UTC);
  let chunks = chunksOf(built.items);
  // Pages of many sizes: the seam falls into a group, between two days, at the end of a piece.
  for (const [from, to] of [[450, 500], [449, 450], [433, 449], [400, 433], [0, 400]]) {
    const page = { messages: lines(from, to), has_more: from > 0, next_cursor: from > 0 ? 'c' : null };
    state = after(state, { type: 'page', id: TALK, which: 'older', asked_after: '', page });
    const next = build(state, TALK, UTC, built);
    const pieces = chunksOf(next.items, chunks, next.same, next.same_end);
    assert.deepEqual(next.items, threadItems(state, TALK, UTC));
    assert.deepEqual(pieces.flatMap(({ items }) => items), next.items);
    const held = new Set(chunks);
    assert.equal(pieces.filter((piece) => held.has(piece)).length, chunks.length - 1, 'all but the one at the seam');
    assert.ok(pieces.some(({ key }) => key === chunks[0].key), 'and that one keeps its name, so nobody loses their place in it');
    assert.ok(pieces.every(({ ids }) => ids.size <= MOST));
    [built, chunks] = [next, pieces];
  }
});

test('the clock, typing, presence and other talks build nothing at all', () => {
  const state = opened(lines(0, 50));
  const built = build(state, TALK, UTC);
  const later = after(
    state,
    { type: 'tick', now_ms: state.now_ms + 60_000 },
    frame('typing', { conversation_id: TALK, user_id: BEN }),
    frame('presence', { user_id: BEN, online: true }),
    said(9, { conversation_id: 'another' }),
  );
  assert.equal(build(later, TALK, UTC, built).items, built.items);
  assert.notEqual(build(later, TALK, { timeZone: 'Asia/Tokyo' }, built).items, built.items);
});
