-- What the feed asks besides the stream, as the feed's own login: REPLICATION and nothing else.
-- On the replication connection these go by the simple protocol, values written in by the driver.

-- name: publications
select count(*)
from pg_catalog.pg_publication
where pubname = any(%(publications)s);

-- name: is_standby
select pg_is_in_recovery();

-- name: follows_primary
-- Others' details are hidden from our login, the receiver's process is not.
select exists(select 1 from pg_catalog.pg_stat_wal_receiver where pid is not null);

-- name: slot
select
    plugin,
    database = current_database() as is_here,
    active_pid,
    wal_status = 'lost' as is_lost,
    confirmed_flush_lsn::text
from pg_catalog.pg_replication_slots
where slot_name = %(slot)s;

-- name: terminate
-- Only a walsender of this very login, and only while it holds the slot.
select pg_terminate_backend(active_pid)
from pg_catalog.pg_replication_slots
where slot_name = %(slot)s and active_pid = %(pid)s;

-- name: drop_slot
select pg_drop_replication_slot(slot_name)
from pg_catalog.pg_replication_slots
where slot_name = %(slot)s and not active;

-- name: look_at_slots
-- Our own slot, and those of ours in this database that nobody reads; with the log that each keeps.
select
    slot_name,
    confirmed_flush_lsn::text,
    coalesce(
        case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) end, 0
    )::bigint as retained_bytes
from pg_catalog.pg_replication_slots
where
    starts_with(slot_name, %(prefix)s)
    and database = current_database()
    and (slot_name = %(slot)s or not active);
