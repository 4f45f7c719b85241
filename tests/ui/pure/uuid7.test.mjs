/** Ids that this page makes. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { uuid7 } from '../../../src/bookconnect_dm/ui/state/uuid7.js';

test('an id is a UUIDv7 with the time in front', () => {
  const id = uuid7(0x0123456789ab, (bytes) => bytes.fill(0xff));
  assert.equal(id, '01234567-89ab-7fff-bfff-ffffffffffff');
});

test('ids made later sort later, and none is made twice', () => {
  const ids = Array.from({ length: 1000 }, (_, at) => uuid7(1_700_000_000_000 + at));
  assert.deepEqual([...ids].sort(), ids);
  assert.equal(new Set(Array.from({ length: 10_000 }, () => uuid7(1))).size, 10_000);
});
