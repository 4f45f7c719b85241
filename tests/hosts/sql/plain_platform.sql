-- What the original host has beside its tables on a PostgreSQL of its own: accounts, and no auth.uid().

create schema auth;

create table auth.users (
    id uuid primary key default gen_random_uuid(),
    email text unique,
    created_at timestamptz default now()
);
