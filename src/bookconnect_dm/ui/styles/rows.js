/**
 * In charge of: rows of people and conversations, and the bar and search field above them.
 * Knows about: the tokens. Does not know about: what a row is for.
 */
import { css } from '../vendor/lit.js';

export const bar = css`
  .bar {
    display: flex;
    align-items: center;
    gap: 4px;
    flex: none;
    height: 64px;
    padding-inline: 16px 8px;
  }
  .bar h1 {
    flex: 1;
    min-width: 0;
    font-size: 20px;
    font-weight: 650;
    letter-spacing: -0.01em;
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .search {
    position: relative;
    flex: none;
    margin: 0 16px 12px;
    color: var(--_soft);
  }
  .search svg {
    position: absolute;
    inset-inline-start: 14px;
    top: 12px;
    pointer-events: none;
  }
  .search input {
    width: 100%;
    height: 44px;
    padding-inline: 42px 44px;
    border: 1px solid var(--_line);
    border-radius: 22px;
    background: var(--_paper);
    color: var(--_ink);
    font-size: 16px;
    text-overflow: ellipsis;
    -webkit-appearance: none;
    appearance: none;
  }
  .search input::placeholder {
    color: var(--_soft);
    opacity: 1;
  }
  .search input::-webkit-search-cancel-button {
    display: none;
  }
  .search input:focus-visible {
    outline: 2px solid color-mix(in srgb, var(--_focus) 75%, transparent);
    outline-offset: -1px;
    border-color: transparent;
  }
  .search .icon-button {
    position: absolute;
    inset-inline-end: 0;
    top: 0;
    color: var(--_soft);
  }
  .search .icon-button svg {
    position: static;
  }
`;

export const rows = css`
  .row {
    position: relative;
    display: flex;
    align-items: center;
    gap: 12px;
    width: 100%;
    height: 72px;
    padding: 0 16px;
    text-align: start;
    text-decoration: none;
    color: inherit;
    --_behind: var(--_surface);
  }
  .row:hover,
  .row[aria-current] {
    background: var(--_hover);
    --_behind: var(--_hover);
  }
  .row[aria-current]::before {
    content: '';
    position: absolute;
    inset-block: 0;
    inset-inline-start: 0;
    width: 3px;
    background: var(--_accent);
  }
  .row:focus-visible {
    outline-offset: -3px;
    border-radius: 6px;
  }
  .row .text {
    flex: 1;
    min-width: 0;
    display: grid;
    gap: 1px;
  }
  .row .top,
  .row .under {
    display: flex;
    align-items: baseline;
    gap: 8px;
    min-width: 0;
  }
  .row .under {
    min-height: 22px;
    align-items: center;
  }
  .row .name,
  .row .said {
    flex: 1;
    min-width: 0;
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .row .said {
    color: var(--_soft);
    font-size: 15px;
  }
  .row .when {
    flex: none;
    color: var(--_soft);
    font-size: 13px;
    white-space: nowrap;
  }
  .row.unread .name {
    font-weight: 650;
  }
  .row.unread .said {
    color: var(--_ink);
  }
  .badge {
    flex: none;
    min-width: 22px;
    height: 22px;
    padding: 0 7px;
    border-radius: 11px;
    background: var(--_accent);
    color: var(--_accent-ink);
    font-size: 13px;
    font-weight: 650;
    line-height: 22px;
    text-align: center;
    font-variant-numeric: tabular-nums;
  }
  .row .problem {
    color: var(--_danger);
    display: inline-flex;
    gap: 4px;
    align-items: center;
    flex: none;
  }
  .section {
    padding: 16px 16px 4px;
    color: var(--_soft);
    font-size: 13px;
    font-weight: 600;
  }
  .note {
    padding: 24px 32px;
    color: var(--_soft);
    text-align: center;
    text-wrap: balance;
  }
`;
