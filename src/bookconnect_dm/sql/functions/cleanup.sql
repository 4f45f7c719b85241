-- Cleanup: for the worker and operators ---------------------------------------------------------------------------
-- One call is one bounded batch; callers go on until 0. Rows are chosen by expiry alone, never by activity. Batches
-- are small so that live delivery, which reads the same log, is held up for milliseconds only. None of them waits for
-- a lock that a client holds for long: what is locked is left for later.

create or replace function messaging.log_batch(
    step text, messages int, oldest_expiry timestamptz, newest_expiry timestamptz
) returns void
language sql volatile
begin atomic
    insert into messaging.cleanup_ledger (step, messages, oldest_expiry, newest_expiry)
    select log_batch.step, log_batch.messages, log_batch.oldest_expiry, log_batch.newest_expiry
    where log_batch.messages > 0;
end;

-- Step one: marks what has expired. Leaves alone what is held, and members whose expiry times are being computed.
-- Does not touch the clock: it would bump every quiet conversation, and deadlock with batches of sends.
-- Soonest first, to five minutes. `reached` is the beginning of those up to which it has looked, null at the end: the
-- next batch starts there instead of stepping over all that this one has left behind in the index.
create or replace function messaging.soft_delete_batch(
    from_expiry timestamptz default '-infinity', batch_size int default 2000,
    out messages int, out reached timestamptz
)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_oldest timestamptz;
    v_newest timestamptz;
begin
    -- Found by index and locked, then reached by place (ctid), which cannot move while we hold the lock.
    with expired as (
        select m.ctid as place
        from public.direct_messages as m
        where not m.is_deleted
            and messaging.expiry_slot(m.retention_expires_at) <= now()
            and messaging.expiry_slot(m.retention_expires_at) >= messaging.expiry_slot(from_expiry)
            and m.retention_expires_at < now()
            and not exists (select from messaging.recalculations as r where r.user_id = m.sender_id)
            and not exists (select from messaging.legal_holds as h where h.conversation_id = m.conversation_id)
        order by messaging.expiry_slot(m.retention_expires_at)
        limit least(greatest(batch_size, 1), 2000)
        for update of m skip locked
    ),

    swept as (
        update public.direct_messages as m
        set is_deleted = true, deleted_at = now()
        where m.ctid = any(array(select e.place from expired as e))
        returning m.retention_expires_at
    )

    select count(*)::int, min(s.retention_expires_at), max(s.retention_expires_at) into messages, v_oldest, v_newest
    from swept as s;
    perform messaging.log_batch('soft_delete', messages, v_oldest, v_newest);
    reached := messaging.expiry_slot(v_newest);
end;
$$;

-- Step two: removes for good what is deleted, has expired, and has lain through the recovery window.
-- Lock order: messages, then their conversations (against the placing of a hold), neither ever waited for.
create or replace function messaging.cleanup_batch(
    recovery_window interval, from_expiry timestamptz default '-infinity', batch_size int default 2000,
    out messages int, out reached timestamptz
)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_places tid [];
    v_conversations uuid [];
    v_oldest timestamptz;
    v_newest timestamptz;
begin
    select array_agg(d.place), array_agg(distinct d.conversation_id),
        messaging.expiry_slot(max(d.retention_expires_at))
    into v_places, v_conversations, reached
    from (
        select m.ctid as place, m.conversation_id, m.retention_expires_at
        from public.direct_messages as m
        -- A window below zero is none: nothing goes before it has expired.
        where m.is_deleted
            and messaging.expiry_slot(m.retention_expires_at) <= now() - greatest(recovery_window, interval '0')
            and messaging.expiry_slot(m.retention_expires_at) >= messaging.expiry_slot(from_expiry)
            and m.retention_expires_at < now() - greatest(recovery_window, interval '0')
            and m.deleted_at <= now() - greatest(recovery_window, interval '0')
            and not exists (select from messaging.legal_holds as h where h.conversation_id = m.conversation_id)
        order by messaging.expiry_slot(m.retention_expires_at)
        limit least(greatest(batch_size, 1), 2000)
        for update of m skip locked
    ) as d;
    select array_agg(l.id) into v_conversations
    from (
        select c.id from public.conversations as c where c.id = any(v_conversations) for key share skip locked
    ) as l;

    -- A statement of its own: it sees the holds that were placed until these locks were taken.
    with removed as (
        delete from public.direct_messages as m
        where m.ctid = any(v_places) and m.conversation_id = any(v_conversations)
            and not exists (select from messaging.legal_holds as h where h.conversation_id = m.conversation_id)
        returning m.retention_expires_at
    )

    select count(*)::int, min(r.retention_expires_at), max(r.retention_expires_at) into messages, v_oldest, v_newest
    from removed as r;
    if messages = 0 then
        -- Somebody holds the conversations of all of them: on to what comes after, or the next batch finds them again.
        reached := reached + interval '5 minutes';
    end if;
    perform messaging.log_batch('cleanup', messages, v_oldest, v_newest);
end;
$$;

-- The mission's bare functions, for hosts that call them on a schedule of their own and run no worker. Until 0, each
-- call in a transaction of its own. The first one also does what has to come before: it notices changes of tier and
-- gives new expiry times; where it has done only that, it gives 1.
create or replace function messaging.soft_delete_step() returns int
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_looked constant int := messaging.recalculate_batch();
    v_count int;
begin
    select b.messages into v_count from messaging.soft_delete_batch() as b;
    if v_count = 0 and (v_looked > 0 or messaging.notice_tier_changes() > 0) then
        return 1;
    end if;
    return v_count;
end;
$$;

create or replace function public.soft_delete_expired_messages() returns int
language sql volatile security invoker
begin atomic
    select messaging.soft_delete_step();
end;

-- No recovery window.
create or replace function public.cleanup_expired_messages() returns int
language sql volatile security invoker
begin atomic
    select b.messages from messaging.cleanup_batch(interval '0') as b;
end;

-- Hosts without a trigger, and tiers that end by date: looks at the members with a history and appends where the host
-- now says otherwise. At most `most` members a call, in a subtransaction each (64 is where PostgreSQL's cache of them
-- ends); one whose rows are locked is left for later.
create or replace function messaging.notice_tier_changes(most int default 50) returns int
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
    v_noticed int := 0;
    v_user_id uuid;
begin
    for v_user_id in
        select known.user_id
        from (
            select distinct on (t.user_id) t.user_id, t.tier
            from messaging.tier_changes as t
            order by t.user_id asc, t.changed_at desc
        ) as known
        where known.tier <> messaging.known_tier(messaging.host_tier(known.user_id))
        limit least(greatest(most, 1), 50)
    loop
        begin
            -- The tier is asked for again: the host may have changed it, and told us, since the list was made.
            perform messaging.note_tier(v_user_id, messaging.host_tier(v_user_id), null, true);
            v_noticed := v_noticed + 1;
        exception when lock_not_available or deadlock_detected then
            null;
        end;
    end loop;
    return v_noticed;
end;
$$;

-- The next member to work on: one whose pass is under way or can be the last one. A pass that ended too early (a
-- transaction from before the change was still running) waits until that has ended.
-- Whoever read the old tier had his transaction's number before the change was committed, so before we saw the job;
-- ours is younger when we get it after that. A transaction that has its number already begins nothing.
create or replace function messaging.next_recalculation() returns messaging.recalculations
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_is_fresh constant boolean := pg_current_xact_id_if_assigned() is null;
    v_job messaging.recalculations;
begin
    select r.* into v_job
    from messaging.recalculations as r
    where r.pass_xmin is not null
        or (r.waits_for is null and v_is_fresh)
        or pg_snapshot_xmin(pg_current_snapshot()) >= r.waits_for
    order by r.requested_at
    limit 1
    for update skip locked;
    if v_job.user_id is not null and v_job.pass_xmin is null then
        v_job.waits_for := coalesce(v_job.waits_for, pg_current_xact_id());
        update messaging.recalculations as r
        set waits_for = v_job.waits_for, pass_xmin = pg_snapshot_xmin(pg_current_snapshot())
        where r.user_id = v_job.user_id
        returning r.* into v_job;
    end if;
    return v_job;
end;
$$;

-- Locks those of these conversations that come free within 200 ms (less than PostgreSQL takes to look for deadlocks:
-- a sender may be waiting for our member's row), else those that are free now. Gives the ones it has locked.
create or replace function messaging.lock_conversations(conversation_ids uuid []) returns uuid []
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
    v_locked uuid [];
begin
    begin
        select array_agg(l.id) into v_locked
        from (
            select c.id from public.conversations as c where c.id = any($1) order by c.id for no key update
        ) as l;
    exception when lock_not_available or deadlock_detected then
        select array_agg(l.id) into v_locked
        from (
            select c.id from public.conversations as c where c.id = any($1) order by c.id
            for no key update skip locked
        ) as l;
    end;
    return coalesce(v_locked, '{}');
end;
$$;

-- Computes a bounded number of one member's expiry times anew, soonest first. Gives how many messages it looked at
-- or, at the end of a pass, at least 1: until 0, which says that there is nothing to go on with now. Restartable: how
-- far it came stands in its row. Deleted messages keep their expiry. A pass that could not lock a conversation goes to
-- the end of the queue and gives 0.
-- Lock order: the member's row, conversations by id, messages.
create or replace function messaging.recalculate_batch(batch_size int default 2000) returns int
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_size constant int := least(greatest(batch_size, 1), 2000);
    -- In the place of the oldest transaction that ran when a pass began: this pass cannot be the last one.
    v_nothing constant xid8 := '0'::xid8;
    v_job messaging.recalculations := messaging.next_recalculation();
    v_seen int;
    v_last timestamptz;
    v_last_id uuid;
    v_ids uuid [];
    v_expiries timestamptz [];
    v_touched uuid [];
    v_locked uuid [];
    v_changed int;
begin
    if v_job.user_id is null then
        return 0;
    end if;

    with page as (
        select
            m.id, m.conversation_id, m.retention_expires_at, m.is_deleted,
            messaging.expiry_of(m.sent_at, h.changed_at, h.tiers) as expiry
        from messaging.tier_history(v_job.user_id) as h
        cross join lateral (
            select m.*
            from public.direct_messages as m
            where m.sender_id = v_job.user_id
                and messaging.expiry_day(m.retention_expires_at)
                >= messaging.expiry_day(coalesce(v_job.done_to, '-infinity'))
                and (
                    v_job.done_to is null
                    or (m.retention_expires_at, m.id) > (v_job.done_to, v_job.done_to_id)
                )
            order by messaging.expiry_day(m.retention_expires_at), m.retention_expires_at, m.id
            limit v_size
        ) as m
    ),

    moving as (
        select p.* from page as p where p.expiry <> p.retention_expires_at and not p.is_deleted
    )

    select
        (select count(*)::int from page),
        (select array_agg(m.id) from moving as m),
        (select array_agg(m.expiry) from moving as m),
        (select array_agg(distinct m.conversation_id) from moving as m),
        last.retention_expires_at, last.id
    into v_seen, v_ids, v_expiries, v_touched, v_last, v_last_id
    from (select) as one
    left join lateral (
        select p.retention_expires_at, p.id from page as p order by p.retention_expires_at desc, p.id desc limit 1
    ) as last on true;

    v_touched := array(select distinct t.id from unnest(v_touched || v_job.touched) as t (id) where t.id is not null);
    v_locked := messaging.lock_conversations(v_touched);
    update public.direct_messages as m
    set retention_expires_at = n.expiry
    from unnest(v_ids, v_expiries) as n (id, expiry)
    where m.id = n.id and not m.is_deleted and m.conversation_id = any(v_locked);
    get diagnostics v_changed = row_count;
    perform messaging.require_reload(v_locked);
    perform messaging.log_batch('recalculate', v_changed, null, null);
    -- Those that were erased meanwhile are no longer there to be locked.
    v_touched := array(
        select c.id from public.conversations as c where c.id = any(v_touched) and not c.id = any(v_locked)
    );
    if cardinality(v_touched) > 0 then
        v_job.pass_xmin := v_nothing;
    end if;

    if v_seen = v_size then
        update messaging.recalculations as r
        set touched = v_touched, pass_xmin = v_job.pass_xmin, done_to = v_last, done_to_id = v_last_id
        where r.user_id = v_job.user_id;
    elsif v_job.pass_xmin >= v_job.waits_for then
        delete from messaging.recalculations as r where r.user_id = v_job.user_id;
    else
        update messaging.recalculations as r
        set touched = v_touched, pass_xmin = null, done_to = null, done_to_id = null,
            requested_at = clock_timestamp()
        where r.user_id = v_job.user_id;
    end if;
    return case when v_seen < v_size and v_job.pass_xmin = v_nothing then 0 else greatest(v_seen, 1) end;
end;
$$;

-- How many members still wait for new expiry times, those included that recalculate_batch() cannot go on with yet.
create or replace function messaging.pending_recalculations() returns int
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select count(*)::int from messaging.recalculations;
end;

-- What one whole pass (recalculate, soft, hard, each until 0) would do now, per store and tier: the dry run.
create or replace function messaging.retention_preview(recovery_window interval)
returns table (step text, store_id uuid, store_name text, tier text, messages bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    with pending as (
        select r.user_id from messaging.recalculations as r
    ),

    -- Deleted ones keep their expiry; only what pending members have left is computed anew. A change of tier that
    -- has not been noticed yet moves nothing that has expired.
    candidates as (
        select m.conversation_id, m.sender_id, m.is_deleted, m.deleted_at, m.retention_expires_at as expiry
        from public.direct_messages as m
        where m.is_deleted
            and messaging.expiry_slot(m.retention_expires_at) <= statement_timestamp() - recovery_window
            and m.retention_expires_at < statement_timestamp() - recovery_window
        union all
        select m.conversation_id, m.sender_id, m.is_deleted, m.deleted_at, m.retention_expires_at
        from public.direct_messages as m
        where not m.is_deleted
            and messaging.expiry_slot(m.retention_expires_at) <= statement_timestamp()
            and m.retention_expires_at < statement_timestamp()
            and not exists (select from pending as p where p.user_id = m.sender_id)
        union all
        select
            m.conversation_id, m.sender_id, m.is_deleted, m.deleted_at,
            messaging.expiry_of(m.sent_at, h.changed_at, h.tiers)
        from pending as p
        cross join lateral messaging.tier_history(p.user_id) as h
        inner join public.direct_messages as m on p.user_id = m.sender_id and not m.is_deleted
    ),

    steps as (
        select 'soft_delete' as step, c.conversation_id, c.sender_id
        from candidates as c
        where not c.is_deleted and c.expiry < statement_timestamp()
        union all
        select 'cleanup', c.conversation_id, c.sender_id
        from candidates as c
        where c.expiry < statement_timestamp() - recovery_window
            and (
                (c.is_deleted and c.deleted_at <= statement_timestamp() - recovery_window)
                or (not c.is_deleted and recovery_window <= interval '0')
            )
    ),

    counts as (
        select s.step, s.conversation_id, s.sender_id, count(*) as messages
        from steps as s
        where not exists (select from messaging.legal_holds as h where h.conversation_id = s.conversation_id)
        group by s.step, s.conversation_id, s.sender_id
    )

    select n.step, c.store_id, messaging.host_store_name(c.store_id), t.tier, sum(n.messages)::bigint
    from counts as n
    inner join public.conversations as c on n.conversation_id = c.id
    cross join lateral (select messaging.known_tier(messaging.host_tier(n.sender_id)) as tier) as t
    group by n.step, c.store_id, t.tier
    order by n.step desc, c.store_id, t.tier;
end;

-- A hold stops every deletion in a conversation until it is released. Waits for deletions under way.
create or replace function messaging.place_hold(conversation_id uuid, reason text) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- Locks, and leaves a trace: a deletion whose snapshot is older than the hold fails on it and tries anew.
    perform from public.conversations as c where c.id = $1 for update;
    update public.conversations as c set position = c.position where c.id = $1;
    if not found then
        perform messaging.fail('CONVERSATION_NOT_FOUND', 'There is no such conversation.');
    end if;
    insert into messaging.legal_holds as h (conversation_id, reason, placed_by)
    values ($1, $2, session_user)
    on conflict on constraint legal_holds_pkey do update set reason = excluded.reason;
end;
$$;

create or replace function messaging.release_hold(conversation_id uuid) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    delete from messaging.legal_holds as h where h.conversation_id = $1;
end;
$$;

-- Repairs a clock that was pushed into the future (a wrong system clock, an import): back to its newest event. Clients
-- hold positions of the future that never was; the mark lies beyond them, so that each loads anew even when the
-- clock has overtaken what he holds.
create or replace function messaging.repair_clock(conversation_id uuid) returns timestamptz
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_future timestamptz;
    v_position timestamptz;
begin
    select c.position into v_future from public.conversations as c where c.id = $1 for update;
    update public.conversations as c
    set (position, updated_at) = (
        select
            greatest(c.created_at, max(m.sent_at), max(m.deleted_at) filter (where m.deleted_at < m.retention_expires_at)),
            greatest(c.created_at, max(m.sent_at))
        from public.direct_messages as m
        where m.conversation_id = c.id
    )
    where c.id = $1
    returning c.position into v_position;
    perform messaging.require_reload(array[$1]);
    update messaging.reload_marks as k
    set reload_before = greatest(k.reload_before, v_future + interval '1 microsecond')
    where k.conversation_id = $1;
    return v_position;
end;
$$;

revoke all on function
messaging.log_batch(text, int, timestamptz, timestamptz), messaging.soft_delete_batch(timestamptz, int),
messaging.cleanup_batch(interval, timestamptz, int), messaging.soft_delete_step(),
public.soft_delete_expired_messages(), public.cleanup_expired_messages(), messaging.notice_tier_changes(int),
messaging.next_recalculation(), messaging.lock_conversations(uuid []), messaging.recalculate_batch(int),
messaging.pending_recalculations(), messaging.retention_preview(interval), messaging.place_hold(uuid, text),
messaging.release_hold(uuid), messaging.repair_clock(uuid)
from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function
messaging.soft_delete_batch(timestamptz, int), messaging.cleanup_batch(interval, timestamptz, int),
messaging.soft_delete_step(), public.soft_delete_expired_messages(), public.cleanup_expired_messages(),
messaging.notice_tier_changes(int), messaging.recalculate_batch(int), messaging.pending_recalculations(),
messaging.retention_preview(interval),
messaging.place_hold(uuid, text), messaging.release_hold(uuid), messaging.repair_clock(uuid)
to service_role;
