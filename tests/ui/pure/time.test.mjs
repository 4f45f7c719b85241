/** Every time that a member reads, at fixed moments, locales and places. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { clock, dayLabel, dayOf, expiryDate, shortTime, timeLeft, toWire } from '../../../src/bookconnect_dm/ui/text/time.js';

const NOW_MS = Date.parse('2026-11-22T15:00:00Z');
const LONDON = { locale: 'en-GB', timeZone: 'Europe/London' };

test('a moment in wire form compares with wire times as a string', () => {
  assert.equal(toWire(NOW_MS), '2026-11-22T15:00:00.000000Z');
  assert.ok(toWire(NOW_MS) < '2026-11-22T15:00:00.000001Z');
});

test('the inbox says now, minutes, hours, yesterday, the weekday, the date', () => {
  const said = (at) => shortTime(at, NOW_MS, LONDON);
  assert.equal(said('2026-11-22T14:59:30.000000Z'), 'now');
  assert.equal(said('2026-11-22T15:00:30.000000Z'), 'now', 'a server whose clock is ahead');
  assert.match(said('2026-11-22T14:35:00.000000Z'), /^25 min/u);
  assert.match(said('2026-11-22T09:30:00.000000Z'), /^5 h/u);
  assert.equal(said('2026-11-21T23:59:59.000000Z'), 'Yesterday');
  assert.equal(said('2026-11-17T10:00:00.000000Z'), 'Tuesday');
  assert.equal(said('2026-11-02T10:00:00.000000Z'), '2 Nov');
  assert.equal(said('2025-11-02T10:00:00.000000Z'), '2 Nov 2025');
});

test('a day is the day at the place of the member', () => {
  assert.equal(dayOf('2026-11-22T23:30:00.000000Z', LONDON), '2026-11-22');
  assert.equal(dayOf('2026-11-22T23:30:00.000000Z', { locale: 'ar', timeZone: 'Asia/Tokyo' }), '2026-11-23');
  assert.match(clock('2026-11-22T23:30:00.000000Z', { locale: 'de-DE', timeZone: 'Asia/Kathmandu' }), /^0?5:15$/u);
});

test('a thread says today, yesterday, then the weekday and the date', () => {
  assert.equal(dayLabel('2026-11-22T00:10:00.000000Z', NOW_MS, LONDON), 'Today');
  assert.equal(dayLabel('2026-11-21T12:00:00.000000Z', NOW_MS, LONDON), 'Yesterday');
  assert.match(dayLabel('2026-11-18T12:00:00.000000Z', NOW_MS, LONDON), /^Wednesday,? 18 November$/u);
  assert.match(dayLabel('2025-11-18T12:00:00.000000Z', NOW_MS, LONDON), /2025$/u);
});

test('what is left is said from three days before on, never as zero', () => {
  assert.equal(timeLeft('2026-11-26T15:00:00.000000Z', NOW_MS, LONDON), null);
  assert.equal(timeLeft('2026-11-25T14:00:00.000000Z', NOW_MS, LONDON), '2 days');
  assert.equal(timeLeft('2026-11-22T17:10:00.000000Z', NOW_MS, LONDON), '2 hours');
  assert.equal(timeLeft('2026-11-22T15:00:05.000000Z', NOW_MS, LONDON), '1 minute');
  assert.equal(expiryDate('2027-11-22T15:00:00.000000Z', NOW_MS, LONDON), '22 Nov 2027');
});
