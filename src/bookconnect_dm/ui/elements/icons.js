/**
 * In charge of: the drawings. Each is decoration: what it means stands in words beside it or in a label.
 * Knows about: a 24 by 24 grid and strokes in the colour of the text. Does not know about: who shows them.
 */
import { html, svg } from '../vendor/lit.js';

/** @param {unknown} paths @param {number} size */
const icon = (paths, size = 24) => html`<svg
  width=${size} height=${size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8"
  stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">${paths}</svg>`;

export const backIcon = () => icon(svg`<path d="M15 5l-7 7 7 7" />`);
export const penIcon = () => icon(svg`<path d="M12 20h8" /><path d="M16.2 4.3a2.1 2.1 0 0 1 3 3L8 18.5 4 19.6l1.1-4z" />`);
/** @param {boolean} on */
export const bellIcon = (on) => icon(on
  ? svg`<path d="M6.5 16.5V11a5.5 5.5 0 0 1 11 0v5.5l1.5 1.5H5zM10.3 20.5h3.4" fill="currentColor" />`
  : svg`<path d="M6.5 16.5V11a5.5 5.5 0 0 1 11 0v5.5l1.5 1.5H5zM10.3 20.5h3.4" />`);
export const searchIcon = () => icon(svg`<circle cx="11" cy="11" r="6.5" /><path d="M20 20l-4.3-4.3" />`, 20);
export const closeIcon = () => icon(svg`<path d="M6 6l12 12M18 6L6 18" />`, 20);
export const sendIcon = () => icon(svg`<path d="M12 19V5M5.5 11.5L12 5l6.5 6.5" />`, 22);
export const clockIcon = (size = 16) => icon(svg`<circle cx="12" cy="12" r="8.5" /><path d="M12 7.5V12l3 2" />`, size);
export const trashIcon = () => icon(svg`<path d="M5 7h14M10 7V4.8h4V7M7 7l.8 12.2h8.4L17 7" />`, 18);
export const alertIcon = (size = 16) => icon(svg`<circle cx="12" cy="12" r="8.5" /><path d="M12 7.8v5M12 16.1v.1" />`, size);
export const downIcon = () => icon(svg`<path d="M12 5v14M5.5 12.5L12 19l6.5-6.5" />`, 18);
export const offlineIcon = () => icon(svg`<path d="M4 4l16 16M8.2 8.6A10 10 0 0 0 5 10.8M12 8a10 10 0 0 1 7 2.8M9.3 14.2a5 5 0 0 1 5 .2M12 18.2v.1" />`, 18);
export const booksIcon = () => icon(svg`<path d="M12 6.5C10 5 7 4.5 3.5 4.8v13.4c3.5-.3 6.5.2 8.5 1.7 2-1.5 5-2 8.5-1.7V4.8C17 4.5 14 5 12 6.5z" /><path d="M12 6.5v13.4" />`, 48);
