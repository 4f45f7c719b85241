/**
 * In charge of: the three events that a host listens to.
 * Knows about: their names and details. Does not know about: who fires them.
 */

/** How many conversations have something unread: `detail.conversations`. @extends {CustomEvent<{conversations: number}>} */
export class UnreadEvent extends CustomEvent {
  /** @param {number} conversations */
  constructor(conversations) {
    super('bookconnect-unread', { bubbles: true, composed: true, detail: { conversations } });
  }
}

/**
 * A conversation has been opened: `detail.conversation_id`. From a button: `detail.username` asks for one to be opened.
 * @extends {CustomEvent<{conversation_id?: string, username?: string}>}
 */
export class OpenEvent extends CustomEvent {
  /** @param {{conversation_id?: string, username?: string}} detail */
  constructor(detail) {
    super('bookconnect-open', { bubbles: true, composed: true, cancelable: true, detail });
  }
}

/** Something that the host may want to know: `detail.code`, `detail.detail`. @extends {CustomEvent<import('../state/types.js').Problem>} */
export class ErrorEvent extends CustomEvent {
  /** @param {import('../state/types.js').Problem} problem */
  constructor(problem) {
    super('bookconnect-error', { bubbles: true, composed: true, detail: problem });
  }
}
