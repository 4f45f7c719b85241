/**
 * In charge of: one row of the inbox, one row for a member, rows of bones.
 * Knows about: markup and words. Does not know about: where the data comes from.
 */
import { html, nothing } from '../vendor/lit.js';
import { fullTime, shortTime } from '../text/time.js';
import { nameOf } from './go.js';
import { alertIcon } from './icons.js';

/** @typedef {{words: typeof import('../text/en.js').en, place: import('../text/time.js').Place}} Voice */

/**
 * @param {{row: import('../state/types.js').Conversation, preview: import('../state/select.js').Preview | null}} item
 * @param {{voice: Voice, now_ms: number, current: boolean, online: boolean, typing: boolean, href: string, onOpen: (event: Event) => void}} given
 */
export function conversationRow({ row, preview }, { voice, now_ms, current, online, typing, href, onOpen }) {
  const { words, place } = voice;
  const other = row.other_participant;
  const name = nameOf(other, words.formerMember);
  const at = preview?.at ?? row.updated_at;
  return html`<a class="row ${row.unread_count > 0 ? 'unread' : ''}" href=${href} aria-current=${current ? 'page' : nothing}
    data-id=${row.id} @click=${onOpen}>
    <bookconnect-avatar .name=${name} .member_id=${other?.id ?? row.id} .picture=${other?.avatar_url ?? null} .online=${online}></bookconnect-avatar>
    <span class="text">
      <span class="top"><span class="name"><bdi>${name}</bdi></span><time class="when" datetime=${at} title=${fullTime(at, place)}>${shortTime(at, now_ms, place)}</time></span>
      <span class="under"><span class="said">${typing ? words.typing : said(preview, words)}</span>${unreadBadge(row, words)}${failure(preview, words)}</span>
    </span>
  </a>`;
}

/** @param {import('../state/select.js').Preview | null} preview @param {Voice['words']} words */
function said(preview, words) {
  if (!preview) return words.noMessagesYet;
  return html`${preview.mine ? `${words.you}: ` : nothing}<bdi>${preview.content}</bdi>`;
}

/** @param {import('../state/types.js').Conversation} row @param {Voice['words']} words */
const unreadBadge = (row, words) => (row.unread_count > 0
  ? html`<span class="badge" data-unread=${row.unread_count}><span aria-hidden="true">${words.unreadShort(row.unread_count)}</span><span class="unseen">, ${words.unread(row.unread_count)}</span></span>` : nothing);

/** @param {import('../state/select.js').Preview | null} preview @param {Voice['words']} words */
const failure = (preview, words) => (preview?.outgoing === 'failed'
  ? html`<span class="problem">${alertIcon(18)}<span class="unseen">${words.notSent}</span></span>` : nothing);

/**
 * @param {import('../state/types.js').Member} member
 * @param {{note: string | null, onPick: ((event: Event) => void) | null, busy: boolean, online: boolean}} given
 */
export function memberRow(member, { note, onPick, busy, online }) {
  const inside = html`
    <bookconnect-avatar .name=${nameOf(member, '')} .member_id=${member.id} .picture=${member.avatar_url} .online=${online}></bookconnect-avatar>
    <span class="text">
      <span class="name"><bdi>${nameOf(member, '')}</bdi></span>
      <span class="said"><bdi>@${member.username}</bdi>${note ? html` · ${note}` : nothing}</span>
    </span>`;
  if (!onPick) return html`<div class="row quiet">${inside}</div>`;
  return html`<button class="row" data-username=${member.username} aria-busy=${busy ? 'true' : nothing} @click=${onPick}>${inside}</button>`;
}

/** @param {number} count @param {string} label */
export const boneRows = (count, label) => html`<div class="skeleton" role="status"><span class="unseen">${label}</span>${Array.from(
  { length: count },
  (_, at) => html`<div class="row bones"><span class="bone face"></span><span class="text"><span class="bone name-${at % 3}"></span><span class="bone said-${at % 3}"></span></span></div>`,
)}</div>`;
