/**
 * In charge of: how a thread looks: header, bubbles, days, divider, pill.
 * Knows about: the tokens. Does not know about: when something is shown.
 */
import { css } from '../vendor/lit.js';

export const frame = css`
  :host {
    position: relative;
    display: flex;
    flex-direction: column;
    min-width: 0;
    min-height: 0;
    background: var(--_paper);
    container-type: inline-size;
  }
  header {
    display: flex;
    align-items: center;
    gap: 12px;
    flex: none;
    height: 64px;
    padding-inline: max(var(--_thread-bar-start, 4px), (100% - 760px) / 2) 16px;
    background: var(--_surface);
    border-bottom: 1px solid var(--_line);
  }
  header .back {
    display: var(--_back-display, inline-grid);
    margin-inline-end: -8px;
  }
  header .who {
    min-width: 0;
    display: grid;
  }
  header h1 {
    font-size: 17px;
    font-weight: 650;
    line-height: 1.3;
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  header .presence {
    color: var(--_soft);
    font-size: 13px;
    line-height: 1.3;
  }
  .strip {
    --_strip-display: var(--_thread-strip, flex);
    /* The header above it has a line already. */
    border-top: 0;
  }
  .stage {
    position: relative;
    flex: 1;
    min-height: 0;
    display: flex;
  }
  .scroller {
    flex: 1;
    min-width: 0;
    display: flex;
    flex-direction: column-reverse;
    overflow-y: auto;
    overflow-x: hidden;
    overflow-anchor: none;
    overscroll-behavior: contain;
    scrollbar-width: thin;
    scrollbar-color: var(--_line) transparent;
  }
  .content {
    width: 100%;
    max-width: 792px;
    margin-inline: auto;
    padding: 16px 16px 8px;
  }
  .pill {
    position: absolute;
    bottom: 12px;
    inset-inline: 0;
    width: max-content;
    min-height: 44px;
    margin-inline: auto;
    padding-inline: 14px 18px;
    display: flex;
    align-items: center;
    gap: 8px;
    border-radius: 22px;
    background: var(--_surface);
    color: var(--_accent);
    font-size: 15px;
    font-weight: 600;
    box-shadow: 0 4px 16px var(--_shadow), 0 0 0 1px var(--_line);
  }
  .pill.plain {
    inset-inline: auto 16px;
    width: 44px;
    margin: 0;
    padding: 0;
    justify-content: center;
    color: var(--_soft);
  }
  .center {
    flex: 1;
    display: grid;
    align-content: center;
    justify-items: center;
    gap: 12px;
    padding: 32px;
    color: var(--_soft);
    text-align: center;
  }
  .center p {
    max-width: 36ch;
    text-wrap: balance;
  }
  .bones {
    flex: 1;
    display: flex;
    flex-direction: column;
    justify-content: flex-end;
    gap: 12px;
    max-width: 792px;
    width: 100%;
    margin-inline: auto;
    padding: 16px;
  }
  .bones .bone {
    height: 38px;
    border-radius: var(--_radius);
  }
  .bones .bone:nth-of-type(1) { width: 46%; }
  .bones .bone:nth-of-type(2) { width: 62%; height: 60px; }
  .bones .bone:nth-of-type(3) { width: 38%; align-self: flex-end; }
  .bones .bone:nth-of-type(4) { width: 54%; align-self: flex-end; height: 60px; }
  .bones .bone:nth-of-type(5) { width: 30%; }
  .farewell {
    flex: none;
    padding: 16px;
    border-top: 1px solid var(--_line);
    color: var(--_soft);
    text-align: center;
    text-wrap: balance;
    font-size: 15px;
  }
`;

export const lines = css`
  .opening {
    padding: 24px 16px 8px;
    text-align: center;
    color: var(--_soft);
    font-size: 13px;
    text-wrap: balance;
  }
  .older {
    min-height: 44px;
    display: grid;
    place-items: center;
    color: var(--_soft);
    font-size: 13px;
    text-align: center;
    text-wrap: balance;
  }
  .day {
    margin: 20px 0 12px;
    text-align: center;
    color: var(--_soft);
    font-size: 13px;
    font-weight: 500;
  }
  .divider {
    display: flex;
    align-items: center;
    gap: 12px;
    margin: 16px 0 12px;
    color: var(--_accent);
    font-size: 13px;
    font-weight: 650;
  }
  .divider::before,
  .divider::after {
    content: '';
    flex: 1;
    height: 1px;
    background: currentColor;
    opacity: 0.45;
  }
  .chunk {
    /* Far or near, the same distances. */
    display: flow-root;
    padding: 0 16px 1px;
  }
  .part {
    margin-inline: -16px;
  }
  .far {
    content-visibility: auto;
    /* About as high as so many messages are, until they have been seen. */
    contain-intrinsic-block-size: auto 4600px;
  }
  .line {
    display: flex;
    flex-direction: column;
    align-items: flex-start;
    margin-top: 2px;
  }
  .line.mine {
    align-items: flex-end;
  }
  .line.first {
    margin-top: 10px;
  }
  .day + .line.first,
  .divider + .line.first {
    margin-top: 0;
  }
  .main {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0 8px;
    width: 100%;
  }
  .mine .main {
    flex-direction: row-reverse;
  }
  .bubble {
    max-width: min(560px, 70cqi);
    padding: 8px 14px;
    border-radius: var(--_radius);
    background: var(--_theirs);
    color: var(--_ink);
    font-size: 15px;
    line-height: 1.45;
    white-space: pre-wrap;
    overflow-wrap: anywhere;
    unicode-bidi: plaintext;
  }
  .theirs:not(.first) .bubble {
    border-start-start-radius: 6px;
  }
  .theirs:not(.last) .bubble {
    border-end-start-radius: 6px;
  }
  .mine:not(.first) .bubble {
    border-start-end-radius: 6px;
  }
  .mine:not(.last) .bubble {
    border-end-end-radius: 6px;
  }
  .mine .bubble {
    background: var(--_mine);
    color: var(--_mine-ink);
  }
  .bubble a {
    color: inherit;
    text-decoration: underline;
    text-underline-offset: 2px;
    text-decoration-thickness: 1px;
  }
  .theirs .bubble a {
    color: var(--_accent);
  }
  .emoji .bubble {
    padding: 2px 4px;
    background: none;
    color: var(--_ink);
    font-size: 40px;
    line-height: 1.2;
  }
  .failed .bubble {
    background: none;
    color: var(--_ink);
    box-shadow: inset 0 0 0 1px var(--_danger);
  }
  .under {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0 6px;
    margin: 3px 6px 0;
    color: var(--_soft);
    font-size: 13px;
    font-variant-numeric: tabular-nums;
  }
  .under > * + .state::before {
    content: '·';
    margin-inline-end: 6px;
  }
  .under .goes {
    display: inline-flex;
    align-items: center;
    gap: 4px;
  }
  .under.failed {
    color: var(--_danger);
    justify-content: flex-end;
  }
  .under .why {
    display: inline-flex;
    gap: 6px;
    text-wrap: balance;
  }
  .under .why svg {
    margin-top: 1px;
  }
  .under .text-button {
    min-height: 44px;
    margin-block: -11px;
    padding: 0 6px;
    font-size: 13px;
  }
  .text-button.plain {
    color: var(--_soft);
    font-weight: 500;
  }
  .beside {
    display: inline-flex;
    align-items: center;
    gap: 2px;
    min-height: 44px;
    margin-block: -4px;
    padding-inline: 4px;
    color: var(--_soft);
    font-size: 13px;
    white-space: nowrap;
  }
  .beside .icon-button {
    color: var(--_soft);
  }
  /* Under a bubble, the picture ends where the time below it ends. */
  .mine .beside {
    margin-inline-end: -12px;
  }
  .beside .icon-button:hover {
    color: var(--_danger);
  }
  .beside .kept {
    display: inline-flex;
    align-items: center;
    gap: 5px;
  }
  /* Wide enough for both: what appears beside a bubble under the mouse moves nothing. */
  @container (min-width: 720px) {
    .main {
      flex-wrap: nowrap;
    }
    .mine .beside {
      margin-inline-end: 0;
    }
    .bubble {
      flex: none;
      max-width: min(540px, 68cqi);
    }
    .beside,
    .beside .kept {
      min-width: 0;
    }
    .beside .kept span {
      overflow: hidden;
      text-overflow: ellipsis;
    }
  }
  @media (prefers-reduced-motion: no-preference) {
    .line.fresh .bubble {
      animation: bc-arrive var(--_motion) ease-out;
    }
  }
  @keyframes bc-arrive {
    from {
      opacity: 0;
      transform: translateY(6px);
    }
  }
`;
