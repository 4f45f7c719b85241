/**
 * In charge of: ids for messages that this page sends; the id is what makes a repeated send harmless.
 * Knows about: RFC 9562, version 7.
 * Does not know about: the clock or the random source; both can be given.
 */

/** @param {number} byte */
const hex = (byte) => byte.toString(16).padStart(2, '0');

/**
 * A UUIDv7, lower case.
 * @param {number} [now_ms] @param {(bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>} [fill]
 */
export function uuid7(now_ms = Date.now(), fill = (bytes) => crypto.getRandomValues(bytes)) {
  const bytes = fill(new Uint8Array(16));
  for (let at = 0; at < 6; at += 1) bytes[at] = Math.floor(now_ms / 2 ** (8 * (5 - at))) % 256;
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const text = Array.from(bytes, hex).join('');
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join('-');
}
