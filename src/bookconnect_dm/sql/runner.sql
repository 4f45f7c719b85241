-- The bookkeeping of our own commands; applied before everything else, and changes nothing that exists.

create schema if not exists messaging;
revoke all on schema messaging from public;

create table if not exists messaging.migrations (
    name text primary key,
    checksum text not null,
    applied_at timestamptz not null default now()
);

-- What the catalog said after the last migration; `verify` compares it with what it says now.
create table if not exists messaging.expected_objects (
    kind text not null,
    name text not null,
    definition text not null,
    primary key (kind, name)
);

-- Every pass of the retention worker that came to an end, so that what was skipped, late or failed can be seen.
-- Counts, never content; rows older than 90 days go with the next pass.
create table if not exists messaging.retention_runs (
    id bigint generated always as identity primary key,
    ended_at timestamptz not null default clock_timestamp(),
    -- The moment of the schedule that it served; null for one that somebody started by hand.
    due_at timestamptz null,
    -- Moments of the schedule before that one at which nobody ran.
    skipped int not null default 0,
    outcome text not null check (outcome in ('complete', 'incomplete', 'failed')),
    took interval not null,
    counts jsonb not null default '{}',
    -- Why it failed, in the database's words.
    detail text null
);

-- For a while the table above was a migration of its own, which made `down --to` skip others.
delete from messaging.migrations where name = '20261127_006_retention_runs';

-- Before 0.1.0 was out, two indexes of 003 were by the exact expiry.
do $$
begin
    if exists (
        select from messaging.migrations as m
        where m.name = '20261122_003_direct_messaging_indexes'
            and m.checksum = 'fdf3b31ddc9c7b15f6ef01fdd2da7a697efdd2be8ff6c784a05ec5da5bb66fbb'
    ) then
        drop index if exists public.idx_messages_sender_id, public.idx_messages_retention_expires;
        create index idx_messages_sender_id on public.direct_messages (
            sender_id, date_bin('1 day', retention_expires_at, to_timestamp(0))
        );
        create index idx_messages_retention_expires on public.direct_messages (
            is_deleted, date_bin('5 minutes', retention_expires_at, to_timestamp(0))
        );
        update messaging.migrations as m
        set checksum = '95df9d3f1f3437e6e63e33753b32f2d9d48bebfe64bd13b56ffa4b6136590a56'
        where m.name = '20261122_003_direct_messaging_indexes';
        -- After `down --to 3` there is no catalog to compare with.
        if to_regprocedure('messaging.catalog()') is not null then
            update messaging.expected_objects as e
            set definition = c.definition
            from messaging.catalog() as c
            where e.kind = c.kind and e.name = c.name
                and e.name ~ '\midx_messages_(sender_id|retention_expires)\M';
        end if;
        analyze public.direct_messages;
    end if;
end;
$$;

-- No policies follow: a lock for the day on which somebody exposes the schema.
alter table messaging.migrations enable row level security;
alter table messaging.expected_objects enable row level security;
alter table messaging.retention_runs enable row level security;
