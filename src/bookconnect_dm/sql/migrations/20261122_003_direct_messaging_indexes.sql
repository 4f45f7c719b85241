-- Indexes beyond the keys. Versioned. Which query uses each, and what each costs: docs/decisions/0013.

create index idx_conversations_store_id on public.conversations (store_id);
-- Both columns: with the first alone the planner, which cannot know who asks, looks a pair up through all of a busy
-- member's rows (100,000 instead of 2,000 in one catch-up).
create index idx_participants_user_id on public.conversation_participants (user_id, conversation_id);

-- History pages, catch-up, unread, preview, cascade; and the proof that the clock never gave one time twice.
create unique index idx_messages_conversation_sent on public.direct_messages (conversation_id, sent_at desc);

-- A member's messages by expiry: recalculation after a change of tier; erasure.
create index idx_messages_sender_id on public.direct_messages (sender_id, retention_expires_at);

-- The sweep's two steps.
create index idx_messages_retention_expires on public.direct_messages (is_deleted, retention_expires_at);

-- What senders deleted since a position. What the sweep deletes is no event and not in here.
create index idx_messages_deletions on public.direct_messages (conversation_id, deleted_at)
where is_deleted and deleted_at < retention_expires_at;
