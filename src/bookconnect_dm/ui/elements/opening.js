/**
 * In charge of: what stands above the oldest message that is held: the beginning, or the way to what came before.
 * Knows about: markup and words. Does not know about: scrolling, when pages are asked for.
 */
import { html, nothing } from '../vendor/lit.js';

/**
 * @param {import('../state/types.js').Thread | undefined} thread @param {import('../state/types.js').Me | null | undefined} me  null where nothing can be written any more
 * @param {string} name  of the other one
 * @param {typeof import('../text/en.js').en} words @param {(which: 'newest' | 'older') => void} again
 */
export function opening(thread, me, name, words, again) {
  const problem = thread?.problem;
  const failed = (/** @type {string} */ said, /** @type {'newest' | 'older'} */ which) => html`<p class="older" role="status"><span>${said} ${problem && words.problem(problem)}</span>
    <button class="text-button" data-act=${which} @click=${() => again(which)}>${words.tryAgain}</button></p>`;
  if (!thread?.loaded) return problem ? failed(words.threadFailed, 'newest') : html`<p class="older"></p>`;
  if (!thread.older_cursor) {
    return me ? html`<p class="opening">${words.startOfThread(name)} ${words.keptDays(me.retention.tier, me.retention.retention_days)}</p>` : nothing;
  }
  if (problem) return failed(words.olderFailed, 'older');
  return html`<p class="older">${thread.loading === 'older' ? words.loadingOlder : nothing}</p>`;
}
