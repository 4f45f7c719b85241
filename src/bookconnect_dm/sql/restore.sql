-- Named statements of backups and restores, as the database's owner.
-- A restore compares two copies of one database: one at the end of the log, one at the moment that was asked for.
-- What is gone or hidden at the end stays so. The first is noted in files (ids and times, no content), which the second
-- takes in.

-- name: identity
select s.system_identifier::text, c.timeline_id, pg_is_in_recovery(), clock_timestamp()
from pg_control_system() as s
cross join pg_control_checkpoint() as c;

-- name: archive_slot
select active, wal_status = 'lost' or restart_lsn is null as is_lost, restart_lsn::text
from pg_replication_slots
where slot_name = 'bookconnect_dm_archive';

-- name: make_archive_slot
select pg_create_physical_replication_slot('bookconnect_dm_archive', true);

-- name: drop_archive_slot
select pg_drop_replication_slot('bookconnect_dm_archive');

-- name: switch_log
-- Ends the piece of log that is being written, so that it can be put away whole: where it ends, and one byte before.
-- Whoever receives up to a position wants to see a byte beyond it; the next one may be a quarter of a minute away.
select s.upto::text, (s.upto - 1)::text
from pg_switch_wal() as s (upto);

-- name: log_is_away
-- Whether the archive has confirmed all up to a position.
select coalesce(
    bool_or(s.restart_lsn >= %(lsn)s::pg_lsn), false
)
from pg_replication_slots as s
where s.slot_name = 'bookconnect_dm_archive';

-- name: checkpoint
do $$
begin
    execute 'checkpoint';
end;
$$;

-- name: at_work
-- Who else is connected to this database, by login: those of ours, through which members write, and others. (Of others'
-- sessions a login that is no superuser sees little more than the name.)
select
    a.usename::text,
    count(*),
    starts_with(a.usename::text, 'bookconnect_dm_') or exists (
        select from pg_auth_members as m
        inner join pg_roles as r on m.roleid = r.oid
        where m.member = a.usesysid and r.rolname in ('bookconnect_dm_server', 'service_role')
    ) as is_ours
from pg_stat_activity as a
where a.datname = current_database() and a.usename is not null and a.pid <> pg_backend_pid()
group by a.usename, a.usesysid
order by a.usename;

-- name: has_role
select exists (select from pg_roles as r where r.rolname = %(role)s);

-- name: tablespaces
select count(*) from pg_tablespace where spcname not in ('pg_default', 'pg_global');

-- name: close_database
-- Nobody but a superuser connects any more: it is not to be served before what was erased is gone again.
do $$
begin
    execute format('alter database %I connection limit 0', current_database());
end;
$$;

-- name: open_database
-- A managed service's copy was never closed, and its owner may not be allowed this.
do $$
begin
    if (select d.datconnlimit <> 0 from pg_database as d where d.datname = current_database()) then
        return;
    end if;
    execute format('alter database %I connection limit -1', current_database());
end;
$$;

-- name: has_schema
select
    to_regclass('public.direct_messages') is not null and to_regclass('messaging.settings') is not null
    and to_regclass('auth.users') is not null;

-- name: counts
select
    (select count(*) from auth.users), (select count(*) from public.conversations),
    (select count(*) from public.direct_messages);

-- name: freeze
-- All notes are of one moment: for the transactions that begin from now on.
select
    set_config('default_transaction_isolation', 'repeatable read', false),
    set_config('default_transaction_read_only', 'on', false);

-- name: note_users
copy (select u.id from auth.users as u) to stdout;

-- name: note_conversations
copy (select c.id from public.conversations as c) to stdout;

-- name: note_participants
copy (select p.conversation_id, p.user_id from public.conversation_participants as p) to stdout;

-- name: note_messages
copy (
    select m.id, m.is_deleted, m.deleted_at, m.retention_expires_at from public.direct_messages as m
) to stdout;

-- name: note_tiers
copy (select t.user_id, t.changed_at, t.tier from messaging.tier_changes as t) to stdout;

-- name: note_holds
copy (select h.conversation_id, h.reason, h.placed_at, h.placed_by from messaging.legal_holds as h) to stdout;

-- name: note_clock
-- When something last happened: a member's act, or a removal of what could still be read. (Passes of the retention
-- worker do not count: pg_cron goes on in a copy that nobody serves.)
copy (
    select greatest(
        (select max(c.position) from public.conversations as c),
        (select max(c.created_at) from public.conversations as c),
        (select max(l.happened_at) from messaging.cleanup_ledger as l where l.step = 'erase')
    )
) to stdout;

-- name: make_notes
create temporary table noted_users (id uuid primary key);
create temporary table noted_conversations (id uuid primary key);
create temporary table noted_participants (
    conversation_id uuid, user_id uuid, primary key (conversation_id, user_id)
);
create temporary table noted_messages (
    id uuid primary key,
    is_deleted boolean not null,
    deleted_at timestamptz,
    retention_expires_at timestamptz not null
);
create temporary table noted_tiers (user_id uuid, changed_at timestamptz, tier text, primary key (user_id, changed_at));
create temporary table noted_holds (
    conversation_id uuid primary key, reason text, placed_at timestamptz, placed_by text
);
create temporary table noted_clock (newest timestamptz);
create temporary table kept_accounts (id uuid);
create temporary table gone_users (id uuid primary key);
create temporary table gone_messages (id uuid primary key, why text);

-- name: take_users
copy noted_users from stdin;

-- name: take_conversations
copy noted_conversations from stdin;

-- name: take_participants
copy noted_participants from stdin;

-- name: take_messages
copy noted_messages from stdin;

-- name: take_tiers
copy noted_tiers from stdin;

-- name: take_holds
copy noted_holds from stdin;

-- name: take_clock
copy noted_clock from stdin;

-- name: clocks
-- That of the notes, and that of this copy.
select
    (select n.newest from noted_clock as n),
    greatest(
        (select max(c.position) from public.conversations as c),
        (select max(c.created_at) from public.conversations as c),
        (select max(l.happened_at) from messaging.cleanup_ledger as l where l.step = 'erase')
    );

-- name: analyze_notes
analyze noted_users, noted_conversations, noted_participants, noted_messages;

-- name: find_gone_users
-- Both copies share their past up to `shared_until`; what began later here is not missing there.
insert into gone_users (id)
select u.id
from auth.users as u
where not exists (select from noted_users as n where n.id = u.id)
    and (
        %(shared_until)s::timestamptz = 'infinity'
        or exists (
            select from public.conversation_participants as p
            where p.user_id = u.id and p.joined_at <= %(shared_until)s::timestamptz
        )
    );

-- name: find_gone_messages
-- Expired by what is known here, or by the tiers that their senders had later.
with histories as (
    select
        n.user_id,
        array_agg(n.changed_at order by n.changed_at) as changed_at,
        array_agg(n.tier order by n.changed_at) as tiers
    from noted_tiers as n
    group by n.user_id
)

insert into gone_messages (id, why)
select
    m.id,
    case
        when exists (select from gone_users as g where g.id = m.sender_id) then 'erased'
        when m.retention_expires_at <= clock_timestamp() then 'expired'
        when messaging.expiry_of(m.sent_at, h.changed_at, h.tiers) <= clock_timestamp() then 'expired'
        else 'removed'
    end
from public.direct_messages as m
left join histories as h on m.sender_id = h.user_id
where m.sent_at <= %(shared_until)s::timestamptz
    and not exists (select from noted_messages as n where n.id = m.id);

-- name: count_gone
-- How many members and messages there are here; members erased; messages gone, by why; deleted by their sender; made
-- to expire sooner, so that they have by now.
select
    (select count(*) from auth.users) as members,
    (select count(*) from public.direct_messages) as messages,
    (select count(*) from gone_users) as erased_members,
    (select count(*) from gone_messages as g where g.why = 'erased') as erased,
    (select count(*) from gone_messages as g where g.why = 'expired') as expired,
    (select count(*) from gone_messages as g where g.why = 'removed') as removed,
    coalesce(sum(b.is_deleted_by_sender::int), 0) as deleted,
    coalesce(sum(b.is_cut_short::int), 0) as cut_short
from (
    select
        n.is_deleted and not m.is_deleted and n.deleted_at < n.retention_expires_at as is_deleted_by_sender,
        n.retention_expires_at <= clock_timestamp() and m.retention_expires_at > clock_timestamp() as is_cut_short
    from public.direct_messages as m
    inner join noted_messages as n on m.id = n.id
) as b;

-- name: lift_holds
-- Those of the moment: what was removed later was not under hold then. The newest ones are placed at the end.
delete from messaging.legal_holds as h
using public.conversations as c
where h.conversation_id = c.id and c.created_at <= %(shared_until)s::timestamptz;

-- name: erase_members
-- The host may have tables of its own that refer to its accounts: such an account stays for the host to remove, and
-- what we hold of it goes all the same.
do $$
declare
    v_id uuid;
begin
    begin
        delete from auth.users as u using gone_users as g where u.id = g.id;
    exception when foreign_key_violation or restrict_violation or insufficient_privilege then
        for v_id in select g.id from gone_users as g loop
            begin
                delete from auth.users as u where u.id = v_id;
            exception when foreign_key_violation or restrict_violation or insufficient_privilege then
                insert into kept_accounts (id) values (v_id);
                delete from public.direct_messages as m where m.sender_id = v_id;
                delete from public.conversation_participants as p where p.user_id = v_id;
                delete from messaging.tier_changes as t where t.user_id = v_id;
                delete from messaging.recalculations as r where r.user_id = v_id;
            end;
        end loop;
    end;
end;
$$;

-- name: kept_accounts
select k.id::text from kept_accounts as k order by k.id;

-- name: remove_conversations
delete from public.conversations as c
where c.created_at <= %(shared_until)s::timestamptz
    and not exists (select from noted_conversations as n where n.id = c.id);

-- name: remove_participants
delete from public.conversation_participants as p
where p.joined_at <= %(shared_until)s::timestamptz
    and not exists (
        select from noted_participants as n
        where n.conversation_id = p.conversation_id and n.user_id = p.user_id
    );

-- name: remove_messages
delete from public.direct_messages as m
where m.id in (select g.id from gone_messages as g);

-- name: hide_messages
-- Deletions and expiry times are those of the end: they were computed from more than this copy knows.
with changed as (
    update public.direct_messages as m
    set is_deleted = n.is_deleted, deleted_at = n.deleted_at, retention_expires_at = n.retention_expires_at
    from noted_messages as n
    where m.id = n.id
        and (m.is_deleted, m.deleted_at, m.retention_expires_at)
        is distinct from (n.is_deleted, n.deleted_at, n.retention_expires_at)
    returning m.conversation_id, m.deleted_at, m.retention_expires_at
),

clocks as (
    select c.conversation_id, max(c.deleted_at) as newest
    from changed as c
    where c.deleted_at < c.retention_expires_at
    group by c.conversation_id
)

update public.conversations as c
set position = greatest(c.position, k.newest)
from clocks as k
where c.id = k.conversation_id;

-- name: take_over_tiers
with added as (
    insert into messaging.tier_changes (user_id, changed_at, tier)
    select n.user_id, n.changed_at, n.tier
    from noted_tiers as n
    inner join auth.users as u on n.user_id = u.id
    on conflict do nothing
    returning user_id
)

select messaging.request_recalculation(a.user_id)
from (select distinct added.user_id from added) as a;

-- name: place_holds
insert into messaging.legal_holds (conversation_id, reason, placed_at, placed_by)
select n.conversation_id, n.reason, n.placed_at, n.placed_by
from noted_holds as n
inner join public.conversations as c on n.conversation_id = c.id
on conflict on constraint legal_holds_pkey do nothing;

-- name: drop_notes
drop table
noted_users, noted_conversations, noted_participants, noted_messages, noted_tiers, noted_holds, noted_clock,
kept_accounts, gone_users, gone_messages;

-- name: begin_epoch
-- Positions that clients hold belong to a history that is no more: each loads anew.
update messaging.settings set value = gen_random_uuid()::text where name = 'epoch_seed';

-- name: newest_change
select greatest(
    (select max(c.position) from public.conversations as c), (select max(c.created_at) from public.conversations as c)
);
