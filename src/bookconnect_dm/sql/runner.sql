-- The runner's own bookkeeping; applied before everything else, and changes nothing that exists.

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

alter table messaging.migrations enable row level security;
alter table messaging.expected_objects enable row level security;
