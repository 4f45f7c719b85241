-- Every pass of the retention worker that came to an end, so that what was skipped, late or failed can be seen.
-- Counts, never content; rows older than 90 days go with the next pass.
create table messaging.retention_runs (
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

revoke all on messaging.retention_runs from public, anon, authenticated, service_role, bookconnect_dm_server;
revoke all on sequence messaging.retention_runs_id_seq
from public, anon, authenticated, service_role, bookconnect_dm_server;

-- No policy follows: a lock for the day on which somebody exposes the schema.
alter table messaging.retention_runs enable row level security;
