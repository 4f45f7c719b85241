revoke all on public.conversations, public.conversation_participants, public.direct_messages
from authenticated, bookconnect_dm_server;
drop policy if exists "Users can delete their messages" on public.direct_messages;
drop policy if exists "Users can send messages" on public.direct_messages;
drop policy if exists "Users see their messages" on public.direct_messages;
drop policy if exists "Users can update their participation" on public.conversation_participants;
drop policy if exists "Users can join conversations" on public.conversation_participants;
drop policy if exists "Users see their participants" on public.conversation_participants;
drop policy if exists "Users can update conversation timestamps" on public.conversations;
drop policy if exists "Users can create conversations" on public.conversations;
drop policy if exists "Users see their conversations" on public.conversations;
drop function if exists messaging.can_send (uuid);
drop function if exists messaging.is_invited (uuid);
drop function if exists messaging.can_start_in (uuid);
drop function if exists messaging.my_conversations ();
drop function if exists messaging.is_participant (uuid);
