/**
 * In charge of: one member's connection to one server: it wires state, REST, socket and storage together and offers what a page can ask for.
 * Knows about: all of these parts. Does not know about: elements, markup, words.
 */
import { Api } from '../net/api.js';
import { Live } from '../net/live.js';
import { toProblem } from '../net/problem.js';
import { Tokens } from '../net/tokens.js';
import { outgoing } from '../state/outbox.js';
import { Store } from '../state/store.js';
import { uuid7 } from '../state/uuid7.js';
import { toWire } from '../text/time.js';
import { toContent } from '../text/trim.js';
import { Bin } from './bin.js';
import { catchUp } from './catch-up.js';
import { Keeper } from './keeper.js';
import { Loader } from './loader.js';
import { Postman } from './postman.js';
import { Reader } from './reader.js';
import { Ticker } from './ticker.js';

const TYPING_EVERY_MS = 3_000;
const ME_AGAIN_MS = 1_000;
const KEPT_OPEN = 300;
const KEPT_CLOSED = 50;

/** @typedef {{getToken: () => Promise<string> | string, onError?: (problem: import('../state/types.js').Problem) => void, onNotDeleted?: (problem: import('../state/types.js').Problem) => void, onArrival?: (message: import('../state/types.js').Message) => void}} Host */

export class Client {
  /** @type {Keeper | null} */
  #keeper = null;
  #typed_ms = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #again;
  #stops = /** @type {(() => void)[]} */ ([]);

  /** @param {string} server  base URL @param {Host} host */
  constructor(server, host) {
    this.server = server.replace(/\/+$/u, '');
    this.host = host;
    this.store = new Store();
    this.tokens = new Tokens(() => host.getToken());
    this.api = new Api(this.server, this.tokens);
    this.live = new Live(`${this.server.replace(/^http/u, 'ws')}/v1/realtime`, this.tokens, {
      onLink: (link) => this.store.dispatch({ type: 'link', link }),
      onFrame: (frame) => this.#framed(frame),
      onReady: (ready) => this.#readied(ready),
      catchUp: () => this.#catchUp(),
      onError: (error) => host.onError?.(error.problem),
    });
    this.postman = new Postman(this.store, this.api, this.live);
    this.loader = new Loader(this.store, this.api);
    this.reader = new Reader(this.store, this.api, this.live);
    this.bin = new Bin(this.store, this.api, this.live, (problem) => host.onNotDeleted?.(problem));
    this.ticker = new Ticker(this.store);
  }

  get state() {
    return this.store.state;
  }

  /** Begins to load and listen; stop() ends it. */
  start() {
    this.#stops.push(this.store.subscribe(() => this.#changed()));
    this.#listen(globalThis, 'online', () => this.live.wake());
    this.#listen(globalThis, 'offline', () => this.live.sleep());
    this.#listen(globalThis, 'pagehide', () => this.bin.empty());
    this.#listen(document, 'visibilitychange', () => this.#looked());
    this.#looked();
    this.ticker.start();
    this.live.start();
    void this.#firstLook();
  }

  stop() {
    clearTimeout(this.#again);
    for (const stop of this.#stops.splice(0)) stop();
    for (const part of [this.live, this.postman, this.loader, this.reader, this.bin, this.ticker]) part.stop();
  }

  /** Ends it, and takes what this browser keeps for the member with it. */
  forget() {
    this.stop();
    (this.#keeper ?? new Keeper(this.server, storage())).forget();
  }

  /** The member asks to try again now. */
  retry() {
    if (!this.state.inbox_loaded) void this.#firstLook();
    this.live.wake();
  }

  /** @param {string} id */
  open(id) {
    if (this.state.open_id && this.state.open_id !== id) this.leave();
    this.store.dispatch({ type: 'open', id });
    if (!this.state.conversations[id] && this.state.inbox_loaded) this.store.dispatch({ type: 'row_failed', id });
  }

  leave() {
    const { open_id } = this.state;
    if (open_id) this.trim(open_id, KEPT_CLOSED);
    this.reader.looksAt(null);
    this.store.dispatch({ type: 'leave' });
  }

  /** The reader is at the end: what is far above can be loaded again. @param {string} id @param {number} [keep] */
  trim(id, keep = KEPT_OPEN) {
    const held = this.state.threads[id]?.messages.length ?? 0;
    if (held > 2 * keep) this.store.dispatch({ type: 'trim', id, keep });
  }

  /** A page of a thread. Where even the inbox could not be loaded, that is tried again with it. @param {string} id @param {'newest' | 'older'} which */
  load(id, which) {
    if (which === 'newest' && !this.state.inbox_loaded) this.retry();
    return this.loader.load(id, which);
  }

  /**
   * Promises to send; false when there is nothing in the text.
   * @param {string} conversation_id @param {string} typed
   */
  send(conversation_id, typed) {
    const content = toContent(typed);
    if (content === '') return false;
    const now_ms = Date.now();
    this.#typed_ms = 0;
    this.store.dispatch({ type: 'queued', item: outgoing(uuid7(now_ms), conversation_id, content, toWire(now_ms)) });
    return true;
  }

  /** @param {string} id */
  resend(id) {
    this.store.dispatch({ type: 'retried', id });
  }

  /** @param {string} id */
  discard(id) {
    this.store.dispatch({ type: 'discarded', id });
  }

  /** Deletes a message of mine for both; for a moment it can be undone. @param {string} conversation_id @param {string} id */
  remove(conversation_id, id) {
    this.bin.put(conversation_id, id);
  }

  /** @param {string} conversation_id */
  typing(conversation_id) {
    const now_ms = Date.now();
    if (now_ms - this.#typed_ms < TYPING_EVERY_MS) return;
    this.#typed_ms = now_ms;
    this.live.tell({ type: 'typing', conversation_id });
  }

  /** @param {string} conversation_id */
  draft(conversation_id) {
    return this.#keeper?.draft(conversation_id) ?? '';
  }

  /** @param {string} conversation_id @param {string} text */
  keepDraft(conversation_id, text) {
    this.#keeper?.keepDraft(conversation_id, text);
  }

  /** People to write to. @param {string} text @param {AbortSignal} [signal] @returns {Promise<import('../state/types.js').Member[]>} */
  async members(text, signal) {
    return (await this.api.members(text, signal)).members;
  }

  /** The conversation with a member, made if there is none. @param {string} user_id @returns {Promise<string>} */
  async conversationWith(user_id) {
    const known = Object.values(this.state.conversations).find((row) => row.other_participant?.id === user_id);
    if (known) return known.id;
    const { conversation_id } = await this.api.start(user_id);
    if (!this.state.conversations[conversation_id]) {
      this.store.dispatch({ type: 'row', row: await this.api.conversation(conversation_id) });
    }
    return conversation_id;
  }

  /** Me and the first rows, so that there is something to see before the socket has caught up. */
  async #firstLook() {
    try {
      this.#met(await this.api.me());
      const { conversations } = await this.api.conversations();
      this.store.dispatch({ type: 'rows', rows: conversations });
    } catch (error) {
      this.store.dispatch({ type: 'inbox_failed', problem: toProblem(error) });
    }
  }

  /** @param {import('../state/types.js').Me} me */
  #met(me) {
    const known = this.state.me;
    if (known && known.id !== me.id) this.store.dispatch({ type: 'another_member' });
    this.store.dispatch({ type: 'me', me });
    if (known?.id === me.id && this.#keeper) return;
    this.#keeper = new Keeper(`${this.server}:${me.id}`, storage());
    this.store.dispatch({ type: 'outbox_revived', outbox: this.#keeper.outbox() });
    this.bin.remember(this.#keeper);
  }

  /** @param {{user_id: string}} ready */
  #readied(ready) {
    if (this.state.me && this.state.me.id !== ready.user_id) {
      this.#keeper = null;
      this.store.dispatch({ type: 'another_member' });
    }
  }

  async #catchUp() {
    if (!this.state.me) this.#met(await this.api.me());
    await catchUp(this.api, this.store);
  }

  /** @param {any} frame */
  #framed(frame) {
    const isNew = frame.type === 'message' && frame.message.sent_at > (this.state.positions[frame.message.conversation_id] ?? '');
    this.store.dispatch({ type: 'frame', frame });
    if (isNew && frame.message.sender_id !== this.state.me?.id) this.host.onArrival?.(frame.message);
    if (frame.type === 'expiry') this.#meAgain();
  }

  /** Expiry times change with somebody's tier, which may be mine; one look for many conversations. */
  #meAgain() {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => void this.api.me().then((me) => this.#met(me), () => {}), ME_AGAIN_MS);
  }

  #looked() {
    const visible = document.visibilityState === 'visible';
    this.store.dispatch({ type: 'visible', visible });
    if (visible) this.live.wake();
    if (visible && this.#stops.length > 0) this.ticker.start();
  }

  #changed() {
    this.#keeper?.keepOutbox(this.state.outbox);
    this.postman.pump();
    this.loader.pump();
    this.reader.pump();
    this.ticker.pump();
  }

  /** @param {EventTarget} target @param {string} name @param {() => void} then */
  #listen(target, name, then) {
    target.addEventListener(name, then);
    this.#stops.push(() => target.removeEventListener(name, then));
  }
}

/** Storage, or null where the browser forbids it. */
export function storage() {
  try {
    return globalThis.localStorage;
  } catch {
    return null;
  }
}
