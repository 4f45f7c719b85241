-- What any host adapter must have made, one's own included; applied after it. docs/how-to/adapters.md explains.

-- For an adapter's trigger: this member's tier may have changed; `previous` is what it was, where that is known.
-- The host's own transaction must never wait for a member's: what cannot be locked soon is left to the worker, and
-- then, if need be, so is all of it (his next message notices, or the worker's next run).
create or replace function messaging.notice_tier(user_id uuid, previous text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_lock_timeout constant text := current_setting('lock_timeout');
begin
    -- Half-way through an installation or a rollback there is nobody to tell, and the host must go on.
    if to_regprocedure('messaging.note_tier(uuid, text, text, boolean)') is null then
        return;
    end if;
    perform set_config('lock_timeout', '200ms', true);
    begin
        perform messaging.note_tier($1, messaging.host_tier($1), $2, true);
    exception
        when lock_not_available then
            begin
                perform messaging.note_tier($1, messaging.host_tier($1), $2, false);
            exception
                when lock_not_available then
                    null;
            end;
    end;
    perform set_config('lock_timeout', v_lock_timeout, true);
end;
$$;

do $$
declare
    v_wrong text;
    v_function regprocedure;
begin
    select pg_catalog.string_agg(q.signature || ' returns ' || q.result, '; ') into v_wrong
    from (
        values
        ('messaging.host_tier(uuid)', 'text'),
        ('messaging.host_stores(uuid)', 'TABLE(store_id uuid, name text, role text)'),
        ('messaging.host_is_staff(uuid, uuid)', 'boolean'),
        (
            'messaging.host_profile(uuid)',
            'TABLE(id uuid, username text, displayname text, avatar_url text, allow_direct_messages boolean)'
        ),
        ('messaging.host_members(uuid)', 'TABLE(user_id uuid)'),
        ('messaging.host_find(text)', 'uuid'),
        ('messaging.host_store_name(uuid)', 'text'),
        ('auth.uid()', 'uuid')
    ) as q (signature, result)
    where pg_catalog.pg_get_function_result(to_regprocedure(q.signature)) is distinct from q.result;
    if v_wrong is not null then
        raise exception 'The host adapter must make: %.', v_wrong
            using hint = 'See docs/how-to/adapters.md.';
    end if;

    for v_function in
        select p.oid from pg_catalog.pg_proc as p
        where p.pronamespace = 'messaging'::regnamespace and p.proname like 'host\_%'
    loop
        execute pg_catalog.format(
            'revoke all on function %s from public, anon, authenticated, service_role, bookconnect_dm_server', v_function
        );
    end loop;
    if not (
        pg_catalog.has_function_privilege('authenticated', 'auth.uid()', 'execute')
        and pg_catalog.has_function_privilege('bookconnect_dm_server', 'auth.uid()', 'execute')
    ) then
        raise exception 'auth.uid() is closed to authenticated or bookconnect_dm_server.'
            using hint = 'Its owner runs: grant execute on function auth.uid() to authenticated, bookconnect_dm_server;';
    end if;
end;
$$;

revoke all on function messaging.notice_tier(uuid, text)
from public, anon, authenticated, service_role, bookconnect_dm_server;
