/**
 * In charge of: the demo's page: choosing a member, signing in as them, showing their messages.
 * Knows about: the two calls that exist under `demo` alone. Does not know about: how messages work; that is the component's.
 */
import './index.js';

/** @typedef {{username: string, displayname: string, tier: string, store: string, role?: string, id?: string}} Person */

/** The members of the demo, for when the server does not list them. @type {Person[]} */
const MEMBERS = [
  { username: 'ada', displayname: 'Ada', tier: 'privileged_plus', store: 'Page & Anchor' },
  { username: 'ben', displayname: 'Ben', tier: 'privileged', store: 'Page & Anchor' },
  { username: 'cleo', displayname: 'Cleo', tier: 'free', store: 'Page & Anchor' },
  { username: 'dora', displayname: 'Dora', tier: 'free', store: 'Page & Anchor' },
  { username: 'edgar', displayname: 'Edgar', tier: 'privileged_plus', store: 'The Night Owl' },
  { username: 'fern', displayname: 'Fern', tier: 'free', store: 'The Night Owl' },
];

/** @type {Record<string, string>} */
const TIERS = { free: 'Free', privileged: 'Privileged', privileged_plus: 'Privileged Plus' };
/** @type {Record<string, string>} */
const ROLES = { manager: 'store manager', owner: 'store owner' };
const TITLE = 'BookConnect messages';

const main = /** @type {HTMLElement} */ (document.getElementById('main'));
const place = /** @type {HTMLElement} */ (document.getElementById('place'));
const change = /** @type {HTMLButtonElement} */ (document.getElementById('switch'));

const second = /** @type {HTMLButtonElement} */ (document.getElementById('second'));

/**
 * An element with text or children; text is always text.
 * @param {string} tag @param {Record<string, string>} attributes @param {(string | Node)[]} children
 */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @param {Person} person */
function avatar(person) {
  const face = /** @type {any} */ (document.createElement('bookconnect-avatar'));
  face.name = person.displayname;
  face.member_id = person.id ?? person.username;
  return face;
}

/** @returns {Promise<Person[]>} */
async function people() {
  try {
    const response = await fetch('/demo/members');
    const answer = response.ok ? await response.json() : null;
    const members = Array.isArray(answer) ? answer : answer?.members;
    return Array.isArray(members) && members.length > 0 ? members : MEMBERS;
  } catch {
    return MEMBERS;
  }
}

/** @param {string} username */
async function signIn(username) {
  const response = await fetch('/demo/sign-in', {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ username }),
  });
  if (!response.ok) throw new Error(`Signing in as ${username} did not work.`);
  return (await response.json()).token;
}

/** The address for a member: two windows can be two members. @param {string | null} username */
function address(username) {
  const url = new URL(location.href);
  url.hash = '';
  if (username === null) url.searchParams.delete('as');
  else url.searchParams.set('as', username);
  return url.href;
}

/** @param {Person[]} members @param {string} [failure] */
function showDoor(members, failure) {
  document.title = TITLE;
  place.textContent = '';
  change.hidden = true;
  second.hidden = true;
  const stores = [...new Set(members.map((person) => person.store))];
  const door = make(
    'div',
    { class: 'door' },
    make('h1', {}, 'Who are you today?'),
    make('p', {}, 'Choose a member, then open a second window as another one of the same store: what one writes, the other sees at once.'),
    ...(failure ? [make('p', { class: 'failure', role: 'alert' }, failure)] : []),
    ...stores.flatMap((store) => [
      make('h2', {}, store),
      make('ul', {}, ...members.filter((person) => person.store === store).map((person) => make('li', {}, card(person)))),
    ]),
  );
  main.replaceChildren(door);
}

/** @param {Person} person */
function tierOf({ tier, role }) {
  return [TIERS[tier] ?? tier, ROLES[role ?? '']].filter(Boolean).join(', ');
}

/** @param {Person} person */
function card(person) {
  const button = make('button', { class: 'person', type: 'button', 'data-username': person.username }, avatar(person), make(
    'span',
    {},
    make('span', { class: 'name' }, person.displayname),
    make('span', { class: 'tier' }, tierOf(person)),
  ));
  button.addEventListener('click', () => location.assign(address(person.username)));
  return button;
}

/** The other end of a conversation, in a window of its own beside this one. @param {Person} person @param {Person[]} members */
function offerSecond(person, members) {
  const other = members.find((one) => one.store === person.store && one.username !== person.username);
  second.hidden = !other;
  if (!other) return;
  second.textContent = `Second window as ${other.displayname.split(' ')[0]}`;
  second.onclick = () => {
    window.open(address(other.username), `bookconnect-${other.username}`, 'popup,width=420,height=760');
  };
}

/** @param {Person} person @param {Person[]} members */
function showMessages(person, members) {
  place.textContent = person.store;
  change.hidden = false;
  const face = avatar(person);
  face.small = true;
  change.replaceChildren(face, make('span', {}, person.displayname), make('span', { class: 'change' }, 'Switch'));
  change.setAttribute('aria-label', `Signed in as ${person.displayname}. Switch member`);
  change.onclick = () => {
    history.pushState(null, '', address(null));
    showDoor(members);
  };
  offerSecond(person, members);
  const messages = /** @type {import('./elements/bookconnect-messages.js').BookconnectMessages} */ (
    document.createElement('bookconnect-messages'));
  messages.routing = 'hash';
  messages.getToken = () => signIn(person.username);
  messages.titleBadge = true;
  messages.notifications = true;
  main.replaceChildren(messages);
}

async function start() {
  const lang = new URLSearchParams(location.search).get('lang');
  if (lang) document.documentElement.lang = lang;
  const members = await people();
  const username = new URLSearchParams(location.search).get('as');
  if (!username) return showDoor(members);
  const person = members.find((member) => member.username === username);
  return person ? showMessages(person, members) : showDoor(members, `There is no member called ${username} in this demo.`);
}

window.addEventListener('popstate', () => {
  const username = new URLSearchParams(location.search).get('as');
  const shown = main.querySelector('bookconnect-messages') !== null;
  if (shown !== Boolean(username)) void start();
});
void start();
