/**
 * In charge of: the browser's notifications, for members who have asked for them.
 * Knows about: permission, the member's own switch, and that a notification goes when its message has been read or is gone.
 * Does not know about: words, routes; who shows one says what it says and where it leads.
 */

const KEY = 'bookconnect-dm:notifications';
const LONGEST = 140;

export class Notifier {
  /** @type {Map<string, {notification: Notification, message_id: string, client: import('./client.js').Client}>} */
  #shown = new Map();

  /** @param {Storage | null} storage */
  constructor(storage) {
    this.storage = storage;
  }

  get isPossible() {
    return 'Notification' in globalThis && Notification.permission !== 'denied';
  }

  get isOn() {
    return this.isPossible && Notification.permission === 'granted' && this.storage?.getItem(KEY) === 'on';
  }

  /** The member presses the switch; the browser asks for its permission where it has to. */
  async toggle() {
    const on = !this.isOn && await Notification.requestPermission() === 'granted';
    this.storage?.setItem(KEY, on ? 'on' : 'off');
    if (!on) this.stop();
  }

  /**
   * Tells of a message. Tabs of one member share the tag, so there is one notification and not one a tab.
   * @param {import('./client.js').Client} client @param {import('../state/types.js').Message} message @param {string} name @param {() => void} onOpen
   */
  show(client, message, name, onOpen) {
    const body = message.content.length > LONGEST ? `${message.content.slice(0, LONGEST)}…` : message.content;
    const notification = new Notification(name, { body, tag: `bookconnect-dm:${message.conversation_id}` });
    this.#shown.set(message.conversation_id, { notification, message_id: message.id, client });
    notification.onclick = () => {
      globalThis.focus();
      notification.close();
      onOpen();
    };
  }

  /** Takes back what has been read, deleted or has expired; call it after each change. */
  look() {
    for (const [id, { notification, message_id, client }] of this.#shown) {
      const row = client.state.conversations[id];
      if (row?.unread_count && !(message_id in client.state.removed)) continue;
      notification.close();
      this.#shown.delete(id);
    }
  }

  stop() {
    for (const { notification } of this.#shown.values()) notification.close();
    this.#shown.clear();
  }
}
