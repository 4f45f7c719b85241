/**
 * In charge of: every English word on the page, one name each, so that another language is another file.
 * Knows about: how sentences are built. Does not know about: where they stand.
 */

/** @param {number} count @param {string} one @param {string} many */
const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

/** @type {Record<string, string>} */
const TIERS = { free: 'Free', privileged: 'Privileged', privileged_plus: 'Privileged Plus' };

/** What a larger plan would keep; the largest has none above it. @type {Record<string, string>} */
const LONGER = {
  free: '; with Privileged for 180 days, with Privileged Plus for a year.',
  privileged: '; with Privileged Plus for a year.',
};

/** What to do about each code; where the server's own sentence says it best, it is shown instead. @type {Record<string, string>} */
const PROBLEMS = {
  NETWORK: 'The server cannot be reached right now.',
  UNAVAILABLE: 'The server is busy right now.',
  RATE_LIMIT_EXCEEDED: 'That was a lot at once. Please wait a moment.',
  INTERNAL: 'Something went wrong on our side.',
  UNAUTHENTICATED: 'Your sign-in has ended.',
  PERMISSION_DENIED: 'You may not do this.',
  CONVERSATION_NOT_FOUND: 'This conversation is not here any more.',
  USER_NOT_FOUND: 'This member is not in your stores.',
  CONFLICT: 'It cannot be sent as it is.',
  LEGAL_HOLD: 'This conversation is being kept for now, so nothing in it can be deleted.',
};

export const en = {
  direction: 'ltr',
  messages: 'Messages',
  conversations: 'Conversations',
  newMessage: 'New message',
  message: 'Message',
  search: 'Search',
  searchAll: 'Search conversations and members',
  searchMembers: 'Search members of your stores',
  clear: 'Clear',
  back: 'Back',
  you: 'You',
  formerMember: 'Former member',
  formerMemberNote: 'This member has left. You can still read what is here.',
  online: 'online',
  typing: 'typing…',
  isTyping: /** @param {string} name */ (name) => `${name} is typing`,
  unread: /** @param {number} count */ (count) => (count >= 100 ? '99+ unread' : `${count} unread`),
  unreadShort: /** @param {number} count */ (count) => (count >= 100 ? '99+' : String(count)),
  noMessagesYet: 'No messages yet',
  emptyInbox: 'No conversations yet. Somebody here has read what you are reading.',
  emptyInboxAction: 'Find a member',
  emptyInboxFree: 'No conversations yet. When a member writes to you, it appears here.',
  pickOne: 'Pick a conversation, or start a new one.',
  pickOneFree: 'Pick a conversation to read it.',
  noHits: /** @param {string} text */ (text) => `Nobody and nothing found for “${text}”.`,
  members: 'Members',
  startOfThread: /** @param {string} name */ (name) => `This is where you and ${name} begin.`,
  keptDays: /** @param {string} tier @param {number} days */ (tier, days) => `What you write here is kept for ${plural(days, 'day', 'days')}${LONGER[tier] ?? '.'}`,
  newDivider: 'New',
  newMessages: /** @param {number} count */ (count) => plural(count, 'new message', 'new messages'),
  toNewest: 'Jump to the newest message',
  write: 'Write a message',
  writeTo: /** @param {string} name */ (name) => `Write to ${name}`,
  send: 'Send',
  left: /** @param {number} count */ (count) => (count >= 0 ? `${plural(count, 'character', 'characters')} left` : `${-count} too many`),
  sending: 'Sending',
  sendsIn: /** @param {number} seconds */ (seconds) => `A lot at once. Goes on in ${seconds} s`,
  waitingToSend: 'Waiting to send',
  sent: 'Sent',
  seen: 'Seen',
  notSent: 'Not sent',
  tryAgain: 'Try again',
  discard: 'Discard',
  remove: 'Delete',
  removed: 'Deleted for both of you.',
  undo: 'Undo',
  couldNotRemove: 'The message was not deleted.',
  goesIn: /** @param {string} left */ (left) => `Goes in ${left}`,
  keptUntil: /** @param {string} date */ (date) => `Kept until ${date}`,
  until: /** @param {string} date */ (date) => `Until ${date}`,
  thread: /** @param {string} name */ (name) => `Conversation with ${name}`,
  said: /** @param {string} name @param {string} content */ (name, content) => `${name}: ${content}`,
  loadingOlder: 'Loading earlier messages',
  olderFailed: 'Earlier messages could not be loaded.',
  loading: 'Loading',
  offline: 'You are offline. What you write will be sent.',
  reconnecting: 'Reconnecting. What you write will be sent.',
  signedOut: 'Your sign-in has ended. What you wrote is kept.',
  signInAgain: 'Sign in again',
  loadFailed: 'The conversations could not be loaded.',
  threadFailed: 'The messages could not be loaded.',
  searchFailed: 'The search did not work.',
  notFound: 'This conversation is not here any more.',
  toInbox: 'Back to messages',
  cannotStartTitle: 'You can reply to everyone who writes to you',
  cannotStart: /** @param {string} tier @param {number} days */ (tier, days) => `With ${tier} you answer freely, and what you write is kept `
    + `for ${plural(days, 'day', 'days')}. With Privileged you also start conversations, and your words stay for 180 days; with Privileged Plus, `
    + 'for a year.',
  replyOnly: 'You can reply if they write',
  takesNone: 'Takes no new messages',
  typeToFind: 'Type a name to find somebody.',
  graceNotice: /** @param {string} date */ (date) => `Your plan has changed. Your messages keep their old time until ${date}.`,
  notifyOn: 'Turn notifications on',
  notifyOff: 'Turn notifications off',
  tier: /** @param {string} tier */ (tier) => TIERS[tier] ?? TIERS.free,
  problem: /** @param {{code: string, detail: string}} problem */ (problem) => PROBLEMS[problem.code] ?? problem.detail,
};
