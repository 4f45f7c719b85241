/**
 * In charge of: what every element's shadow tree starts from: box sizes, focus ring, plain and icon buttons, hidden text.
 * Knows about: the tokens. Does not know about: who uses it.
 */
import { css } from '../vendor/lit.js';

export const base = css`
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }
  :host([hidden]),
  [hidden] {
    display: none !important;
  }
  button,
  input,
  textarea {
    font: inherit;
    color: inherit;
    letter-spacing: inherit;
  }
  button {
    border: 0;
    background: none;
    padding: 0;
    cursor: pointer;
    -webkit-tap-highlight-color: transparent;
  }
  a {
    color: inherit;
    -webkit-tap-highlight-color: transparent;
  }
  :focus {
    outline: none;
  }
  :focus-visible {
    outline: 2px solid var(--_focus);
    outline-offset: 2px;
  }
  h1,
  h2,
  p,
  ul,
  ol {
    margin: 0;
    padding: 0;
  }
  ul,
  ol {
    list-style: none;
  }
  .icon-button {
    display: inline-grid;
    place-items: center;
    width: 44px;
    height: 44px;
    border-radius: 50%;
    color: var(--_ink);
    transition: background-color var(--_motion) ease-out;
    flex: none;
  }
  .icon-button:hover {
    background: var(--_hover);
  }
  .text-button {
    min-height: 44px;
    padding: 0 12px;
    border-radius: var(--_card-radius);
    color: var(--_accent);
    font-weight: 600;
  }
  .text-button:hover {
    background: var(--_hover);
  }
  .main-button {
    min-height: 44px;
    padding: 0 20px;
    border-radius: 22px;
    background: var(--_accent);
    color: var(--_accent-ink);
    font-weight: 600;
  }
  .unseen {
    position: absolute;
    width: 1px;
    height: 1px;
    margin: -1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  svg {
    display: block;
    flex: none;
  }
  .back svg:dir(rtl) {
    transform: scaleX(-1);
  }
`;
