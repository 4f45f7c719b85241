/**
 * In charge of: writing: a field that grows, the counter, the send button, the draft that survives.
 * Knows about: what a message may be. Does not know about: sending; it calls the client.
 */
import { LitElement, css, html, live, nothing } from '../vendor/lit.js';
import { en } from '../text/en.js';
import { MAX_CONTENT, codePoints, toContent } from '../text/trim.js';
import { base } from '../styles/base.js';
import { sendIcon } from './icons.js';

const COUNT_FROM = 900;

/** The field under a thread. */
export class BookconnectComposer extends LitElement {
  static properties = {
    client: { attribute: false }, words: { attribute: false }, conversation_id: { attribute: false }, name: {}, text: { state: true },
  };

  static styles = [base, css`
    :host {
      display: block;
      flex: none;
      padding: 8px 16px max(12px, env(safe-area-inset-bottom));
      background: var(--_paper);
    }
    form {
      display: flex;
      align-items: flex-end;
      gap: 8px;
      max-width: 760px;
      margin-inline: auto;
    }
    .field {
      position: relative;
      flex: 1;
      min-width: 0;
      display: flex;
      padding-block: 9px;
      border: 1px solid var(--_line);
      border-radius: 22px;
      background: var(--_surface);
      overflow: hidden;
      cursor: text;
    }
    .field:focus-within {
      outline: 2px solid color-mix(in srgb, var(--_focus) 75%, transparent);
      outline-offset: -1px;
    }
    textarea {
      display: block;
      width: 100%;
      min-height: 24px;
      /* Whole lines: the space above and below is the field's, and does not scroll. */
      max-height: calc(6 * 1.45em);
      padding: 0 16px;
      border: 0;
      outline: 0;
      background: none;
      resize: none;
      font-size: 16px;
      line-height: 1.45;
      field-sizing: content;
      overflow-y: auto;
      scrollbar-width: thin;
    }
    /* The field has the ring. */
    textarea:focus-visible {
      outline: 0;
    }
    textarea::placeholder {
      color: var(--_soft);
      opacity: 1;
    }
    .send {
      display: grid;
      place-items: center;
      flex: none;
      width: 44px;
      height: 44px;
      border-radius: 50%;
      background: var(--_hover);
      color: var(--_soft);
      transition: background-color var(--_motion) ease-out, color var(--_motion) ease-out;
    }
    .send.ready {
      background: var(--_accent);
      color: var(--_accent-ink);
    }
    .send:disabled {
      cursor: default;
    }
    .count {
      max-width: 760px;
      margin: 6px auto 0;
      padding: 0 60px 0 16px;
      text-align: end;
      color: var(--_soft);
      font-size: 13px;
      font-variant-numeric: tabular-nums;
    }
    .count.over {
      color: var(--_danger);
      font-weight: 600;
    }
  `];

  constructor() {
    super();
    /** @type {import('../client/client.js').Client | null} */
    this.client = null;
    this.words = en;
    this.conversation_id = '';
    this.name = '';
    this.text = '';
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has('conversation_id')) this.text = this.client?.draft(this.conversation_id) ?? '';
  }

  /** Takes the cursor. */
  focus() {
    this.renderRoot.querySelector('textarea')?.focus();
  }

  render() {
    const length = this.text.length > COUNT_FROM ? codePoints(toContent(this.text)) : 0;
    const left = MAX_CONTENT - length;
    const ready = left >= 0 && toContent(this.text) !== '';
    return html`
      <form @submit=${this.#submit}>
        <label class="field"><textarea rows="1" dir="auto" enterkeyhint="enter" autocapitalize="sentences"
          placeholder=${this.words.write} aria-label=${this.words.writeTo(this.name)} aria-describedby="count"
          .value=${live(this.text)} @input=${this.#typed} @keydown=${this.#keyed}></textarea></label>
        <button class="send ${ready ? 'ready' : ''}" aria-label=${this.words.send} title=${this.words.send} ?disabled=${!ready}>${sendIcon()}</button>
      </form>
      <p id="count" class="count ${left < 0 ? 'over' : ''}" ?hidden=${length < COUNT_FROM} aria-live=${left <= 20 ? 'polite' : 'off'}>${length < COUNT_FROM ? nothing : this.words.left(left)}</p>`;
  }

  updated() {
    const area = this.renderRoot.querySelector('textarea');
    if (!area || CSS.supports('field-sizing', 'content')) return;
    area.style.height = 'auto';
    area.style.height = `${area.scrollHeight}px`;
  }

  /** @param {InputEvent} event */
  #typed(event) {
    this.text = /** @type {HTMLTextAreaElement} */ (event.target).value;
    this.client?.keepDraft(this.conversation_id, this.text);
    if (this.text.trim()) this.client?.typing(this.conversation_id);
  }

  /** @param {KeyboardEvent} event */
  #keyed(event) {
    // While an input method is composing, Enter chooses a word. On a touch keyboard, Enter is the only way to a new line.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    if (matchMedia('(hover: none) and (pointer: coarse)').matches) return;
    event.preventDefault();
    this.#send();
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    this.#send();
    this.focus();
  }

  #send() {
    if (codePoints(toContent(this.text)) > MAX_CONTENT) return;
    if (!this.client?.send(this.conversation_id, this.text)) return;
    this.text = '';
    this.client.keepDraft(this.conversation_id, '');
    this.dispatchEvent(new Event('bc-sent', { bubbles: true, composed: true }));
  }
}
