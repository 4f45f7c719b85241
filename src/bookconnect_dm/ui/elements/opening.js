/**
 * In charge of: what stands above the oldest message that is held: the beginning, or the way to what came before.
 * Knows about: markup and words. Does not know about: scrolling, when pages are asked for.
 */
import { html, nothing } from '../vendor/lit.js';

/**
 * @param {import('../state/types.js').Thread | undefined} thread @param {import('../state/types.js').Me | null | undefined} me  null where nothing can be written any more
 * @param {string} name  of the other one
 * @param {typeof import('../text/en.js').en} words @param {() => void} again
 */
export function opening(thread, me, name, words, again) {
  if (!thread?.loaded) return html`<p class="older"></p>`;
  if (!thread.older_cursor) {
    return me ? html`<p class="opening">${words.startOfThread(name)} ${words.keptDays(me.retention.tier, me.retention.retention_days)}</p>` : nothing;
  }
  if (!thread.problem) return html`<p class="older">${thread.loading === 'older' ? words.loadingOlder : nothing}</p>`;
  return html`<p class="older" role="status"><span>${words.olderFailed} ${words.problem(thread.problem)}</span>
    <button class="text-button" data-act="older" @click=${again}>${words.tryAgain}</button></p>`;
}
