-- Catch-up --------------------------------------------------------------------------------------------------------
-- What happened after a position: messages, and deletions by their senders, in one order. Expiry is no event; both
-- sides hold expires_at. Where completeness cannot be proved, `complete` is false: forget and load anew.
-- STABLE throughout: clock, messages and marks come from one snapshot, so no row can commit later behind a position.

-- Can everything after `since` be told? Not from a position that the clock never reached; not from before something
-- that left no trace (a purge, an erasure, new expiry times); and not where new expiry times are waiting to be told.
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
            select from public.conversation_participants as p
            inner join messaging.recalculations as r on p.user_id = r.user_id
            where p.conversation_id = can_tell_since.conversation_id and p.conversation_id = any(r.touched)
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

create or replace function messaging.no_changes_json(conversation_id uuid, clock timestamptz) returns jsonb
language sql stable
begin atomic
    select jsonb_build_object(
        'conversation_id', conversation_id, 'messages', '[]'::jsonb, 'deleted', '[]'::jsonb,
        'position', messaging.wire_time(clock), 'complete', true
    );
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

-- {"conversation": "position"} as a client sends it; its conversations must be UUIDs and its positions ours. The ids
-- come back as PostgreSQL spells them; of one that is named twice the older position counts.
create or replace function messaging.parse_positions(state jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    v_positions jsonb := coalesce(nullif(state -> 'positions', 'null'), '{}');
    v_are_ours boolean;
    v_are_spelled boolean;
begin
    if jsonb_typeof(v_positions) <> 'object' then
        perform messaging.fail('INVALID_REQUEST', 'positions is an object: conversation id to position.', 'positions');
    elsif (select count(*) from jsonb_object_keys(v_positions)) > 10000 then
        perform messaging.fail('INVALID_REQUEST', 'At most 10,000 positions at once.', 'positions');
    end if;
    -- All at once: a call for each would cost more than all the rest of catching up.
    select
        coalesce(bool_and(coalesce(messaging.wire_time(e.value::timestamptz) = e.value, false)), true),
        coalesce(bool_and(e.key::uuid::text = e.key), true)
    into v_are_ours, v_are_spelled
    from jsonb_each_text(v_positions) as e;
    if not v_are_ours then
        perform messaging.fail('INVALID_REQUEST', 'A position is what an earlier answer gave, unchanged.', 'positions');
    elsif not v_are_spelled then
        select jsonb_object_agg(p.id, p.since) into v_positions
        from (
            select e.key::uuid as id, min(e.value) as since
            from jsonb_each_text(v_positions) as e
            group by e.key::uuid
        ) as p;
    end if;
    return v_positions;
exception
    when invalid_text_representation then
        perform messaging.fail('INVALID_REQUEST', 'positions is keyed by conversation id.', 'positions');
        return null;
    when datetime_field_overflow or invalid_datetime_format or invalid_parameter_value
        or invalid_time_zone_displacement_value then
        perform messaging.fail('INVALID_REQUEST', 'A position is what an earlier answer gave, unchanged.', 'positions');
        return null;
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

-- The conversations of which something may have to be told, in the order of their ids. One of 1,000 that nothing has
-- happened in costs a look at its row; the rest is asked for those only that come out of here.
create or replace function messaging.conversations_to_tell(reader uuid, positions jsonb, from_id uuid)
returns table (conversation_id uuid, clock timestamptz, since timestamptz, is_named boolean)
language sql stable
begin atomic
    with waiting as materialized (
        select distinct t.id
        from messaging.recalculations as r
        cross join lateral unnest(r.touched) as t (id)
        where r.touched <> '{}'
    )

    select mine.id, mine.position, mine.since, mine.since is not null
    from (
        select c.id, c.position, (positions ->> c.id::text)::timestamptz as since
        from public.conversation_participants as me
        inner join public.conversations as c on me.conversation_id = c.id
        where me.user_id = reader and (from_id is null or c.id >= from_id)
        offset 0
    ) as mine
    left join messaging.reload_marks as k on mine.id = k.conversation_id
    where mine.since is null
        or mine.since <> mine.position
        or k.reload_before > mine.since
        or mine.id in (select w.id from waiting as w)
    order by mine.id;
end;

-- Where both members have read to, of the conversations that the client named: reads are not on the clock.
create or replace function messaging.reads_json(reader uuid, positions jsonb, from_id uuid, before_id uuid)
returns jsonb
language sql stable
begin atomic
    -- Made as json and turned into jsonb once: half the time of jsonb_agg.
    select coalesce(
        json_agg(json_build_object(
            'conversation_id', p.conversation_id, 'user_id', p.user_id,
            'last_read_at', messaging.wire_time(p.last_read_at)
        ))::jsonb,
        '[]'
    )
    from public.conversation_participants as me
    inner join public.conversation_participants as p on me.conversation_id = p.conversation_id
    where me.user_id = reader and positions ? me.conversation_id::text
        and (from_id is null or me.conversation_id >= from_id)
        and (before_id is null or me.conversation_id < before_id);
end;

-- Those that the client names and the caller is not (or no longer) in.
create or replace function messaging.gone_json(reader uuid, positions jsonb) returns jsonb
language sql stable
begin atomic
    select coalesce(jsonb_agg(n.id), '[]')
    from jsonb_object_keys(positions) as n (id)
    where not exists (
        select from public.conversation_participants as me
        where me.conversation_id = n.id::uuid and me.user_id = reader
    );
end;

-- One page of catch-up: the caller's conversations by id, until it has 500 events or 200 conversations. The cursor is
-- the conversation at which the next page (with the positions moved to what this one gave) goes on.
create or replace function messaging.sync_conversations(state jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
    v_epoch constant text := messaging.epoch();
    -- A cursor of another history would leave out what comes before it.
    v_from constant uuid := case
        when coalesce(state ->> 'epoch' = v_epoch, true) then messaging.parse_sync_cursor(state)
    end;
    v_positions jsonb := messaging.parse_positions(state);
    -- Positions of another history, or of nobody knows which, mean nothing here.
    v_reload constant boolean := coalesce(state ->> 'epoch' <> v_epoch, v_positions <> '{}');
    v_ids uuid [] := array[]::uuid [];
    v_changes jsonb [] := array[]::jsonb [];
    v_room int := 500;
    v_next uuid;
    v_conversations jsonb;
    v_told record;
    r record;
begin
    if jsonb_typeof(state) is distinct from 'object' then
        perform messaging.fail('INVALID_REQUEST', 'The state is an object: epoch, positions, cursor.', 'state');
    end if;
    if v_reload then
        v_positions := '{}';
    end if;

    for r in
        select t.* from messaging.conversations_to_tell(v_caller, v_positions, v_from) as t
    loop
        if v_room = 0 or cardinality(v_ids) = 200 then
            v_next := r.conversation_id;
            exit;
        end if;
        v_ids := v_ids || r.conversation_id;
        if not r.is_named then
            -- New to the client: it begins at the clock, with nothing to tell.
            v_changes := v_changes || messaging.no_changes_json(r.conversation_id, r.clock);
            continue;
        end if;
        select d.changes, d.events, d.caught_up into v_told
        from messaging.changes_json(r.conversation_id, r.clock, r.since, v_room) as d;
        v_changes := v_changes || v_told.changes;
        v_room := v_room - v_told.events;
        if not v_told.caught_up then
            v_next := r.conversation_id;
            exit;
        end if;
    end loop;

    select coalesce(jsonb_agg(j.conversation order by i.n), '[]') into v_conversations
    from unnest(v_ids) with ordinality as i (id, n)
    cross join lateral messaging.conversation_json(i.id, v_caller) as j;
    return jsonb_build_object(
        'epoch', v_epoch, 'reload', v_reload, 'conversations', v_conversations, 'changes', to_jsonb(v_changes),
        'reads', messaging.reads_json(v_caller, v_positions, v_from, v_next),
        'gone', case when v_from is null then messaging.gone_json(v_caller, v_positions) else '[]' end,
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
messaging.parse_sync_cursor(jsonb), messaging.conversations_to_tell(uuid, jsonb, uuid),
messaging.no_changes_json(uuid, timestamptz), messaging.reads_json(uuid, jsonb, uuid, uuid),
messaging.gone_json(uuid, jsonb), messaging.sync_conversations(jsonb),
public.sync_conversations(jsonb)
from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function
messaging.conversation_changes(uuid, timestamptz, int), public.get_conversation_changes(uuid, timestamptz, int),
messaging.sync_conversations(jsonb), public.sync_conversations(jsonb)
to authenticated, bookconnect_dm_server;
