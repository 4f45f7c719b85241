/**
 * In charge of: one conversation's row in the inbox: last message, unread count, read positions.
 * Knows about: that rows are snapshots which can arrive after newer frames.
 * Does not know about: threads, the order of the inbox, the network.
 */
import { later } from './records.js';

/** @typedef {import('./types.js').Conversation} Conversation */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Participant} Participant */

export const UNREAD_CAP = 100;

/** @param {Participant | null} held @param {Participant | null} incoming */
function mergeParticipant(held, incoming) {
  if (!held || !incoming) return incoming;
  return { ...incoming, last_read_at: later(held.last_read_at, incoming.last_read_at) };
}

/**
 * The newer of two snapshots of a row. `stale` says that neither is the truth and the row must be fetched again.
 * @param {Conversation | undefined} held @param {Conversation} incoming @param {Record<string, true>} removed
 * @returns {{row: Conversation, stale: boolean}}
 */
export function mergeRow(held, incoming, removed) {
  if (incoming.last_message && removed[incoming.last_message.id]) {
    return { row: held ?? { ...incoming, last_message: null }, stale: true };
  }
  if (!held) return { row: incoming, stale: false };
  // updated_at moves with each message: a smaller one is a snapshot from before a frame that has been applied.
  if (incoming.updated_at < held.updated_at) return { row: held, stale: true };
  const row = {
    ...incoming,
    last_read_at: later(held.last_read_at, incoming.last_read_at),
    other_participant: mergeParticipant(held.other_participant, incoming.other_participant),
  };
  const readSince = (held.last_read_at ?? '') > (incoming.last_read_at ?? '');
  if (!readSince || row.unread_count === 0) return { row, stale: false };
  const allRead = (row.last_read_at ?? '') >= row.updated_at;
  return { row: { ...row, unread_count: allRead ? 0 : row.unread_count }, stale: !allRead };
}

/**
 * A message has been delivered. One that the row's snapshot already had in it changes nothing.
 * @param {Conversation} row @param {Message} message @param {string} my_id
 * @returns {Conversation}
 */
export function withMessage(row, message, my_id) {
  if (message.sent_at <= (row.last_message?.sent_at ?? '')) return row;
  const { id, content, sent_at, sender_id, expires_at } = message;
  const isUnread = sender_id !== my_id && sent_at > (row.last_read_at ?? '');
  return {
    ...row,
    updated_at: later(row.updated_at, sent_at) ?? sent_at,
    last_message: { id, content, sent_at, sender_id, expires_at },
    unread_count: Math.min(UNREAD_CAP, row.unread_count + Number(isUnread)),
  };
}

/**
 * Somebody has read up to a time. My own count is recounted from the thread when the thread reaches back that far (`known`), else it is stale.
 * @param {Conversation} row @param {string} user_id @param {string} last_read_at @param {string} my_id @param {Message[] | null} known
 * @returns {{row: Conversation, stale: boolean}}
 */
export function withRead(row, user_id, last_read_at, my_id, known) {
  if (user_id !== my_id) {
    const other = row.other_participant;
    if (!other || other.id !== user_id || (other.last_read_at ?? '') >= last_read_at) return { row, stale: false };
    return { row: { ...row, other_participant: { ...other, last_read_at } }, stale: false };
  }
  if ((row.last_read_at ?? '') >= last_read_at) return { row, stale: false };
  const moved = { ...row, last_read_at };
  if (last_read_at >= (row.last_message?.sent_at ?? '')) return { row: { ...moved, unread_count: 0 }, stale: false };
  const reachesBack = known !== null && known.length > 0 && known[0].sent_at <= last_read_at;
  if (!reachesBack) return { row: moved, stale: true };
  const unread = known.filter((message) => message.sender_id !== my_id && message.sent_at > last_read_at).length;
  return { row: { ...moved, unread_count: Math.min(UNREAD_CAP, unread) }, stale: false };
}
