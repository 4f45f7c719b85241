/**
 * In charge of: finding somebody to write to.
 * Knows about: who may start conversations and what to say to who may not. Does not know about: threads, routes (it asks to go).
 */
import { LitElement, css, html, nothing, repeat } from '../vendor/lit.js';
import { toProblem } from '../net/problem.js';
import { en } from '../text/en.js';
import { base } from '../styles/base.js';
import { bar, rows } from '../styles/rows.js';
import { skeleton } from '../styles/skeleton.js';
import { GoEvent, SayEvent } from './go.js';
import { backIcon, closeIcon, searchIcon } from './icons.js';
import { MemberSearch } from './member-search.js';
import { boneRows, memberRow } from './rows.js';

/** The page "New message". */
export class BookconnectNewMessage extends LitElement {
  static properties = {
    clients: { attribute: false }, tick: { attribute: false }, voice: { attribute: false }, hrefFor: { attribute: false }, picking: { state: true },
  };

  static styles = [base, bar, rows, skeleton, css`
    :host {
      display: flex;
      flex-direction: column;
      min-height: 0;
      background: var(--_surface);
    }
    .bar {
      gap: 4px;
      padding-inline: max(var(--_thread-bar-start, 4px), (100% - 760px) / 2) 16px;
    }
    .back {
      display: var(--_back-display, inline-grid);
    }
    .list {
      flex: 1;
      min-height: 0;
      overflow-y: auto;
      padding-bottom: 16px;
    }
    .list > * {
      width: 100%;
      max-width: 792px;
      margin-inline: auto;
    }
    .search {
      width: calc(100% - 32px);
      max-width: 760px;
      margin-inline: auto;
    }
    .quiet {
      color: var(--_soft);
    }
    .quiet:hover {
      background: none;
    }
    .card {
      width: calc(100% - 32px);
      max-width: 760px;
      margin: 4px auto 12px;
      padding: 16px;
      border-radius: var(--_card-radius);
      border: 1px solid var(--_line);
      background: var(--_paper);
    }
    .card h2 {
      font-size: 16px;
      font-weight: 650;
    }
    .card p {
      margin-top: 4px;
      color: var(--_soft);
      font-size: 15px;
    }
    .face { width: 44px; height: 44px; border-radius: 50%; flex: none; }
    .bones .text { gap: 10px; }
    .name-0, .name-1, .name-2 { height: 14px; width: 32%; }
    .said-0, .said-1, .said-2 { height: 12px; width: 20%; }
  `];

  constructor() {
    super();
    /** @type {import('../client/clients.js').Clients | null} */
    this.clients = null;
    this.tick = 0;
    /** @type {import('./rows.js').Voice} */
    this.voice = { words: en, place: {} };
    this.hrefFor = (/** @type {string} */ to) => `#${to}`;
    this.picking = '';
    this.search = new MemberSearch(this);
  }

  connectedCallback() {
    super.connectedCallback();
    this.search.forget();
  }

  /** Puts the cursor into the search field. */
  focus() {
    this.renderRoot.querySelector('input')?.focus();
  }

  willUpdate() {
    // The first question needs no text: it lists the people who are there.
    if (this.clients?.selves.length && this.search.members === null && !this.search.busy && !this.search.problem) this.search.look('', 0);
  }

  render() {
    const { words } = this.voice;
    const { text } = this.search;
    return html`
      <header class="bar">
        <a class="icon-button back" href=${this.hrefFor('')} aria-label=${words.back} @click=${this.#goBack}>${backIcon()}</a>
        <h1>${words.newMessage}</h1>
      </header>
      <div class="search">
        ${searchIcon()}
        <input type="search" placeholder=${words.searchMembers} aria-label=${words.searchMembers} autocomplete="off" enterkeyhint="search"
          .value=${text} @input=${this.#typed}>
        ${text ? html`<button class="icon-button" aria-label=${words.clear} @click=${this.#clear}>${closeIcon()}</button>` : nothing}
      </div>
      <div class="list">${this.#card()}${this.#hits()}</div>`;
  }

  #card() {
    const { words } = this.voice;
    const me = this.clients?.selves[0];
    if (!me || this.clients?.canStart) return nothing;
    return html`<section class="card"><h2>${words.cannotStartTitle}</h2><p>${words.cannotStart(words.tier(me.tier), me.retention.retention_days)}</p></section>`;
  }

  #hits() {
    const { words } = this.voice;
    const { members, problem, text } = this.search;
    if (problem) {
      return html`<p class="note" role="status">${words.searchFailed} ${words.problem(problem)}<br>
        <button class="text-button" @click=${() => this.search.look(text, 0)}>${words.tryAgain}</button></p>`;
    }
    if (members === null) return boneRows(5, words.loading);
    const shown = this.search.busy ? members.filter((member) => matches(member, text)) : members;
    if (shown.length === 0 && this.search.busy) return boneRows(2, words.loading);
    if (shown.length === 0) return html`<p class="note" role="status">${text ? words.noHits(text) : words.typeToFind}</p>`;
    return html`<ul aria-label=${words.members}>${repeat(shown, (member) => member.id, (member) => html`<li>${this.#member(member)}</li>`)}</ul>`;
  }

  /** @param {import('../client/clients.js').Found} member */
  #member(member) {
    const { words } = this.voice;
    const { state } = member.client;
    const known = Object.values(state.conversations).some((row) => row.other_participant?.id === member.id && row.last_message);
    const open = known || member.can_message;
    const mayStart = state.me?.can_start_conversations !== false;
    // Whether they may write first is their plan's affair, and nothing that we know of them.
    const reason = mayStart ? words.takesNone : words.replyOnly;
    return memberRow(member, {
      note: open ? null : reason,
      busy: this.picking === member.id,
      online: Boolean(state.online[member.id]),
      onPick: open ? () => void this.#pick(member) : null,
    });
  }

  /** @param {import('../client/clients.js').Found} member */
  async #pick(member) {
    if (this.picking) return;
    this.picking = member.id;
    try {
      this.dispatchEvent(new GoEvent(await member.client.conversationWith(member.id)));
    } catch (error) {
      this.dispatchEvent(new SayEvent(this.voice.words.problem(toProblem(error))));
    } finally {
      this.picking = '';
    }
  }

  /** @param {InputEvent} event */
  #typed(event) {
    this.search.look(/** @type {HTMLInputElement} */ (event.target).value);
  }

  #clear() {
    this.search.look('', 0);
    this.focus();
  }

  /** @param {MouseEvent} event */
  #goBack(event) {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    this.dispatchEvent(new GoEvent(''));
  }
}

/**
 * Until the server has answered, what is held already is narrowed down here.
 * @param {import('../state/types.js').Member} member @param {string} text
 */
function matches(member, text) {
  const wanted = text.trim().toLocaleLowerCase();
  return [member.displayname, member.username].some((name) => (name ?? '').toLocaleLowerCase().includes(wanted));
}
