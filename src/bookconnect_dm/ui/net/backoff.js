/**
 * In charge of: how long to wait before the next try.
 * Knows about: that a thousand pages lose one server at the same moment.
 * Does not know about: timers; the random source can be given.
 */

const FIRST_MS = 500;
const LONGEST_MS = 20_000;

/**
 * Full jitter below a limit that doubles; never quite zero.
 * @param {number} tries  failed tries in a row, from 0
 * @param {() => number} [random]
 */
export function backoff_ms(tries, random = Math.random) {
  const limit_ms = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(tries, 10));
  return Math.round(100 + random() * limit_ms);
}
