/**
 * In charge of: the one-line strip that says how the connection is, when it is not well, and the notice of a plan that has changed.
 * Knows about: the link's states. Does not know about: sockets.
 */
import { css, html, nothing } from '../vendor/lit.js';
import { clockIcon, offlineIcon } from './icons.js';

/**
 * The strip, or nothing while all is well. A short gap is no news: CSS shows "reconnecting" after two seconds only.
 * @param {import('../state/types.js').State} state @param {typeof import('../text/en.js').en} words @param {() => void} retry
 */
export function strip(state, words, retry) {
  if (state.link === 'offline') return html`<p class="strip" role="status">${offlineIcon()}<span>${words.offline}</span></p>`;
  if (state.link === 'signed_out') {
    return html`<p class="strip" role="status">${offlineIcon()}<span>${words.signedOut}</span>
      <button class="text-button" @click=${retry}>${words.signInAgain}</button></p>`;
  }
  const away = state.link === 'waiting' || (state.link === 'connecting' && state.inbox_loaded && state.epoch !== null);
  if (!away) return nothing;
  return html`<p class="strip late" role="status">${clockIcon(18)}<span>${words.reconnecting}</span>
    <button class="text-button" @click=${retry}>${words.tryAgain}</button></p>`;
}

export const stripStyles = css`
  .strip {
    display: var(--_strip-display, flex);
    flex: none;
    align-items: center;
    gap: 8px;
    min-height: 44px;
    padding: 4px 16px;
    background: var(--_hover);
    color: var(--_soft);
    font-size: 14px;
    border-block: 1px solid var(--_line);
  }
  .strip span {
    flex: 1;
    text-wrap: balance;
  }
  .strip .text-button {
    flex: none;
    min-height: 36px;
    margin-inline-end: -8px;
    padding: 0 8px;
  }
  .strip.late {
    animation: bc-late 1ms step-end 2s backwards;
  }
  @keyframes bc-late {
    from {
      min-height: 0;
      max-height: 0;
      padding-block: 0;
      border-width: 0;
      overflow: hidden;
      opacity: 0;
    }
  }
`;
