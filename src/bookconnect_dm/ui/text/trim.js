/**
 * In charge of: what counts as blank around a message, and how long a message is.
 * Knows about: the database's trimming list, which this one repeats character for character (a test compares them).
 * Does not know about: where the text comes from or goes to.
 */

/** Ranges of code points that are trimmed, first and last. */
export const TRIMMED = [
  [0x0009, 0x000d],
  [0x0020, 0x0020],
  [0x0085, 0x0085],
  [0x00a0, 0x00a0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];

export const MAX_CONTENT = 1000;

/** @param {number} unit */
const isTrimmed = (unit) => TRIMMED.some(([first, last]) => unit >= first && unit <= last);

/**
 * The text without the blanks around it. String.trim() has another list (it keeps U+0085).
 * @param {string} text
 */
export function trim(text) {
  let start = 0;
  let end = text.length;
  while (start < end && isTrimmed(text.charCodeAt(start))) start += 1;
  while (end > start && isTrimmed(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/**
 * Length in Unicode code points, as PostgreSQL counts it.
 * @param {string} text
 */
export function codePoints(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/**
 * What is sent for what was typed: trimmed, without the two things that no PostgreSQL text can hold (NUL and half a surrogate pair).
 * @param {string} typed
 */
export function toContent(typed) {
  return trim(typed.replaceAll('\0', '').replace(/\p{Surrogate}/gu, '\ufffd'));
}
