-- Retention: when a message expires -------------------------------------------------------------------------------

create or replace function messaging.known_tier(tier text) returns text
language sql immutable parallel safe
begin atomic
    select case when lower(btrim(tier)) in ('privileged', 'privileged_plus') then lower(btrim(tier)) else 'free' end;
end;

create or replace function messaging.tier_days(tier text) returns int
language sql immutable parallel safe
begin atomic
    select case tier when 'privileged_plus' then 365 when 'privileged' then 180 else 30 end;
end;

-- Days of 24 hours: interval '30 days' would be an hour longer or shorter where the session's time zone changes.
create or replace function messaging.days(n int) returns interval
language sql immutable parallel safe
begin atomic
    select make_interval(hours => 24 * n);
end;

-- Expiry times as the two indexes for retention have them (003): rounded down, so that those of a member's day, and
-- those of five minutes, share an entry. A condition on the rounded time finds the place, one on the exact time says
-- what is due.
create or replace function messaging.expiry_slot(expires_at timestamptz) returns timestamptz
language sql immutable parallel safe
begin atomic
    select date_bin('5 minutes', expires_at, to_timestamp(0));
end;

create or replace function messaging.expiry_day(expires_at timestamptz) returns timestamptz
language sql immutable parallel safe
begin atomic
    select date_bin('1 day', expires_at, to_timestamp(0));
end;

-- The rule of retention, as a pure function of a message's time and its sender's whole tier history (oldest first).
-- Computed from the stored value instead, jobs that overlap do not commute and messages vanish early.
--   at the start   sent + the period of the tier then. (A downgrade shortly before grants this message nothing more:
--                  every period is at least as long as the grace, so sent + period ends after the grace does.)
--   an upgrade     prolongs what has not yet expired
--   a downgrade    shortens, but nothing goes within 30 days of it
create or replace function messaging.expiry_of(sent_at timestamptz, changed_at timestamptz [], tiers text [])
returns timestamptz
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    v_period interval := messaging.days(messaging.tier_days(tiers[1]));
    v_next interval;
    v_expiry timestamptz;
begin
    for i in 2 .. cardinality(changed_at) loop
        v_next := messaging.days(messaging.tier_days(tiers[i]));
        if changed_at[i] > sent_at then
            v_expiry := coalesce(v_expiry, sent_at + v_period);
            exit when v_expiry <= changed_at[i];
            if v_next > v_period then
                v_expiry := greatest(v_expiry, sent_at + v_next);
            elsif v_next < v_period then
                v_expiry := least(v_expiry, greatest(sent_at + v_next, changed_at[i] + messaging.days(30)));
            end if;
        end if;
        v_period := v_next;
    end loop;
    return coalesce(v_expiry, sent_at + v_period);
end;
$$;

-- A member's tier history, oldest first. No row of history counts as free.
create or replace function messaging.tier_history(user_id uuid)
returns table (changed_at timestamptz [], tiers text [])
language sql stable
begin atomic
    select
        coalesce(array_agg(t.changed_at order by t.changed_at), '{-infinity}'),
        coalesce(array_agg(t.tier order by t.changed_at), '{free}')
    from messaging.tier_changes as t
    where t.user_id = tier_history.user_id;
end;

-- The rule for a message of a member.
create or replace function messaging.message_expiry(sender_id uuid, sent_at timestamptz) returns timestamptz
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_last record;
begin
    select t.changed_at, t.tier into v_last
    from messaging.tier_changes as t
    where t.user_id = $1
    order by t.changed_at desc
    limit 1;
    -- So at the insert: no change of tier is later than the message.
    if coalesce(v_last.changed_at, '-infinity') <= $2 then
        return $2 + messaging.days(messaging.tier_days(v_last.tier));
    end if;
    return (select messaging.expiry_of($2, h.changed_at, h.tiers) from messaging.tier_history($1) as h);
end;
$$;

-- Asks the worker to compute all of a member's expiry times anew. Idempotent; a pass under way starts again.
create or replace function messaging.request_recalculation(user_id uuid, touched uuid [] default '{}') returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into messaging.recalculations as r (user_id, requested_at, touched)
    values ($1, clock_timestamp(), $2)
    on conflict on constraint recalculations_pkey do update
    set requested_at = excluded.requested_at, waits_for = null, pass_xmin = null, done_to = null, done_to_id = null,
        touched = r.touched || excluded.touched;
end;
$$;

-- Appends to a member's tier history when the tier differs from its last entry. `previous` is the tier before, where
-- the caller knows it. With `at_once`, what would expire within a day is rewritten in this transaction; the rest
-- follows in batches, and the sweep leaves the member alone until then.
create or replace function messaging.note_tier_at(
    user_id uuid, tier text, previous text, noticed_at timestamptz, at_once boolean
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_tier constant text := messaging.known_tier(tier);
    v_last_tier text;
    v_last_at timestamptz;
begin
    loop
        select t.tier, t.changed_at into v_last_tier, v_last_at
        from messaging.tier_changes as t
        where t.user_id = $1
        order by t.changed_at desc
        limit 1;
        if not found then
            insert into messaging.tier_changes (user_id, changed_at, tier)
            values ($1, '-infinity', messaging.known_tier(coalesce(previous, tier)))
            on conflict do nothing;
            continue;
        elsif current_setting('transaction_isolation') <> 'read committed' then
            -- A snapshot from before a change would give its message the old period, and nobody would look again:
            -- each change touches the entry before it, so this lock fails (40001) and the sender tries anew.
            perform from messaging.tier_changes as t where t.user_id = $1 and t.changed_at = v_last_at for share;
        end if;
        if v_last_tier = v_tier then
            return;
        end if;
        -- Whoever else appends at this moment waits here, and then finds that he is not behind the last entry.
        update messaging.tier_changes as t set tier = t.tier where t.user_id = $1 and t.changed_at = v_last_at;
        exit when not exists (
            select from messaging.tier_changes as t where t.user_id = $1 and t.changed_at > v_last_at
        );
    end loop;
    insert into messaging.tier_changes (user_id, changed_at, tier)
    values ($1, greatest(noticed_at, v_last_at + interval '1 microsecond'), v_tier)
    on conflict do nothing;
    perform messaging.request_recalculation($1);
    if at_once then
        perform messaging.recalculate_soonest($1);
    end if;
end;
$$;

-- The same for a change that happens now: for host adapters.
create or replace function messaging.note_tier(user_id uuid, tier text, previous text, at_once boolean) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform messaging.note_tier_at($1, $2, $3, clock_timestamp(), $4);
end;
$$;

-- What would expire within a day, in the transaction that changes the tier. Takes no lock on conversations (the
-- host's transaction may be long): their clients are told by the first batch, through `touched`. Its locks on the
-- messages also keep a sweep away that does not see the change yet.
create or replace function messaging.recalculate_soonest(user_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_before constant timestamptz := clock_timestamp() + messaging.days(1);
    v_touched uuid [];
begin
    with moved as (
        update public.direct_messages as m
        set retention_expires_at = messaging.expiry_of(m.sent_at, h.changed_at, h.tiers)
        from messaging.tier_history($1) as h
        where m.sender_id = $1
            and messaging.expiry_day(m.retention_expires_at) <= v_before
            and m.retention_expires_at < v_before
            and not m.is_deleted
            and m.retention_expires_at <> messaging.expiry_of(m.sent_at, h.changed_at, h.tiers)
        returning m.conversation_id
    )
    select array_agg(distinct moved.conversation_id) into v_touched from moved;
    if v_touched is not null then
        perform messaging.request_recalculation($1, v_touched);
    end if;
end;
$$;

-- Clients of these conversations must load them anew: the clock moves on, and whoever is behind it is told so by
-- catch-up. Lock order: conversations by id.
create or replace function messaging.require_reload(conversation_ids uuid []) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from public.conversations as c where c.id = any($1) order by c.id for no key update;
    with moved as (
        update public.conversations as c
        set position = greatest(clock_timestamp(), c.position + interval '1 microsecond')
        where c.id = any($1)
        returning c.id, c.position
    )
    insert into messaging.reload_marks as k (conversation_id, reload_before)
    select moved.id, moved.position from moved
    on conflict on constraint reload_marks_pkey
    do update set reload_before = greatest(k.reload_before, excluded.reload_before);
end;
$$;

create or replace function messaging.user_retention_info()
returns table (tier text, retention_days int, grace_ends_at timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
    v_tier constant text := messaging.known_tier(messaging.host_tier(v_caller));
    v_grace_ends timestamptz;
begin
    -- The grace of the newest downgrade that no later upgrade has closed.
    select max(d.changed_at) + messaging.days(30) into v_grace_ends
    from (
        select
            t.changed_at, messaging.tier_days(t.tier) as to_days,
            lag(messaging.tier_days(t.tier)) over (order by t.changed_at) as from_days
        from messaging.tier_changes as t
        where t.user_id = v_caller
    ) as d
    where d.to_days < d.from_days
        and d.changed_at > clock_timestamp() - messaging.days(30)
        and not exists (
            select from messaging.tier_changes as later
            where later.user_id = v_caller and later.changed_at > d.changed_at
                and messaging.tier_days(later.tier) > d.to_days
        );
    return query select v_tier, messaging.tier_days(v_tier), v_grace_ends;
end;
$$;

create or replace function public.get_user_retention_info()
returns table (tier text, retention_days int, grace_ends_at timestamptz)
language sql stable security invoker
begin atomic
    select i.tier, i.retention_days, i.grace_ends_at from messaging.user_retention_info() as i;
end;

revoke all on function
messaging.known_tier(text), messaging.tier_days(text), messaging.days(int),
messaging.expiry_slot(timestamptz), messaging.expiry_day(timestamptz),
messaging.expiry_of(timestamptz, timestamptz [], text []), messaging.tier_history(uuid),
messaging.message_expiry(uuid, timestamptz), messaging.request_recalculation(uuid, uuid []),
messaging.note_tier_at(uuid, text, text, timestamptz, boolean), messaging.note_tier(uuid, text, text, boolean),
messaging.recalculate_soonest(uuid), messaging.require_reload(uuid []),
messaging.user_retention_info(), public.get_user_retention_info()
from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function messaging.user_retention_info(), public.get_user_retention_info()
to authenticated, bookconnect_dm_server;
