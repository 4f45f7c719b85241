-- Watching: what operators and metrics ask ------------------------------------------------------------------------
-- The worker asks these once a pass, `doctor` when it is called; no scrape of metrics ever runs a statement.

-- One row for a pass that has come to an end.
create or replace function messaging.note_retention_run(
    outcome text, took interval, due_at timestamptz default null, skipped int default 0,
    counts jsonb default '{}', detail text default null
) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    with old as (
        delete from messaging.retention_runs as r where r.ended_at < clock_timestamp() - interval '90 days'
    )

    insert into messaging.retention_runs (outcome, took, due_at, skipped, counts, detail)
    values ($1, $2, $3, coalesce($4, 0), coalesce($5, '{}'), left($6, 500));
end;

-- What has become of the passes: when one last ended (a failed one is tried again, so it does not count), when one last
-- left nothing behind, and how many have failed since one did not.
create or replace function messaging.retention_state(
    out last_ended_at timestamptz, out last_complete_at timestamptz, out failures int, out last_failure text
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        max(r.ended_at) filter (where r.outcome <> 'failed'),
        max(r.ended_at) filter (where r.outcome = 'complete'),
        count(*) filter (where r.outcome = 'failed' and r.id > coalesce(ok.id, 0))::int,
        (array_agg(r.detail order by r.id desc) filter (where r.outcome = 'failed' and r.id > coalesce(ok.id, 0)))[1]
    from messaging.retention_runs as r
    cross join lateral (
        select max(o.id) as id from messaging.retention_runs as o where o.outcome <> 'failed'
    ) as ok;
end;

-- What a pass would have to do now. Counted up to 100,000 and no further; what is held is not counted. `oldest_due` is
-- the expiry of the message that has waited longest to be marked.
create or replace function messaging.retention_backlog(
    recovery_window interval,
    out to_mark int, out to_remove int, out members_waiting int, out oldest_due timestamptz
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        (
            select count(*)::int
            from (
                select from public.direct_messages as m
                where not m.is_deleted
                    and messaging.expiry_slot(m.retention_expires_at) <= now()
                    and m.retention_expires_at < now()
                    and not exists (
                        select from messaging.legal_holds as h where h.conversation_id = m.conversation_id
                    )
                order by messaging.expiry_slot(m.retention_expires_at)
                limit 100000
            ) as d
        ),
        (
            select count(*)::int
            from (
                select from public.direct_messages as m
                where m.is_deleted
                    and messaging.expiry_slot(m.retention_expires_at)
                    <= now() - greatest(recovery_window, interval '0')
                    and m.retention_expires_at < now() - greatest(recovery_window, interval '0')
                    and m.deleted_at <= now() - greatest(recovery_window, interval '0')
                    and not exists (
                        select from messaging.legal_holds as h where h.conversation_id = m.conversation_id
                    )
                order by messaging.expiry_slot(m.retention_expires_at)
                limit 100000
            ) as d
        ),
        messaging.pending_recalculations(),
        (
            select m.retention_expires_at from public.direct_messages as m
            where not m.is_deleted
                and messaging.expiry_slot(m.retention_expires_at) <= now()
                and m.retention_expires_at < now()
                and not exists (
                    select from messaging.legal_holds as h where h.conversation_id = m.conversation_id
                )
            order by messaging.expiry_slot(m.retention_expires_at), m.retention_expires_at
            limit 1
        );
end;

-- Bytes on disk that each store takes, indexes included: the size of our tables, shared out by a sample of about 20,000
-- messages (all of them where there are fewer; 200 bytes are taken for one). The largest fifty; the rest together,
-- without a store.
create or replace function messaging.storage_by_store() returns table (store_id uuid, bytes bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_bytes constant bigint := pg_total_relation_size('public.direct_messages')
        + pg_total_relation_size('public.conversations') + pg_total_relation_size('public.conversation_participants');
    v_percent constant real := least(
        100, 100 * 20000 * 200.0 / greatest(pg_relation_size('public.direct_messages'), 1)
    )::real;
begin
    return query
    with sample as (
        select c.store_id, count(*) as messages
        from public.direct_messages as m tablesample system (v_percent)
        inner join public.conversations as c on m.conversation_id = c.id
        group by c.store_id
    ),

    ranked as (
        select
            s.store_id, row_number() over (order by s.messages desc, s.store_id) as place,
            v_bytes * s.messages / sum(s.messages) over () as share
        from sample as s
    )

    select case when r.place <= 50 then r.store_id end, sum(r.share)::bigint
    from ranked as r
    group by 1;
end;
$$;

revoke all on function
messaging.note_retention_run(text, interval, timestamptz, int, jsonb, text), messaging.retention_state(),
messaging.retention_backlog(interval), messaging.storage_by_store()
from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function
messaging.note_retention_run(text, interval, timestamptz, int, jsonb, text), messaging.retention_state(),
messaging.retention_backlog(interval), messaging.storage_by_store()
to service_role;
