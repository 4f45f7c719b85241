/**
 * In charge of: what the member has written and the server has not confirmed.
 * Knows about: one send at a time per conversation, so that order holds; waiting before another try; giving up.
 * Does not know about: how a message travels.
 */

/** @typedef {import('./types.js').Outgoing} Outgoing */
/** @typedef {import('./types.js').Problem} Problem */

/** Problems that pass by themselves. NETWORK is ours: no answer at all. */
export const PASSING = new Set(['NETWORK', 'UNAVAILABLE', 'RATE_LIMIT_EXCEEDED', 'INTERNAL', 'UNAUTHENTICATED']);
const GIVE_UP_AFTER = 8;
const LONGEST_WAIT_MS = 15_000;

/**
 * @param {string} id @param {string} conversation_id @param {string} content @param {string} written_at
 * @returns {Outgoing}
 */
export const outgoing = (id, conversation_id, content, written_at) => ({
  id, conversation_id, content, written_at, state: 'waiting', attempts: 0, again_at_ms: 0, problem: null,
});

/**
 * @param {Outgoing[]} outbox @param {string} id @param {Partial<Outgoing>} changes
 */
export const changed = (outbox, id, changes) => outbox.map((item) => (item.id === id ? { ...item, ...changes } : item));

/**
 * The messages to send now: in each conversation the first that is not settled, unless it is on its way or has to wait.
 * @param {Outgoing[]} outbox @param {number} now_ms
 */
export function sendable(outbox, now_ms) {
  const seen = new Set();
  return outbox.filter((item) => {
    if (item.state === 'failed' || seen.has(item.conversation_id)) return false;
    seen.add(item.conversation_id);
    return item.state === 'waiting' && item.again_at_ms <= now_ms;
  });
}

/**
 * What a failed try means: another one later, or the member's decision. Without a network it waits for as long as it takes.
 * @param {Outgoing} item @param {Problem} problem @param {number} now_ms
 * @returns {Partial<Outgoing>}
 */
export function afterFailure(item, problem, now_ms) {
  const counted = problem.code !== 'NETWORK';
  const attempts = item.attempts + Number(counted);
  if (!PASSING.has(problem.code) || attempts >= GIVE_UP_AFTER) return { state: 'failed', attempts, problem };
  const wait_ms = problem.retry_after_s ? problem.retry_after_s * 1000 : Math.min(LONGEST_WAIT_MS, 500 * 2 ** attempts);
  return { state: 'waiting', attempts, problem, again_at_ms: now_ms + wait_ms };
}

/**
 * What a stored outbox is worth after a reload: nothing is on its way any more.
 * @param {unknown} stored
 * @returns {Outgoing[]}
 */
export function revived(stored) {
  if (!Array.isArray(stored)) return [];
  return stored
    .filter((item) => typeof item?.id === 'string' && typeof item.conversation_id === 'string' && typeof item.content === 'string')
    .map((item) => ({
      ...outgoing(item.id, item.conversation_id, item.content, String(item.written_at ?? '')),
      ...(item.state === 'failed' ? { state: /** @type {const} */ ('failed'), problem: item.problem ?? null } : {}),
    }));
}
