-- The mission's SQL with its recursion taken out, and nothing else: only so do its other faults show.
-- And a conversation of ada and ben, with a readable, a deleted and an expired message; one of dan and eve; and a third
-- of ada's.

create function public.takes_part(conversation uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (
        select from public.conversation_participants as p
        where p.conversation_id = conversation and p.user_id = auth.uid()
    );
end;
$$;

drop policy "Users see their participants" on public.conversation_participants;
create policy "Users see their participants" on public.conversation_participants
for select using (public.takes_part(conversation_id));

insert into public.conversations (id, store_id) values
('c0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001'),
('c0000000-0000-4000-8000-000000000002', 'a0000000-0000-4000-8000-000000000001'),
('c0000000-0000-4000-8000-000000000003', 'a0000000-0000-4000-8000-000000000001');
insert into public.conversation_participants (conversation_id, user_id) values
('c0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-00000000000a'),
('c0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-00000000000b'),
('c0000000-0000-4000-8000-000000000002', 'b0000000-0000-4000-8000-00000000000d'),
('c0000000-0000-4000-8000-000000000002', 'b0000000-0000-4000-8000-00000000000e'),
('c0000000-0000-4000-8000-000000000003', 'b0000000-0000-4000-8000-00000000000a');
insert into public.direct_messages (id, conversation_id, sender_id, content) values
('d0000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000001',
    'b0000000-0000-4000-8000-00000000000a', 'Hello'),
('d0000000-0000-4000-8000-000000000002', 'c0000000-0000-4000-8000-000000000001',
    'b0000000-0000-4000-8000-00000000000a', 'Deleted'),
('d0000000-0000-4000-8000-000000000003', 'c0000000-0000-4000-8000-000000000001',
    'b0000000-0000-4000-8000-00000000000a', 'Expired');
update public.direct_messages set is_deleted = true, deleted_at = now()
where id = 'd0000000-0000-4000-8000-000000000002';
update public.direct_messages set retention_expires_at = now() - interval '1 day'
where id = 'd0000000-0000-4000-8000-000000000003';
