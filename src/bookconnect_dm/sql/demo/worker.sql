-- The retention worker's login, as docs/how-to/run-retention.md has it; its password is set from outside.
do $$
begin
    if not exists (select from pg_catalog.pg_roles as r where r.rolname = 'bookconnect_dm_retention') then
        create role bookconnect_dm_retention login in role service_role;
    end if;
end;
$$;
