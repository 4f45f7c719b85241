-- Any host adapter, one's own included: what it made in schema messaging. The host's tables are the application's.
do $$
declare
    v_function regprocedure;
    v_all text;
begin
    -- With their triggers on the host's tables, which may belong to somebody else.
    for v_function in
        select p.oid from pg_catalog.pg_proc as p
        where p.pronamespace = 'messaging'::regnamespace and p.proname like 'host\_%'
            and p.prorettype = 'trigger'::regtype
    loop
        execute pg_catalog.format('drop function %s cascade', v_function);
    end loop;
    -- All at once, since some use others.
    select pg_catalog.string_agg(p.oid::regprocedure::text, ', ') into v_all
    from pg_catalog.pg_proc as p
    where p.pronamespace = 'messaging'::regnamespace and p.proname like 'host\_%';
    if v_all is not null then
        execute 'drop function ' || v_all;
    end if;
end;
$$;
