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

-- No policies follow: a lock for the day on which somebody exposes the schema.
alter table messaging.migrations enable row level security;
alter table messaging.expected_objects enable row level security;
alter table messaging.retention_runs enable row level security;
