-- What the mission's SQL takes for granted: its host's tables, roles, and the grants that such a host gives by default.

do $$
begin
    create role authenticated nologin noinherit;
exception
    when duplicate_object then
        null;
end;
$$;

create schema auth;
create table auth.users (id uuid primary key);
create function auth.uid() returns uuid
language sql stable
return (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid;

create table public.users (id uuid primary key, user_tier text);
create table public.stores (id uuid primary key);

grant select on public.users to authenticated;
grant usage on schema auth to authenticated;
grant usage on schema public to authenticated;
alter default privileges in schema public grant all on tables to authenticated;
alter default privileges in schema public grant all on functions to authenticated;

-- Two stores; ada and ben talk in the first, eve belongs to neither; dan has an account and no row in users.
insert into public.stores (id) values
('a0000000-0000-4000-8000-000000000001'), ('a0000000-0000-4000-8000-000000000002');
insert into auth.users (id) values
('b0000000-0000-4000-8000-00000000000a'), ('b0000000-0000-4000-8000-00000000000b'),
('b0000000-0000-4000-8000-00000000000d'), ('b0000000-0000-4000-8000-00000000000e');
insert into public.users (id, user_tier) values
('b0000000-0000-4000-8000-00000000000a', 'privileged_plus'), ('b0000000-0000-4000-8000-00000000000b', 'privileged'),
('b0000000-0000-4000-8000-00000000000e', 'free');
