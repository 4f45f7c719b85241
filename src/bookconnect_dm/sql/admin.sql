-- Named statements of commands (migrate, verify, retention, doctor, token), over a direct connection.

-- name: try_lock_migrations
select pg_try_advisory_lock(hashtext('bookconnect_dm migrate'), 0);

-- name: try_lock_retention
select pg_try_advisory_lock(hashtext('bookconnect_dm retention'), 0);

-- name: lock_holder
-- Who holds one of these. Their names are no secret, so it may be any login at all.
select a.pid, a.usename, coalesce(a.application_name, '')
from pg_locks as l
inner join pg_stat_activity as a on l.pid = a.pid
where l.locktype = 'advisory' and l.granted and l.objid = 0 and l.objsubid = 2
    and l.classid::bigint = hashtext(%(name)s)::bigint & 4294967295
    and l.database = (select d.oid from pg_database as d where d.datname = current_database());

-- name: try_to_lead_retention
-- The lock of the one worker that keeps the schedule; a pass takes the lock above as well. A machine that vanishes says
-- no goodbye: PostgreSQL asks after this connection, and gives its locks back within half a minute.
select
    pg_try_advisory_lock(hashtext('bookconnect_dm retention leader'), 0) as leads,
    set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '3', false), set_config('client_connection_check_interval', '10s', false);

-- name: set_up_session
-- Waits for locks are short, work may take its time, and no schema but the one named is looked into.
select
    set_config('lock_timeout', %(lock_wait)s, false), set_config('statement_timeout', '0', false),
    set_config('search_path', '', false);

-- name: limit_lock_waits
select set_config('lock_timeout', %(lock_wait)s, false);

-- name: choose_how_to_lock
select
    set_config('bookconnect_dm.lock_first', %(first)s, true), set_config('bookconnect_dm.wait_ms', %(wait_ms)s, true),
    set_config('bookconnect_dm.hold_ms', %(hold_ms)s, true);

-- name: lock_tables
-- All of ours, views too: whoever reads a view locks it before its tables. All or none, as the block's end releases
-- what it locked. One by one, as lock_timeout is for each lock and what has been locked may be held for hold_ms only.
do $$
declare
    relation text;
    given_up timestamptz;
begin
    for relation in
        select c.oid::regclass::text
        from pg_catalog.pg_class as c
        where c.relkind in ('r', 'v')
            and (
                c.relnamespace = 'messaging'::regnamespace
                or c.oid in (
                    'public.direct_messages'::regclass, 'public.conversations'::regclass,
                    'public.conversation_participants'::regclass
                )
            )
        order by c.oid::regclass::text <> current_setting('bookconnect_dm.lock_first'), c.oid
    loop
        perform set_config('lock_timeout', case
            when given_up is null then current_setting('bookconnect_dm.wait_ms')
            else greatest(1, 1000 * extract(epoch from given_up - clock_timestamp()))::int::text
        end, true);
        execute 'lock table ' || relation || ' in access exclusive mode';
        given_up := coalesce(
            given_up, clock_timestamp() + current_setting('bookconnect_dm.hold_ms')::int * interval '1 millisecond'
        );
    end loop;
    perform set_config('bookconnect_dm.lock_first', '', true);
exception when lock_not_available or deadlock_detected then
    perform set_config('bookconnect_dm.lock_first', relation, true);
end;
$$;

-- name: table_not_locked
select current_setting('bookconnect_dm.lock_first');

-- name: choose_what_to_clear
select set_config('bookconnect_dm.clear', %(what)s, true);

-- name: facts
select
    current_setting('server_version_num')::int,
    pg_encoding_to_char(d.encoding),
    to_regclass('messaging.migrations') is not null,
    current_user,
    (select n.nspowner::regrole::text from pg_namespace as n where n.nspname = 'messaging')
from pg_database as d
where d.datname = current_database();

-- name: oldest_transaction
-- Who may be in the way of a lock. (xact_start of others is hidden from all but pg_read_all_stats.)
select pid, usename, coalesce(application_name, ''), to_char(xact_start at time zone 'UTC', 'HH24:MI:SS')
from pg_stat_activity
where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()
order by xact_start
limit 1;

-- name: applied_migrations
select name, checksum, to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
from messaging.migrations
order by name;

-- name: record_migration
insert into messaging.migrations (name, checksum)
values (%(name)s, %(checksum)s)
on conflict (name) do update set checksum = excluded.checksum, applied_at = now();

-- name: forget_migration
delete from messaging.migrations where name = %(name)s;

-- name: what_would_be_lost
select
    (select count(*) from public.conversations),
    (select count(*) from public.direct_messages),
    (select count(*) from messaging.tier_changes where changed_at > '-infinity'),
    (select count(*) from messaging.legal_holds);

-- name: integrity
-- Rows that the rules make impossible; any of these says that something wrote past the triggers.
select x.what, x.rows
from (
    select
        'a conversation''s clock is not before its newest event' as what,
        count(*) as rows
    from public.conversations as c
    where exists (
        select from public.direct_messages as m
        where m.conversation_id = c.id and m.sent_at > least(c.position, c.updated_at)
    )
    union all
    select 'a message expires after it was sent and within 365 days of it', count(*)
    from public.direct_messages as m
    where m.retention_expires_at not between m.sent_at and m.sent_at + interval '8760 hours'
    union all
    select 'a pair''s conversation has nobody else in it', count(*)
    from messaging.conversation_pairs as p
    where exists (
        select from public.conversation_participants as o
        where o.conversation_id = p.conversation_id and o.user_id not in (p.low, p.high)
    )
) as x
where x.rows > 0;

-- name: record_catalog
select messaging.record_catalog();

-- name: recorded_server
select definition from messaging.expected_objects where kind = 'server';

-- name: has_expectations
select exists (select from messaging.expected_objects);

-- name: has_catalog
select to_regprocedure('messaging.catalog()') is not null;

-- name: expect
insert into messaging.expected_objects (kind, name, definition)
values (%(kind)s, %(name)s, %(definition)s)
on conflict (kind, name) do update set definition = excluded.definition;

-- name: do_not_expect
-- Whatever it is, it was there before and is none of ours.
delete from messaging.expected_objects
where kind = %(kind)s and name = %(name)s and %(definition)s::text is null;

-- name: drift
select
    coalesce(e.kind, l.kind), coalesce(e.name, l.name), e.definition, l.definition,
    case e.kind
        when 'index' then e.definition
        when 'constraint'
            then 'alter table ' || regexp_replace(e.name, '\.([^.]*)$', ' add constraint \1 ') || e.definition
    end as statement
from messaging.expected_objects as e
full join messaging.catalog() as l on e.kind = l.kind and e.name = l.name
where e.definition is distinct from l.definition
order by 1, 2;

-- name: catalog
select kind, name, definition from messaging.catalog() order by kind, name;

-- name: find_user
select messaging.find_user(%(username)s)::text;

-- name: limit_retention
-- A batch that takes this long is stuck, and waiting for locks is the exception: see functions/cleanup.sql.
-- Nor does a batch wait for the disk: one that a crash takes back is done again.
select
    set_config('statement_timeout', '60s', false), set_config('lock_timeout', '500ms', false),
    set_config('synchronous_commit', 'off', false);

-- name: notice_tier_changes
select messaging.notice_tier_changes();

-- name: recalculate_batch
select messaging.recalculate_batch(%(batch_size)s::int);

-- name: pending_recalculations
select messaging.pending_recalculations();

-- name: note_retention_run
select messaging.note_retention_run(
    %(outcome)s::text, make_interval(secs => %(took_s)s::float8), %(due_at)s::timestamptz, %(skipped)s::int,
    %(counts)s::jsonb, %(detail)s::text
);

-- name: retention_state
-- With PostgreSQL's own time: it stamped the others.
select
    clock_timestamp() as now, s.last_ended_at, s.last_complete_at, s.failures, s.last_failure,
    messaging.pending_recalculations() as members_waiting
from messaging.retention_state() as s;

-- name: retention_backlog
select b.to_mark, b.to_remove, b.members_waiting, b.oldest_due
from messaging.retention_backlog(make_interval(hours => 24 * %(recovery_days)s::int)) as b;

-- name: storage_by_store
select coalesce(s.store_id::text, 'others'), s.bytes from messaging.storage_by_store() as s;

-- name: soft_delete_batch
select b.messages, b.reached::text
from messaging.soft_delete_batch(%(from_expiry)s::timestamptz, %(batch_size)s::int) as b;

-- name: cleanup_batch
select b.messages, b.reached::text
from messaging.cleanup_batch(
    make_interval(hours => 24 * %(recovery_days)s::int), %(from_expiry)s::timestamptz, %(batch_size)s::int
) as b;

-- name: retention_preview
select step, store_id::text, store_name, tier, messages
from messaging.retention_preview(make_interval(hours => 24 * %(recovery_days)s::int));

-- name: doctor
-- One row a check: what is checked, whether all is well, what to do if not.
with server as (
    select r.* from pg_roles as r where r.rolname = 'bookconnect_dm_server'
),

feed as (
    select r.* from pg_roles as r where r.rolname = 'bookconnect_dm_feed'
)

select
    'the database is open', (select d.datconnlimit from pg_database as d where d.datname = current_database()) <> 0,
    'A restore of it was not finished: run bookconnect-dm restore again. It is served once that has ended.'
union all
select 'the log is logical', current_setting('wal_level') = 'logical', 'Set wal_level = logical and restart PostgreSQL.'
union all
select
    'an abandoned slot cannot fill the disk', current_setting('max_slot_wal_keep_size') <> '-1',
    'Set max_slot_wal_keep_size, to 10GB for example.'
union all
select
    'the API has a login that may do nothing by itself',
    exists (
        select from server as s
        where s.rolcanlogin
            and not (s.rolsuper or s.rolbypassrls or s.rolreplication or s.rolcreaterole or s.rolcreatedb)
    ),
    'Run migrate up, then: alter role bookconnect_dm_server login nosuperuser nobypassrls noreplication'
    || ' nocreaterole nocreatedb.'
union all
select
    'the API''s login owns nothing',
    not exists (select from pg_class as c inner join server as s on c.relowner = s.oid)
    and not exists (select from pg_proc as p inner join server as s on p.proowner = s.oid),
    'Give what bookconnect_dm_server owns to the owner of the schema: reassign owned by bookconnect_dm_server to ...'
union all
select
    'the feed has a login that may replicate and nothing else',
    exists (
        select from feed as f
        where f.rolcanlogin and f.rolreplication
            and not (f.rolsuper or f.rolbypassrls or f.rolcreaterole or f.rolcreatedb)
    ),
    'Run migrate up, then: alter role bookconnect_dm_feed login replication nosuperuser nobypassrls nocreaterole.'
union all
select
    -- A member of a role can become it: pg_has_role goes through every chain.
    'no client and no login of ours can become the owner',
    not exists (
        select
        from pg_roles as low
        cross join (
            select c.relowner as oid from pg_class as c where c.oid = 'public.direct_messages'::regclass
            union
            select r.oid from pg_roles as r where r.rolname in ('bookconnect_dm_server', 'bookconnect_dm_feed')
            union
            select r.oid from pg_roles as r where r.rolsuper or r.rolbypassrls
        ) as high
        where low.rolname in ('anon', 'authenticated', 'bookconnect_dm_server', 'bookconnect_dm_feed')
            and low.oid <> high.oid and not low.rolsuper
            and pg_has_role(low.oid, high.oid, 'member')
    ),
    'Revoke what makes anon, authenticated or a bookconnect_dm login a member of a stronger role: revoke ... from ...'
union all
select
    'the publications are there',
    (
        select count(*) from pg_publication as p
        where p.pubname in ('bookconnect_dm', 'bookconnect_dm_starts') and p.pubinsert
    ) = 2,
    'Run migrate verify: a publication was dropped or changed.'
union all
select
    'no standby decides what is visible', current_setting('synchronous_standby_names') = '',
    'With synchronous_standby_names the feed must read from that standby: point FEED_URL at it.';

-- name: doctor_slots
-- As above: wherever the feeds read the log, which may be a standby, and by a login that may do nothing else.
with used as (
    select
        (select count(*) from pg_replication_slots) as slots,
        (select count(*) from pg_stat_replication) as senders
),

kept as (
    -- On a standby the log that it keeps is what it has received.
    select
        s.slot_name,
        pg_wal_lsn_diff(
            case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end, s.restart_lsn
        ) as bytes
    from pg_replication_slots as s
),

too_much as (
    -- Half of what may be kept at all; a gigabyte where there is no limit.
    select string_agg(k.slot_name || ' keeps ' || pg_size_pretty(k.bytes), ', ' order by k.bytes desc) as words
    from kept as k
    where k.bytes > case current_setting('max_slot_wal_keep_size')
        when '-1' then 1e9 else pg_size_bytes(current_setting('max_slot_wal_keep_size')) / 2
    end
)

select
    'there is a slot and a sender to spare for another server',
    u.slots < current_setting('max_replication_slots')::int and u.senders < current_setting('max_wal_senders')::int,
    format(
        '%s slots of %s and %s senders of %s are used. Raise max_replication_slots and max_wal_senders: each server'
        || ' process needs one of both, and each backup and standby a sender.',
        u.slots, current_setting('max_replication_slots'), u.senders, current_setting('max_wal_senders')
    )
from used as u
union all
select
    'no slot has lost its place', not exists (
        select from pg_replication_slots as s
        where s.slot_name like 'bookconnect\_dm\_%' and s.wal_status = 'lost'
    ),
    'Restart the server that owns it, or drop it with pg_drop_replication_slot; raise max_slot_wal_keep_size.'
union all
select
    'every slot of ours is read',
    not exists (
        select from pg_replication_slots as s
        where s.slot_name like 'bookconnect\_dm\_%' and s.database = current_database() and not s.active
    ),
    'Start the server that owns it, or drop it: select pg_drop_replication_slot(slot_name) from pg_replication_slots'
    || ' where slot_name like ''bookconnect_dm_%'' and not active.'
union all
select
    'no slot keeps much of the log', t.words is null,
    t.words || ': whoever reads it is away or behind. Start him, or drop it with pg_drop_replication_slot.'
from too_much as t
union all
select
    'it follows its primary', exists (select from pg_stat_wal_receiver as r where r.pid is not null),
    'This standby is alone, and nothing new is delivered: look at its primary_conninfo and at its log.'
where pg_is_in_recovery()
union all
select
    'it keeps the rows that slots here need', current_setting('hot_standby_feedback') = 'on',
    'Set hot_standby_feedback = on there, or vacuum on the primary invalidates its slots.'
where pg_is_in_recovery();

-- name: doctor_disk
-- Where the data is (if we may know), the log that slots may keep, and the size of all databases that we may see.
select
    case when pg_has_role(current_user, 'pg_read_all_settings', 'usage') then current_setting('data_directory') end,
    case current_setting('max_slot_wal_keep_size')
        when '-1' then null else pg_size_bytes(current_setting('max_slot_wal_keep_size'))
    end,
    (
        select coalesce(sum(pg_database_size(d.oid)), 0)::bigint
        from pg_database as d
        where has_database_privilege(d.oid, 'connect')
    );

-- name: doctor_big_tables
select c.relname
from pg_class as c
where c.reltuples >= %(least)s
    and c.oid in (
        'public.direct_messages'::regclass, 'public.conversations'::regclass,
        'public.conversation_participants'::regclass
    );

-- name: plan_page
-- This and the next: what the hot functions are made of, each as its plan. EXPLAIN does not look into functions.
explain (format json)
select m.id, m.content
from public.direct_messages as m
where m.conversation_id = %(id)s
order by m.sent_at desc
limit 50;

-- name: plan_message
explain (format json)
select m.content from public.direct_messages as m where m.id = %(id)s;

-- name: plan_inbox
explain (format json)
select p.conversation_id, c.updated_at
from public.conversation_participants as p
inner join public.conversations as c on p.conversation_id = c.id
where p.user_id = %(id)s;

-- name: plan_participants
explain (format json)
select p.user_id from public.conversation_participants as p where p.conversation_id = %(id)s;

-- name: plan_sweep
explain (format json)
select m.id
from public.direct_messages as m
where not m.is_deleted
    and messaging.expiry_slot(m.retention_expires_at) <= now() and m.retention_expires_at < now()
order by messaging.expiry_slot(m.retention_expires_at)
limit 2000;

-- name: plan_recalculation
explain (format json)
select m.id
from public.direct_messages as m
where m.sender_id = %(id)s and messaging.expiry_day(m.retention_expires_at) >= '-infinity'
order by messaging.expiry_day(m.retention_expires_at), m.retention_expires_at, m.id
limit 2000;

-- name: is_standby_here
select pg_is_in_recovery();

-- name: doctor_watch
-- As above: what goes wrong slowly.
with private_log as (
    -- Whatever makes PostgreSQL write statements down, and whether it would write their values, which are messages.
    select
        current_setting('log_parameter_max_length_on_error') = '0' as on_error,
        current_setting('log_parameter_max_length') = '0' or (
            current_setting('log_statement') in ('none', 'ddl')
            and current_setting('log_min_duration_statement') = '-1'
            and current_setting('log_min_duration_sample') = '-1'
            and current_setting('log_transaction_sample_rate') = '0'
        ) as otherwise
),

due as (
    select min(m.retention_expires_at) as oldest
    from public.direct_messages as m
    where not m.is_deleted
        and messaging.expiry_slot(m.retention_expires_at) <= now() - interval '30 hours'
        and m.retention_expires_at < now() - interval '30 hours'
        and not exists (select from messaging.legal_holds as h where h.conversation_id = m.conversation_id)
)

select
    'PostgreSQL''s log quotes no message', p.on_error and p.otherwise,
    'Set log_parameter_max_length_on_error = 0 and log_parameter_max_length = 0.'
from private_log as p
union all
select
    'retention keeps up', d.oldest is null or s.last_complete_at > now() - interval '30 hours',
    'Expired messages wait (no reader sees them). Set BOOKCONNECT_DM_RETENTION_URL on a server, or run'
    || ' `bookconnect-dm retention run --once`.' || coalesce(' The last pass failed: ' || s.last_failure, '')
from due as d
cross join messaging.retention_state() as s
union all
select
    'changes of tier reach their messages',
    not exists (select from messaging.recalculations as r where r.requested_at < now() - interval '1 day'),
    'End the transaction that is older than the change (oldest xact_start in pg_stat_activity, or pg_prepared_xacts).';

-- name: database_time
select clock_timestamp();

-- name: backend_pid
select pg_backend_pid();

-- name: have_statistics
select exists (select from pg_extension as e where e.extname = 'pg_stat_statements');

-- name: slow_statements
-- Calls, the mean and the total in milliseconds, rows a call, and the text: values are left out of it by the extension.
select s.calls, s.mean_exec_time, s.total_exec_time, s.rows / greatest(s.calls, 1), s.query
from pg_stat_statements as s
inner join pg_roles as r on s.userid = r.oid
where s.dbid = (select d.oid from pg_database as d where d.datname = current_database())
    and (r.rolname = 'bookconnect_dm_server' or s.query like '%messaging.%')
order by s.total_exec_time desc
limit 15;

-- name: be_nobody
select set_config('transaction_read_only', 'on', true), set_config('role', %(role)s, true);

-- name: doctor_api_login
-- Asked by the login itself: it need not be the one that we made.
select
    row_security_active('public.direct_messages')
    and not (r.rolsuper or r.rolbypassrls or r.rolreplication or r.rolcreaterole or r.rolcreatedb)
from pg_roles as r
where r.rolname = current_user;

-- name: doctor_feed_login
select r.rolreplication and not (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb)
from pg_roles as r
where r.rolname = current_user;

-- name: doctor_clocks
select count(*) from public.conversations as c where c.position > clock_timestamp() + interval '1 minute';

-- name: access_grants
-- Every privilege on what is ours that somebody other than its owner holds: kind, name, column, role, privilege.
-- What is ours: schema messaging with everything in it, and in public what the rules name.
with relations as (
    select c.oid, n.nspname || '.' || c.relname as full_name, c.relowner, c.relkind, c.relacl
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        and (n.nspname = 'messaging' or n.nspname || '.' || c.relname = any(%(names)s))
),

held as (
    select 'schema' as kind, n.nspname::text as name, '' as field, n.nspowner as owner, a.grantee, a.privilege_type
    from pg_namespace as n
    cross join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as a
    where n.nspname = 'messaging'
    union all
    select
        case r.relkind when 'S' then 'sequence' else 'table' end, r.full_name, '', r.relowner, a.grantee,
        a.privilege_type
    from relations as r
    cross join lateral aclexplode(
        coalesce(r.relacl, acldefault(case r.relkind when 'S' then 's' else 'r' end::"char", r.relowner))
    ) as a
    union all
    select 'column', r.full_name, c.attname, r.relowner, a.grantee, a.privilege_type
    from relations as r
    inner join pg_attribute as c on r.oid = c.attrelid
    cross join lateral aclexplode(c.attacl) as a
    union all
    select 'function', n.nspname || '.' || p.proname, '', p.proowner, a.grantee, a.privilege_type
    from pg_proc as p
    inner join pg_namespace as n on p.pronamespace = n.oid
    cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
    where n.nspname = 'messaging' or n.nspname || '.' || p.proname = any(%(names)s)
    union all
    select 'type', n.nspname || '.' || t.typname, '', t.typowner, a.grantee, a.privilege_type
    from pg_type as t
    inner join pg_namespace as n on t.typnamespace = n.oid
    -- Row types go with their tables, arrays with their elements.
    left join pg_class as c on t.typrelid = c.oid
    cross join lateral aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) as a
    where n.nspname = 'messaging' and t.typtype in ('c', 'd', 'e', 'r')
        and coalesce(c.relkind, 'c') = 'c'
)

select
    h.kind, h.name, h.field,
    case when h.grantee = 0 then 'PUBLIC' else h.grantee::regrole::text end as role,
    h.privilege_type as privilege
from held as h
where h.grantee <> h.owner
order by 1, 2, 3, 4, 5;

-- name: access_items
-- Everything that must have a rule: kind, name, column.
select 'schema' as kind, n.nspname::text as name, '' as field
from pg_namespace as n
where n.nspname = 'messaging'
union all
select
    case c.relkind when 'S' then 'sequence' else 'table' end, n.nspname || '.' || c.relname, ''
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and (n.nspname = 'messaging' or n.nspname || '.' || c.relname = any(%(names)s))
union all
select 'column', n.nspname || '.' || c.relname, a.attname
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
inner join pg_attribute as a on c.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
where c.relkind in ('r', 'p', 'v', 'm', 'f')
    and (n.nspname = 'messaging' or n.nspname || '.' || c.relname = any(%(names)s))
union all
select 'type', n.nspname || '.' || t.typname, ''
from pg_type as t
inner join pg_namespace as n on t.typnamespace = n.oid
left join pg_class as c on t.typrelid = c.oid
where n.nspname = 'messaging' and t.typtype in ('c', 'd', 'e', 'r') and coalesce(c.relkind, 'c') = 'c'
union all
select distinct 'function', n.nspname || '.' || p.proname, ''
from pg_proc as p
inner join pg_namespace as n on p.pronamespace = n.oid
where n.nspname = 'messaging' or n.nspname || '.' || p.proname = any(%(names)s)
    -- A wrapper that nobody has written down.
    or (
        n.nspname = 'public' and exists (
            select from pg_depend as d
            where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.refclassid = 'pg_proc'::regclass
                and d.refobjid in (select f.oid from pg_proc as f where f.pronamespace = 'messaging'::regnamespace)
        )
    )
order by 1, 2, 3;

-- name: message_indexes
-- Sizes, entries as the last vacuum or analyze counted them, how many of them share a key (1 where each has its own, or
-- where that is not known yet), and how each is rebuilt while members write.
select
    c.relname, pg_relation_size(c.oid), greatest(c.reltuples, 0)::float8,
    coalesce(greatest(c.reltuples / nullif(k.keys, 0), 1), 1)::float8,
    format('reindex index concurrently %I.%I', n.nspname, c.relname)
from pg_index as i
inner join pg_class as c on i.indexrelid = c.oid
inner join pg_namespace as n on c.relnamespace = n.oid
-- At most as many keys as each of its columns has values, multiplied. Only an index on a rounded time has fewer than
-- entries.
left join lateral (
    select case when count(s.n_distinct) = count(*) then
        exp(sum(ln(greatest(case when s.n_distinct < 0 then -s.n_distinct * c.reltuples else s.n_distinct end, 1))))
    end as keys
    from pg_attribute as a
    left join pg_attribute as t on t.attnum > 0 and i.indrelid = t.attrelid and i.indkey[a.attnum - 1] = t.attnum
    left join pg_stats as s
        on n.nspname = s.schemaname and coalesce(t.attname, a.attname) = s.attname
        and case when t.attnum is null then c.relname else 'direct_messages' end = s.tablename
    where a.attrelid = c.oid
) as k on i.indexprs is not null
where i.indrelid = 'public.direct_messages'::regclass and i.indisvalid
order by pg_relation_size(c.oid) desc;

-- name: half_built_indexes
-- What a rebuilding that was interrupted has left; PostgreSQL names it so and never uses it.
select format('drop index concurrently %I.%I', n.nspname, c.relname)
from pg_index as i
inner join pg_class as c on i.indexrelid = c.oid
inner join pg_namespace as n on c.relnamespace = n.oid
where i.indrelid = 'public.direct_messages'::regclass and not i.indisvalid and c.relname ~ '_cc(new|old)\d*$';

-- name: allow_load
insert into messaging.settings (name, value)
values ('load_allowed_until', extract(epoch from clock_timestamp() + make_interval(hours => %(hours)s))::text)
on conflict (name) do update set value = excluded.value;

-- name: load_allowed
-- Seconds for which load is still allowed here (none: it is not), and which database this is to its members.
select
    (
        select s.value::float8 - extract(epoch from clock_timestamp())::float8
        from messaging.settings as s
        where s.name = 'load_allowed_until'
    ),
    messaging.epoch();

-- name: forbid_load
delete from messaging.settings where name = 'load_allowed_until';

-- name: has_own_members
-- Whether the members' table is one that we made.
select obj_description(to_regclass('public.users'), 'pg_class') = 'Made by bookconnect-dm for the standalone host.';

-- name: make_load_members
-- A store of their own, so that nobody's inbox fills with what simulated members say.
with store as (
    insert into public.stores (id, name) values ('10ad0000-0000-4000-8000-000000000000', 'Load')
    on conflict (id) do nothing
),

made as (
    select
        ('10ad0000-0000-4000-9000-' || lpad(to_hex(n), 12, '0'))::uuid as id, 'load_' || n as username,
        (array['privileged', 'free', 'free', 'privileged_plus', 'free', 'free', 'free', 'privileged', 'free', 'free'])
        [1 + mod(n, 10)] as tier
    from generate_series(0, %(members)s - 1) as n
),

accounts as (
    insert into auth.users (id) select m.id from made as m on conflict (id) do nothing
),

members as (
    insert into public.users (id, username, displayname, user_tier)
    select m.id, m.username, initcap(replace(m.username, '_', ' ')), m.tier from made as m
    on conflict (id) do nothing
)

insert into public.store_members (store_id, user_id)
select '10ad0000-0000-4000-8000-000000000000', m.id from made as m
on conflict (store_id, user_id) do nothing;

-- name: remove_load_members
-- With all that they have said.
with gone as (
    delete from auth.users as u
    using public.store_members as s
    where s.user_id = u.id and s.store_id = '10ad0000-0000-4000-8000-000000000000'
    returning u.id
),

store as (
    delete from public.stores as s where s.id = '10ad0000-0000-4000-8000-000000000000'
)

select count(*) from gone;

-- name: load_members
-- Who may be simulated: members of one store (the one made for it, else the largest), a third of them such as may
-- start conversations, where there are so many.
select m.user_id, m.may_start
from (
    select
        h.user_id, t.may_start,
        row_number() over (partition by t.may_start order by h.user_id)
        * case when t.may_start then 2 else 1 end as turn
    from messaging.host_members((
        select x.id
        from public.stores as x
        order by
            x.id = '10ad0000-0000-4000-8000-000000000000' desc,
            (select count(*) from messaging.host_members(x.id)) desc
        limit 1
    )) as h
    cross join lateral (select messaging.known_tier(messaging.host_tier(h.user_id)) <> 'free' as may_start) as t
) as m
order by m.turn, m.may_start desc
limit %(members)s;
