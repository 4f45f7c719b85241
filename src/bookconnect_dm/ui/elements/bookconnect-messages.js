/**
 * In charge of: the whole component: one client, the route, two panes, events for the host.
 * Knows about: the host's attributes and properties. Does not know about: rows, bubbles, frames.
 */
import { LitElement, css, html, nothing } from '../vendor/lit.js';
import { storage } from '../client/client.js';
import { Clients } from '../client/clients.js';
import { Notifier } from '../client/notifier.js';
import { toProblem } from '../net/problem.js';
import { en } from '../text/en.js';
import { wordsFor } from '../text/languages.js';
import { base } from '../styles/base.js';
import { tokens } from '../styles/tokens.js';
import { ErrorEvent, OpenEvent, UnreadEvent } from './events.js';
import { nameOf } from './go.js';
import { fromHash, isRoute, toHash } from './routes.js';
import { booksIcon } from './icons.js';

const SAID_MS = 6_000;
const NO_TOKEN = 'bookconnect-messages shows nothing yet: set its property getToken to a function that answers with a signed token.';

/**
 * The member's own kind of the page's language: dates in a page marked `en` look British to the British.
 * @param {string | null | undefined} lang
 */
function localeFor(lang) {
  if (!lang) return undefined;
  return navigator.languages.find((own) => own === lang || own.startsWith(`${lang}-`)) ?? lang;
}

/**
 * Direct messages of one member: inbox, thread, new message.
 *
 * @element bookconnect-messages
 * @attr {string} server  base URL of the server, or several with blanks between; this page's own origin when left out
 * @attr {string} route  '' (inbox), 'new' or a conversation's id
 * @attr {'none' | 'hash'} routing  'hash': the component keeps the route in the address; 'none' (default): the host may, by `route` and the event
 * @attr {'light' | 'dark'} theme  overrules the page's color-scheme
 * @attr {string} time-zone  such as `Europe/Lisbon`; the browser's own when left out
 * @attr {boolean} title-badge  puts the number of unread conversations before the document's title
 * @attr {boolean} notifications  offers the member a switch for the browser's notifications
 * @attr {string} lang  on this element or above it: the language of words and dates
 * @prop {(server: string) => Promise<string>} getToken  a signed token for the member
 * @fires bookconnect-unread
 * @fires bookconnect-open
 * @fires bookconnect-error
 * @fires bookconnect-route  `detail.route`, after the screen has changed
 */
export class BookconnectMessages extends LitElement {
  static properties = {
    server: {}, route: {}, routing: {}, theme: { reflect: true }, getToken: { attribute: false }, said: { state: true }, tick: { state: true },
    timeZone: { attribute: 'time-zone' }, titleBadge: { type: Boolean, attribute: 'title-badge' }, notifications: { type: Boolean },
  };

  static styles = [tokens, base, css`
    :host {
      position: relative;
      display: block;
      height: 100%;
      min-height: min(320px, 100dvh);
      overflow: hidden;
      background: var(--_paper);
      container-type: inline-size;
    }
    .panes {
      display: grid;
      grid-template: minmax(0, 1fr) / minmax(0, 1fr);
      height: 100%;
    }
    .panes > * {
      grid-area: 1 / 1;
      min-height: 0;
      min-width: 0;
    }
    .panes.inner .side,
    .panes.outer .main {
      display: none;
    }
    .nothing {
      display: grid;
      align-content: center;
      justify-items: center;
      gap: 16px;
      padding: 32px;
      color: var(--_soft);
      text-align: center;
    }
    .nothing svg {
      opacity: 0.5;
    }
    @container (min-width: 900px) {
      .panes {
        grid-template: minmax(0, 1fr) / 360px minmax(0, 1fr);
        --_back-display: none;
        --_thread-bar-start: 16px;
        --_thread-strip: none;
      }
      .panes > .side {
        display: flex !important;
        grid-area: 1 / 1;
        border-inline-end: 1px solid var(--_line);
      }
      .panes > .main {
        grid-area: 1 / 2;
      }
      .panes.outer .main {
        display: grid;
      }
      .panes ~ .toast {
        inset-inline-start: 376px;
      }
    }
    .toast {
      position: absolute;
      inset-inline: 16px;
      top: 72px;
      width: fit-content;
      max-width: 480px;
      margin-inline: auto;
      padding: 12px 20px;
      border-radius: var(--_card-radius);
      background: var(--_ink);
      color: var(--_paper);
      font-size: 15px;
      box-shadow: 0 4px 16px var(--_shadow);
      z-index: 2;
    }
    .toast:has(button) {
      display: flex;
      align-items: center;
      gap: 8px;
      padding-block: 2px;
      padding-inline-end: 8px;
    }
    .toast button {
      min-height: 44px;
      padding: 0 12px;
      border-radius: var(--_card-radius);
      font-weight: 650;
      text-decoration: underline;
      text-underline-offset: 3px;
    }
    .toast button:focus-visible {
      outline-color: currentColor;
      outline-offset: -4px;
    }
  `];

  /** @type {Clients | null} */
  #clients = null;
  #notifier = new Notifier(storage());
  #lang = new MutationObserver(() => void this.#speak());
  #unsubscribe = () => {};
  #unread = -1;
  #saying = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined);
  #waiting = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined);
  /** @type {import('./rows.js').Voice | null} */
  #voice = null;

  constructor() {
    super();
    this.server = '';
    this.route = '';
    this.routing = 'none';
    this.theme = /** @type {string | null} */ (null);
    /** @type {((server: string) => Promise<string> | string) | null} */
    this.getToken = null;
    this.timeZone = /** @type {string | null} */ (null);
    this.titleBadge = false;
    this.notifications = false;
    this.said = '';
    this.tick = 0;
    this.addEventListener('bc-go', (event) => this.#go(/** @type {import('./go.js').GoEvent} */ (event).to));
    this.addEventListener('bc-say', (event) => this.#say(/** @type {import('./go.js').SayEvent} */ (event).text));
  }

  connectedCallback() {
    super.connectedCallback();
    this.#lang.observe(document.documentElement, { attributeFilter: ['lang'] });
    void this.#speak();
    window.addEventListener('hashchange', this.#hashed);
    document.addEventListener('bookconnect-open', this.#asked);
    this.#waiting = setTimeout(() => this.getToken ?? console.warn(NO_TOKEN), SAID_MS);
    this.#hashed();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearTimeout(this.#waiting);
    window.removeEventListener('hashchange', this.#hashed);
    document.removeEventListener('bookconnect-open', this.#asked);
    this.#lang.disconnect();
    clearTimeout(this.#saying);
    this.#end();
  }

  /** The member signs out: the connection ends, and what this browser kept for them (drafts, what is not sent yet) is gone. */
  signOut() {
    this.#clients?.forget();
    this.getToken = null;
  }

  /** Opens the conversation with a member, starting it if need be. @param {string} username */
  async openWith(username) {
    const clients = this.#clients;
    if (!clients) return undefined;
    const { words } = this.#speech();
    try {
      const known = clients.rows().find(({ row }) => row.other_participant?.username === username);
      if (known) return this.#go(known.row.id);
      // Whoever may not start conversations is told so, kindly, where it is explained.
      if (!clients.canStart) return this.#go('new');
      const member = (await clients.members(username)).find((candidate) => candidate.username === username);
      if (!member) return this.#say(words.noHits(username));
      return this.#go(await member.client.conversationWith(member.id));
    } catch (error) {
      return this.#say(words.problem(toProblem(error)));
    }
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has('timeZone') && this.#voice) void this.#speak();
    if (changed.has('server') || changed.has('getToken')) this.#begin();
    if (changed.has('route') || changed.has('server') || changed.has('getToken')) this.#show();
  }

  /** @param {Map<string, unknown>} changed */
  updated(changed) {
    if (changed.has('route') && changed.get('route') !== undefined) this.#moveFocus();
  }

  render() {
    const clients = this.#clients;
    const voice = this.#voice;
    if (!clients || !voice) return nothing;
    return html`
      <div class="panes ${this.route === '' ? 'outer' : 'inner'}" dir=${voice.words.direction}>
        <bookconnect-inbox class="side" .tick=${this.tick} .clients=${clients} .voice=${voice} .hrefFor=${this.#hrefFor} .selected=${this.route}
          .notifier=${this.notifications ? this.#notifier : null}></bookconnect-inbox>
        ${this.#main(clients, voice)}
      </div>
      ${this.#toast(clients, voice)}`;
  }

  /** @param {Clients} clients @param {import('./rows.js').Voice} voice */
  #toast(clients, { words }) {
    if (this.said) return html`<p class="toast" role="alert" dir=${words.direction}>${this.said}</p>`;
    const client = clients.all.find((one) => one.state.undo);
    if (!client?.state.undo) return nothing;
    const { id } = client.state.undo;
    const [hold, release] = [() => client.bin.hold(id), () => client.bin.release(id)];
    return html`<p class="toast" role="status" dir=${words.direction} @pointerenter=${hold} @pointerleave=${release} @focusin=${hold} @focusout=${release}>
      <span>${words.removed}</span><button data-act="undo" @click=${() => client.bin.undo(id)}>${words.undo}</button></p>`;
  }

  /** @param {Clients} clients @param {import('./rows.js').Voice} voice */
  #main(clients, voice) {
    const { words } = voice;
    if (this.route === 'new') {
      return html`<bookconnect-new-message class="main" .tick=${this.tick} .clients=${clients} .voice=${voice} .hrefFor=${this.#hrefFor}></bookconnect-new-message>`;
    }
    if (this.route !== '') {
      const client = clients.ownerOf(this.route);
      return html`<bookconnect-thread class="main" .state=${client.state} .client=${client} .voice=${voice} .hrefFor=${this.#hrefFor}
        .conversation_id=${this.route}></bookconnect-thread>`;
    }
    const something = clients.isLoaded && clients.rows().length > 0;
    return html`<div class="main nothing">${booksIcon()}${something ? html`<p>${clients.canStart ? words.pickOne : words.pickOneFree}</p>` : nothing}</div>`;
  }

  #begin() {
    this.#end();
    if (!this.getToken) return;
    const given = this.server.split(/\s+/u).filter(Boolean);
    const servers = given.length ? given : [location.origin];
    const clients = new Clients(servers.map((server) => new URL(server, location.href).href.replace(/\/+$/u, '')), {
      getToken: (server) => /** @type {NonNullable<BookconnectMessages['getToken']>} */ (this.getToken)(server),
      onError: (problem) => this.dispatchEvent(new ErrorEvent(problem)),
      onNotDeleted: (problem) => this.#say(`${this.#speech().words.couldNotRemove} ${this.#speech().words.problem(problem)}`),
      onArrival: (client, message) => this.#arrived(client, message),
    });
    this.#clients = clients;
    this.#unsubscribe = clients.subscribe(() => this.#changed(clients));
    clients.start();
  }

  #end() {
    this.#unsubscribe();
    this.#clients?.stop();
    this.#notifier.stop();
    this.#clients = null;
    if (this.#unread > 0 && this.titleBadge) document.title = badged(document.title, 0);
    this.#unread = -1;
  }

  /** The words and dates of the page's language; until a file for it is here, nothing is shown. */
  async #speak() {
    const lang = this.closest('[lang]')?.getAttribute('lang');
    const place = { locale: localeFor(lang), timeZone: this.timeZone ?? undefined };
    const words = wordsFor(lang);
    this.#voice = { words: words instanceof Promise ? await words : words, place };
    this.tick += 1;
  }

  #speech() {
    return this.#voice ?? { words: en, place: {} };
  }

  /** Tells of a message that nobody is looking at. @param {import('../client/client.js').Client} client @param {import('../state/types.js').Message} message */
  #arrived(client, message) {
    const id = message.conversation_id;
    const seen = !document.hidden && this.route === id;
    if (seen || !this.notifications || !this.#notifier.isOn) return;
    const other = client.state.conversations[id]?.other_participant;
    this.#notifier.show(client, message, nameOf(other, this.#speech().words.newMessage), () => this.#go(id));
  }

  /** @param {Clients} clients */
  #changed(clients) {
    this.tick += 1;
    this.#notifier.look();
    if (this.route !== '' && this.route !== 'new' && clients.all.length > 1) this.#settle(clients);
    if (!clients.isLoaded) return;
    const { unread } = clients;
    if (unread === this.#unread) return;
    this.#unread = unread;
    if (this.titleBadge) document.title = badged(document.title, unread);
    this.dispatchEvent(new UnreadEvent(unread));
  }

  /** Once it is known whose the open conversation is, the others let go of it. @param {Clients} clients */
  #settle(clients) {
    const owner = clients.ownerOf(this.route);
    if (!owner.state.conversations[this.route]) return;
    for (const client of clients.all) if (client !== owner && client.state.open_id === this.route) client.leave();
  }

  /** Tells the clients what is on screen. */
  #show() {
    const clients = this.#clients;
    if (!clients) return;
    if (isRoute(this.route) && this.route !== '' && this.route !== 'new') {
      clients.open(this.route);
      this.dispatchEvent(new OpenEvent({ conversation_id: this.route }));
    } else {
      clients.leave();
    }
  }

  /** @param {string} to */
  #go(to) {
    if (!isRoute(to) || to === this.route) return;
    if (this.routing === 'hash') location.hash = toHash(to);
    this.route = to;
    this.dispatchEvent(new CustomEvent('bookconnect-route', { bubbles: true, composed: true, detail: { route: to } }));
  }

  #hashed = () => {
    if (this.routing !== 'hash') return;
    const route = fromHash(location.hash);
    if (route !== null) this.route = route;
  };

  /** @param {Event} event */
  #asked = (event) => {
    const { username } = /** @type {CustomEvent} */ (event).detail ?? {};
    if (!username || event.defaultPrevented) return;
    event.preventDefault();
    void this.openWith(username);
  };

  /** @param {string} route */
  #hrefFor = (route) => (this.routing === 'hash' ? toHash(route) : `#${route}`);

  /** After a change of screen the cursor goes where one goes on: writing or searching; on touch screens the keyboard stays down. */
  #moveFocus() {
    if (matchMedia('(hover: none) and (pointer: coarse)').matches) return;
    const main = /** @type {HTMLElement | null} */ (this.renderRoot.querySelector('bookconnect-thread, bookconnect-new-message'));
    if (main) requestAnimationFrame(() => main.focus());
  }

  /** @param {string} text */
  #say(text) {
    clearTimeout(this.#saying);
    this.said = text;
    this.#saying = setTimeout(() => {
      this.said = '';
    }, SAID_MS);
  }
}

/**
 * The title with a number in front, or without one.
 * @param {string} title @param {number} unread
 */
function badged(title, unread) {
  const plain = title.replace(/^\(\d+\) /u, '');
  return unread > 0 ? `(${unread}) ${plain}` : plain;
}
