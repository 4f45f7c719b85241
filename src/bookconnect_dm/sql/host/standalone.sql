-- Host adapter `standalone`: for the demo, the tests, and applications that have no tables of their own yet.
-- It makes small host tables and answers what messaging asks of any host: docs/how-to/adapters.md.

create schema if not exists auth;
grant usage on schema auth to anon, authenticated, service_role, bookconnect_dm_server;

create or replace function auth.uid() returns uuid
language sql stable parallel safe
begin atomic
    select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
    )::uuid;
end;

-- Tables that are there already belong to the application: they are used where their shape fits, and not touched. Only
-- those made here (they say so in their comment) are closed to clients: nobody reads or writes them through us.
do $$
declare
    v_mark constant text := 'Made by bookconnect-dm for the standalone host.';
    v_table regclass;
    v_wrong text;
begin
    if to_regclass('auth.users') is null then
        create table auth.users (
            id uuid primary key default gen_random_uuid()
        );
        execute pg_catalog.format('comment on table auth.users is %L', v_mark);
    end if;
    if to_regclass('public.users') is null then
        create table public.users (
            id uuid primary key references auth.users (id) on delete cascade,
            username text not null unique,
            displayname text,
            avatar_url text,
            user_tier text not null default 'free',
            allow_direct_messages boolean not null default true
        );
        execute pg_catalog.format('comment on table public.users is %L', v_mark);
    end if;
    if to_regclass('public.stores') is null then
        create table public.stores (
            id uuid primary key default gen_random_uuid(),
            name text not null
        );
        execute pg_catalog.format('comment on table public.stores is %L', v_mark);
    end if;

    select pg_catalog.string_agg(q.host_table || '.' || q.host_column || ' ' || q.host_type, ', ') into v_wrong
    from (
        values
        ('auth.users', 'id', 'uuid'), ('public.users', 'id', 'uuid'), ('public.users', 'username', 'text'),
        ('public.users', 'displayname', 'text'), ('public.users', 'avatar_url', 'text'),
        ('public.users', 'user_tier', 'text'), ('public.users', 'allow_direct_messages', 'boolean'),
        ('public.stores', 'id', 'uuid'), ('public.stores', 'name', 'text')
    ) as q (host_table, host_column, host_type)
    where not exists (
        select from pg_catalog.pg_attribute as a
        where a.attrelid = to_regclass(q.host_table) and a.attname = q.host_column and not a.attisdropped
            and pg_catalog.format_type(a.atttypid, null) = q.host_type
    );
    if v_wrong is not null then
        raise exception 'This application has tables of its own that are not of the standalone shape: they lack %.',
            v_wrong
            using hint = 'Set BOOKCONNECT_DM_HOST_ADAPTER to the adapter that fits them, or write one: '
                'docs/how-to/adapters.md. Nothing was changed.';
    end if;

    if to_regclass('public.store_members') is null then
        create table public.store_members (
            store_id uuid not null references public.stores (id) on delete cascade,
            user_id uuid not null references auth.users (id) on delete cascade,
            role text not null default 'member' check (role in ('member', 'manager', 'owner')),
            primary key (store_id, user_id)
        );
        create index idx_store_members_user_id on public.store_members (user_id);
        execute pg_catalog.format('comment on table public.store_members is %L', v_mark);
    end if;

    for v_table in
        select c.oid from pg_catalog.pg_class as c
        where pg_catalog.obj_description(c.oid, 'pg_class') = v_mark
    loop
        -- Asked first, since asking for it again locks the table: code is applied while members write.
        if not (select c.relrowsecurity from pg_catalog.pg_class as c where c.oid = v_table) then
            execute pg_catalog.format('alter table %s enable row level security', v_table);
        end if;
        execute pg_catalog.format('revoke all on %s from public, anon, authenticated, service_role', v_table);
    end loop;
end;
$$;

create or replace function messaging.host_tier(user_id uuid) returns text
language sql stable
begin atomic
    select coalesce(
        (
            select case when lower(u.user_tier) in ('privileged', 'privileged_plus') then lower(u.user_tier) end
            from public.users as u
            where u.id = host_tier.user_id
        ),
        'free'
    );
end;

create or replace function messaging.host_stores(user_id uuid)
returns table (store_id uuid, name text, role text)
language sql stable
begin atomic
    select s.id, s.name, m.role
    from public.store_members as m
    inner join public.stores as s on m.store_id = s.id
    where m.user_id = host_stores.user_id;
end;

create or replace function messaging.host_is_staff(user_id uuid, store_id uuid) returns boolean
language sql stable
begin atomic
    select exists (
        select from public.store_members as m
        where m.user_id = host_is_staff.user_id and m.store_id = host_is_staff.store_id
            and m.role in ('manager', 'owner')
    );
end;

create or replace function messaging.host_profile(user_id uuid)
returns table (id uuid, username text, displayname text, avatar_url text, allow_direct_messages boolean)
language sql stable
begin atomic
    select u.id, u.username, u.displayname, u.avatar_url, u.allow_direct_messages
    from public.users as u
    where u.id = host_profile.user_id;
end;

create or replace function messaging.host_members(store_id uuid) returns table (user_id uuid)
language sql stable
begin atomic
    select m.user_id
    from public.store_members as m
    where m.store_id = host_members.store_id;
end;

create or replace function messaging.host_find(username text) returns uuid
language sql stable
begin atomic
    select u.id from public.users as u where u.username = host_find.username;
end;

create or replace function messaging.host_store_name(store_id uuid) returns text
language sql stable
begin atomic
    select s.name from public.stores as s where s.id = host_store_name.store_id;
end;

-- Notices a change of tier in the transaction that makes it.
create or replace function messaging.host_tier_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform messaging.notice_tier(new.id, old.user_tier);
    return null;
end;
$$;

do $$
begin
    -- Asked first, as above. The host's own transactions lock users before anything of ours.
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'public.users'::regclass and t.tgname = 'bookconnect_dm_tier_changed'
    ) then
        create trigger bookconnect_dm_tier_changed
        after update of user_tier on public.users
        for each row when (old.user_tier is distinct from new.user_tier)
        execute function messaging.host_tier_changed();
    end if;
end;
$$;

revoke all on function auth.uid() from public, anon, authenticated, service_role;
grant execute on function auth.uid() to anon, authenticated, service_role, bookconnect_dm_server;
