-- Indexes beyond the keys. Versioned. Which query uses each, and what each costs: docs/decisions/0013.

create index idx_conversations_store_id on public.conversations (store_id);
-- Both columns: with the first alone the planner, which cannot know who asks, looks a pair up through all of a busy
-- member's rows (100,000 instead of 2,000 in one catch-up).
create index idx_participants_user_id on public.conversation_participants (user_id, conversation_id);

-- History pages, catch-up, unread, preview, cascade; and the proof that the clock never gave one time twice.
create unique index idx_messages_conversation_sent on public.direct_messages (conversation_id, sent_at desc);

-- The next two by a rounded expiry: entries with equal keys share one, and take a fifth of the room. Whoever looks
-- through them names the rounded time (messaging.expiry_day, messaging.expiry_slot) and the exact one.
-- A member's messages by expiry: recalculation after a change of tier; erasure.
create index idx_messages_sender_id on public.direct_messages (
    sender_id, date_bin('1 day', retention_expires_at, to_timestamp(0))
);

-- The sweep's two steps. Not by longer slots: a batch steps over what earlier ones have left of the first of its own.
create index idx_messages_retention_expires on public.direct_messages (
    is_deleted, date_bin('5 minutes', retention_expires_at, to_timestamp(0))
);

-- What senders deleted since a position. What the sweep deletes is no event and not in here.
create index idx_messages_deletions on public.direct_messages (conversation_id, deleted_at)
where is_deleted and deleted_at < retention_expires_at;
