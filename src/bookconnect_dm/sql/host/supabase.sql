-- Host adapter `supabase`: the application's own tables in a Supabase project. Schema auth, auth.uid() and the roles
-- anon, authenticated and service_role are Supabase's; migrations run as `postgres`, which is no superuser.

-- Supabase Realtime sends deletions past row-level security: what it publishes must not be ours.
do $$
begin
    if exists (select from pg_catalog.pg_publication as p where p.pubname = 'supabase_realtime' and p.puballtables) then
        raise warning
            'The publication supabase_realtime covers all tables, so Supabase Realtime would send rows of messages '
            'past their policies. Make it name its tables: drop publication supabase_realtime; create publication '
            'supabase_realtime for table ...;';
    end if;
end;
$$;

-- include host/shape.sql
