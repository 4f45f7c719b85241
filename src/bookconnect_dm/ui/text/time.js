/**
 * In charge of: every time that a member reads.
 * Knows about: locale, time zone, and the wire's RFC 3339 with six digits.
 * Does not know about: the clock; the caller says what time it is, so that tests can.
 */

/** @typedef {{locale?: string, timeZone?: string}} Place */

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** Which day a moment is on, remembered: a long thread asks thousands of times, and calendars are slow. @type {Map<string, string>} */
const days = new Map();
const MOST_DAYS = 20_000;

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** @param {Place} place @param {Intl.DateTimeFormatOptions} options */
function format(place, options) {
  const key = `${place.locale}|${place.timeZone}|${JSON.stringify(options)}`;
  let made = formats.get(key);
  if (!made) {
    made = new Intl.DateTimeFormat(place.locale, { ...options, timeZone: place.timeZone });
    formats.set(key, made);
  }
  return made;
}

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
  const key = `${at}|${place.timeZone ?? ''}`;
  let day = days.get(key);
  if (day === undefined) {
    day = format({ locale: 'en-CA', timeZone: place.timeZone }, { year: 'numeric', month: '2-digit', day: '2-digit' }).format(new Date(at));
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
export const clock = (at, place = {}) => format(place, { hour: 'numeric', minute: '2-digit' }).format(new Date(at));

/** @param {string} at @param {number} now_ms @param {Place} place */
function date(at, now_ms, place) {
  const sameYear = dayOf(at, place).slice(0, 4) === dayOf(now_ms, place).slice(0, 4);
  return format(place, sameYear ? { day: 'numeric', month: 'short' } : { day: 'numeric', month: 'short', year: 'numeric' })
    .format(new Date(at));
}

/** @param {number} count @param {Intl.RelativeTimeFormatUnit} unit @param {Place} place */
const relative = (count, unit, place) => new Intl.RelativeTimeFormat(place.locale, { numeric: 'auto' }).format(count, unit);

/** @param {number} count @param {'minute' | 'hour' | 'day'} unit @param {'short' | 'long'} unitDisplay @param {Place} place */
const amount = (count, unit, unitDisplay, place) => new Intl.NumberFormat(place.locale, { style: 'unit', unit, unitDisplay })
  .format(count);

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
    if (age_ms < 60 * MINUTE_MS) return amount(Math.floor(age_ms / MINUTE_MS), 'minute', 'short', place);
    return amount(Math.floor(age_ms / (60 * MINUTE_MS)), 'hour', 'short', place);
  }
  if (days === 1) return capital(relative(-1, 'day', place), place);
  if (days < 7) return format(place, { weekday: 'long' }).format(new Date(at));
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
  return format(place, { weekday: 'long', day: 'numeric', month: 'long', ...(sameYear ? {} : { year: 'numeric' }) })
    .format(new Date(at));
}

/**
 * The full moment, for tooltips and screen readers.
 * @param {string} at @param {Place} [place]
 */
export const fullTime = (at, place = {}) => format(place, { dateStyle: 'full', timeStyle: 'short' }).format(new Date(at));

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
  if (left_ms >= DAY_MS) return amount(Math.floor(left_ms / DAY_MS), 'day', 'long', place);
  if (left_ms >= 60 * MINUTE_MS) return amount(Math.floor(left_ms / (60 * MINUTE_MS)), 'hour', 'long', place);
  return amount(Math.max(1, Math.ceil(left_ms / MINUTE_MS)), 'minute', 'long', place);
}
