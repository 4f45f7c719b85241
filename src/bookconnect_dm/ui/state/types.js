/**
 * In charge of: the names of everything that the page holds. Wire shapes keep the names of the wire.
 * Knows about: nothing. Does not know about: anything; this file has no code.
 */

/** @typedef {{username: string, displayname: string}} Sender */
/** @typedef {{id: string, username: string, displayname: string, avatar_url: string | null, last_read_at: string | null}} Participant */
/** @typedef {{id: string, username: string, displayname: string, avatar_url: string | null, can_message: boolean}} Member */
/** @typedef {{id: string, content: string, sent_at: string, sender_id: string, expires_at?: string}} LastMessage */
/** @typedef {{tier: string, retention_days: number, grace_ends_at: string | null}} Retention */

/**
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} store_id
 * @property {string} created_at
 * @property {string} updated_at
 * @property {string | null} last_read_at  mine
 * @property {Participant | null} other_participant  null when the account is gone
 * @property {LastMessage | null} last_message
 * @property {number} unread_count  100 means 99+
 */

/**
 * @typedef {object} Message
 * @property {string} id
 * @property {string} conversation_id
 * @property {string} sender_id
 * @property {string} content
 * @property {string} sent_at  also its position
 * @property {string} expires_at
 * @property {boolean} [is_deleted]
 * @property {Sender} [sender]
 */

/**
 * @typedef {object} Me
 * @property {string} id
 * @property {string} username
 * @property {string} displayname
 * @property {string} tier
 * @property {boolean} can_start_conversations
 * @property {{id: string, name: string, role: string}[]} stores
 * @property {Retention} retention
 */

/** @typedef {{code: string, detail: string, field?: string | null, status?: number, retry_after_s?: number}} Problem */

/**
 * A message that this page has promised to send.
 * @typedef {object} Outgoing
 * @property {string} id
 * @property {string} conversation_id
 * @property {string} content
 * @property {string} written_at
 * @property {'waiting' | 'sending' | 'failed'} state
 * @property {number} attempts
 * @property {number} again_at_ms  not before this moment
 * @property {Problem | null} problem
 */

/**
 * The loaded end of a conversation: no holes between its first message and now.
 * @typedef {object} Thread
 * @property {Message[]} messages  oldest first
 * @property {boolean} loaded
 * @property {'newest' | 'older' | null} loading
 * @property {string | null} older_cursor  null: this is the beginning
 * @property {string} from  sent_at of the first message of the oldest page; '' when that is the beginning
 * @property {boolean} stale  must be loaded anew
 * @property {Problem | null} problem
 */

/**
 * `connecting`: no socket yet; `syncing`: catching up; `live`; `waiting`: will try again; `offline`: no network; `signed_out`: no valid token.
 * @typedef {'connecting' | 'syncing' | 'live' | 'waiting' | 'offline' | 'signed_out'} Link
 */

/**
 * @typedef {object} State
 * @property {Me | null} me
 * @property {Link} link
 * @property {string | null} epoch
 * @property {Record<string, string>} positions  moved by frames and sync answers only
 * @property {Record<string, Conversation>} conversations
 * @property {Record<string, true>} stale_rows  conversations whose row must be fetched anew
 * @property {boolean} inbox_loaded
 * @property {Problem | null} inbox_problem
 * @property {Record<string, Thread>} threads
 * @property {Record<string, true>} removed  ids of messages that must never come back
 * @property {Record<string, true>} hiding  my deletions that the server has not confirmed
 * @property {{id: string, conversation_id: string} | null} undo  my newest deletion, while it can still be undone
 * @property {Outgoing[]} outbox
 * @property {string | null} open_id  the conversation on screen
 * @property {string | null} divider_at  where "New" stands in it
 * @property {boolean} visible  the page is being looked at
 * @property {Record<string, true>} online
 * @property {Record<string, {user_id: string, until_ms: number}>} typing
 * @property {number} now_ms
 */

export {};
