/**
 * In charge of: one valid token at a time, asked from the host when there is none or a new one is needed.
 * Knows about: getToken. Does not know about: what is in a token.
 */
import { ApiError, networkError } from './problem.js';

const TIMEOUT_MS = 20_000;

/** @param {string} detail */
const signedOut = (detail) => new ApiError({ code: 'UNAUTHENTICATED', detail, status: 401 });

export class Tokens {
  /** @type {string | null} */
  #held = null;
  /** @type {Promise<string> | null} */
  #asking = null;

  /** @param {() => Promise<string> | string} getToken */
  constructor(getToken) {
    this.getToken = getToken;
  }

  /** The token to use now. @returns {Promise<string>} */
  get() {
    return this.#held ? Promise.resolve(this.#held) : this.renew();
  }

  /** A new token; callers at the same time share one question. @returns {Promise<string>} */
  renew() {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  /** Says that a token was refused; the next get() asks anew. @param {string} token */
  refuse(token) {
    if (this.#held === token) this.#held = null;
  }

  async #ask() {
    this.#held = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const timeout = new Promise((_, reject) => {
      timer = setTimeout(() => reject(signedOut('The page that shows this did not answer for a sign-in.')), TIMEOUT_MS);
    });
    try {
      const token = await Promise.race([Promise.resolve().then(() => this.getToken()), timeout]);
      if (typeof token !== 'string' || token === '') throw signedOut('Nobody is signed in.');
      this.#held = token;
      return token;
    } catch (error) {
      if (error instanceof ApiError) throw error;
      // fetch() fails with a TypeError when there is no network: that is no reason to sign anybody out.
      throw error instanceof TypeError ? networkError('The sign-in could not be reached.') : signedOut(String(error));
    } finally {
      clearTimeout(timer);
    }
  }
}
