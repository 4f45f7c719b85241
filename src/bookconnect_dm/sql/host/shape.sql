-- Host tables of BookConnect's shape; part of the adapters `bookconnect` and `supabase`. We only read them:
--   public.users (id, username, displayname, avatar_url, account_tier, membership_tier, allow_direct_messages)
--   public.stores (id, name)    public.store_administrators (store_id, user_id, role)
--   public.book_clubs (id, store_id)    public.club_members (user_id, club_id)
-- A member belongs to the stores of his clubs, and to those that he administers. Casts to text: the host may have
-- made an enum of tiers or roles.

-- Either column may hold the tier, in any letter case; the higher one counts.
create or replace function messaging.host_higher_tier(account_tier text, membership_tier text) returns text
language sql immutable parallel safe
begin atomic
    select case
        when 'privileged_plus' in (lower(btrim(account_tier)), lower(btrim(membership_tier))) then 'privileged_plus'
        when 'privileged' in (lower(btrim(account_tier)), lower(btrim(membership_tier))) then 'privileged'
        else 'free'
    end;
end;

create or replace function messaging.host_tier(user_id uuid) returns text
language sql stable
begin atomic
    select coalesce(
        (
            select messaging.host_higher_tier(u.account_tier::text, u.membership_tier::text)
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
    select
        s.id, s.name,
        case max(b.standing) when 2 then 'owner' when 1 then 'manager' else 'member' end
    from (
        select c.store_id, 0 as standing
        from public.club_members as m
        inner join public.book_clubs as c on m.club_id = c.id
        where m.user_id = host_stores.user_id
        union all
        select a.store_id, case lower(a.role::text) when 'owner' then 2 when 'manager' then 1 else 0 end
        from public.store_administrators as a
        where a.user_id = host_stores.user_id
    ) as b
    inner join public.stores as s on b.store_id = s.id
    group by s.id, s.name;
end;

create or replace function messaging.host_is_staff(user_id uuid, store_id uuid) returns boolean
language sql stable
begin atomic
    select exists (
        select from public.store_administrators as a
        where a.user_id = host_is_staff.user_id and a.store_id = host_is_staff.store_id
            and lower(a.role::text) in ('manager', 'owner')
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
    from public.book_clubs as c
    inner join public.club_members as m on c.id = m.club_id
    where c.store_id = host_members.store_id
    union
    select a.user_id
    from public.store_administrators as a
    where a.store_id = host_members.store_id;
end;

-- Where the host does not keep usernames unique, the oldest id wins, always the same one.
create or replace function messaging.host_find(username text) returns uuid
language sql stable
begin atomic
    select u.id from public.users as u where u.username = host_find.username order by u.id limit 1;
end;

create or replace function messaging.host_store_name(store_id uuid) returns text
language sql stable
begin atomic
    select s.name from public.stores as s where s.id = host_store_name.store_id;
end;

-- Notices a change of tier in the transaction that makes it, where we may place a trigger. Where we may not, the
-- member's next message or the next run of the worker notices.
create or replace function messaging.host_tier_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform messaging.notice_tier(
        new.id, messaging.host_higher_tier(old.account_tier::text, old.membership_tier::text)
    );
    return null;
end;
$$;

do $$
begin
    -- Asked first: placing it again would lock the table, and code is applied while members write.
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'public.users'::regclass and t.tgname = 'bookconnect_dm_tier_changed'
    ) then
        create trigger bookconnect_dm_tier_changed
        after update of account_tier, membership_tier on public.users
        for each row when (
            (old.account_tier, old.membership_tier) is distinct from (new.account_tier, new.membership_tier)
        )
        execute function messaging.host_tier_changed();
    end if;
exception
    when insufficient_privilege or wrong_object_type then
        raise warning
            'No trigger on public.users: % may place none there. A change of tier is noticed at the member''s next '
            'message or by the retention worker. To notice it at once: grant trigger on public.users to %; then '
            'migrate again.', current_user, current_user;
end;
$$;
