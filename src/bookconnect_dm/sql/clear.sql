-- Takes the last release's code away; what that made stands in messaging.expected_objects. In two ways:
--
--   leftovers  after this release's code was applied: what it did not replace would stay for ever
--   all        before, where something cannot be replaced in place (a function's result changes its type).
--              Members' statements that are under way at this moment may then fail once, so `migrate up` does it only
--              if it must.
--
-- What others lean on (a column's default, the host's trigger, a view of the host's own) stays in either case, with
-- what it leans on itself.

do $$
declare
    v_all constant boolean := current_setting('bookconnect_dm.clear', true) is distinct from 'leftovers';
    v_now constant xid := pg_current_xact_id()::xid;
    v_path constant text := current_setting('search_path');
    v_statement text;
begin
    perform set_config('search_path', 'pg_catalog, pg_temp', true);

    for v_statement in
        select format('drop policy %I on %s', p.polname, p.polrelid::regclass)
        from pg_catalog.pg_policy as p
        where (v_all or p.xmin <> v_now) and exists (
            select from messaging.expected_objects as e
            where e.kind = 'policy' and e.name = p.polrelid::regclass || '."' || p.polname || '"'
        )
        union all
        select format('drop trigger %I on %s', t.tgname, t.tgrelid::regclass)
        from pg_catalog.pg_trigger as t
        inner join messaging.expected_objects as e
            on e.kind = 'trigger' and e.name = t.tgrelid::regclass || '.' || t.tgname
        -- Triggers on the host's tables stay: those tables may belong to somebody else.
        where (v_all or t.xmin <> v_now) and exists (
            select from messaging.expected_objects as o where o.kind = 'table' and o.name = t.tgrelid::regclass::text
        )
    loop
        execute v_statement;
    end loop;

    for v_statement in
        with recursive code (classid, objid, name, is_old) as (
            select p.tableoid, p.oid, p.oid::regprocedure::text, p.xmin <> v_now
            from pg_catalog.pg_proc as p
            inner join messaging.expected_objects as e on e.kind = 'function' and e.name = p.oid::regprocedure::text
            union all
            select c.tableoid, c.oid, c.oid::regclass::text, r.xmin <> v_now
            from pg_catalog.pg_class as c
            inner join pg_catalog.pg_rewrite as r on c.oid = r.ev_class
            inner join messaging.expected_objects as e on e.kind = 'table' and e.name = c.oid::regclass::text
            where c.relkind = 'v'
        ),

        -- Who leans on our code. A view does through its rule.
        leaning as (
            select
                case when r.ev_class is null then d.classid else 'pg_catalog.pg_class'::regclass end as classid,
                coalesce(r.ev_class, d.objid) as objid, d.refclassid, d.refobjid
            from pg_catalog.pg_depend as d
            inner join code as c on d.refclassid = c.classid and d.refobjid = c.objid
            left join pg_catalog.pg_rewrite as r on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
            where d.deptype = 'n'
        ),

        kept as (
            select l.refclassid, l.refobjid
            from leaning as l
            where not exists (
                select from code as c
                where c.classid = l.classid and c.objid = l.objid and (v_all or c.is_old)
            )
            union
            select l.refclassid, l.refobjid
            from kept as k
            inner join leaning as l on k.refclassid = l.classid and k.refobjid = l.objid
        )

        select
            case c.classid when 'pg_catalog.pg_proc'::regclass then 'drop function ' else 'drop view ' end
            || string_agg(c.name, ', ')
        from code as c
        where (v_all or c.is_old)
            and not exists (select from kept as k where k.refclassid = c.classid and k.refobjid = c.objid)
        group by c.classid
        -- Functions read views; no view calls a function of ours.
        order by c.classid = 'pg_catalog.pg_class'::regclass
    loop
        execute v_statement;
    end loop;

    perform set_config('search_path', v_path, true);
end;
$$;
