/**
 * In charge of: one line of a thread: bubble, what stands beside it, what stands under it.
 * Knows about: markup and words. Does not know about: the list, scrolling, the client.
 */
import { html, nothing } from '../vendor/lit.js';
import { linkify } from '../text/linkify.js';
import { isEmojiOnly } from '../text/person.js';
import { clock, expiryDate, fullTime, timeLeft } from '../text/time.js';
import { alertIcon, clockIcon, trashIcon } from './icons.js';

/** @typedef {import('../state/items.js').Bubble} Bubble */
/**
 * @typedef {object} Given
 * @property {import('./rows.js').Voice} voice
 * @property {number} now_ms
 * @property {string} name  of the other one
 * @property {boolean} active  its details are shown
 * @property {boolean} tab_stop
 * @property {string} opened_at  what is newer arrives with a small movement
 * @property {'sent' | 'seen' | null} receipt
 * @property {boolean} offline
 * @property {(what: 'remove' | 'resend' | 'discard', bubble: Bubble) => void} act
 */

/** Most messages have no address in them, and are one piece of text. @param {string} content */
const body = (content) => (content.includes('://') ? linkify(content).map((part) => (part.href
  ? html`<a href=${part.href} target="_blank" rel="noopener noreferrer nofollow ugc" dir="ltr">${part.text}</a>` : part.text)) : content);

/** @param {Bubble} bubble @param {Given} given */
export function bubbleLine(bubble, given) {
  const { words, place } = given.voice;
  const shape = [
    'line', bubble.mine ? 'mine' : 'theirs', bubble.first ? 'first' : '', bubble.last ? 'last' : '', given.active ? 'active' : '',
    isEmojiOnly(bubble.content) ? 'emoji' : '', bubble.at > given.opened_at ? 'fresh' : '', bubble.outgoing?.state === 'failed' ? 'failed' : '',
  ].join(' ');
  const who = bubble.mine ? words.you : given.name;
  const full = fullTime(bubble.at, place);
  // Blanks between tags would be nodes, thousands of them in a long thread.
  return html`<li class=${shape} data-id=${bubble.id}><div class="main"><article class="bubble" dir="auto" tabindex=${given.tab_stop ? 0 : -1}
    aria-label=${`${words.said(who, bubble.content)}, ${full}`}>${body(bubble.content)}</article>${
  given.active ? beside(bubble, given) : nothing}</div>${under(bubble, given, full)}</li>`;
}

/** @param {Bubble} bubble @param {Given} given */
function beside(bubble, { voice: { words, place }, now_ms, act }) {
  if (bubble.outgoing) return nothing;
  return html`<span class="beside">
    ${bubble.expires_at ? html`<span class="kept" title=${words.keptUntil(fullTime(bubble.expires_at, place))}>${clockIcon()}<span>${words.until(expiryDate(bubble.expires_at, now_ms, place))}</span></span>` : nothing}
    ${bubble.mine ? html`<button class="icon-button" data-act="remove" aria-label=${words.remove} title=${words.remove} @click=${() => act('remove', bubble)}>${trashIcon()}</button>` : nothing}
  </span>`;
}

/** @param {Bubble} bubble @param {Given} given @param {string} full  when it was sent */
function under(bubble, given, full) {
  const { voice: { words, place }, now_ms, act } = given;
  if (bubble.outgoing?.state === 'failed') {
    return html`<p class="under failed" role="status"><span class="why">${alertIcon()}<span>${words.notSent}${reason(bubble, words)}</span></span>
      <button class="text-button" data-act="resend" @click=${() => act('resend', bubble)}>${words.tryAgain}</button>
      <button class="text-button plain" @click=${() => act('discard', bubble)}>${words.discard}</button></p>`;
  }
  if (!bubble.last) return nothing;
  const left = bubble.expires_at ? timeLeft(bubble.expires_at, now_ms, place) : null;
  return html`<p class="under"><time datetime=${bubble.at} title=${full}>${clock(bubble.at, place)}</time>${
  left ? html`<span class="goes">${clockIcon(14)}${words.goesIn(left)}</span>` : nothing}${state(bubble, given)}</p>`;
}

/** @param {Bubble} bubble @param {typeof import('../text/en.js').en} words */
function reason(bubble, words) {
  const problem = bubble.outgoing?.problem;
  return problem && problem.code !== 'NETWORK' ? html`. ${words.problem(problem)}` : nothing;
}

/** @param {Bubble} bubble @param {Given} given */
function state(bubble, { voice: { words }, now_ms, receipt, offline }) {
  if (bubble.outgoing) return html`<span class="state" data-state="sending">${offline ? words.waitingToSend : pace(bubble.outgoing, now_ms, words)}</span>`;
  if (!receipt) return nothing;
  return html`<span class="state" data-state=${receipt}>${receipt === 'seen' ? words.seen : words.sent}</span>`;
}

/** Too many at once: when it goes on. @param {import('../state/types.js').Outgoing} outgoing @param {number} now_ms @param {typeof import('../text/en.js').en} words */
function pace(outgoing, now_ms, words) {
  const left_s = Math.ceil((outgoing.again_at_ms - now_ms) / 1000);
  return outgoing.problem?.code === 'RATE_LIMIT_EXCEEDED' && left_s > 0 ? words.sendsIn(left_s) : words.sending;
}
