/**
 * In charge of: a member's servers as one: a member of stores on several has one inbox, one search, one count.
 * Knows about: that an id belongs to one server alone, so whoever holds a conversation is the one to ask.
 * Does not know about: elements, words, routes.
 */
import { inboxRows, newestFirst, unreadConversations } from '../state/select.js';
import { Client } from './client.js';

/** @typedef {import('../state/types.js').Member & {client: Client}} Found */
/** @typedef {{getToken: (server: string) => Promise<string> | string, onArrival: (client: Client, message: import('../state/types.js').Message) => void}} Wishes */
/** @typedef {Omit<import('./client.js').Host, 'getToken' | 'onArrival'> & Wishes} Host */

/** From bad to well: with several servers, the one that is worst off is told of. @type {import('../state/types.js').Link[]} */
const LINKS = ['signed_out', 'offline', 'waiting', 'connecting', 'syncing', 'live'];

export class Clients {
  /** @param {string[]} servers  base URLs @param {Host} host */
  constructor(servers, host) {
    /** @type {Client[]} */
    this.all = servers.map((server) => new Client(server, {
      ...host,
      getToken: () => host.getToken(server),
      onArrival: (message) => {
        const client = this.all.find((one) => one.server === server.replace(/\/+$/u, ''));
        if (client) host.onArrival(client, message);
      },
    }));
  }

  start() {
    for (const client of this.all) client.start();
  }

  stop() {
    for (const client of this.all) client.stop();
  }

  forget() {
    for (const client of this.all) client.forget();
  }

  retry() {
    for (const client of this.all) if (client.state.link !== 'live' || !client.state.inbox_loaded) client.retry();
  }

  /** Calls back after each change of any of them. @param {() => void} listener */
  subscribe(listener) {
    const stops = this.all.map((client) => client.store.subscribe(listener));
    return () => stops.forEach((stop) => stop());
  }

  /** The one that has a conversation; while nobody has it, one that has not said no. @param {string} id */
  ownerOf(id) {
    const owner = this.all.find((client) => client.state.conversations[id]);
    return owner ?? this.all.find((client) => client.state.threads[id]?.problem?.code !== 'CONVERSATION_NOT_FOUND') ?? this.all[0];
  }

  /** @param {string} id */
  open(id) {
    const owner = this.all.find((client) => client.state.conversations[id]);
    for (const client of this.all) {
      if (!owner || client === owner) client.open(id);
      else client.leave();
    }
  }

  leave() {
    for (const client of this.all) client.leave();
  }

  /** All conversations, newest first, each with its client. */
  rows() {
    return this.all.flatMap((client) => inboxRows(client.state).map((item) => ({ ...item, client }))).sort(newestFirst);
  }

  get unread() {
    return this.all.reduce((count, client) => count + unreadConversations(client.state), 0);
  }

  get isLoaded() {
    return this.all.some((client) => client.state.inbox_loaded);
  }

  /** What is in the way of all of them, or null. */
  get problem() {
    const inTheWay = this.all.filter((client) => !['connecting', 'syncing'].includes(client.state.link));
    return inTheWay.length === this.all.length ? this.all[0].state.inbox_problem : null;
  }

  /** A state that stands for the connection: that of the server which is worst off. */
  get worst() {
    const rank = (/** @type {Client} */ client) => LINKS.indexOf(client.state.link);
    return this.all.reduce((worst, client) => (rank(client) < rank(worst) ? client : worst)).state;
  }

  /** Everybody who is signed in, on each server. */
  get selves() {
    return this.all.flatMap((client) => (client.state.me ? [client.state.me] : []));
  }

  /** False only when it is known that nowhere a conversation can be started. */
  get canStart() {
    return this.selves.length === 0 || this.selves.some((me) => me.can_start_conversations);
  }

  get now_ms() {
    return Math.max(...this.all.map((client) => client.state.now_ms));
  }

  /** People to write to, wherever they are; one server that does not answer hides nobody else. @param {string} text @param {AbortSignal} [signal] @returns {Promise<Found[]>} */
  async members(text, signal) {
    const answers = await Promise.allSettled(this.all.map(async (client) => (await client.members(text, signal)).map((member) => ({ ...member, client }))));
    const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    const failed = answers.find((answer) => answer.status === 'rejected');
    if (failed && answers.every((answer) => answer.status === 'rejected')) throw failed.reason;
    return found;
  }
}
