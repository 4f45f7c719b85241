-- Host adapter `bookconnect`: the application's own tables, on a PostgreSQL of its own.

-- Who is asking: the host's auth.uid() where it has one, else made here as Supabase has it.
do $$
begin
    if to_regprocedure('auth.uid()') is null then
        create function auth.uid() returns uuid
        language sql stable parallel safe
        begin atomic
            select coalesce(
                nullif(current_setting('request.jwt.claim.sub', true), ''),
                nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
            )::uuid;
        end;
        revoke all on function auth.uid() from public;
        grant execute on function auth.uid() to anon, authenticated, service_role, bookconnect_dm_server;
    end if;
end;
$$;

-- include host/shape.sql
