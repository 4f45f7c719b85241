-- For our server alone --------------------------------------------------------------------------------------------
-- These let the server speak for a member, so no client may execute them.

-- States who is asking, until the end of the transaction. Both settings: a stale one of them would win otherwise. The
-- planner puts the expression in the place of the call, so that a batch can say it anew for each row.
create or replace function messaging.speak_as(actor uuid) returns boolean
language sql volatile
begin atomic
    select
        set_config(
            'request.jwt.claims', coalesce('{"sub":"' || actor::text || '","role":"authenticated"}', ''), true
        ) is not null
        and set_config('request.jwt.claim.sub', coalesce(actor::text, ''), true) is not null;
end;

-- The same, and how long he waits for a lock: the server's connections are few, and one held conversation must not
-- use them up.
create or replace function messaging.become(actor uuid) returns boolean
language sql volatile
begin atomic
    select messaging.speak_as(actor) and set_config('lock_timeout', '250ms', true) is not null;
end;

-- One row of a batch: the insert under row-level security as its sender, in a subtransaction. Where it could not lock
-- within lock_wait_ms the code is BUSY: to be tried alone.
create or replace function messaging.send_one(
    actor uuid, message_id uuid, conversation_id uuid, content text, lock_wait_ms int default 1000
) returns messaging.send_result
language plpgsql volatile security invoker set search_path = pg_catalog, pg_temp as $$
declare
    v_row public.direct_messages;
    v_result messaging.send_result;
    v_state text;
begin
    -- Before the subtransaction opens: rolled back inside it, the handler would run as the previous row's member.
    perform messaging.become(actor);
    perform set_config('lock_timeout', greatest(lock_wait_ms, 1)::text || 'ms', true);
    v_result.n := 1;
    begin
        insert into public.direct_messages (id, conversation_id, sender_id, content)
        values ($2, $3, $1, $4)
        returning * into v_row;
        v_result.is_new := true;
    exception
        when unique_violation or insufficient_privilege then
            v_state := 'judge';
        when lock_not_available or deadlock_detected then
            v_result.code := 'BUSY';
            v_result.detail := 'Somebody else holds this conversation.';
        when others then
            get stacked diagnostics v_state = returned_sqlstate, v_result.code = message_text,
                v_result.detail = pg_exception_detail, v_result.field = pg_exception_hint;
            if v_state not like 'PT%' then
                v_result.code := 'INTERNAL';
                v_result.detail := v_state;
            end if;
    end;
    if v_state = 'judge' then
        select j.code, j.detail into v_result.code, v_result.detail from messaging.judge_send($2, $3, $4) as j;
        select (j.original).* into v_row from messaging.judge_send($2, $3, $4) as j where j.code is null;
        v_result.is_new := false;
    end if;
    v_result.id := v_row.id;
    v_result.conversation_id := v_row.conversation_id;
    v_result.sender_id := v_row.sender_id;
    v_result.content := v_row.content;
    v_result.sent_at := v_row.sent_at;
    v_result.retention_expires_at := v_row.retention_expires_at;
    v_result.is_deleted := v_row.is_deleted;
    return v_result;
end;
$$;

-- What these members have just stored, each his own message. As one look by the owner: RETURNING would hold each row
-- against the SELECT policy, a call a row (22 of 171 us), and the INSERT policy has asked more than that already.
-- What a trigger of the host's has hidden since is stored all the same, and its content is unreadable.
create or replace function messaging.just_stored(actors uuid [], message_ids uuid [])
returns setof messaging.send_result
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        b.n::int, null::text, null::text, null::text, true, m.id, m.conversation_id, m.sender_id,
        case when not m.is_deleted and m.retention_expires_at > statement_timestamp() then m.content else '' end,
        m.sent_at, m.retention_expires_at, m.is_deleted
    from unnest(just_stored.actors, just_stored.message_ids) with ordinality as b (actor, message_id, n)
    inner join public.direct_messages as m on b.message_id = m.id and b.actor = m.sender_id;
end;

-- A micro-batch of sends, at most 50 (64 subtransactions is where PostgreSQL's cache of them ends). One bad or
-- blocked row harms no other: rows go in the order of conversations (two batches cannot lock crosswise), all rows
-- together wait for locks about 250 ms at most, and after a wait that ran out the rest of that conversation is skipped.
-- A single wait is short, since the whole batch sits it out: another server's batch is over in less, and whatever takes
-- longer is waited for outside batches. (With 100 ms, one held conversation was in the p99 of all the others.)
--
-- First all rows in one statement, each under row-level security as its own sender: who is asking is said anew as each
-- row comes up to be inserted (were the rows to come up otherwise, the policy would refuse them). Nearly always that
-- is all; what one statement costs to begin is then paid once and not 50 times. Where any row is refused, or waits for
-- a lock longer than a moment, none is stored, and they go one by one.
create or replace function messaging.send_batch(
    actors uuid [], message_ids uuid [], conversation_ids uuid [], contents text []
) returns setof messaging.send_result
language plpgsql volatile security invoker set search_path = pg_catalog, pg_temp as $$
declare
    v_began timestamptz;
    v_waited_ms numeric := 0.0;
    v_locked uuid;
    v_stored messaging.send_result [];
    v_result messaging.send_result;
    r record;
begin
    if cardinality(actors) > 50 then
        perform messaging.fail('INVALID_REQUEST', 'A batch has at most 50 rows.');
    end if;
    -- One row alone is sooner stored by what comes below.
    if cardinality(actors) > 1 then
        begin
            perform set_config('lock_timeout', '5ms', true);
            insert into public.direct_messages (id, conversation_id, sender_id, content)
            select
                s.message_id, s.conversation_id, case when messaging.speak_as(s.actor) then s.actor end, s.content
            from (
                select b.*
                from unnest(actors, message_ids, conversation_ids, contents)
                    with ordinality as b (actor, message_id, conversation_id, content, n)
                order by b.conversation_id, b.n
            ) as s;
            v_stored := array(select t from messaging.just_stored(actors, message_ids) as t);
        exception
            -- Whatever it was is found again below, in the row whose it is.
            when others then
                v_stored := null;
        end;
    end if;
    if v_stored is not null then
        perform messaging.become(null);
        return query select t.* from unnest(v_stored) as t;
        return;
    end if;
    for r in
        select b.*
        from unnest(actors, message_ids, conversation_ids, contents)
            with ordinality as b (actor, message_id, conversation_id, content, n)
        order by b.conversation_id, b.n
    loop
        if r.conversation_id is distinct from v_locked then
            v_began := clock_timestamp();
            v_result := messaging.send_one(
                r.actor, r.message_id, r.conversation_id, r.content, least(20, 250 - v_waited_ms)::int
            );
            if v_result.code = 'BUSY' then
                v_locked := r.conversation_id;
                v_waited_ms := v_waited_ms + extract(milliseconds from clock_timestamp() - v_began);
            end if;
        end if;
        -- A skipped row gives the result of the one before it: BUSY.
        v_result.n := r.n::int;
        return next v_result;
    end loop;
    perform messaging.become(null);
end;
$$;

-- The conversations that a member is in, with everybody in them, and the snapshot in which that is true: live
-- delivery merges it with the changes of membership that it has seen meanwhile.
create or replace function messaging.membership(actor uuid)
returns table (snapshot text, conversation_id uuid, user_ids uuid [])
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select pg_current_snapshot()::text, m.conversation_id, m.user_ids
    from (select) as one
    left join (
        select p.conversation_id, array_agg(p.user_id order by p.user_id) as user_ids
        from public.conversation_participants as me
        inner join public.conversation_participants as p on me.conversation_id = p.conversation_id
        where me.user_id = membership.actor
        group by p.conversation_id
    ) as m on true;
end;

create or replace function messaging.profile(user_id uuid) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select jsonb_build_object('username', p.username, 'displayname', p.displayname)
    from messaging.host_profile(profile.user_id) as p;
end;

-- For tokens of the demo and of operators.
create or replace function messaging.find_user(username text) returns uuid
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select messaging.host_find(find_user.username);
end;

-- The key with which servers sign what they say to each other through the log.
create or replace function messaging.ephemeral_key() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select s.value from messaging.settings as s where s.name = 'ephemeral_key';
end;

-- What servers say to each other: who writes at this moment, who is online. It goes through the log and into no table;
-- other servers take only what is signed with the key above. Gives the database's time, in seconds, by which they tell
-- what is old.
create or replace function messaging.emit(content bytea) returns double precision
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    if octet_length(content) > 65536 then
        perform messaging.fail('INVALID_REQUEST', 'At most 65536 bytes at once.', 'content');
    end if;
    if current_setting('server_version_num')::int >= 170000 then
        -- Flushed at once: the log is read as far as it is flushed, and nothing else may come for 200 ms.
        execute 'select pg_logical_emit_message(false, $1, $2, true)' using 'bookconnect_dm', content;
    else
        perform pg_logical_emit_message(false, 'bookconnect_dm', content);
    end if;
    return extract(epoch from clock_timestamp())::double precision;
end;
$$;

-- Anybody may put messages of any size into the log otherwise. Only a superuser may take that away; elsewhere the
-- signature alone has to do.
do $$
declare
    v_function regprocedure;
begin
    for v_function in
        select p.oid::regprocedure from pg_catalog.pg_proc as p
        where p.proname = 'pg_logical_emit_message' and p.pronamespace = 'pg_catalog'::regnamespace
            and pg_catalog.pg_has_role(p.proowner, 'usage')
    loop
        execute format('revoke execute on function %s from public', v_function);
    end loop;
end;
$$;

-- What the server of a package must find; raised when an older server could no longer work with these functions.
create or replace function messaging.schema_version() returns int
language sql immutable
begin atomic
    select 1;
end;

revoke all on function
messaging.speak_as(uuid), messaging.become(uuid), messaging.send_one(uuid, uuid, uuid, text, int),
messaging.just_stored(uuid [], uuid []), messaging.send_batch(uuid [], uuid [], uuid [], text []),
messaging.membership(uuid), messaging.profile(uuid),
messaging.find_user(text), messaging.ephemeral_key(), messaging.emit(bytea), messaging.schema_version()
from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function
messaging.speak_as(uuid), messaging.become(uuid), messaging.send_one(uuid, uuid, uuid, text, int),
messaging.just_stored(uuid [], uuid []), messaging.send_batch(uuid [], uuid [], uuid [], text []),
messaging.membership(uuid), messaging.profile(uuid),
messaging.find_user(text), messaging.epoch(), messaging.ephemeral_key(), messaging.emit(bytea),
messaging.schema_version(), messaging.wire_time(timestamptz),
messaging.fail(text, text, text)
to bookconnect_dm_server;
