/**
 * In charge of: the whole component: one client, the route, two panes, events for the host.
 * Knows about: the host's attributes and properties. Does not know about: rows, bubbles, frames.
 */
import { LitElement, css, html, nothing } from '../vendor/lit.js';
import { Client } from '../client/client.js';
import { toProblem } from '../net/problem.js';
import { unreadConversations } from '../state/select.js';
import { en } from '../text/en.js';
import { base } from '../styles/base.js';
import { tokens } from '../styles/tokens.js';
import { ErrorEvent, OpenEvent, UnreadEvent } from './events.js';
import { fromHash, isRoute, toHash } from './routes.js';
import { booksIcon } from './icons.js';

const SAID_MS = 6_000;

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
 * @attr {string} server  base URL of the server; this page's own origin when left out
 * @attr {string} route  '' (inbox), 'new' or a conversation's id
 * @attr {'none' | 'hash'} routing  'hash': the component keeps the route in the address; 'none' (default): the host may, by `route` and the event
 * @attr {'light' | 'dark'} theme  overrules the page's color-scheme
 * @prop {() => Promise<string>} getToken  a signed token for the member
 * @fires bookconnect-unread
 * @fires bookconnect-open
 * @fires bookconnect-error
 * @fires bookconnect-route  `detail.route`, after the screen has changed
 */
export class BookconnectMessages extends LitElement {
  static properties = {
    server: {}, route: {}, routing: {}, theme: { reflect: true }, getToken: { attribute: false }, said: { state: true }, tick: { state: true },
  };

  static styles = [tokens, base, css`
    :host {
      position: relative;
      display: block;
      height: 100%;
      min-height: 320px;
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
    }
    .toast {
      position: absolute;
      inset-inline: 16px;
      bottom: calc(84px + env(safe-area-inset-bottom));
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
  `];

  /** @type {Client | null} */
  #client = null;
  #unsubscribe = () => {};
  #unread = -1;
  #saying = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined);
  #voice = { words: en, place: {} };

  constructor() {
    super();
    this.server = '';
    this.route = '';
    this.routing = 'none';
    this.theme = /** @type {string | null} */ (null);
    /** @type {(() => Promise<string> | string) | null} */
    this.getToken = null;
    this.said = '';
    this.tick = 0;
    this.addEventListener('bc-go', (event) => this.#go(/** @type {import('./go.js').GoEvent} */ (event).to));
    this.addEventListener('bc-say', (event) => this.#say(/** @type {import('./go.js').SayEvent} */ (event).text));
  }

  connectedCallback() {
    super.connectedCallback();
    this.#voice = { words: en, place: { locale: localeFor(this.closest('[lang]')?.getAttribute('lang')) } };
    window.addEventListener('hashchange', this.#hashed);
    document.addEventListener('bookconnect-open', this.#asked);
    this.#hashed();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener('hashchange', this.#hashed);
    document.removeEventListener('bookconnect-open', this.#asked);
    clearTimeout(this.#saying);
    this.#end();
  }

  /** Opens the conversation with a member, starting it if need be. @param {string} username */
  async openWith(username) {
    if (!this.#client) return;
    try {
      const known = Object.values(this.#client.state.conversations).find((row) => row.other_participant?.username === username);
      const member = known ? null : (await this.#client.members(username)).find((candidate) => candidate.username === username);
      if (!known && !member) this.#say(en.noHits(username));
      else this.#go(known ? known.id : await this.#client.conversationWith(member?.id ?? ''));
    } catch (error) {
      this.#say(en.problem(toProblem(error)));
    }
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has('server') || changed.has('getToken')) this.#begin();
    if (changed.has('route') || changed.has('server') || changed.has('getToken')) this.#show();
  }

  /** @param {Map<string, unknown>} changed */
  updated(changed) {
    if (changed.has('route') && changed.get('route') !== undefined) this.#moveFocus();
  }

  render() {
    const client = this.#client;
    if (!client) return nothing;
    const { state } = client;
    return html`
      <div class="panes ${this.route === '' ? 'outer' : 'inner'}">
        <bookconnect-inbox class="side" .state=${state} .client=${client} .voice=${this.#voice} .hrefFor=${this.#hrefFor} .selected=${this.route}></bookconnect-inbox>
        ${this.#main(client)}
      </div>
      ${this.said ? html`<p class="toast" role="alert">${this.said}</p>` : nothing}`;
  }

  /** @param {Client} client */
  #main(client) {
    const { state } = client;
    const { words } = this.#voice;
    if (this.route === 'new') {
      return html`<bookconnect-new-message class="main" .state=${state} .client=${client} .voice=${this.#voice} .hrefFor=${this.#hrefFor}></bookconnect-new-message>`;
    }
    if (this.route !== '') {
      return html`<bookconnect-thread class="main" .state=${state} .client=${client} .voice=${this.#voice} .hrefFor=${this.#hrefFor}
        .conversation_id=${this.route}></bookconnect-thread>`;
    }
    const canStart = state.me?.can_start_conversations !== false;
    return html`<div class="main nothing">${booksIcon()}<p>${canStart ? words.pickOne : words.pickOneFree}</p></div>`;
  }

  #begin() {
    this.#end();
    if (!this.getToken) return;
    const server = this.server.split(/\s+/u).find(Boolean) ?? location.origin;
    const client = new Client(new URL(server, location.href).href, {
      getToken: () => /** @type {() => Promise<string>} */ (this.getToken)(),
      onError: (problem) => this.dispatchEvent(new ErrorEvent(problem)),
    });
    this.#client = client;
    this.#unsubscribe = client.store.subscribe(() => this.#changed(client));
    client.start();
  }

  #end() {
    this.#unsubscribe();
    this.#client?.stop();
    this.#client = null;
    this.#unread = -1;
  }

  /** @param {Client} client */
  #changed(client) {
    this.tick += 1;
    if (!client.state.inbox_loaded) return;
    const unread = unreadConversations(client.state);
    if (unread === this.#unread) return;
    this.#unread = unread;
    this.dispatchEvent(new UnreadEvent(unread));
  }

  /** Tells the client what is on screen. */
  #show() {
    const client = this.#client;
    if (!client) return;
    if (isRoute(this.route) && this.route !== '' && this.route !== 'new') {
      client.open(this.route);
      this.dispatchEvent(new OpenEvent({ conversation_id: this.route }));
    } else {
      client.leave();
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
