/**
 * In charge of: how a person without a picture looks: initials and a colour of their own.
 * Knows about: names in any script.
 * Does not know about: members, conversations, the page.
 */

export const HUES = 10;

/**
 * One or two letters for a name.
 * @param {string} name
 */
export function initials(name) {
  const words = name.split(/[\s._-]+/u).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const first = (/** @type {string} */ word) => word.match(/[\p{L}\p{N}]\p{M}*/u)?.[0].toLocaleUpperCase() ?? '';
  if (words.length === 0) return '?';
  if (words.length === 1) return first(words[0]);
  return first(words[0]) + first(words[words.length - 1]);
}

/**
 * One of HUES colours, always the same for one id.
 * @param {string} id
 */
export function hueOf(id) {
  let hash = 0;
  for (let at = 0; at < id.length; at += 1) hash = (hash * 31 + id.charCodeAt(at)) >>> 0;
  return hash % HUES;
}

const ONE = '(?:\\p{Regional_Indicator}{2}|[0-9#*]\\ufe0f\\u20e3|\\p{Extended_Pictographic}(?:\\ufe0f|\\p{Emoji_Modifier})?'
  + '(?:\\u200d\\p{Extended_Pictographic}(?:\\ufe0f|\\p{Emoji_Modifier})?)*)';
const EMOJI = new RegExp(`^(?:${ONE}){1,3}$`, 'u');

/**
 * True for a message of one to three emoji and nothing else: shown large.
 * @param {string} content
 */
export function isEmojiOnly(content) {
  return content.length <= 40 && EMOJI.test(content);
}
