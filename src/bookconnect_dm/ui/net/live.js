/**
 * In charge of: one socket at a time: connecting, authenticating, catching up, staying alive, coming back.
 * Knows about: the order auth, ready, buffer, sync to the end, replay, live; the close codes.
 * Does not know about: what frames and answers mean; it hands them on.
 */
import { backoff_ms } from './backoff.js';
import { ApiError, networkError } from './problem.js';

const READY_TIMEOUT_MS = 15_000;
const QUIET_MS = 25_000;
const PONG_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 12_000;
const LONGEST_BUFFER = 5_000;
const RENEW_BEFORE_MS = 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Frames that must wait while the page is catching up. */
const BUFFERED = new Set(['message', 'message_deleted', 'read', 'conversation', 'conversation_removed', 'expiry', 'reload']);

/**
 * @typedef {object} Handlers
 * @property {(link: import('../state/types.js').Link, retry_in_ms?: number) => void} onLink
 * @property {(frame: any) => void} onFrame
 * @property {(ready: any) => void} onReady
 * @property {() => Promise<void>} catchUp  calls sync to the end
 * @property {(error: ApiError) => void} onError
 */

export class Live {
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {any[] | null} */
  #buffer = null;
  #running = false;
  #isLive = false;
  #again = false;
  #tries = 0;
  #refusals = 0;
  #refs = 0;
  /** @type {Map<string, {resolve: (ack: any) => void, reject: (error: ApiError) => void, timer: ReturnType<typeof setTimeout>}>} */
  #pending = new Map();
  /** @type {Record<string, ReturnType<typeof setTimeout> | undefined>} */
  #timers = {};

  /**
   * @param {string} url @param {import('./tokens.js').Tokens} tokens @param {Handlers} handlers
   * @param {{WebSocket?: typeof WebSocket, random?: () => number, isOnline?: () => boolean}} [given]
   */
  constructor(url, tokens, handlers, given = {}) {
    this.url = url;
    this.tokens = tokens;
    this.handlers = handlers;
    this.Socket = given.WebSocket ?? globalThis.WebSocket;
    this.random = given.random ?? Math.random;
    this.isOnline = given.isOnline ?? (() => globalThis.navigator?.onLine !== false);
  }

  get isLive() {
    return this.#isLive;
  }

  /** Connects, and keeps coming back until stop(). */
  start() {
    if (this.#running) return;
    this.#running = true;
    void this.#connect();
  }

  stop() {
    this.#running = false;
    this.#drop(1000);
  }

  /** The network is back, or the member asks: try now rather than later. */
  wake() {
    if (!this.#running) return;
    if (this.#socket) this.#checkPulse();
    else void this.#connect();
  }

  /** The network is gone for certain. */
  sleep() {
    if (!this.#running) return;
    this.#drop(1000);
    this.handlers.onLink('offline');
  }

  /** Sends a frame that has no answer; it is lost when there is no socket. @param {object} frame */
  tell(frame) {
    if (this.#isLive && this.#socket) this.#socket.send(JSON.stringify(frame));
  }

  /**
   * Sends a frame and answers with its ack.
   * @param {object} frame
   * @returns {Promise<any>}
   */
  request(frame) {
    const socket = this.#socket;
    if (!socket || socket.readyState !== this.Socket.OPEN) return Promise.reject(networkError('There is no connection.'));
    this.#refs += 1;
    const ref = String(this.#refs);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(ref, networkError('The server did not answer in time.')), REQUEST_TIMEOUT_MS);
      this.#pending.set(ref, { resolve, reject, timer });
      socket.send(JSON.stringify({ ...frame, ref }));
    });
  }

  async #connect() {
    this.#clear('retry');
    if (!this.isOnline()) return this.handlers.onLink('offline');
    // Coming back is one wait to the member, however many tries it takes.
    this.handlers.onLink(this.#tries === 0 ? 'connecting' : 'waiting');
    let token;
    try {
      token = await this.tokens.get();
    } catch (error) {
      return error instanceof ApiError && error.code === 'NETWORK' ? this.#comeBack(1006) : this.#signedOut(error);
    }
    if (!this.#running || this.#socket) return undefined;
    const socket = new this.Socket(this.url);
    this.#socket = socket;
    this.#timer('ready', READY_TIMEOUT_MS, () => this.#lost(socket, 1006));
    socket.onopen = () => socket.send(JSON.stringify({ type: 'auth', v: 1, token }));
    socket.onmessage = (event) => this.#received(socket, event.data);
    socket.onclose = (event) => this.#lost(socket, event.code, token);
    return undefined;
  }

  /** @param {WebSocket} socket @param {unknown} data */
  #received(socket, data) {
    if (socket !== this.#socket || typeof data !== 'string') return;
    this.#heard(socket);
    const frame = parse(data);
    if (frame === null) return;
    if (frame.type === 'ready') this.#ready(socket, frame);
    else if (frame.type === 'ack') this.#acked(frame);
    else if (frame.type === 'error') this.#errored(frame);
    else if (frame.type === 'resync') void this.#catchUp(socket);
    else if (this.#buffer && BUFFERED.has(frame.type)) this.#hold(frame);
    else this.handlers.onFrame(frame);
  }

  /** @param {WebSocket} socket @param {any} frame */
  #ready(socket, frame) {
    this.#clear('ready');
    this.#refusals = 0;
    this.#renewAt(frame.token_expires_at);
    this.handlers.onReady(frame);
    void this.#catchUp(socket);
  }

  /** @param {any} frame */
  #acked(frame) {
    if (frame.token_expires_at) this.#renewAt(frame.token_expires_at);
    this.#settle(frame.ref, null, frame);
  }

  /** @param {any} frame */
  #errored(frame) {
    const { code, detail, field } = frame;
    const error = new ApiError({ code, detail, field, retry_after_s: frame.retry_after ?? 0 });
    if (frame.ref && this.#pending.has(frame.ref)) this.#settle(frame.ref, error);
    else this.handlers.onError(error);
  }

  /** @param {string} ref @param {ApiError | null} error @param {any} [ack] */
  #settle(ref, error, ack) {
    const waiting = this.#pending.get(ref);
    if (!waiting) return;
    this.#pending.delete(ref);
    clearTimeout(waiting.timer);
    if (error) waiting.reject(error);
    else waiting.resolve(ack);
  }

  /** @param {any} frame */
  #hold(frame) {
    this.#buffer?.push(frame);
    // So far behind that what is held is worth less than asking again.
    if (this.#buffer && this.#buffer.length > LONGEST_BUFFER) {
      this.#buffer = [];
      this.#again = true;
    }
  }

  /** Frames wait, sync runs to its end, then the frames go on: the state drops those that sync has already told. @param {WebSocket} socket */
  async #catchUp(socket) {
    if (this.#buffer) {
      this.#again = true;
      return;
    }
    this.#buffer = [];
    this.#isLive = false;
    this.handlers.onLink('syncing');
    try {
      do {
        this.#again = false;
        await this.handlers.catchUp();
      } while (this.#again && socket === this.#socket);
    } catch (error) {
      if (socket === this.#socket) this.#syncFailed(socket, error);
      return;
    }
    if (socket === this.#socket) this.#goLive(socket);
  }

  /** @param {WebSocket} socket */
  #goLive(socket) {
    const held = this.#buffer ?? [];
    this.#buffer = null;
    this.#isLive = true;
    for (const frame of held) this.handlers.onFrame(frame);
    this.handlers.onLink('live');
    this.#heard(socket);
  }

  /** @param {WebSocket} socket @param {unknown} error */
  #syncFailed(socket, error) {
    if (error instanceof ApiError && error.code === 'UNAUTHENTICATED') {
      this.#drop(1000);
      this.#signedOut(error);
    } else {
      this.#lost(socket, 1006);
    }
  }

  /** @param {WebSocket} socket @param {number} code @param {string} [token] */
  #lost(socket, code, token) {
    if (socket !== this.#socket) return;
    const wasLive = this.#isLive;
    this.#drop(1000);
    if (!this.#running) return;
    if (code === 4401 && token) this.tokens.refuse(token);
    if (code === 4401) this.#refusals += 1;
    if (this.#refusals >= 2) {
      this.#signedOut(new ApiError({ code: 'UNAUTHENTICATED', detail: 'The sign-in has ended.', status: 401 }));
      return;
    }
    if (wasLive) this.#tries = 0;
    this.#comeBack(code);
  }

  /** @param {number} code */
  #comeBack(code) {
    // Told to slow down: the first wait is already a long one.
    const tries = code === 4429 ? Math.max(4, this.#tries) : this.#tries;
    const wait_ms = code === 4401 ? 0 : backoff_ms(tries, this.random);
    this.#tries += 1;
    this.handlers.onLink(this.isOnline() ? 'waiting' : 'offline', wait_ms);
    this.#timer('retry', wait_ms, () => void this.#connect());
  }

  /** @param {unknown} error */
  #signedOut(error) {
    this.#refusals = 0;
    this.handlers.onLink('signed_out');
    this.handlers.onError(error instanceof ApiError ? error : networkError(String(error)));
  }

  /** Lets go of the socket; what waits for an answer learns that none will come. @param {number} code */
  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    this.#isLive = false;
    this.#buffer = null;
    this.#again = false;
    for (const name of Object.keys(this.#timers)) this.#clear(name);
    for (const ref of [...this.#pending.keys()]) this.#settle(ref, networkError('The connection was lost.'));
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  /** Anything heard proves that the line is alive; after a quiet while we ask. @param {WebSocket} socket */
  #heard(socket) {
    this.#clear('pong');
    this.#timer('quiet', QUIET_MS, () => this.#checkPulse(socket));
  }

  #checkPulse(socket = this.#socket) {
    if (!socket || socket !== this.#socket || socket.readyState !== this.Socket.OPEN) return;
    socket.send('{"type":"ping"}');
    this.#timer('pong', PONG_TIMEOUT_MS, () => this.#lost(socket, 1006));
  }

  /** @param {string | undefined} token_expires_at */
  #renewAt(token_expires_at) {
    if (!token_expires_at) return;
    const left_ms = Date.parse(token_expires_at) - Date.now();
    const wait_ms = Math.max(1_000, left_ms - Math.min(RENEW_BEFORE_MS, left_ms / 5));
    this.#timer('renew', Math.min(wait_ms, LONGEST_TIMER_MS), () => void this.#renew());
  }

  async #renew() {
    const socket = this.#socket;
    try {
      const token = await this.tokens.renew();
      if (socket && socket === this.#socket) await this.request({ type: 'auth', v: 1, token });
    } catch (error) {
      // The old token may still live for a while; its end closes the socket with 4401, and then it is asked for again.
      this.handlers.onError(error instanceof ApiError ? error : networkError(String(error)));
    }
  }

  /** @param {string} name @param {number} wait_ms @param {() => void} then */
  #timer(name, wait_ms, then) {
    this.#clear(name);
    this.#timers[name] = setTimeout(then, wait_ms);
  }

  /** @param {string} name */
  #clear(name) {
    clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }
}

/** @param {string} data */
function parse(data) {
  try {
    const frame = JSON.parse(data);
    return frame && typeof frame.type === 'string' ? frame : null;
  } catch {
    return null;
  }
}
