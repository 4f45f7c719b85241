-- Starting conversations, and finding people ----------------------------------------------------------------------

-- The stores that both belong to.
create or replace function messaging.shared_stores(one uuid, other uuid) returns setof uuid
language sql stable
begin atomic
    select s.store_id from messaging.host_stores(one) as s
    intersect
    select s.store_id from messaging.host_stores(other) as s;
end;

-- The conversation of a pair in a store, or null.
create or replace function messaging.pair_conversation(store_id uuid, one uuid, other uuid) returns uuid
language sql stable
begin atomic
    select p.conversation_id
    from messaging.conversation_pairs as p
    where p.store_id = pair_conversation.store_id and p.low = least(one, other) and p.high = greatest(one, other);
end;

-- Whether these two take part in a conversation, and nobody else.
create or replace function messaging.has_only(conversation_id uuid, one uuid, other uuid) returns boolean
language sql stable
begin atomic
    select count(*) = 2 and bool_and(p.user_id in (one, other))
    from public.conversation_participants as p
    where p.conversation_id = has_only.conversation_id;
end;

-- The oldest conversation of exactly these two in a store that no pair knows, or null. What they share first, from an
-- index and whatever the planner thinks: a busy member has a thousand conversations, and shares one or none.
create or replace function messaging.unpaired_conversation(store_id uuid, one uuid, other uuid) returns uuid
language sql stable
begin atomic
    with shared as materialized (
        select a.conversation_id from public.conversation_participants as a where a.user_id = one
        intersect
        select b.conversation_id from public.conversation_participants as b where b.user_id = other
    )

    select c.id
    from shared as s
    inner join public.conversations as c on s.conversation_id = c.id
    where c.store_id = unpaired_conversation.store_id
        and not exists (select from messaging.conversation_pairs as k where k.conversation_id = c.id)
        and messaging.has_only(c.id, one, other)
    order by c.created_at, c.id
    limit 1;
end;

-- The store in which these two are to talk: the one named, or the only one that they share. Somebody who does not
-- exist and somebody of foreign stores are the same to the caller.
create or replace function messaging.store_to_talk_in(caller uuid, recipient_id uuid, store_id uuid) returns uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_shared uuid [];
begin
    if $2 is null then
        perform messaging.fail('INVALID_REQUEST', 'Name the recipient by his id.', 'recipient_id');
    elsif $2 = $1 then
        perform messaging.fail('INVALID_REQUEST', 'You cannot write to yourself.', 'recipient_id');
    elsif $3 is not null and not exists (select from messaging.host_stores($1) as s where s.store_id = $3) then
        perform messaging.fail('STORE_CONTEXT_ERROR', 'You do not belong to this store.', 'store_id');
    end if;
    if $3 is not null and messaging.pair_conversation($3, $1, $2) is not null then
        return $3;
    end if;
    v_shared := array(select messaging.shared_stores($1, $2));
    if cardinality(v_shared) = 0 or not ($3 is null or $3 = any(v_shared)) then
        perform messaging.fail('USER_NOT_FOUND', 'There is nobody of that name in your stores.', 'recipient_id');
    elsif $3 is null and cardinality(v_shared) > 1 then
        perform messaging.fail('INVALID_REQUEST', 'You share several stores: say in which one.', 'store_id');
    end if;
    return coalesce($3, v_shared[1]);
end;
$$;

-- Makes the conversation, its pair and both participants, or gives what somebody else has just made.
-- Lock order: the pair's key. Two simultaneous starts wait here for each other, and the second finds the first's.
create or replace function messaging.make_conversation(store_id uuid, one uuid, other uuid)
returns table (conversation_id uuid, is_existing boolean)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid;
    v_now constant timestamptz := clock_timestamp();
begin
    insert into public.conversations (store_id, created_at, updated_at, position)
    values ($1, v_now, v_now, v_now)
    returning id into v_id;
    insert into messaging.conversation_pairs (store_id, low, high, conversation_id)
    values ($1, least($2, $3), greatest($2, $3), v_id);
    insert into public.conversation_participants (conversation_id, user_id, joined_at, last_read_at)
    values (v_id, $2, v_now, v_now), (v_id, $3, v_now, v_now);
    return query select v_id, false;
exception
    when unique_violation then
        v_id := messaging.pair_conversation($1, $2, $3);
        if v_id is null then
            -- Under REPEATABLE READ the other's conversation is not visible yet: the caller tries again.
            raise exception 'Somebody has just started this conversation.' using errcode = '40001';
        end if;
        return query select v_id, true;
    when foreign_key_violation then
        -- Erased at this moment.
        perform messaging.fail('USER_NOT_FOUND', 'There is nobody of that name in your stores.', 'recipient_id');
end;
$$;

-- The conversation of exactly these two in a store that was written into the tables by hand, and so has no pair yet;
-- the oldest of several. Gives it its pair, so that it is theirs from now on; null if there is none.
-- Lock order: the pair's key, then (shared) the conversation: an erasure has ended before we look again, or it waits.
create or replace function messaging.adopt_conversation(store_id uuid, one uuid, other uuid) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id constant uuid := messaging.unpaired_conversation($1, $2, $3);
begin
    if v_id is null then
        return null;
    end if;
    begin
        insert into messaging.conversation_pairs as p (store_id, low, high, conversation_id)
        values ($1, least($2, $3), greatest($2, $3), v_id)
        on conflict do nothing;
        if not messaging.has_only(v_id, $2, $3) then
            raise foreign_key_violation;
        end if;
    exception
        when foreign_key_violation then
            return null;  -- one of the two was erased at this moment
    end;
    return messaging.pair_conversation($1, $2, $3);
end;
$$;

create or replace function messaging.start_conversation(recipient_id uuid, store_id uuid)
returns table (conversation_id uuid, is_existing boolean)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
    v_store constant uuid := messaging.store_to_talk_in(v_caller, $1, $2);
    v_id constant uuid := coalesce(
        messaging.pair_conversation(v_store, v_caller, $1), messaging.adopt_conversation(v_store, v_caller, $1)
    );
begin
    if v_id is not null then
        return query select v_id, true;
    elsif not messaging.can_start_in(v_store) then
        perform messaging.fail(
            'PERMISSION_DENIED', 'Your tier lets you answer; starting a conversation needs a privileged tier.'
        );
    elsif not coalesce((select p.allow_direct_messages from messaging.host_profile($1) as p), true) then
        perform messaging.fail('PERMISSION_DENIED', 'This member takes no messages from people new to him.');
    else
        return query select m.conversation_id, m.is_existing from messaging.make_conversation(v_store, v_caller, $1) as m;
    end if;
end;
$$;

-- One conversation per pair and store, however many start it at once.
create or replace function public.start_conversation(recipient_id uuid, store_id uuid default null)
returns table (conversation_id uuid, is_existing boolean)
language sql volatile security invoker
begin atomic
    select s.conversation_id, s.is_existing
    from messaging.start_conversation(start_conversation.recipient_id, start_conversation.store_id) as s;
end;

-- May the caller write to this member: they have a conversation, or he may start one.
create or replace function messaging.can_message(other uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
begin
    return exists (
        select
        from messaging.shared_stores(v_caller, $1) as s (store_id)
        where messaging.pair_conversation(s.store_id, v_caller, $1) is not null
            or (
                messaging.can_start_in(s.store_id)
                and coalesce((select p.allow_direct_messages from messaging.host_profile($1) as p), true)
            )
    );
end;
$$;

create or replace function messaging.search_members(query text, page_limit int)
returns table (id uuid, username text, displayname text, avatar_url text, can_message boolean)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
    v_query constant text := lower(messaging.trimmed(coalesce(query, '')));
begin
    return query
    select found.id, found.username, found.displayname, found.avatar_url, messaging.can_message(found.id)
    from (
        select p.id, p.username, p.displayname, p.avatar_url
        from (
            select distinct m.user_id
            from messaging.host_stores(v_caller) as s
            cross join lateral messaging.host_members(s.store_id) as m
            where m.user_id <> v_caller
        ) as fellow
        cross join lateral messaging.host_profile(fellow.user_id) as p
        -- strpos, not LIKE: what people type is no pattern.
        where strpos(lower(p.username), v_query) > 0 or strpos(lower(p.displayname), v_query) > 0
        order by
            not (starts_with(lower(p.username), v_query) or starts_with(lower(p.displayname), v_query)),
            lower(coalesce(p.displayname, p.username)), p.id
        limit messaging.page_size($2, 20, 100)
    ) as found;
end;
$$;

-- Everybody else of the caller's stores whose name contains the query.
create or replace function public.search_members(query text, page_limit int default 20)
returns table (id uuid, username text, displayname text, avatar_url text, can_message boolean)
language sql stable security invoker
begin atomic
    select m.id, m.username, m.displayname, m.avatar_url, m.can_message
    from messaging.search_members(search_members.query, search_members.page_limit) as m;
end;

create or replace function messaging.find_member(username text) returns uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
    v_found constant uuid := messaging.host_find($1);
begin
    if v_found is null or v_found <> v_caller and not exists (select messaging.shared_stores(v_caller, v_found)) then
        perform messaging.fail('USER_NOT_FOUND', 'There is nobody of that name in your stores.', 'recipient');
    end if;
    return v_found;
end;
$$;

-- The id behind a username, for people of the caller's stores.
create or replace function public.find_member(username text) returns uuid
language sql stable security invoker
begin atomic
    select messaging.find_member(find_member.username);
end;

create or replace function messaging.get_me() returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
begin
    return (
        select jsonb_build_object(
            'id', v_caller,
            'username', p.username,
            'displayname', p.displayname,
            'avatar_url', p.avatar_url,
            'tier', r.tier,
            'can_start_conversations',
            exists (select from messaging.host_stores(v_caller) as s where messaging.can_start_in(s.store_id)),
            'stores',
            (
                select coalesce(
                    jsonb_agg(jsonb_build_object('id', s.store_id, 'name', s.name, 'role', s.role) order by s.name),
                    '[]'
                )
                from messaging.host_stores(v_caller) as s
            ),
            'retention',
            jsonb_build_object(
                'tier', r.tier, 'retention_days', r.retention_days,
                'grace_ends_at', messaging.wire_time(r.grace_ends_at)
            )
        )
        from messaging.user_retention_info() as r
        -- A member whom the host no longer knows still has an identity, and nothing else.
        left join messaging.host_profile(v_caller) as p on true
    );
end;
$$;

create or replace function public.get_me() returns jsonb
language sql stable security invoker
begin atomic
    select messaging.get_me();
end;

revoke all on function
messaging.shared_stores(uuid, uuid), messaging.pair_conversation(uuid, uuid, uuid),
messaging.has_only(uuid, uuid, uuid), messaging.unpaired_conversation(uuid, uuid, uuid),
messaging.adopt_conversation(uuid, uuid, uuid),
messaging.store_to_talk_in(uuid, uuid, uuid), messaging.make_conversation(uuid, uuid, uuid),
messaging.start_conversation(uuid, uuid), public.start_conversation(uuid, uuid), messaging.can_message(uuid),
messaging.search_members(text, int), public.search_members(text, int), messaging.find_member(text),
public.find_member(text), messaging.get_me(), public.get_me()
from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function
messaging.start_conversation(uuid, uuid), public.start_conversation(uuid, uuid), messaging.search_members(text, int),
public.search_members(text, int), messaging.find_member(text), public.find_member(text), messaging.get_me(),
public.get_me()
to authenticated, bookconnect_dm_server;
