-- Who may see and write which row. Code: idempotent, applied again whenever its text changes.
--
-- The nine policies keep the mission's names and intent. Four of them (conversations INSERT and UPDATE, participants
-- INSERT, messages UPDATE) have no grant behind them: clients do these through functions. They state the true rule
-- all the same, for a host that grants. Policies carry no TO clause: a role without a grant is stopped earlier.
--
-- The helpers are SECURITY DEFINER, because a policy that reads its own table recurses; they take no user as an
-- argument, because that would let anybody ask about anybody. Their owner owns the tables and is no login of ours.
-- SELECT policies depend on participants (and on the row's own deletion and expiry) only: the live feed sees no more.

-- The tables came with it; should somebody have switched it off, it is on again with the code.
alter table public.conversations enable row level security;
alter table public.conversation_participants enable row level security;
alter table public.direct_messages enable row level security;

create or replace function messaging.is_participant(conversation_id uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (
        select from public.conversation_participants as p
        where p.conversation_id = $1 and p.user_id = auth.uid()
    );
end;
$$;

-- For policies over many conversations: one call a query instead of one a row (0.6 ms against 133 ms at 10,000).
create or replace function messaging.my_conversations() returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select p.conversation_id from public.conversation_participants as p where p.user_id = auth.uid();
end;
$$;

-- Privileged tiers and store staff start conversations, in stores that they belong to.
create or replace function messaging.can_start_in(store_id uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (select from messaging.host_stores(auth.uid()) as s where s.store_id = $1)
        and (messaging.host_tier(auth.uid()) <> 'free' or messaging.host_is_staff(auth.uid(), $1));
end;
$$;

-- A pair is made with its conversation; only its two members are invited, so there is never a third.
create or replace function messaging.is_invited(conversation_id uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (
        select from messaging.conversation_pairs as p
        where p.conversation_id = $1 and auth.uid() in (p.low, p.high)
    );
end;
$$;

-- Participants write, while they belong to the store and while there is somebody to read it.
create or replace function messaging.can_send(conversation_id uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (
        select
        from public.conversations as c
        inner join public.conversation_participants as me on c.id = me.conversation_id
        where c.id = $1 and me.user_id = auth.uid()
            and exists (
                select from public.conversation_participants as other
                where other.conversation_id = c.id and other.user_id <> me.user_id
            )
            and exists (select from messaging.host_members(c.store_id) as m where m.user_id = me.user_id)
    );
end;
$$;

revoke all on function
messaging.is_participant(uuid), messaging.my_conversations(), messaging.can_start_in(uuid),
messaging.is_invited(uuid), messaging.can_send(uuid)
from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function
messaging.is_participant(uuid), messaging.my_conversations(), messaging.can_start_in(uuid),
messaging.is_invited(uuid), messaging.can_send(uuid)
to authenticated, bookconnect_dm_server;

-- conversations ------------------------------------------------------------------------------------------------

drop policy if exists "Users see their conversations" on public.conversations;
create policy "Users see their conversations" on public.conversations
for select using (id = any(array(select messaging.my_conversations())));

drop policy if exists "Users can create conversations" on public.conversations;
create policy "Users can create conversations" on public.conversations
for insert with check (messaging.can_start_in(store_id));

drop policy if exists "Users can update conversation timestamps" on public.conversations;
create policy "Users can update conversation timestamps" on public.conversations
for update using (messaging.is_participant(id)) with check (messaging.is_participant(id));

-- conversation_participants ------------------------------------------------------------------------------------

drop policy if exists "Users see their participants" on public.conversation_participants;
create policy "Users see their participants" on public.conversation_participants
for select using (messaging.is_participant(conversation_id));

drop policy if exists "Users can join conversations" on public.conversation_participants;
create policy "Users can join conversations" on public.conversation_participants
for insert with check (user_id = (select auth.uid()) and messaging.is_invited(conversation_id));

drop policy if exists "Users can update their participation" on public.conversation_participants;
create policy "Users can update their participation" on public.conversation_participants
for update using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

-- direct_messages ----------------------------------------------------------------------------------------------

drop policy if exists "Users see their messages" on public.direct_messages;
create policy "Users see their messages" on public.direct_messages
for select using (
    not is_deleted
    and retention_expires_at > statement_timestamp()
    and messaging.is_participant(conversation_id)
);

-- auth.uid() without a subselect: in a batch each row has a sender of his own, and a subselect would be asked once.
drop policy if exists "Users can send messages" on public.direct_messages;
create policy "Users can send messages" on public.direct_messages
for insert with check (sender_id = auth.uid() and messaging.can_send(conversation_id));

-- Soft deletion only, once, by the sender; delete_message() is the way. With a grant, an UPDATE that reads no column
-- (no WHERE, no RETURNING) is held against this policy alone, any other against the SELECT policy too, which hides
-- deleted rows and so refuses it. What of the row may change, only a trigger can say (005).
drop policy if exists "Users can delete their messages" on public.direct_messages;
create policy "Users can delete their messages" on public.direct_messages
for update
using (sender_id = (select auth.uid()) and not is_deleted and messaging.is_participant(conversation_id))
with check (sender_id = (select auth.uid()) and is_deleted);

-- Grants, in full ----------------------------------------------------------------------------------------------

revoke all on public.conversations, public.conversation_participants, public.direct_messages
from public, anon, authenticated, service_role, bookconnect_dm_server;

-- Bookkeeping is nobody's; 001 said so once, this says so after every change of the host's.
revoke all on all tables in schema messaging
from public, anon, authenticated, service_role, bookconnect_dm_server;
revoke all on all sequences in schema messaging
from public, anon, authenticated, service_role, bookconnect_dm_server;

grant select on public.conversations to authenticated, bookconnect_dm_server;
grant select, update (last_read_at) on public.conversation_participants to authenticated, bookconnect_dm_server;
grant select, insert (id, conversation_id, sender_id, content) on public.direct_messages
to authenticated, bookconnect_dm_server;

-- The default of direct_messages.id runs as whoever inserts.
revoke all on function messaging.uuidv7() from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function messaging.uuidv7() to authenticated, bookconnect_dm_server;
