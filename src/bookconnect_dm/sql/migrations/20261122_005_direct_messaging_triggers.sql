-- What happens on every write, whoever writes. Code: idempotent, applied again whenever its text changes.
-- PostgreSQL fires triggers of one kind in name order, and the clock must be read before retention is computed from
-- it: hence the numbers in front.

-- Content, order, and the right to write -------------------------------------------------------------------------
-- Lock order: the conversation's row, then nothing else.
-- The right to write stands in the UPDATE's own WHERE: otherwise a stranger would queue on the lock of a foreign
-- conversation and learn by waiting that it is alive.
create or replace function messaging.set_message_clock() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_now timestamptz;
begin
    new.content := messaging.trimmed(new.content);
    if (length(new.content) between 1 and 1000) is not true then
        perform messaging.checked_content(new.content);  -- says what is wrong with it
    end if;
    update public.conversations as c
    set (position, updated_at) = (
        select t.now, t.now
        from (select greatest(clock_timestamp(), c.position + interval '1 microsecond') as now offset 0) as t
    )
    where c.id = new.conversation_id
        and (auth.uid() is null or auth.uid() = new.sender_id)
        and exists (
            select from public.conversation_participants as p
            where p.conversation_id = new.conversation_id and p.user_id = new.sender_id
        )
    returning c.position into v_now;
    if not found then
        raise exception 'new row violates row-level security policy for table "direct_messages"'
            using errcode = '42501';
    end if;
    new.sent_at := v_now;
    new.is_deleted := false;
    new.deleted_at := null;
    return new;
end;
$$;

create or replace trigger _100_set_message_clock
before insert on public.direct_messages
for each row execute function messaging.set_message_clock();

-- Retention -------------------------------------------------------------------------------------------------------
create or replace function public.set_message_retention() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_tier text;
    v_known_tier text;
    v_known_since timestamptz;
begin
    -- One look, for nearly every message: the tier is the one that the history ends with. (46 us a message less than
    -- by the functions below, of 193.) An older snapshot than this statement's could have missed a change.
    -- (The host is asked in a row of its own: known_tier() is then an expression here and no call.)
    select messaging.known_tier(h.tier), t.tier, t.changed_at
    into v_tier, v_known_tier, v_known_since
    from (select messaging.host_tier(new.sender_id) as tier offset 0) as h
    left join lateral (
        select c.tier, c.changed_at
        from messaging.tier_changes as c
        where c.user_id = new.sender_id
        order by c.changed_at desc
        limit 1
    ) as t on true;
    if v_tier = v_known_tier and v_known_since <= new.sent_at
        and current_setting('transaction_isolation') = 'read committed' then
        new.retention_expires_at := new.sent_at + messaging.days(messaging.tier_days(v_tier));
    else
        -- After the clock, whose UPDATE gave this transaction its number: whoever recalculates waits for it to end. A
        -- change that is noticed only now counts from this message on.
        perform messaging.note_tier_at(new.sender_id, v_tier, null, least(new.sent_at, clock_timestamp()), true);
        new.retention_expires_at := messaging.message_expiry(new.sender_id, new.sent_at);
    end if;
    return new;
end;
$$;

create or replace trigger set_message_retention_trigger
before insert on public.direct_messages
for each row execute function public.set_message_retention();

-- What clients change -------------------------------------------------------------------------------------------
-- A policy cannot compare the old row with the new one. No client is granted these updates; where a host grants them
-- all the same, they fire for whoever is under row-level security (clients), never for our own functions.

-- Soft deletion and nothing else; its time comes from the conversation's clock (below), whatever the client says.
create or replace function messaging.guard_message() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if old.is_deleted or not new.is_deleted
        or (new.id, new.conversation_id, new.sender_id, new.content, new.sent_at, new.retention_expires_at)
        is distinct from
        (old.id, old.conversation_id, old.sender_id, old.content, old.sent_at, old.retention_expires_at) then
        raise exception 'A message never changes; its sender can delete it once.' using errcode = '42501';
    end if;
    new.deleted_at := null;
    return new;
end;
$$;

create or replace trigger _100_guard_message
before update on public.direct_messages
for each row when (pg_catalog.row_security_active('public.direct_messages'::regclass))
execute function messaging.guard_message();

-- The mission's own statement for hosts: `update direct_messages set is_deleted = true`, without a time. It counts as
-- its sender's deletion and takes its time from the clock, so that everybody hears of it; what has expired already is
-- swept. After the guard (the name's number), which takes a client's time away.
-- Lock order: the message, then its conversation; `delete_message` goes the other way round, so that
-- PostgreSQL may end one of two who delete one message at the same moment (40P01).
create or replace function messaging.date_deletion() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if new.retention_expires_at <= clock_timestamp() then
        new.deleted_at := clock_timestamp();
        return new;
    end if;
    update public.conversations as c
    set position = greatest(clock_timestamp(), c.position + interval '1 microsecond')
    where c.id = new.conversation_id
    returning c.position into new.deleted_at;
    return new;
end;
$$;

create or replace trigger _110_date_deletion
before update on public.direct_messages
for each row when (new.is_deleted and not old.is_deleted and new.deleted_at is null)
execute function messaging.date_deletion();

-- The clock is the database's: a client that sets `updated_at` after a send, as the mission has it, changes nothing.
create or replace function messaging.guard_conversation() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if (new.id, new.store_id, new.created_at) is distinct from (old.id, old.store_id, old.created_at) then
        raise exception 'A conversation stays in its store.' using errcode = '42501';
    end if;
    return old;
end;
$$;

create or replace trigger _100_guard_conversation
before update on public.conversations
for each row when (pg_catalog.row_security_active('public.conversations'::regclass))
execute function messaging.guard_conversation();

-- Reading ---------------------------------------------------------------------------------------------------------
-- last_read_at moves forward only and never past the newest message, whoever updates it; nothing else moves at all.
create or replace function messaging.guard_participation() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if (new.conversation_id, new.user_id, new.joined_at)
        is distinct from (old.conversation_id, old.user_id, old.joined_at) then
        raise exception 'Only last_read_at of a participation can change.' using errcode = '42501';
    end if;
    select greatest(old.last_read_at, least(new.last_read_at, greatest(c.updated_at, old.joined_at)))
    into new.last_read_at
    from public.conversations as c
    where c.id = old.conversation_id;
    return new;
end;
$$;

create or replace trigger _100_guard_participation
before update on public.conversation_participants
for each row execute function messaging.guard_participation();

-- Removal ---------------------------------------------------------------------------------------------------------
-- A conversation goes with its last participant. Lock order: conversations by id, all of a statement's at once and at
-- once in the mode that the rest needs: of two members erased at the same moment, the second waits, holding nothing
-- that the first one wants, and then sees that he is the last.
create or replace function messaging.after_participant_removed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_touched constant uuid [] := array(
        select c.id
        from public.conversations as c
        where c.id in (select r.conversation_id from removed as r)
        order by c.id
        for update
    );
begin
    delete from messaging.conversation_pairs as p where p.conversation_id = any(v_touched);
    delete from public.conversations as c
    where c.id = any(v_touched)
        and not exists (select from public.conversation_participants as p where p.conversation_id = c.id);
    perform messaging.require_reload(v_touched);
    return null;
end;
$$;

create or replace trigger _100_after_participant_removed
after delete on public.conversation_participants
referencing old table as removed
for each statement execute function messaging.after_participant_removed();

-- Messages that leave before their time (erasure) leave clients with copies: these load anew. Those that the
-- cleaner takes were hidden long ago; only a client that is older than them, or than their deletion, loads anew.
create or replace function messaging.after_messages_removed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform messaging.require_reload(array(
        select distinct r.conversation_id from removed as r
        where not r.is_deleted and r.retention_expires_at > clock_timestamp()
    ));
    perform messaging.log_batch('erase', count(*)::int, null, null)
    from removed as r
    where not r.is_deleted or r.retention_expires_at > clock_timestamp();
    insert into messaging.reload_marks as k (conversation_id, reload_before)
    select r.conversation_id, max(case when r.deleted_at < r.retention_expires_at then r.deleted_at else r.sent_at end)
    from removed as r
    inner join public.conversations as c on r.conversation_id = c.id
    group by r.conversation_id
    order by r.conversation_id
    on conflict on constraint reload_marks_pkey
    do update set reload_before = greatest(k.reload_before, excluded.reload_before);
    return null;
end;
$$;

create or replace trigger _100_after_messages_removed
after delete on public.direct_messages
referencing old table as removed
for each statement execute function messaging.after_messages_removed();

-- Legal hold ------------------------------------------------------------------------------------------------------
-- Stops the owner and the cleaner too. A deletion locks the conversation before it looks for a hold, and so does the
-- placing of one: they wait for each other. Where the row itself or its participants go, the lock is at once the one
-- that the removal needs; two that begin with a weaker one and both want more would wait for each other for ever.
create or replace function messaging.guard_hold() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from public.conversations as c where c.id = old.id for update;
    if exists (select from messaging.legal_holds as h where h.conversation_id = old.id) then
        perform messaging.fail('LEGAL_HOLD', 'This conversation is under a legal hold: it cannot be removed.');
    end if;
    return old;
end;
$$;

-- Participants and messages go by thousands: one look a statement. Raising afterwards undoes the statement whole.
create or replace function messaging.guard_hold_participants() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from public.conversations as c
    where c.id in (select r.conversation_id from removed as r)
    order by c.id
    for update;
    if exists (
        select from removed as r inner join messaging.legal_holds as h on r.conversation_id = h.conversation_id
    ) then
        perform messaging.fail('LEGAL_HOLD', 'A conversation here is under a legal hold: nobody in it can be removed.');
    end if;
    return null;
end;
$$;

create or replace function messaging.guard_hold_messages() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- Under a snapshot from before a hold this fails (40001): placing one updates the conversation's row.
    perform from public.conversations as c
    where c.id in (select r.conversation_id from removed as r)
    order by c.id
    for key share;
    if exists (
        select from removed as r inner join messaging.legal_holds as h on r.conversation_id = h.conversation_id
    ) then
        perform messaging.fail('LEGAL_HOLD', 'A message here is under a legal hold: it cannot be removed.');
    end if;
    return null;
end;
$$;

create or replace function messaging.guard_hold_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from messaging.legal_holds) then
        perform messaging.fail('LEGAL_HOLD', 'Conversations are under a legal hold: the table cannot be emptied.');
    end if;
    return null;
end;
$$;

create or replace trigger _050_guard_hold before delete on public.conversations
for each row execute function messaging.guard_hold();
create or replace trigger _050_guard_hold after delete on public.conversation_participants
referencing old table as removed
for each statement execute function messaging.guard_hold_participants();
create or replace trigger _050_guard_hold after delete on public.direct_messages
referencing old table as removed
for each statement execute function messaging.guard_hold_messages();
create or replace trigger _050_guard_hold_truncate before truncate on public.conversations
for each statement execute function messaging.guard_hold_truncate();
create or replace trigger _050_guard_hold_truncate before truncate on public.conversation_participants
for each statement execute function messaging.guard_hold_truncate();
create or replace trigger _050_guard_hold_truncate before truncate on public.direct_messages
for each statement execute function messaging.guard_hold_truncate();

-- Trigger functions are called by their triggers alone.
revoke all on function
messaging.set_message_clock(), public.set_message_retention(), messaging.guard_message(),
messaging.date_deletion(), messaging.guard_conversation(), messaging.guard_participation(),
messaging.after_participant_removed(), messaging.after_messages_removed(), messaging.guard_hold(),
messaging.guard_hold_participants(), messaging.guard_hold_messages(), messaging.guard_hold_truncate()
from public, anon, authenticated, service_role, bookconnect_dm_server;
