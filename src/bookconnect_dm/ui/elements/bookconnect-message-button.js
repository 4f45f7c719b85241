/**
 * In charge of: a button for a member's profile page: "Message".
 * Knows about: the event that asks for a conversation. Does not know about: who answers it.
 */
import { LitElement, css, html } from '../vendor/lit.js';
import { base } from '../styles/base.js';
import { tokens } from '../styles/tokens.js';
import { en } from '../text/en.js';
import { wordsFor } from '../text/languages.js';
import { OpenEvent } from './events.js';

/**
 * Asks the page's bookconnect-messages to open the conversation with a member.
 *
 * @element bookconnect-message-button
 * @attr {string} username  whom to write to
 * @slot - the button's text; "Message" in the page's language when left out
 * @fires bookconnect-open  `detail.username`; prevent its default to answer it yourself
 */
export class BookconnectMessageButton extends LitElement {
  static properties = { username: {}, words: { state: true } };

  static styles = [tokens, base, css`
    :host {
      display: inline-block;
    }
  `];

  constructor() {
    super();
    this.username = '';
    this.words = en;
  }

  async connectedCallback() {
    super.connectedCallback();
    this.words = await wordsFor(this.closest('[lang]')?.getAttribute('lang'));
  }

  render() {
    return html`<button class="main-button" part="button" ?disabled=${!this.username} @click=${this.#pressed}><slot>${this.words.message}</slot></button>`;
  }

  #pressed() {
    this.dispatchEvent(new OpenEvent({ username: this.username }));
  }
}
