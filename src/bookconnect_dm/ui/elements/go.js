/**
 * In charge of: how the elements inside ask for another screen or report a failed wish.
 * Knows about: two events that stay inside bookconnect-messages. Does not know about: routes, addresses.
 */

/** A wish to go to the inbox (''), 'new' or a conversation's id. */
export class GoEvent extends Event {
  /** @param {string} to */
  constructor(to) {
    super('bc-go', { bubbles: true, composed: true });
    this.to = to;
  }
}

/** One sentence for the member, shown for a moment. */
export class SayEvent extends Event {
  /** @param {string} text */
  constructor(text) {
    super('bc-say', { bubbles: true, composed: true });
    this.text = text;
  }
}

/** The name to show for a person. @param {{displayname: string | null, username: string} | null | undefined} person @param {string} nobody */
export const nameOf = (person, nobody) => person?.displayname || person?.username || nobody;
