/**
 * In charge of: finding members while somebody types: one question at a time, the newest counts.
 * Knows about: Lit's controllers, the client. Does not know about: how hits are shown.
 */
import { toProblem } from '../net/problem.js';

const PAUSE_MS = 180;

export class MemberSearch {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {AbortController | null} */
  #asking = null;

  /** @param {import('../vendor/lit.js').LitElement & {clients: import('../client/clients.js').Clients | null}} host */
  constructor(host) {
    this.host = host;
    this.text = '';
    /** @type {import('../client/clients.js').Found[] | null} */
    this.members = null;
    /** @type {import('../state/types.js').Problem | null} */
    this.problem = null;
    this.busy = false;
    host.addController(this);
  }

  hostDisconnected() {
    this.#cancel();
  }

  /** @param {string} text @param {number} [pause_ms] */
  look(text, pause_ms = PAUSE_MS) {
    this.text = text;
    this.#cancel();
    this.busy = true;
    this.#timer = setTimeout(() => void this.#ask(text), pause_ms);
    this.host.requestUpdate();
  }

  forget() {
    this.#cancel();
    this.text = '';
    this.members = null;
    this.problem = null;
    this.host.requestUpdate();
  }

  /** @param {string} text */
  async #ask(text) {
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const members = await this.host.clients?.members(text.trim(), asking.signal);
      if (asking.signal.aborted) return;
      this.members = members ?? [];
      this.problem = null;
    } catch (error) {
      if (asking.signal.aborted) return;
      this.problem = toProblem(error);
    }
    this.busy = false;
    this.host.requestUpdate();
  }

  #cancel() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    this.#asking = null;
    this.busy = false;
  }
}
