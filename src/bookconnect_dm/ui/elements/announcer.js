/**
 * In charge of: saying new messages to screen readers, and nothing else: no page that loads, nothing of mine, nothing twice.
 * Knows about: which messages were there when the thread was opened. Does not know about: markup.
 */

const KEPT = 3;

export class Announcer {
  /** @type {string | null} */
  #since = null;
  #thread_id = '';
  /** @type {import('../state/types.js').Message[] | null} */
  #messages = null;
  /** @type {{id: string, content: string}[]} */
  said = [];

  /**
   * Looks at the thread again; `said` holds the last few new messages.
   * @param {string} id @param {import('../state/types.js').Thread | undefined} thread @param {string} my_id
   */
  look(id, thread, my_id) {
    if (id !== this.#thread_id) {
      this.#thread_id = id;
      this.#since = null;
      this.#messages = null;
      this.said = [];
    }
    if (!thread?.loaded || thread.messages === this.#messages) return;
    this.#messages = thread.messages;
    const newest = thread.messages.at(-1)?.sent_at ?? '';
    if (this.#since === null) {
      this.#since = newest;
      return;
    }
    const since = this.#since;
    const begin = thread.messages.findLastIndex((message) => message.sent_at <= since) + 1;
    const fresh = thread.messages.slice(begin).filter((message) => message.sender_id !== my_id);
    if (newest > since) this.#since = newest;
    if (fresh.length > 0) this.said = [...this.said, ...fresh].slice(-KEPT);
    // What has been deleted or has expired is not kept here either.
    this.said = this.said.filter((said) => thread.messages.some((message) => message.id === said.id));
  }
}
