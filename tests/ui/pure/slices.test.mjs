// A page of older messages, shown slice by slice.
import assert from 'node:assert/strict';
import test from 'node:test';
import { MOST } from '../../../src/bookconnect_dm/ui/state/chunks.js';
import { slicesOf, withPage } from '../../../src/bookconnect_dm/ui/state/thread.js';

const message = (at) => ({ id: `m${at}`, sent_at: String(1000 + at), content: '', is_deleted: false });
const messages = (from, to) => Array.from({ length: to - from }, (_, at) => message(from + at));
const held = { messages: messages(50, 60), loaded: true, loading: 'older', older_cursor: 'c', from: '1050', stale: false, problem: null };

for (const size of [0, 1, MOST, MOST + 1, 49, 50]) {
  test(`a page of ${size} is whole when its slices have come, and each is a page that continues what is held`, () => {
    const page = { messages: messages(50 - size, 50), has_more: size === 50, next_cursor: size === 50 ? 'older' : null };
    const slices = slicesOf(page);
    let thread = held;
    for (const [at, slice] of slices.entries()) {
      assert.equal(Boolean(slice.goes_on), at < slices.length - 1);
      assert.ok(slice.messages.length <= MOST);
      thread = withPage(thread, slice, 'older', {}, '');
      assert.equal(thread.loading, slice.goes_on ? 'older' : null, 'nobody asks for the next page before this one is there');
      if (slice.goes_on) assert.equal(thread.older_cursor, thread.messages[0].sent_at, 'from here it could be asked for again');
    }
    assert.deepEqual(thread, withPage(held, page, 'older', {}, ''));
  });
}
