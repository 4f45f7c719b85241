/**
 * In charge of: what a thread shows, oldest first: days, the divider, bubbles in groups. Made anew only from where something has changed.
 * Knows about: the state's shape and the member's calendar. Does not know about: markup, words, colours.
 */
import { dayOf } from '../text/time.js';

/** @typedef {import('./types.js').State} State */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Outgoing} Outgoing */
/** @typedef {import('../text/time.js').Place} Place */

const GROUP_MS = 5 * 60_000;

/**
 * @typedef {object} Bubble
 * @property {string} id
 * @property {string} content
 * @property {string} at
 * @property {boolean} mine
 * @property {string | null} expires_at
 * @property {Outgoing | null} outgoing
 * @property {boolean} first  of its group
 * @property {boolean} last  of its group
 */
/** @typedef {{kind: 'day', at: string} | {kind: 'divider'} | {kind: 'bubble', bubble: Bubble}} Item */
/** @typedef {Message | Outgoing} Said */
/** Where the items stand before one thing that was said; the count is without the shift. @typedef {{count: number, first: boolean, divided: boolean}} Mark */

/**
 * @typedef {object} Built
 * @property {Item[]} items
 * @property {number} same  so many items from the beginning are those of the time before
 * @property {number} same_end  so many at the end, when older ones have come on top
 * @property {readonly unknown[]} made_from
 * @property {Said[]} said
 * @property {Mark[]} marks  one for each thing said
 * @property {number} shift  how many items have come on top since the marks were made
 */
/** What decides how things are laid out. @typedef {{my_id: string | undefined, place: Place, divider_at: string | null}} Rules */

/** @param {Said} said */
const timeOf = (said) => ('sent_at' in said ? said.sent_at : said.written_at);

/** @param {Said} said @param {string | undefined} my_id */
const isMine = (said, my_id) => !('sender_id' in said) || said.sender_id === my_id;

/** @param {State} state @param {string} id @returns {Said[]} */
function everything(state, id) {
  const held = state.threads[id]?.messages ?? [];
  const messages = Object.keys(state.hiding).length > 0 ? held.filter((message) => !state.hiding[message.id]) : held;
  const unsent = state.outbox.filter((item) => item.conversation_id === id && !held.some((message) => message.id === item.id));
  return unsent.length > 0 ? [...messages, ...unsent] : messages;
}

/** @param {Said} one @param {Said} next @param {string | undefined} my_id @param {Place} place */
function together(one, next, my_id, place) {
  const [at, next_at] = [timeOf(one), timeOf(next)];
  return isMine(one, my_id) === isMine(next, my_id) && Date.parse(next_at) - Date.parse(at) < GROUP_MS
    && dayOf(at, place) === dayOf(next_at, place) && !('state' in one && one.state === 'failed');
}

/** What stands for a message is made once for each place it can have in its group, so that "the same" can be seen without looking inside. @type {WeakMap<Said, Item[]>} */
const shapes = new WeakMap();
/** @type {WeakMap<Said, Item>} */
const days = new WeakMap();
/** @type {Item} */
const DIVIDER = { kind: 'divider' };

/** @param {Said} said @param {boolean} mine @param {boolean} first @param {boolean} last @returns {Item} */
function bubbleOf(said, mine, first, last) {
  const known = shapes.get(said) ?? [];
  const shape = Number(first) + 2 * Number(last) + 4 * Number(mine);
  known[shape] ??= { kind: 'bubble', bubble: {
    id: said.id, content: said.content, at: timeOf(said), mine, first, last,
    expires_at: 'expires_at' in said ? said.expires_at : null, outgoing: 'written_at' in said ? said : null,
  } };
  shapes.set(said, known);
  return known[shape];
}

/** @param {Said} said @returns {Item} */
function dayBefore(said) {
  const item = days.get(said) ?? { kind: 'day', at: timeOf(said) };
  days.set(said, item);
  return item;
}

/** How many things from the beginning are the same in both. @param {Said[]} one @param {Said[]} other */
function sameFrom(one, other) {
  const shorter = Math.min(one.length, other.length);
  let same = 0;
  while (same < shorter && one[same] === other[same]) same += 1;
  return same;
}

/**
 * Adds the items for what was said between two places, and a mark for each.
 * @param {Said[]} said @param {number} from @param {number} to @param {Rules} rules @param {Pick<Built, 'items' | 'marks' | 'shift'>} built @param {Pick<Mark, 'first' | 'divided'>} start
 */
function lay(said, from, to, { my_id, place, divider_at }, { items, marks, shift }, start) {
  let { first, divided } = start;
  for (let at = from; at < to; at += 1) {
    const [previous, one, next] = [said[at - 1], said[at], said[at + 1]];
    const isNew = (/** @type {Said | undefined} */ it) => !divided && it !== undefined && !isMine(it, my_id) && timeOf(it) > (divider_at ?? '');
    marks.push({ count: items.length - shift, first, divided });
    if (!previous || dayOf(timeOf(previous), place) !== dayOf(timeOf(one), place)) items.push(dayBefore(one));
    const begins = isNew(one);
    if (begins) items.push(DIVIDER);
    divided ||= begins;
    const last = !next || isNew(next) || !together(one, next, my_id, place);
    items.push(bubbleOf(one, isMine(one, my_id), first || begins, last));
    first = last;
  }
  return { first, divided };
}

/** Whether all that was said before is the end of what is said now. @param {Said[]} said @param {Said[]} before */
function isOnTop(said, before) {
  const added = said.length - before.length;
  return added > 0 && before.length > 1 && before.every((one, at) => one === said[added + at]);
}

/**
 * An older page has come on top: nothing below its seam is looked at, unless the divider has moved up.
 * @param {Said[]} said @param {Rules} rules @param {Built} before
 */
function onTop(said, rules, before) {
  const seam = said.length - before.said.length + 1;
  const head = { items: /** @type {Item[]} */ ([]), marks: /** @type {Mark[]} */ ([]), shift: 0 };
  const end = lay(said, 0, seam, rules, head, { first: true, divided: rules.divider_at === null });
  const mark = before.marks[1];
  if (end.first !== mark.first || end.divided !== mark.divided) return null;
  const rest = before.items.slice(mark.count + before.shift);
  const shift = head.items.length - mark.count;
  const marks = [...head.marks.map((one) => ({ ...one, count: one.count - shift })), ...before.marks.slice(1)];
  return { items: [...head.items, ...rest], marks, shift, same: 0, same_end: rest.length };
}

/**
 * The thread as the page shows it. With what was built before, only what has changed is made anew: in a long thread a new message costs what it
 * costs in a short one. What has not changed at all is the same object.
 * @param {State} state @param {string} id @param {Place} [place] @param {Built | null} [before]
 * @returns {Built}
 */
export function build(state, id, place = {}, before = null) {
  const divider_at = state.open_id === id ? state.divider_at : null;
  const my_id = state.me?.id;
  const made_from = [id, state.threads[id]?.messages, state.hiding, state.outbox, divider_at, my_id, place];
  if (before && made_from.every((one, at) => one === before.made_from[at])) return before;
  const said = everything(state, id);
  const fits = before && [0, 4, 5, 6].every((at) => made_from[at] === before.made_from[at]);
  const rules = { my_id, place, divider_at };
  const grown = fits && isOnTop(said, before.said) ? onTop(said, rules, before) : null;
  if (grown) return { ...grown, made_from, said };
  // The last of what is the same may not be the last of its group any more.
  const start = fits ? Math.max(0, sameFrom(said, before.said) - 1) : 0;
  if (fits && start === said.length - 1 && said.length === before.said.length && said[start] === before.said[start]) {
    return { ...before, made_from, same: before.items.length, same_end: 0 };
  }
  if (start === 0 || !before) {
    const anew = { items: /** @type {Item[]} */ ([]), marks: /** @type {Mark[]} */ ([]), shift: 0 };
    lay(said, 0, said.length, rules, anew, { first: true, divided: divider_at === null });
    return { ...anew, same: 0, same_end: 0, made_from, said };
  }
  const same = before.marks[start].count + before.shift;
  const longer = { items: before.items.slice(0, same), marks: before.marks.slice(0, start), shift: before.shift };
  lay(said, start, said.length, rules, longer, before.marks[start]);
  return { ...longer, same, same_end: 0, made_from, said };
}

/** @param {State} state @param {string} id @param {Place} [place] */
export const threadItems = (state, id, place = {}) => build(state, id, place).items;
