/**
 * In charge of: asking POST /v1/sync until there is no more, and starting from nothing when the server says so.
 * Knows about: epoch, positions, cursor. Does not know about: the socket, when to ask.
 */

/**
 * The state has everything that was committed before the call. Throws what the API throws; what has been applied by then stays true.
 * @param {import('../net/api.js').Api} api @param {import('../state/store.js').Store} store
 */
export async function catchUp(api, store) {
  let { epoch, positions } = store.state;
  /** @type {string | null} */
  let cursor = null;
  for (;;) {
    const answer = /** @type {import('../state/sync.js').Answer} */ (await api.sync(epoch, positions, cursor));
    if (answer.reload && epoch !== null) {
      store.dispatch({ type: 'forget' });
      [epoch, positions, cursor] = [null, {}, null];
      continue;
    }
    store.dispatch({ type: 'sync', answer, asked: positions });
    cursor = answer.next_cursor;
    if (cursor === null) break;
  }
  store.dispatch({ type: 'synced' });
}
