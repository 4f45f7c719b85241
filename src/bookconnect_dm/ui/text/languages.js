/**
 * In charge of: which words a page gets: those of its language where there is a file for it, else the English ones.
 * Knows about: the language files. Does not know about: what is in them.
 */
import { en } from './en.js';

/** @typedef {typeof en} Words */

/** Fetched only where they are read. @type {Record<string, () => Promise<Words>>} */
const OTHERS = {
  ar: async () => (await import('./ar.js')).ar,
};

/**
 * The words for a language tag such as `ar-EG`.
 * @param {string | null | undefined} tag
 * @returns {Words | Promise<Words>}
 */
export function wordsFor(tag) {
  const language = (tag ?? 'en').toLowerCase().split('-')[0];
  return Object.hasOwn(OTHERS, language) ? OTHERS[language]().catch(() => en) : en;
}
