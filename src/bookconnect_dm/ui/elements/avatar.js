/**
 * In charge of: a member's face: the picture, or initials on a colour of their own.
 * Knows about: names and ids. Does not know about: conversations; where presence comes from.
 */
import { LitElement, css, html, nothing } from '../vendor/lit.js';
import { hueOf, initials } from '../text/person.js';

const SAFE_PICTURE = /^(?:https?:\/\/|\/(?![/\\])|data:image\/(?:png|jpeg|webp|gif);)/iu;

/** A face of 44 px; decoration, since the name always stands beside it. */
export class BookconnectAvatar extends LitElement {
  static properties = {
    name: {}, member_id: { attribute: 'member-id' }, picture: {}, online: { type: Boolean }, small: { type: Boolean, reflect: true },
    broken: { state: true },
  };

  static styles = css`
    :host {
      --_size: 44px;
      position: relative;
      display: block;
      flex: none;
      width: var(--_size);
      height: var(--_size);
    }
    :host([small]) {
      --_size: 36px;
    }
    :host([small]) .dot {
      width: 11px;
      height: 11px;
    }
    .face {
      display: grid;
      place-items: center;
      width: 100%;
      height: 100%;
      border-radius: 50%;
      overflow: hidden;
      font-size: calc(var(--_size) * 0.36);
      font-weight: 600;
      letter-spacing: 0.02em;
      user-select: none;
      background: light-dark(hsl(var(--_hue) 26% 86%), hsl(var(--_hue) 18% 30%));
      color: light-dark(hsl(var(--_hue) 42% 24%), hsl(var(--_hue) 34% 88%));
    }
    img {
      width: 100%;
      height: 100%;
      object-fit: cover;
    }
    .hue-0 { --_hue: 12; }
    .hue-1 { --_hue: 32; }
    .hue-2 { --_hue: 50; }
    .hue-3 { --_hue: 84; }
    .hue-4 { --_hue: 130; }
    .hue-5 { --_hue: 168; }
    .hue-6 { --_hue: 200; }
    .hue-7 { --_hue: 228; }
    .hue-8 { --_hue: 280; }
    .hue-9 { --_hue: 335; }
    .dot {
      position: absolute;
      inset-inline-end: -1px;
      bottom: -1px;
      width: 13px;
      height: 13px;
      border-radius: 50%;
      border: 2px solid var(--_behind, var(--_surface));
      background: light-dark(#3f7d4c, #7fc48d);
    }
  `;

  constructor() {
    super();
    this.name = '';
    this.member_id = '';
    this.picture = /** @type {string | null} */ (null);
    this.online = false;
    this.small = false;
    this.broken = false;
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has('picture')) this.broken = false;
  }

  render() {
    const picture = this.picture && SAFE_PICTURE.test(this.picture) && !this.broken ? this.picture : null;
    return html`<span class="face hue-${hueOf(this.member_id)}" aria-hidden="true">${picture
      ? html`<img src=${picture} alt="" loading="lazy" decoding="async" referrerpolicy="no-referrer" @error=${this.#failed}>`
      : initials(this.name)}</span>${this.online ? html`<span class="dot"></span>` : nothing}`;
  }

  #failed() {
    this.broken = true;
  }
}
