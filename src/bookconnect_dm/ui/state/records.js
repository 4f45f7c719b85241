/**
 * In charge of: changing a record without changing it: each answer is a new object, or the same one when nothing changed.
 * Knows about: plain objects. Does not know about: what is in them.
 */

/**
 * @template T
 * @param {Record<string, T>} record @param {string} key @param {T} value
 * @returns {Record<string, T>}
 */
export const put = (record, key, value) => (record[key] === value ? record : { ...record, [key]: value });

/**
 * @template T
 * @param {Record<string, T>} record @param {Iterable<string>} keys
 * @returns {Record<string, T>}
 */
export function drop(record, keys) {
  let left = record;
  for (const key of keys) {
    if (!(key in left)) continue;
    if (left === record) left = { ...record };
    delete left[key];
  }
  return left;
}

/**
 * @param {Record<string, true>} set @param {Iterable<string>} keys
 * @returns {Record<string, true>}
 */
export function mark(set, keys) {
  const marked = { ...set };
  for (const key of keys) marked[key] = true;
  return marked;
}

/**
 * The later of two wire times; they compare as strings. Either may be missing.
 * @param {string | null | undefined} one @param {string | null | undefined} other
 */
export const later = (one, other) => ((one ?? '') > (other ?? '') ? one ?? null : other ?? null);
