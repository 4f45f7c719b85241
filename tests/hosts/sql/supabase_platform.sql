-- A Supabase project's database before its developer's first migration. Run by `supabase_admin`.

alter schema public owner to postgres;
grant usage on schema public to anon, authenticated, service_role;

-- Whatever is made in public is open to everybody by default; row-level security is to hold.
alter default privileges for role postgres in schema public
grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
grant all on sequences to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
grant all on functions to postgres, anon, authenticated, service_role;

create schema extensions authorization postgres;
grant usage on schema extensions to public;
do $$
begin
    create extension if not exists pgcrypto schema extensions;
    create extension if not exists "uuid-ossp" schema extensions;
exception
    when undefined_file or feature_not_supported then
        null;  -- this build of PostgreSQL brings none
end;
$$;

create schema auth authorization supabase_admin;
grant usage on schema auth to anon, authenticated, service_role, postgres, dashboard_user;
grant all on schema auth to supabase_auth_admin;
alter default privileges for role supabase_auth_admin in schema auth grant all on tables to postgres, dashboard_user;

set role supabase_auth_admin;
create table auth.users (
    instance_id uuid,
    id uuid primary key,
    aud text,
    role text,
    email text unique,
    raw_user_meta_data jsonb,
    created_at timestamptz,
    updated_at timestamptz
);
alter table auth.users enable row level security;

create function auth.uid() returns uuid
language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    )::uuid
$$;

create function auth.role() returns text
language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
    )::text
$$;
reset role;

create publication supabase_realtime;
alter publication supabase_realtime owner to postgres;

-- PostgREST is told of every change of the schema.
create function extensions.pgrst_ddl_watch() returns event_trigger
language plpgsql as $$
begin
    notify pgrst, 'reload schema';
end;
$$;
create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();
