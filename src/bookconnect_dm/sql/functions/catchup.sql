-- Catch-up --------------------------------------------------------------------------------------------------------
-- What happened after a position: messages, and deletions by their senders, in one order. Expiry is no event; both
-- sides hold expires_at. Where completeness cannot be proved, `complete` is false: forget and load anew.
-- STABLE throughout: clock, messages and marks come from one snapshot, so no row can commit later behind a position.

-- Can everything after `since` be told? Not from a position that the clock never reached, not from before something
-- that left no trace (a purge, an erasure, new expiry times), not while expiry times are being computed anew.
create or replace function messaging.can_tell_since(conversation_id uuid, clock timestamptz, since timestamptz)
returns boolean
language sql stable
begin atomic
    select since <= clock
        and not exists (
            select from messaging.reload_marks as k
            where k.conversation_id = can_tell_since.conversation_id and k.reload_before > since
        )
        and not exists (
            select from messaging.recalculations as r
            inner join public.conversation_participants as p on r.user_id = p.user_id
            where p.conversation_id = can_tell_since.conversation_id
        );
end;

-- The events after a position, in order, at most `most` of them.
create or replace function messaging.events_after(conversation_id uuid, since timestamptz, most int)
returns table (event_position timestamptz, deleted_id uuid, message jsonb)
language sql stable
begin atomic
    select e.event_position, e.deleted_id, e.message
    from (
        (
            select
                m.sent_at as event_position, null::uuid as deleted_id,
                jsonb_build_object(
                    'id', m.id, 'conversation_id', m.conversation_id, 'sender_id', m.sender_id, 'content', m.content,
                    'sent_at', messaging.wire_time(m.sent_at),
                    'expires_at', messaging.wire_time(m.retention_expires_at), 'is_deleted', false
                ) as message
            from messaging.visible_messages as m
            where m.conversation_id = events_after.conversation_id and m.sent_at > since
            order by m.sent_at
            limit most
        )
        union all
        (
            select m.deleted_at, m.id, null::jsonb
            from public.direct_messages as m
            where m.conversation_id = events_after.conversation_id and m.is_deleted
                and m.deleted_at > since and m.deleted_at < m.retention_expires_at
            order by m.deleted_at
            limit most
        )
    ) as e
    order by e.event_position
    limit most;
end;

-- {messages, deleted, position, complete} of one conversation from `since` on. `position` is that of the last event
-- told, or the clock where nothing is left to tell (`caught_up`, for sync).
create or replace function messaging.changes_json(
    conversation_id uuid, clock timestamptz, since timestamptz, most int
) returns table (changes jsonb, events int, caught_up boolean)
language sql stable
begin atomic
    select
        jsonb_build_object(
            'conversation_id', conversation_id,
            'messages', coalesce(page.messages, '[]'),
            'deleted', coalesce(page.deleted, '[]'),
            'position',
            messaging.wire_time(case when page.has_more then page.last_position else clock end),
            'complete', told.complete
        ),
        coalesce(page.events, 0)::int,
        not coalesce(page.has_more, false)
    from (select coalesce(messaging.can_tell_since(conversation_id, clock, since), false) as complete) as told
    left join lateral (
        select
            jsonb_agg(e.message order by e.event_position) filter (where e.message is not null) as messages,
            jsonb_agg(
                jsonb_build_object('id', e.deleted_id, 'deleted_at', messaging.wire_time(e.event_position))
                order by e.event_position
            ) filter (where e.deleted_id is not null) as deleted,
            max(e.event_position) as last_position,
            count(*) as events,
            bool_or(e.has_more) as has_more
        from (
            select a.*, count(*) over () > most as has_more
            from messaging.events_after(conversation_id, since, most + 1) as a
            order by a.event_position
            limit most
        ) as e
    ) as page on told.complete;
end;

create or replace function messaging.conversation_changes(conversation_id uuid, since timestamptz, page_limit int)
returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform messaging.require_participant($1);
    if since is null then
        perform messaging.fail('INVALID_REQUEST', 'Say since which position.', 'since');
    end if;
    return (
        select d.changes - 'conversation_id'
        from public.conversations as c
        cross join lateral messaging.changes_json(c.id, c.position, $2, messaging.page_size($3, 500, 500)) as d
        where c.id = $1
    );
end;
$$;

create or replace function public.get_conversation_changes(
    conversation_id uuid, since timestamptz, page_limit int default 500
) returns jsonb
language sql stable security invoker
begin atomic
    select messaging.conversation_changes($1, $2, $3);
end;

-- {"conversation": "position"} as a client sends it; its conversations must be UUIDs and its positions ours.
create or replace function messaging.parse_positions(state jsonb)
returns table (conversation_id uuid, since timestamptz)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    v_positions constant jsonb := coalesce(nullif(state -> 'positions', 'null'), '{}');
begin
    if jsonb_typeof(v_positions) <> 'object' then
        perform messaging.fail('INVALID_REQUEST', 'positions is an object: conversation id to position.', 'positions');
    elsif (select count(*) from jsonb_object_keys(v_positions)) > 10000 then
        perform messaging.fail('INVALID_REQUEST', 'At most 10,000 positions at once.', 'positions');
    end if;
    return query
    select p.key::uuid, messaging.parse_position(p.value, 'positions')
    from jsonb_each_text(v_positions) as p;
exception
    when invalid_text_representation then
        perform messaging.fail('INVALID_REQUEST', 'positions is keyed by conversation id.', 'positions');
end;
$$;

create or replace function messaging.parse_sync_cursor(state jsonb) returns uuid
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    return (state ->> 'cursor')::uuid;
exception
    when invalid_text_representation then
        perform messaging.fail('INVALID_REQUEST', 'A cursor is what the last answer gave, unchanged.', 'cursor');
        return null;
end;
$$;

-- Both members' last_read_at of a conversation: reads are not on the clock.
create or replace function messaging.reads_json(conversation_id uuid) returns table (reads jsonb)
language sql stable
begin atomic
    select jsonb_agg(jsonb_build_object(
        'conversation_id', p.conversation_id, 'user_id', p.user_id,
        'last_read_at', messaging.wire_time(p.last_read_at)
    ))
    from public.conversation_participants as p
    where p.conversation_id = reads_json.conversation_id;
end;

-- One page of catch-up. One statement goes through the caller's conversations by id, lazily; the page is full at 500
-- events or 200 conversations, and its cursor is the conversation at which the next one (with the positions moved to
-- what this one gave) goes on.
create or replace function messaging.sync_conversations(state jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
    v_epoch constant text := messaging.epoch();
    v_reload constant boolean := coalesce(state ->> 'epoch' <> v_epoch, false);
    v_from constant uuid := messaging.parse_sync_cursor(state);
    v_named uuid [];
    v_since timestamptz [];
    v_conversations jsonb [] := '{}';
    v_changes jsonb [] := '{}';
    v_reads jsonb [] := '{}';
    v_events int := 0;
    v_next uuid;
    r record;
begin
    if jsonb_typeof(state) is distinct from 'object' then
        perform messaging.fail('INVALID_REQUEST', 'The state is an object: epoch, positions, cursor.', 'state');
    end if;
    select coalesce(array_agg(p.conversation_id), '{}'), coalesce(array_agg(p.since), '{}') into v_named, v_since
    from messaging.parse_positions(state) as p;
    -- Positions of another history mean nothing here.
    if v_reload then
        v_since := array_fill(null::timestamptz, array[cardinality(v_named)]);
    end if;

    for r in
        select mine.id, mine.since, mine.is_named, d.changes, d.events, d.caught_up, c.reads
        from (
            select
                conversation.id, conversation.position, n.since, n.conversation_id is not null and not v_reload as is_named
            from public.conversation_participants as me
            inner join public.conversations as conversation on me.conversation_id = conversation.id
            left join unnest(v_named, v_since) as n (conversation_id, since) on conversation.id = n.conversation_id
            where me.user_id = v_caller and (v_from is null or conversation.id >= v_from)
            order by conversation.id
        ) as mine
        -- A conversation that is not named is new to the client: it begins at the clock, with nothing to tell.
        cross join lateral messaging.changes_json(
            mine.id, mine.position, case when mine.is_named then mine.since else mine.position end, 500
        ) as d
        cross join lateral messaging.reads_json(mine.id) as c
    loop
        if v_events >= 500 or cardinality(v_conversations) >= 200 or cardinality(v_changes) >= 1000 then
            v_next := r.id;
            exit;
        end if;
        if not r.is_named then
            r.changes := r.changes || '{"complete": true}';
        end if;
        if r.is_named then
            v_reads := v_reads || array(select jsonb_array_elements(r.reads));
        end if;
        if r.is_named and r.events = 0 and r.changes -> 'complete' = 'true'
            and r.changes ->> 'position' = messaging.wire_time(r.since) then
            continue;
        end if;
        v_conversations := v_conversations || messaging.conversation_json(r.id, v_caller);
        v_changes := v_changes || r.changes;
        v_events := v_events + r.events;
        if not r.caught_up then
            v_next := r.id;
            exit;
        end if;
    end loop;

    return jsonb_build_object(
        'epoch', v_epoch, 'reload', v_reload,
        'conversations', to_jsonb(v_conversations), 'changes', to_jsonb(v_changes), 'reads', to_jsonb(v_reads),
        'gone',
        (
            select coalesce(jsonb_agg(n.id), '[]')
            from unnest(v_named) as n (id)
            where v_from is null and not exists (
                select from public.conversation_participants as me
                where me.conversation_id = n.id and me.user_id = v_caller
            )
        ),
        'next_cursor', v_next
    );
end;
$$;

-- Catch-up of all conversations: what POST /v1/sync answers. {epoch, positions: {conversation_id: position}, cursor}
create or replace function public.sync_conversations(state jsonb) returns jsonb
language sql stable security invoker
begin atomic
    select messaging.sync_conversations(sync_conversations.state);
end;

revoke all on function
messaging.can_tell_since(uuid, timestamptz, timestamptz), messaging.events_after(uuid, timestamptz, int),
messaging.changes_json(uuid, timestamptz, timestamptz, int), messaging.conversation_changes(uuid, timestamptz, int),
public.get_conversation_changes(uuid, timestamptz, int), messaging.parse_positions(jsonb),
messaging.parse_sync_cursor(jsonb), messaging.reads_json(uuid), messaging.sync_conversations(jsonb),
public.sync_conversations(jsonb)
from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function
messaging.conversation_changes(uuid, timestamptz, int), public.get_conversation_changes(uuid, timestamptz, int),
messaging.sync_conversations(jsonb), public.sync_conversations(jsonb)
to authenticated, bookconnect_dm_server;
