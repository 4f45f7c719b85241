/**
 * In charge of: finding web addresses in a message.
 * Knows about: which addresses are safe to make clickable.
 * Does not know about: the page; it answers with plain parts, never with markup.
 */

/** @typedef {{text: string, href?: string}} Part */

// No blanks, no markup or quotes, and no invisible direction marks, which could disguise where a link goes.
const ADDRESS = /https?:\/\/[^\s<>"'`\u200e\u200f\u202a-\u202e\u2066-\u2069]+/giu;
const CLOSERS = { ')': '(', ']': '[', '}': '{' };

/** @param {string} text @param {string} character */
const count = (text, character) => text.split(character).length - 1;

/**
 * The address without the punctuation of the sentence around it.
 * @param {string} found
 */
function withoutPunctuation(found) {
  let address = found;
  for (;;) {
    const last = address.at(-1) ?? '';
    const opener = /** @type {Record<string, string>} */ (CLOSERS)[last];
    const unbalanced = opener !== undefined && count(address, last) > count(address, opener);
    if (!unbalanced && !/[.,;:!?…*_~]/u.test(last)) return address;
    address = address.slice(0, -1);
  }
}

/** @param {string} address */
function isSafe(address) {
  try {
    const url = new URL(address);
    const web = url.protocol === 'https:' || url.protocol === 'http:';
    // "https://bank.example@evil.example" reads as one place and goes to another.
    return web && url.username === '' && url.password === '' && url.hostname !== '';
  } catch {
    return false;
  }
}

/**
 * The message cut into plain text and links, in order; joined together they are the message.
 * @param {string} content
 * @returns {Part[]}
 */
export function linkify(content) {
  /** @type {Part[]} */
  const parts = [];
  let done = 0;
  for (const match of content.matchAll(ADDRESS)) {
    const address = withoutPunctuation(match[0]);
    if (!isSafe(address)) continue;
    if (match.index > done) parts.push({ text: content.slice(done, match.index) });
    parts.push({ text: address, href: address });
    done = match.index + address.length;
  }
  if (done < content.length) parts.push({ text: content.slice(done) });
  return parts;
}
