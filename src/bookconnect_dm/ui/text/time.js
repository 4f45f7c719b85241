/**
 * In charge of: every time that a member reads.
 * Knows about: locale, time zone, and the wire's RFC 3339 with six digits.
 * Does not know about: the clock; the caller says what time it is, so that tests can.
 */

/** @typedef {{locale?: string, timeZone?: string}} Place */

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** `2026-11-27T15:26` */
const MINUTE_CHARACTERS = 16;

/** Which day a minute is on, remembered: a long thread asks thousands of times, and calendars are slow. @type {Map<string, string>} */
const days = new Map();
const MOST_DAYS = 20_000;

/** Formats are slow to make: one for each place and shape. @type {WeakMap<object, Map<string, any>>} */
const formats = new WeakMap();

/**
 * @template T
 * @param {{place: Place, shape: object, make: (locale: string | undefined, options: any) => T}} wish  `shape` is one of the constants below
 * @returns {T}
 */
function made({ place, shape, make }) {
  const known = formats.get(shape) ?? new Map();
  formats.set(shape, known);
  const key = `${place.locale}|${place.timeZone}`;
  if (!known.has(key)) known.set(key, make(place.locale, shape));
  return known.get(key);
}

/** @param {Place} place @param {Intl.DateTimeFormatOptions} shape */
const format = (place, shape) => made({
  place, shape, make: (locale, options) => new Intl.DateTimeFormat(locale, { ...options, timeZone: place.timeZone }),
});

const DAY = /** @type {const} */ ({ year: 'numeric', month: '2-digit', day: '2-digit' });
const CLOCK = /** @type {const} */ ({ hour: 'numeric', minute: '2-digit' });
const DATE = /** @type {const} */ ({ day: 'numeric', month: 'short' });
const DATE_AND_YEAR = /** @type {const} */ ({ ...DATE, year: 'numeric' });
const WEEKDAY = /** @type {const} */ ({ weekday: 'long' });
const LONG_DATE = /** @type {const} */ ({ weekday: 'long', day: 'numeric', month: 'long' });
const LONG_DATE_AND_YEAR = /** @type {const} */ ({ ...LONG_DATE, year: 'numeric' });
const FULL = /** @type {const} */ ({ dateStyle: 'full', timeStyle: 'short' });
const RELATIVE = /** @type {const} */ ({ numeric: 'auto' });
const AMOUNTS = /** @type {const} */ ({
  short: { minute: { style: 'unit', unit: 'minute', unitDisplay: 'short' }, hour: { style: 'unit', unit: 'hour', unitDisplay: 'short' } },
  long: {
    minute: { style: 'unit', unit: 'minute', unitDisplay: 'long' }, hour: { style: 'unit', unit: 'hour', unitDisplay: 'long' },
    day: { style: 'unit', unit: 'day', unitDisplay: 'long' },
  },
});

/**
 * Milliseconds in the wire's own form, so that it can be compared with wire times as a string.
 * @param {number} ms
 */
export const toWire = (ms) => new Date(ms).toISOString().replace('Z', '000Z');

/**
 * The calendar day at the member's place, as yyyy-mm-dd.
 * @param {string | number} at @param {Place} [place]
 */
export function dayOf(at, place = {}) {
  const minute = typeof at === 'string' ? at.slice(0, MINUTE_CHARACTERS) : Math.floor(at / MINUTE_MS);
  const key = `${minute}|${place.timeZone ?? ''}`;
  let day = days.get(key);
  if (day === undefined) {
    day = format({ locale: 'en-CA', timeZone: place.timeZone }, DAY).format(new Date(at));
    if (days.size >= MOST_DAYS) days.clear();
    days.set(key, day);
  }
  return day;
}

/** Whole calendar days from one day to another. @param {string} from @param {string} to */
const daysBetween = (from, to) => Math.round((Date.parse(to) - Date.parse(from)) / DAY_MS);

/**
 * 14:05, or 2:05 PM: as the locale says it.
 * @param {string} at @param {Place} [place]
 */
export const clock = (at, place = {}) => format(place, CLOCK).format(new Date(at));

/** @param {string} at @param {number} now_ms @param {Place} place */
function date(at, now_ms, place) {
  const sameYear = dayOf(at, place).slice(0, 4) === dayOf(now_ms, place).slice(0, 4);
  return format(place, sameYear ? DATE : DATE_AND_YEAR).format(new Date(at));
}

/** @param {number} count @param {Intl.RelativeTimeFormatUnit} unit @param {Place} place */
const relative = (count, unit, place) => made({
  place, shape: RELATIVE, make: (locale, options) => new Intl.RelativeTimeFormat(locale, options),
}).format(count, unit);

/** @param {number} count @param {object} shape  one of AMOUNTS @param {Place} place */
const amount = (count, shape, place) => made({ place, shape, make: (locale, options) => new Intl.NumberFormat(locale, options) }).format(count);

/** @param {string} text @param {Place} place */
const capital = (text, place) => text.slice(0, 1).toLocaleUpperCase(place.locale) + text.slice(1);

/**
 * For the inbox: relative today, the weekday within a week, the date before.
 * @param {string} at @param {number} now_ms @param {Place} [place]
 */
export function shortTime(at, now_ms, place = {}) {
  const age_ms = Math.max(0, now_ms - Date.parse(at));
  const days = daysBetween(dayOf(at, place), dayOf(now_ms, place));
  if (days <= 0) {
    if (age_ms < MINUTE_MS) return relative(0, 'second', place);
    if (age_ms < 60 * MINUTE_MS) return amount(Math.floor(age_ms / MINUTE_MS), AMOUNTS.short.minute, place);
    return amount(Math.floor(age_ms / (60 * MINUTE_MS)), AMOUNTS.short.hour, place);
  }
  if (days === 1) return capital(relative(-1, 'day', place), place);
  if (days < 7) return format(place, WEEKDAY).format(new Date(at));
  return date(at, now_ms, place);
}

/**
 * For the line between two days of a thread.
 * @param {string} at @param {number} now_ms @param {Place} [place]
 */
export function dayLabel(at, now_ms, place = {}) {
  const days = daysBetween(dayOf(at, place), dayOf(now_ms, place));
  if (days === 0 || days === 1) return capital(relative(-days, 'day', place), place);
  const sameYear = dayOf(at, place).slice(0, 4) === dayOf(now_ms, place).slice(0, 4);
  return format(place, sameYear ? LONG_DATE : LONG_DATE_AND_YEAR).format(new Date(at));
}

/**
 * The full moment, for tooltips and screen readers.
 * @param {string} at @param {Place} [place]
 */
export const fullTime = (at, place = {}) => format(place, FULL).format(new Date(at));

/**
 * The day on which a message will go.
 * @param {string} at @param {number} now_ms @param {Place} [place]
 */
export const expiryDate = (at, now_ms, place = {}) => date(at, now_ms, place);

/** A message that goes within this time says so in the open. */
export const EXPIRY_SHOWN_MS = 3 * DAY_MS;

/**
 * "2 days", "5 hr", "9 min": what is left until a time; null when it is further off than we announce.
 * @param {string} at @param {number} now_ms @param {Place} [place]
 */
export function timeLeft(at, now_ms, place = {}) {
  const left_ms = Date.parse(at) - now_ms;
  if (!(left_ms <= EXPIRY_SHOWN_MS)) return null;
  if (left_ms >= DAY_MS) return amount(Math.floor(left_ms / DAY_MS), AMOUNTS.long.day, place);
  if (left_ms >= 60 * MINUTE_MS) return amount(Math.floor(left_ms / (60 * MINUTE_MS)), AMOUNTS.long.hour, place);
  return amount(Math.max(1, Math.ceil(left_ms / MINUTE_MS)), AMOUNTS.long.minute, place);
}
