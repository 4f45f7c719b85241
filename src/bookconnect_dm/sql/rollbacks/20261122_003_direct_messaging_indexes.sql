drop index if exists public.idx_messages_deletions;
drop index if exists public.idx_messages_retention_expires;
drop index if exists public.idx_messages_sender_id;
drop index if exists public.idx_messages_conversation_sent;
drop index if exists public.idx_participants_user_id;
drop index if exists public.idx_conversations_store_id;
