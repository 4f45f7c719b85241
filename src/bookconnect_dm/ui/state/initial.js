/**
 * In charge of: the state before anything is known.
 * Knows about: the shapes. Does not know about: how they change.
 */

/** @returns {import('./types.js').State} */
export function initialState(now_ms = 0) {
  return {
    me: null,
    link: 'connecting',
    epoch: null,
    positions: {},
    conversations: {},
    stale_rows: {},
    inbox_loaded: false,
    inbox_problem: null,
    threads: {},
    removed: {},
    hiding: {},
    undo: null,
    outbox: [],
    open_id: null,
    divider_at: null,
    visible: true,
    online: {},
    typing: {},
    now_ms,
  };
}

/** @returns {import('./types.js').Thread} */
export const emptyThread = () => ({
  messages: [], loaded: false, loading: null, older_cursor: null, from: '', stale: false, problem: null,
});
