/**
 * In charge of: what survives a reload in this browser: drafts and messages that are not sent yet, per member.
 * Knows about: Web Storage, one key an item, so that two tabs never overwrite each other's.
 * Does not know about: anything that the server has told; none of that is kept.
 */
import { revived } from '../state/outbox.js';

/** @typedef {import('../state/types.js').Outgoing} Outgoing */

export class Keeper {
  /** @type {Map<string, string>} */
  #memory = new Map();
  /** @type {Outgoing[]} */
  #kept = [];

  /** @param {string} member_key  tells members and servers apart @param {Storage | null} storage */
  constructor(member_key, storage) {
    this.prefix = `bookconnect-dm:${member_key}:`;
    this.storage = storage;
  }

  /** @param {string} conversation_id */
  draft(conversation_id) {
    return this.#get(`draft:${conversation_id}`) ?? '';
  }

  /** @param {string} conversation_id @param {string} text */
  keepDraft(conversation_id, text) {
    if (text === '') this.#remove(`draft:${conversation_id}`);
    else this.#set(`draft:${conversation_id}`, text);
  }

  /** Everything that was not sent when the page went away, oldest first. */
  outbox() {
    const items = this.#names('out:').map((name) => parse(this.#get(name)));
    return revived(items).sort((one, other) => (one.id < other.id ? -1 : 1));
  }

  /** Follows the outbox: keeps what is new in it, forgets what has left it. @param {Outgoing[]} outbox */
  keepOutbox(outbox) {
    if (outbox === this.#kept) return;
    const now = new Set(outbox.map((item) => item.id));
    for (const item of this.#kept) if (!now.has(item.id)) this.#remove(`out:${item.id}`);
    for (const item of outbox) if (!this.#kept.includes(item)) this.#set(`out:${item.id}`, JSON.stringify(item));
    this.#kept = outbox;
  }

  /** Deletions that the server has not confirmed: pairs of message and conversation. */
  deletions() {
    return this.#names('del:').map((name) => /** @type {[string, string]} */ ([name.slice('del:'.length), this.#get(name) ?? '']));
  }

  /** @param {string} id @param {string} conversation_id */
  keepDeletion(id, conversation_id) {
    this.#set(`del:${id}`, conversation_id);
  }

  /** @param {string} id */
  dropDeletion(id) {
    this.#remove(`del:${id}`);
  }

  /** The member signs out: nothing of theirs stays in this browser. */
  forget() {
    for (const name of this.#names('')) this.#remove(name);
  }

  /** @param {string} name */
  #get(name) {
    try {
      return this.storage?.getItem(this.prefix + name) ?? this.#memory.get(name) ?? null;
    } catch {
      return this.#memory.get(name) ?? null;
    }
  }

  /** @param {string} name @param {string} text */
  #set(name, text) {
    this.#memory.set(name, text);
    try {
      this.storage?.setItem(this.prefix + name, text);
    } catch {
      // Storage that is full or forbidden: memory holds it for as long as the page lives.
    }
  }

  /** @param {string} name */
  #remove(name) {
    this.#memory.delete(name);
    try {
      this.storage?.removeItem(this.prefix + name);
    } catch {
      // As above.
    }
  }

  /** @param {string} start */
  #names(start) {
    const names = new Set([...this.#memory.keys()].filter((name) => name.startsWith(start)));
    try {
      for (let at = 0; at < (this.storage?.length ?? 0); at += 1) {
        const key = this.storage?.key(at) ?? '';
        if (key.startsWith(this.prefix + start)) names.add(key.slice(this.prefix.length));
      }
    } catch {
      // As above.
    }
    return [...names];
  }
}

/** @param {string | null} text */
function parse(text) {
  try {
    return JSON.parse(text ?? 'null');
  } catch {
    return null;
  }
}
