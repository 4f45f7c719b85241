-- Reading ---------------------------------------------------------------------------------------------------------
-- Row sources are SQL functions that the planner inlines. They are called by definer functions that have looked at
-- who is asking; nobody else may call them.

-- The messages that may be read now, whether or not any cleaner runs: the rule of the policy, for definer functions.
create or replace view messaging.visible_messages as
select m.id, m.conversation_id, m.sender_id, m.content, m.sent_at, m.retention_expires_at
from public.direct_messages as m
where not m.is_deleted and m.retention_expires_at > statement_timestamp();

-- Unread: after last_read_at, not mine, visible; counted up to 100, which clients show as 99+.
create or replace function messaging.unread_of(conversation_id uuid, reader uuid, read_to timestamptz)
returns table (unread_count int)
language sql stable
begin atomic
    select count(*)::int
    from (
        select
        from messaging.visible_messages as m
        where m.conversation_id = unread_of.conversation_id
            and m.sent_at > unread_of.read_to and m.sender_id <> unread_of.reader
        limit 100
    ) as unread;
end;

create or replace function messaging.newest_of(conversation_id uuid)
returns table (id uuid, content text, sent_at timestamptz, sender_id uuid, expires_at timestamptz)
language sql stable
begin atomic
    select m.id, m.content, m.sent_at, m.sender_id, m.retention_expires_at
    from messaging.visible_messages as m
    where m.conversation_id = newest_of.conversation_id
    order by m.sent_at desc
    limit 1;
end;

create or replace function messaging.last_message_of(conversation_id uuid) returns table (last_message jsonb)
language sql stable
begin atomic
    select jsonb_build_object(
        'id', m.id, 'content', m.content, 'sent_at', messaging.wire_time(m.sent_at), 'sender_id', m.sender_id,
        'expires_at', messaging.wire_time(m.expires_at)
    )
    from messaging.newest_of(last_message_of.conversation_id) as m;
end;

create or replace function messaging.other_of(conversation_id uuid, reader uuid)
returns table (id uuid, username text, displayname text, avatar_url text, last_read_at timestamptz)
language sql stable
begin atomic
    select o.user_id, p.username, p.displayname, p.avatar_url, o.last_read_at
    from public.conversation_participants as o
    left join lateral messaging.host_profile(o.user_id) as p on true
    where o.conversation_id = other_of.conversation_id and o.user_id <> other_of.reader
    order by o.joined_at, o.user_id
    limit 1;
end;

create or replace function messaging.other_participant_of(conversation_id uuid, reader uuid)
returns table (other_participant jsonb)
language sql stable
begin atomic
    select jsonb_build_object(
        'id', o.id, 'username', o.username, 'displayname', o.displayname, 'avatar_url', o.avatar_url,
        'last_read_at', messaging.wire_time(o.last_read_at)
    )
    from messaging.other_of(other_participant_of.conversation_id, other_participant_of.reader) as o;
end;

create or replace function messaging.user_conversations(
    page_limit int, before_updated_at timestamptz, before_id uuid
) returns table (
    id uuid, store_id uuid, created_at timestamptz, updated_at timestamptz, other_participant jsonb,
    last_message jsonb, unread_count int, last_read_at timestamptz
)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
begin
    if (before_updated_at is null) <> (before_id is null) then
        perform messaging.fail('INVALID_REQUEST', 'A cursor is both its time and its id, unchanged.', 'cursor');
    end if;
    return query
    select
        c.id, c.store_id, c.created_at, c.updated_at, o.other_participant, l.last_message, u.unread_count,
        c.last_read_at
    from (
        select conversation.*, me.last_read_at
        from public.conversation_participants as me
        inner join public.conversations as conversation on me.conversation_id = conversation.id
        where me.user_id = v_caller
            and ($2 is null or (conversation.updated_at, conversation.id) < ($2, $3))
        order by conversation.updated_at desc, conversation.id desc
        limit messaging.page_size($1, 20, 100)
    ) as c
    left join lateral messaging.other_participant_of(c.id, v_caller) as o on true
    left join lateral messaging.last_message_of(c.id) as l on true
    left join lateral messaging.unread_of(c.id, v_caller, c.last_read_at) as u on true
    order by c.updated_at desc, c.id desc;
end;
$$;

-- The inbox, newest first; the next page begins before the last row's (updated_at, id).
create or replace function public.get_user_conversations(
    page_limit int default 20, before_updated_at timestamptz default null, before_id uuid default null
) returns table (
    id uuid, store_id uuid, created_at timestamptz, updated_at timestamptz, other_participant jsonb,
    last_message jsonb, unread_count int, last_read_at timestamptz
)
language sql stable security invoker
begin atomic
    select
        c.id, c.store_id, c.created_at, c.updated_at, c.other_participant, c.last_message, c.unread_count,
        c.last_read_at
    from messaging.user_conversations(
        get_user_conversations.page_limit, get_user_conversations.before_updated_at, get_user_conversations.before_id
    ) as c;
end;

-- The same page and get_unread_conversation_count() at once, for our server: one look at the conversations and not two,
-- and plain columns, which cost half of what JSON does. With no conversation on the page there is one row, for the
-- count. One plan for all: to plan for each member anew took longer than the page of one with few conversations.
create or replace function messaging.inbox(page_limit int, before_updated_at timestamptz, before_id uuid)
returns table (
    unread_conversations int, id uuid, store_id uuid, created_at timestamptz, updated_at timestamptz,
    last_read_at timestamptz, other_id uuid, other_username text, other_displayname text, other_avatar_url text,
    other_last_read_at timestamptz, message_id uuid, message_content text, message_sent_at timestamptz,
    message_sender_id uuid, message_expires_at timestamptz, unread_count int
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    v_caller constant uuid := messaging.caller();
begin
    if (before_updated_at is null) <> (before_id is null) then
        perform messaging.fail('INVALID_REQUEST', 'A cursor is both its time and its id, unchanged.', 'cursor');
    end if;
    return query
    with mine as materialized (
        select c.id, c.store_id, c.created_at, c.updated_at, me.last_read_at
        from public.conversation_participants as me
        inner join public.conversations as c on me.conversation_id = c.id
        where me.user_id = v_caller
    ),

    page as (
        select c.*
        from mine as c
        where $2 is null or (c.updated_at, c.id) < ($2, $3)
        order by c.updated_at desc, c.id desc
        limit messaging.page_size($1, 20, 100)
    ),

    unread as materialized (
        select count(*)::int as conversations
        from mine as c
        where c.updated_at > c.last_read_at
            and exists (
                select from messaging.visible_messages as m
                where m.conversation_id = c.id and m.sent_at > c.last_read_at and m.sender_id <> v_caller
            )
    )

    select
        n.conversations, c.id, c.store_id, c.created_at, c.updated_at, c.last_read_at, o.id, o.username, o.displayname,
        o.avatar_url, o.last_read_at, l.id, l.content, l.sent_at, l.sender_id, l.expires_at, u.unread_count
    from unread as n
    left join page as c on true
    left join lateral messaging.other_of(c.id, v_caller) as o on true
    left join lateral messaging.newest_of(c.id) as l on true
    left join lateral messaging.unread_of(c.id, v_caller, c.last_read_at) as u on true
    order by c.updated_at desc, c.id desc;
end;
$$;

-- DMConversation of the wire; no row unless the reader takes part.
create or replace function messaging.conversation_json(conversation_id uuid, reader uuid)
returns table (conversation jsonb)
language sql stable
begin atomic
    select jsonb_build_object(
        'id', c.id, 'store_id', c.store_id,
        'created_at', messaging.wire_time(c.created_at), 'updated_at', messaging.wire_time(c.updated_at),
        'last_read_at', messaging.wire_time(me.last_read_at),
        'other_participant', o.other_participant, 'last_message', l.last_message, 'unread_count', u.unread_count
    )
    from public.conversation_participants as me
    inner join public.conversations as c on me.conversation_id = c.id
    left join lateral messaging.other_participant_of(c.id, me.user_id) as o on true
    left join lateral messaging.last_message_of(c.id) as l on true
    left join lateral messaging.unread_of(c.id, me.user_id, me.last_read_at) as u on true
    where me.conversation_id = conversation_json.conversation_id and me.user_id = conversation_json.reader;
end;

create or replace function messaging.get_conversation(conversation_id uuid) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform messaging.require_participant($1);
    return (select j.conversation from messaging.conversation_json($1, auth.uid()) as j);
end;
$$;

create or replace function public.get_conversation(conversation_id uuid) returns jsonb
language sql stable security invoker
begin atomic
    select messaging.get_conversation(get_conversation.conversation_id);
end;

create or replace function messaging.conversation_messages(
    conversation_id uuid, page_limit int, before timestamptz, after timestamptz
) returns setof messaging.history_row
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_size constant int := messaging.page_size($2, 50, 100);
begin
    perform messaging.require_participant($1);
    if $3 is not null and $4 is not null then
        perform messaging.fail('INVALID_REQUEST', 'Ask for messages before or after a position, not both.', 'after');
    elsif $4 is not null then
        return query
        select p.*, count(*) over () > v_size
        from (
            select m.id, m.conversation_id, m.sender_id, m.content, m.sent_at, m.retention_expires_at
            from messaging.visible_messages as m
            where m.conversation_id = $1 and m.sent_at > $4
            order by m.sent_at
            limit v_size + 1
        ) as p
        order by p.sent_at
        limit v_size;
    else
        return query
        select p.*, count(*) over () > v_size
        from (
            select m.id, m.conversation_id, m.sender_id, m.content, m.sent_at, m.retention_expires_at
            from messaging.visible_messages as m
            where m.conversation_id = $1 and m.sent_at < coalesce($3, 'infinity')
            order by m.sent_at desc
            limit v_size + 1
        ) as p
        order by p.sent_at desc
        limit v_size;
    end if;
end;
$$;

-- A page of history: newest first; with `after`, oldest first. has_more: there are further rows in that direction.
create or replace function public.get_conversation_messages(
    conversation_id uuid, page_limit int default 50, before timestamptz default null, after timestamptz default null
) returns setof messaging.history_row
language sql stable security invoker
begin atomic
    select m.id, m.conversation_id, m.sender_id, m.content, m.sent_at, m.retention_expires_at, m.has_more
    from messaging.conversation_messages($1, $2, $3, $4) as m;
end;

create or replace function messaging.unread_message_count(conversation_id uuid) returns int
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform messaging.require_participant($1);
    return (
        select u.unread_count
        from public.conversation_participants as me
        cross join lateral messaging.unread_of(me.conversation_id, me.user_id, me.last_read_at) as u
        where me.conversation_id = $1 and me.user_id = auth.uid()
    );
end;
$$;

create or replace function public.get_unread_message_count(conversation_id uuid) returns int
language sql stable security invoker
begin atomic
    select messaging.unread_message_count(get_unread_message_count.conversation_id);
end;

create or replace function messaging.unread_conversation_count() returns int
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
begin
    return (
        select count(*)::int
        from public.conversation_participants as me
        inner join public.conversations as c on me.conversation_id = c.id
        where me.user_id = v_caller
            -- Most conversations are read to the end: the newest message tells, without looking at messages.
            and c.updated_at > me.last_read_at
            and exists (
                select from messaging.visible_messages as m
                where m.conversation_id = c.id and m.sent_at > me.last_read_at and m.sender_id <> v_caller
            )
    );
end;
$$;

create or replace function public.get_unread_conversation_count() returns int
language sql stable security invoker
begin atomic
    select messaging.unread_conversation_count();
end;

-- Where the caller means to read to: a time, a message, or (neither) everything that he can see.
create or replace function messaging.read_target(conversation_id uuid, up_to timestamptz, up_to_message uuid)
returns timestamptz
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_newest timestamptz;
    v_target timestamptz;
begin
    for look in 1 .. 2 loop
        select c.updated_at into v_newest from public.conversations as c where c.id = $1;
        select m.sent_at into v_target
        from public.direct_messages as m
        where m.id = $3 and m.conversation_id = $1;
        v_target := case when $3 is null then coalesce($2, v_newest) else v_target end;
        exit when v_target <= v_newest;
        -- Live delivery can be ahead of visibility by a fraction of a millisecond: what is being committed to this
        -- conversation is waited for, once, and looked at again.
        perform from public.conversations as c where c.id = $1 for share;
    end loop;
    return case when v_target is not null then least(v_target, v_newest) end;
end;
$$;

create or replace function messaging.mark_conversation_as_read(
    conversation_id uuid, up_to timestamptz, up_to_message uuid
) returns timestamptz
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_target timestamptz;
    v_result timestamptz;
begin
    perform messaging.require_participant($1);
    if $2 is not null and $3 is not null then
        perform messaging.fail('INVALID_REQUEST', 'Read up to a position or up to a message, not both.', 'up_to');
    end if;
    v_target := messaging.read_target($1, $2, $3);
    if v_target is null then
        perform messaging.fail('MESSAGE_NOT_FOUND', 'There is no such message, or it is gone.', 'up_to_message');
    end if;
    -- The guard on the table keeps it forward and at most at the newest message. No write where nothing moves.
    update public.conversation_participants as p
    set last_read_at = v_target
    where p.conversation_id = $1 and p.user_id = auth.uid() and p.last_read_at < v_target
    returning p.last_read_at into v_result;
    return coalesce(v_result, (
        select p.last_read_at
        from public.conversation_participants as p
        where p.conversation_id = $1 and p.user_id = auth.uid()
    ));
end;
$$;

-- Moves the caller's last_read_at forward, at most to the newest message; gives where it now is. Idempotent.
create or replace function public.mark_conversation_as_read(
    conversation_id uuid, up_to timestamptz default null, up_to_message uuid default null
) returns timestamptz
language sql volatile security invoker
begin atomic
    select messaging.mark_conversation_as_read($1, $2, $3);
end;

revoke all on messaging.visible_messages from public, anon, authenticated, service_role, bookconnect_dm_server;
revoke all on function
messaging.unread_of(uuid, uuid, timestamptz), messaging.newest_of(uuid), messaging.last_message_of(uuid),
messaging.other_of(uuid, uuid), messaging.other_participant_of(uuid, uuid),
messaging.inbox(int, timestamptz, uuid), messaging.user_conversations(int, timestamptz, uuid),
public.get_user_conversations(int, timestamptz, uuid), messaging.conversation_json(uuid, uuid),
messaging.get_conversation(uuid), public.get_conversation(uuid),
messaging.conversation_messages(uuid, int, timestamptz, timestamptz),
public.get_conversation_messages(uuid, int, timestamptz, timestamptz), messaging.unread_message_count(uuid),
public.get_unread_message_count(uuid), messaging.unread_conversation_count(),
public.get_unread_conversation_count(), messaging.read_target(uuid, timestamptz, uuid),
messaging.mark_conversation_as_read(uuid, timestamptz, uuid),
public.mark_conversation_as_read(uuid, timestamptz, uuid)
from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function
messaging.user_conversations(int, timestamptz, uuid), public.get_user_conversations(int, timestamptz, uuid),
messaging.get_conversation(uuid), public.get_conversation(uuid),
messaging.conversation_messages(uuid, int, timestamptz, timestamptz),
public.get_conversation_messages(uuid, int, timestamptz, timestamptz), messaging.unread_message_count(uuid),
public.get_unread_message_count(uuid), messaging.unread_conversation_count(),
public.get_unread_conversation_count(), messaging.mark_conversation_as_read(uuid, timestamptz, uuid),
public.mark_conversation_as_read(uuid, timestamptz, uuid)
to authenticated, bookconnect_dm_server;
grant execute on function messaging.inbox(int, timestamptz, uuid) to bookconnect_dm_server;
