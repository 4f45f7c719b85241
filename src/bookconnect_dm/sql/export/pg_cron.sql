-- Whole passes of retention by pg_cron; its times are UTC (cron.timezone). Applying this again replaces the jobs.
-- A pass is made of small transactions, so that nobody waits for it; one runs at a time, by the worker's own lock, and
-- what a night has missed the next one makes up for. messaging.retention_runs says how each went, and so does
-- cron.job_run_details. As the owner of the schema, in the database that pg_cron is set up for.
create extension if not exists pg_cron;

-- The schedule:
select cron.schedule(
    'bookconnect_dm retention @at@', '@minute@ @hour@ * * *', $job$
do $pass$
declare
    v_began constant timestamptz := clock_timestamp();
    v_until constant timestamptz := clock_timestamp() + interval '50 minutes';
    v_window constant interval := interval '@hours@ hours';
    v_done int;
    v_reached timestamptz;
    v_marked int := 0;
    v_removed int := 0;
begin
    if not pg_catalog.pg_try_advisory_lock(pg_catalog.hashtext('bookconnect_dm retention'), 0) then
        return;
    end if;
    -- Notices changes of tier, computes expiry times anew, marks what has expired.
    loop
        v_done := public.soft_delete_expired_messages();
        commit;
        exit when v_done = 0 or clock_timestamp() > v_until;
        v_marked := v_marked + v_done;
    end loop;
    v_reached := '-infinity';
    loop
        select b.messages, b.reached into v_done, v_reached
        from messaging.cleanup_batch(v_window, v_reached) as b;
        commit;
        exit when v_reached is null or v_done = 0 or clock_timestamp() > v_until;
        v_removed := v_removed + v_done;
    end loop;
    perform messaging.note_retention_run(
        case when clock_timestamp() > v_until then 'incomplete' else 'complete' end,
        clock_timestamp() - v_began,
        counts => pg_catalog.jsonb_build_object('soft_delete', v_marked, 'cleanup', v_removed)
    );
    perform pg_catalog.pg_advisory_unlock(pg_catalog.hashtext('bookconnect_dm retention'), 0);
end;
$pass$
$job$
);
