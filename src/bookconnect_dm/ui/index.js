/**
 * In charge of: giving the classes their tag names: the one module with a side effect.
 * Knows about: every element. Does not know about: what they do.
 */
import { BookconnectAvatar } from './elements/avatar.js';
import { BookconnectComposer } from './elements/composer.js';
import { BookconnectInbox } from './elements/inbox.js';
import { BookconnectMessageButton } from './elements/bookconnect-message-button.js';
import { BookconnectMessages } from './elements/bookconnect-messages.js';
import { BookconnectNewMessage } from './elements/new-message.js';
import { BookconnectThread } from './elements/thread.js';

/** @type {Record<string, CustomElementConstructor>} */
const ELEMENTS = {
  'bookconnect-avatar': BookconnectAvatar,
  'bookconnect-composer': BookconnectComposer,
  'bookconnect-inbox': BookconnectInbox,
  'bookconnect-message-button': BookconnectMessageButton,
  'bookconnect-messages': BookconnectMessages,
  'bookconnect-new-message': BookconnectNewMessage,
  'bookconnect-thread': BookconnectThread,
};

for (const [tag, element] of Object.entries(ELEMENTS)) {
  if (!customElements.get(tag)) customElements.define(tag, element);
}

export { BookconnectMessageButton, BookconnectMessages };
