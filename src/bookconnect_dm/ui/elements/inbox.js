/**
 * In charge of: the list of conversations and the search field above it.
 * Knows about: rows, the member search. Does not know about: threads, routes (it asks to go).
 */
import { LitElement, css, html, nothing, repeat } from '../vendor/lit.js';
import { en } from '../text/en.js';
import { expiryDate } from '../text/time.js';
import { base } from '../styles/base.js';
import { bar, rows } from '../styles/rows.js';
import { skeleton } from '../styles/skeleton.js';
import { GoEvent, SayEvent } from './go.js';
import { bellIcon, clockIcon, closeIcon, penIcon, searchIcon } from './icons.js';
import { MemberSearch } from './member-search.js';
import { boneRows, conversationRow, memberRow } from './rows.js';
import { strip, stripStyles } from './strip.js';
import { toProblem } from '../net/problem.js';

/** The inbox: search, strip, rows. */
export class BookconnectInbox extends LitElement {
  static properties = {
    clients: { attribute: false }, tick: { attribute: false }, notifier: { attribute: false }, voice: { attribute: false }, hrefFor: { attribute: false },
    selected: {}, query: { state: true }, picking: { state: true },
  };

  static styles = [base, bar, rows, skeleton, stripStyles, css`
    :host {
      display: flex;
      flex-direction: column;
      min-height: 0;
      background: var(--_surface);
    }
    .list {
      flex: 1;
      min-height: 0;
      overflow-y: auto;
      overscroll-behavior: contain;
      padding-bottom: 16px;
      scrollbar-width: thin;
      scrollbar-color: var(--_line) transparent;
    }
    .empty {
      display: grid;
      justify-items: center;
      gap: 16px;
      padding: 64px 32px;
      color: var(--_soft);
      text-align: center;
    }
    .notice {
      display: flex;
      align-items: center;
      gap: 10px;
      margin: 0 16px 8px;
      padding: 12px 14px;
      border: 1px solid var(--_line);
      border-radius: var(--_card-radius);
      background: var(--_paper);
      color: var(--_soft);
      font-size: 14px;
      text-wrap: balance;
    }
    .link {
      display: inline-grid;
      place-items: center;
      text-decoration: none;
    }
    .empty p {
      max-width: 30ch;
      text-wrap: balance;
    }
    .face { width: 44px; height: 44px; border-radius: 50%; flex: none; }
    .row.bones { pointer-events: none; }
    .bones .text { gap: 10px; }
    .name-0, .name-1, .name-2 { height: 14px; width: 42%; }
    .name-1 { width: 30%; }
    .name-2 { width: 52%; }
    .said-0, .said-1, .said-2 { height: 12px; width: 84%; }
    .said-1 { width: 66%; }
    .said-2 { width: 74%; }
  `];

  constructor() {
    super();
    /** @type {import('../client/clients.js').Clients | null} */
    this.clients = null;
    this.tick = 0;
    /** @type {import('../client/notifier.js').Notifier | null} */
    this.notifier = null;
    /** @type {import('./rows.js').Voice} */
    this.voice = { words: en, place: {} };
    this.hrefFor = (/** @type {string} */ to) => `#${to}`;
    this.selected = '';
    this.query = '';
    this.picking = '';
    this.search = new MemberSearch(this);
  }

  render() {
    const { words } = this.voice;
    if (!this.clients) return nothing;
    return html`
      <header class="bar">
        <h1>${words.messages}</h1>
        ${this.#bell()}
        <a class="icon-button" href=${this.hrefFor('new')} aria-label=${words.newMessage} title=${words.newMessage} @click=${(/** @type {MouseEvent} */ event) => this.#go(event, 'new')}>${penIcon()}</a>
      </header>
      <div class="search" role="search" aria-label=${words.searchAll}>
        ${searchIcon()}
        <input type="search" placeholder=${words.search} aria-label=${words.searchAll} autocomplete="off" enterkeyhint="search"
          .value=${this.query} @input=${this.#typed} @keydown=${this.#keyed}>
        ${this.query ? html`<button class="icon-button" aria-label=${words.clear} @click=${this.#clear}>${closeIcon()}</button>` : nothing}
      </div>
      ${this.#failed ? nothing : strip(this.clients.worst, words, () => this.clients?.retry())}
      <div class="list">${this.#list()}</div>`;
  }

  /** There is nothing to show, and the list says so itself: one sentence, one action. */
  get #failed() {
    return Boolean(this.clients && !this.clients.isLoaded && this.clients.problem);
  }

  #list() {
    const clients = /** @type {import('../client/clients.js').Clients} */ (this.clients);
    const { words } = this.voice;
    if (this.#failed && clients.problem) {
      return html`<div class="empty"><p>${words.loadFailed}<br>${words.problem(clients.problem)}</p>
        <button class="text-button" @click=${() => this.clients?.retry()}>${words.tryAgain}</button></div>`;
    }
    if (!clients.isLoaded) return boneRows(6, words.loading);
    const all = clients.rows();
    if (this.query.trim()) return this.#hits(all);
    return html`${this.#grace()}${all.length === 0 ? this.#empty() : this.#rows(all)}`;
  }

  /** The switch for notifications, where the host offers it and the browser could. */
  #bell() {
    const { words } = this.voice;
    if (!this.notifier?.isPossible) return nothing;
    const label = this.notifier.isOn ? words.notifyOff : words.notifyOn;
    return html`<button class="icon-button" data-act="notify" aria-label=${label} title=${label} aria-pressed=${String(this.notifier.isOn)}
      @click=${() => void this.notifier?.toggle().then(() => this.requestUpdate())}>${bellIcon(this.notifier.isOn)}</button>`;
  }

  /** While a downgrade's grace lasts: what stays as it was, and until when. */
  #grace() {
    const { words, place } = this.voice;
    const now_ms = this.clients?.now_ms ?? 0;
    const ends = this.clients?.selves.map((me) => me.retention.grace_ends_at).find((at) => at && Date.parse(at) > now_ms);
    if (!ends) return nothing;
    return html`<p class="notice">${clockIcon(18)}<span>${words.graceNotice(expiryDate(ends, now_ms, place))}</span></p>`;
  }

  /** @param {ReturnType<import('../client/clients.js').Clients['rows']>} items */
  #rows(items) {
    return html`<nav aria-label=${this.voice.words.conversations}><ul>${repeat(items, ({ row }) => row.id, (item) => html`<li>${conversationRow(item, {
      voice: this.voice,
      now_ms: item.client.state.now_ms,
      current: item.row.id === this.selected,
      online: Boolean(item.row.other_participant && item.client.state.online[item.row.other_participant.id]),
      typing: item.row.id in item.client.state.typing,
      href: this.hrefFor(item.row.id),
      onOpen: (event) => this.#go(/** @type {MouseEvent} */ (event), item.row.id),
    })}</li>`)}</ul></nav>`;
  }

  #empty() {
    const { words } = this.voice;
    const canStart = this.clients?.canStart !== false;
    return html`<div class="empty"><p>${canStart ? words.emptyInbox : words.emptyInboxFree}</p>
      ${canStart ? html`<a class="text-button link" href=${this.hrefFor('new')} @click=${(/** @type {MouseEvent} */ event) => this.#go(event, 'new')}>${words.emptyInboxAction}</a>` : nothing}</div>`;
  }

  /** @param {ReturnType<import('../client/clients.js').Clients['rows']>} all */
  #hits(all) {
    const { words } = this.voice;
    const wanted = this.query.trim().toLocaleLowerCase();
    const has = (/** @type {string | null | undefined} */ text) => Boolean(text?.toLocaleLowerCase().includes(wanted));
    const items = all.filter(({ row, preview }) => has(row.other_participant?.displayname) || has(row.other_participant?.username) || has(preview?.content));
    const known = new Set(all.map(({ row }) => row.other_participant?.id));
    const members = (this.search.members ?? []).filter((member) => !known.has(member.id) && member.can_message);
    if (items.length === 0 && members.length === 0) {
      if (this.search.problem) return html`<p class="note" role="status">${words.searchFailed} ${words.problem(this.search.problem)}</p>`;
      return this.search.busy || this.search.members === null ? boneRows(2, words.loading) : html`<p class="note" role="status">${words.noHits(this.query.trim())}</p>`;
    }
    return html`${items.length ? this.#rows(items) : nothing}${members.length ? html`
      <h2 class="section">${words.members}</h2>
      <ul>${repeat(members, (member) => member.id, (member) => html`<li>${memberRow(member, {
        note: null, busy: this.picking === member.id, online: Boolean(member.client.state.online[member.id]), onPick: () => void this.#start(member),
      })}</li>`)}</ul>` : nothing}`;
  }

  /** @param {import('../client/clients.js').Found} member */
  async #start(member) {
    if (this.picking) return;
    this.picking = member.id;
    try {
      const id = await member.client.conversationWith(member.id);
      this.#clear();
      this.dispatchEvent(new GoEvent(id));
    } catch (error) {
      this.dispatchEvent(new SayEvent(this.voice.words.problem(toProblem(error))));
    } finally {
      this.picking = '';
    }
  }

  /** @param {InputEvent} event */
  #typed(event) {
    this.query = /** @type {HTMLInputElement} */ (event.target).value;
    if (this.query.trim()) this.search.look(this.query);
    else this.search.forget();
  }

  /** @param {KeyboardEvent} event */
  #keyed(event) {
    if (event.key === 'Escape' && this.query) {
      event.preventDefault();
      this.#clear();
    }
  }

  #clear() {
    this.query = '';
    this.search.forget();
    this.renderRoot.querySelector('input')?.focus();
  }

  /** @param {MouseEvent} event @param {string} to */
  #go(event, to) {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button > 0) return;
    event.preventDefault();
    this.dispatchEvent(new GoEvent(to));
  }
}

