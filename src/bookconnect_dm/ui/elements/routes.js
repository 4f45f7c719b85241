/**
 * In charge of: which screen is shown, and the address for it where the component may write one.
 * Knows about: location.hash and history. Does not know about: what a screen shows.
 */

const START = '#/messages';
const ROUTE = /^(?:|new|[0-9a-f]{8}-[0-9a-f-]{27})$/u;

/** @param {string} route */
export const isRoute = (route) => ROUTE.test(route);

/** @param {string} route */
export const toHash = (route) => (route === '' ? START : `${START}/${route}`);

/**
 * The route in an address, or null when the address is not ours.
 * @param {string} hash
 */
export function fromHash(hash) {
  if (hash === '' || hash === '#' || hash === START) return '';
  const route = hash.startsWith(`${START}/`) ? hash.slice(START.length + 1) : null;
  return route !== null && isRoute(route) ? route : null;
}
