/**
 * In charge of: one conversation on screen: header, messages, pill, composer.
 * Knows about: the state's items, the client's wishes. Does not know about: the inbox, routes (it asks to go).
 */
import { LitElement, html, nothing, repeat } from '../vendor/lit.js';
import { chunksOf, partsOf } from '../state/chunks.js';
import { build } from '../state/items.js';
import { receipt } from '../state/select.js';
import { EXPIRY_SHOWN_MS, dayLabel, dayOf, toWire } from '../text/time.js';
import { en } from '../text/en.js';
import { base } from '../styles/base.js';
import { skeleton } from '../styles/skeleton.js';
import { frame, lines } from '../styles/thread.js';
import { Announcer } from './announcer.js';
import { bubbleLine } from './bubble.js';
import { GoEvent, nameOf } from './go.js';
import { backIcon, downIcon } from './icons.js';
import { opening } from './opening.js';
import { ScrollKeeper } from './scroll-keeper.js';
import { strip, stripStyles } from './strip.js';
import { unchanged } from './unchanged.js';

/** @typedef {import('../state/items.js').Bubble} Bubble */
/** @typedef {import('../state/items.js').Item} Item */
/** @typedef {import('../state/chunks.js').Chunk} Chunk */

const LOAD_OLDER_PX = 600;

/** The thread of one conversation. */
export class BookconnectThread extends LitElement {
  static properties = {
    state: { attribute: false }, client: { attribute: false }, voice: { attribute: false }, conversation_id: { attribute: false },
    hrefFor: { attribute: false }, active_id: { state: true }, missed: { state: true },
  };

  static styles = [base, skeleton, stripStyles, frame, lines];

  /** @type {import('../state/items.js').Built | null} */
  #built = null;
  /** @type {Chunk[]} */
  #chunks = [];
  #newest = '';
  #placed = false;
  #tab_stop = '';
  #opened_at = '';
  #announcer = new Announcer();
  #scroll = new ScrollKeeper(() => this.renderRoot?.querySelector('.scroller') ?? null, '.line');

  constructor() {
    super();
    /** @type {import('../state/types.js').State | null} */
    this.state = null;
    /** @type {import('../client/client.js').Client | null} */
    this.client = null;
    /** @type {import('./rows.js').Voice} */
    this.voice = { words: en, place: {} };
    this.conversation_id = '';
    this.hrefFor = (/** @type {string} */ to) => `#${to}`;
    this.active_id = '';
    this.missed = 0;
  }

  get row() {
    return this.state?.conversations[this.conversation_id];
  }

  get thread() {
    return this.state?.threads[this.conversation_id];
  }

  get name() {
    return this.row ? nameOf(this.row.other_participant, this.voice.words.formerMember) : '';
  }

  /** Puts the cursor into the composer. */
  focus() {
    /** @type {HTMLElement | null} */ (this.renderRoot.querySelector('bookconnect-composer'))?.focus();
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has('conversation_id')) this.#reset();
    if (!this.state) return;
    const before = this.#built;
    if (changed.has('state') || changed.has('conversation_id') || changed.has('voice')) {
      this.#build(this.state);
    }
    this.#announcer.look(this.conversation_id, this.thread, this.state.me?.id ?? '');
    this.#count();
    this.#scroll.before(this.#built !== before && this.#built?.same_end !== 0);
  }

  /** @param {import('../state/types.js').State} state */
  #build(state) {
    const before = this.#built;
    this.#built = build(state, this.conversation_id, this.voice.place, before);
    if (this.#built === before) return;
    const { items, same, same_end } = this.#built;
    this.#chunks = chunksOf(items, this.#chunks, same, same_end);
  }

  get #items() {
    return this.#built?.items ?? [];
  }

  updated() {
    const last = this.#lastBubble();
    const newest = last ? `${last.id} ${last.outgoing?.state ?? ''}` : '';
    this.#scroll.after();
    this.#newest = newest;
    if (!this.#placed && this.thread?.loaded) this.#place();
    const scroller = this.renderRoot.querySelector('.scroller');
    if (this.#scroll.atEnd && this.#placed) this.client?.trim(this.conversation_id);
    else if (this.#placed && scroller) this.#reach(scroller);
    this.#look();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.client?.reader.looksAt(null);
  }

  render() {
    const { words } = this.voice;
    if (!this.state) return nothing;
    return html`
      ${this.#header()}
      ${strip(this.state, words, () => this.client?.retry())}
      <div class="stage">${this.#stage()}${this.#pill()}</div>
      <div class="unseen" role="status" aria-live="polite">${repeat(this.#announcer.said, (said) => said.id, (said) => html`<p>${words.said(this.name, said.content)}</p>`)}</div>
      ${this.#foot()}`;
  }

  #header() {
    const { words } = this.voice;
    const other = this.row?.other_participant;
    return html`<header>
      <a class="icon-button back" href=${this.hrefFor('')} aria-label=${words.back} @click=${this.#goBack}>${backIcon()}</a>
      ${this.row ? html`
        <bookconnect-avatar small .name=${this.name} .member_id=${other?.id ?? this.conversation_id} .picture=${other?.avatar_url ?? null} .online=${this.#isOnline()}></bookconnect-avatar>
        <div class="who"><h1><bdi>${this.name}</bdi></h1>${this.#presence()}</div>` : html`<h1 class="unseen">${words.messages}</h1>`}
    </header>`;
  }

  #isOnline() {
    const id = this.row?.other_participant?.id;
    return Boolean(id && this.state?.online[id]);
  }

  #presence() {
    const { words } = this.voice;
    const typing = this.state && this.conversation_id in this.state.typing;
    if (!typing && !this.#isOnline()) return nothing;
    return html`<span class="presence">${typing ? words.typing : words.online}</span>`;
  }

  #stage() {
    const { words } = this.voice;
    const { thread, row, state } = this;
    if (!row && (thread?.problem?.code === 'CONVERSATION_NOT_FOUND' || (state?.link === 'live' && !(this.conversation_id in state.stale_rows) && thread?.problem))) {
      return html`<div class="center"><p>${words.notFound}</p><a class="text-button link" href=${this.hrefFor('')} @click=${this.#goBack}>${words.toInbox}</a></div>`;
    }
    if (thread?.problem && !thread.loaded && (!row || this.#items.length === 0)) {
      return html`<div class="center" role="status"><p>${words.threadFailed}<br>${words.problem(thread.problem)}</p>
        <button class="text-button" @click=${() => this.client?.load(this.conversation_id, 'newest')}>${words.tryAgain}</button></div>`;
    }
    if (!row || (!thread?.loaded && this.#items.length === 0)) {
      return html`<div class="bones skeleton" role="status"><p class="unseen">${words.loading}</p>${[1, 2, 3, 4, 5].map(() => html`<span class="bone"></span>`)}</div>`;
    }
    return html`<div class="scroller" @scroll=${this.#scrolled}>
      <div class="content" role="log" aria-live="off" aria-label=${words.thread(this.name)} @keydown=${this.#keyed} @click=${this.#tapped}
        @focusin=${this.#focused} @pointerover=${this.#hovered} @pointerleave=${this.#left}>
        ${opening(this.thread, this.row?.other_participant ? this.state?.me : null, this.name, this.voice.words, (which) => void this.client?.load(this.conversation_id, which))}
        ${this.#list()}
      </div>
    </div>`;
  }

  /** Piece by piece: one that nothing has happened to costs nothing, however long the thread. */
  #list() {
    const state = /** @type {import('../state/types.js').State} */ (this.state);
    const held = receipt(state, this.conversation_id);
    const tab_stop = this.#chunks.some(({ ids }) => ids.has(this.#tab_stop)) ? this.#tab_stop : this.#lastBubble()?.id;
    const today = dayOf(state.now_ms, this.voice.place);
    const soon = toWire(state.now_ms + EXPIRY_SHOWN_MS);
    return repeat(partsOf(this.#chunks), ({ key }) => key, ({ key, chunks }) => html`<div class="part ${key && 'far'}">${repeat(chunks, ({ key }) => key, (chunk) => html`<ol class="chunk">${unchanged(
      chunk.items, [...this.#about(chunk, state, held, tab_stop, soon), this.voice, this.name, today],
      (item) => this.#item(item, state, held, tab_stop), keyOf,
    )}</ol>`)}</div>`);
  }

  /** What a piece shows beside its messages. @param {Chunk} chunk @param {import('../state/types.js').State} state @param {ReturnType<typeof receipt>} held @param {string | undefined} tab_stop @param {string} soon */
  #about({ ids, soonest, waits }, state, held, tab_stop, soon) {
    const timed = waits || soonest < soon;
    return [
      ids.has(this.active_id) && this.active_id, ids.has(tab_stop ?? '') && tab_stop, held !== null && ids.has(held.message_id) && held.seen,
      held !== null && ids.has(held.message_id) && held.message_id, timed && state.now_ms, timed && state.link,
    ];
  }

  /** @param {Item} item @param {import('../state/types.js').State} state @param {ReturnType<typeof receipt>} held @param {string | undefined} tab_stop */
  #item(item, state, held, tab_stop) {
    const { words, place } = this.voice;
    if (item.kind === 'day') return html`<li class="day">${dayLabel(item.at, state.now_ms, place)}</li>`;
    if (item.kind === 'divider') return html`<li class="divider">${words.newDivider}</li>`;
    const { bubble } = item;
    return bubbleLine(bubble, {
      voice: this.voice,
      now_ms: state.now_ms,
      name: this.name,
      active: bubble.id === this.active_id,
      tab_stop: bubble.id === tab_stop,
      opened_at: this.#opened_at,
      receipt: held?.message_id === bubble.id ? (held.seen ? 'seen' : 'sent') : null,
      offline: state.link === 'offline',
      act: this.#act,
    });
  }

  #pill() {
    const { words } = this.voice;
    if (this.#scroll.atEnd || !this.thread?.loaded) return nothing;
    return html`<button class="pill ${this.missed ? '' : 'plain'}" aria-label=${this.missed ? nothing : words.toNewest} @click=${() => this.#scroll.toEnd(true)}>
      ${downIcon()}${this.missed ? words.newMessages(this.missed) : nothing}</button>`;
  }

  #foot() {
    const { words } = this.voice;
    if (!this.row || !this.state?.me) return nothing;
    if (!this.row.other_participant) return html`<p class="farewell">${words.formerMemberNote}</p>`;
    return html`<bookconnect-composer .client=${this.client} .words=${words} .conversation_id=${this.conversation_id} .name=${this.name}
      @bc-sent=${this.#sent}></bookconnect-composer>`;
  }

  #reset() {
    this.active_id = '';
    this.missed = 0;
    this.#tab_stop = '';
    this.#opened_at = toWire(Date.now());
    this.#newest = '';
    this.#placed = false;
    this.#scroll.atEnd = true;
  }

  /** Opens at the divider when what is new does not fit, else at the end. */
  #place() {
    this.#placed = true;
    const scroller = /** @type {HTMLElement | null} */ (this.renderRoot.querySelector('.scroller'));
    const divider = /** @type {HTMLElement | null} */ (this.renderRoot.querySelector('.divider'));
    if (!scroller) return;
    scroller.scrollTop = 0;
    if (!divider) return;
    const above_px = scroller.getBoundingClientRect().top - divider.getBoundingClientRect().top;
    if (above_px > -24) scroller.scrollTop -= above_px + 24;
    this.#scroll.scrolled();
  }

  /** Counts what arrives below while the reader is further up. */
  #count() {
    const last = this.#lastBubble();
    const id = last ? `${last.id} ${last.outgoing?.state ?? ''}` : '';
    if (this.#scroll.atEnd || !this.#placed) this.missed = 0;
    else if (last && !last.mine && id !== this.#newest) this.missed += 1;
  }

  #lastBubble() {
    const item = this.#items.at(-1);
    return item?.kind === 'bubble' ? item.bubble : null;
  }

  #look() {
    const sees = this.#placed && this.#scroll.atEnd && this.state?.open_id === this.conversation_id;
    this.client?.reader.looksAt(sees ? this.conversation_id : null);
  }

  #scrolled() {
    const scroller = this.renderRoot.querySelector('.scroller');
    if (!scroller) return;
    if (this.#scroll.scrolled()) this.requestUpdate();
    this.#reach(scroller);
  }

  /** Near the top the page before is fetched, also when nothing has moved since the last one came; after a failure only when asked to. @param {Element} scroller */
  #reach(scroller) {
    if (this.thread?.problem || this.thread?.loading) return;
    const above_px = scroller.scrollHeight - scroller.clientHeight + scroller.scrollTop;
    if (above_px < LOAD_OLDER_PX) void this.client?.load(this.conversation_id, 'older');
  }

  #sent() {
    this.#scroll.toEnd(false);
    this.missed = 0;
  }

  /** One message is the list's stop for the Tab key; the arrow keys go from one to the next. @param {KeyboardEvent} event */
  #keyed(event) {
    const line = lineOf(event.target);
    if (!line) return;
    const step = /** @type {Record<string, number>} */ ({ ArrowUp: -1, ArrowDown: 1 })[event.key];
    if (step && isBubble(event.target)) {
      event.preventDefault();
      const bubbles = [...this.renderRoot.querySelectorAll('.line .bubble')];
      const next = bubbles[bubbles.findIndex((bubble) => lineOf(bubble) === line) + step];
      if (next instanceof HTMLElement) next.focus();
    } else if (event.key === 'Escape') {
      this.active_id = '';
      if (isBubble(event.target)) this.focus();
      else line.querySelector('.bubble')?.focus();
    } else if (event.key === 'Delete' && isBubble(event.target) && line.classList.contains('mine')) {
      this.#remove(line.dataset.id ?? '');
    }
  }

  /** @param {Event} event */
  #focused(event) {
    const line = lineOf(event.target);
    if (!line) return;
    this.#tab_stop = line.dataset.id ?? '';
    if (isBubble(event.target) && event.target.matches(':focus-visible')) this.active_id = this.#tab_stop;
  }

  /** @param {PointerEvent} event */
  #hovered(event) {
    if (event.pointerType !== 'mouse') return;
    this.active_id = lineOf(event.target)?.dataset.id ?? '';
  }

  #left() {
    this.active_id = '';
  }

  /** @param {MouseEvent} event */
  #tapped(event) {
    const line = lineOf(event.target);
    if (!isBubble(event.target) || !line || /** @type {PointerEvent} */ (event).pointerType === 'mouse') return;
    this.active_id = this.active_id === line.dataset.id ? '' : line.dataset.id ?? '';
  }

  /** @type {import('./bubble.js').Given['act']} */
  #act = (what, bubble) => {
    if (what === 'remove') this.#remove(bubble.id);
    if (what === 'resend') this.client?.resend(bubble.id);
    if (what === 'discard') this.client?.discard(bubble.id);
  };

  /** @param {string} id */
  #remove(id) {
    if (this.#items.some((item) => item.kind === 'bubble' && item.bubble.id === id && item.bubble.outgoing)) return;
    this.active_id = '';
    this.focus();
    this.client?.remove(this.conversation_id, id);
  }

  /** @param {MouseEvent} event */
  #goBack(event) {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    this.dispatchEvent(new GoEvent(''));
  }
}

/** @param {Item} item */
const keyOf = (item) => (item.kind === 'bubble' ? item.bubble.id : item.kind === 'day' ? `day ${item.at}` : item.kind);

/** @param {EventTarget | null} target @returns {target is HTMLElement} */
const isBubble = (target) => target instanceof HTMLElement && target.classList.contains('bubble');

/** @param {EventTarget | null} target @returns {any} */
const lineOf = (target) => (target instanceof Element ? target.closest('.line') : null);
