/**
 * In charge of: the REST calls of the contract, one method each.
 * Knows about: paths, tokens, problem+json, time limits.
 * Does not know about: state, the socket, retries (but for one with a new token).
 */
import { ApiError, networkError } from './problem.js';

const TIMEOUT_MS = 15_000;

/** @param {Response} response */
async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  const retry_after_s = Number(response.headers.get('Retry-After') ?? 0) || 0;
  const byStatus = response.status >= 500 ? 'UNAVAILABLE' : 'INTERNAL';
  return new ApiError({
    code: typeof body.code === 'string' ? body.code : byStatus,
    detail: typeof body.detail === 'string' ? body.detail : `The server answered ${response.status}.`,
    field: body.field ?? null,
    status: response.status,
    retry_after_s,
  });
}

/** @param {Record<string, string | number | null | undefined>} values */
function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : '';
}

export class Api {
  /** @param {string} base @param {import('./tokens.js').Tokens} tokens @param {typeof fetch} [fetcher] */
  constructor(base, tokens, fetcher = (...given) => fetch(...given)) {
    this.base = base.replace(/\/+$/u, '');
    this.tokens = tokens;
    this.fetcher = fetcher;
  }

  me() {
    return this.call('GET', '/v1/me');
  }

  /** @param {string | null} [cursor] */
  conversations(cursor = null) {
    return this.call('GET', `/v1/conversations${query({ limit: 30, cursor })}`);
  }

  /** @param {string} id */
  conversation(id) {
    return this.call('GET', `/v1/conversations/${id}`);
  }

  /** @param {string} recipient_id */
  start(recipient_id) {
    return this.call('POST', '/v1/conversations', { recipient_id });
  }

  /** @param {string} id @param {string | null} [before] @param {number} [limit] */
  messages(id, before = null, limit = 50) {
    return this.call('GET', `/v1/conversations/${id}/messages${query({ limit, before })}`);
  }

  /** @param {string} conversation_id @param {string} id @param {string} content */
  send(conversation_id, id, content) {
    return this.call('POST', `/v1/conversations/${conversation_id}/messages`, { id, content });
  }

  /** @param {string} id @param {string} up_to */
  read(id, up_to) {
    return this.call('POST', `/v1/conversations/${id}/read`, { up_to });
  }

  /** @param {string | null} epoch @param {Record<string, string>} positions @param {string | null} cursor */
  sync(epoch, positions, cursor) {
    return this.call('POST', '/v1/sync', cursor === null ? { epoch, positions } : { epoch, positions, cursor });
  }

  /** @param {string} id @param {boolean} [leaving]  the page goes away: the call outlives it */
  remove(id, leaving = false) {
    return this.call('DELETE', `/v1/messages/${id}`, undefined, undefined, leaving);
  }

  /** @param {string} text @param {AbortSignal} [signal] */
  members(text, signal) {
    return this.call('GET', `/v1/members${query({ query: text, limit: 30 })}`, undefined, signal);
  }

  /**
   * One call; a refused token is renewed once.
   * @param {string} method @param {string} path @param {unknown} [body] @param {AbortSignal} [signal] @param {boolean} [keepalive]
   * @returns {Promise<any>}
   */
  async call(method, path, body, signal, keepalive = false) {
    const token = await this.tokens.get();
    const response = await this.#fetch(method, path, body, token, { signal, keepalive });
    if (response.status !== 401) return this.#answer(response);
    this.tokens.refuse(token);
    return this.#answer(await this.#fetch(method, path, body, await this.tokens.get(), { signal, keepalive }));
  }

  /** @param {string} method @param {string} path @param {unknown} body @param {string} token @param {{signal?: AbortSignal, keepalive: boolean}} given */
  async #fetch(method, path, body, token, { signal, keepalive }) {
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    try {
      return await this.fetcher(this.base + path, {
        method,
        headers: { Authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
        credentials: 'omit',
        cache: 'no-store',
        keepalive,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw networkError('The server could not be reached.');
    }
  }

  /** @param {Response} response */
  async #answer(response) {
    if (!response.ok) throw await problemOf(response);
    if (response.status === 204) return null;
    return response.json().catch(() => {
      throw networkError('The answer broke off.');
    });
  }
}
