-- messaging.catalog(): everything that we made and that decides, as the catalog has it. Part of each migration, after
-- the mission's files; `verify` and the tests read it. Owners and grants are part of a definition.
--
-- How PostgreSQL spells a definition depends on its version, on the search_path and on how a session shows times: the
-- version is one of the rows, the rest is fixed here.

create or replace function messaging.is_ours(proc_oid oid) returns boolean
language sql stable
begin atomic
    select p.pronamespace = 'messaging'::regnamespace
        or (
            p.pronamespace = 'public'::regnamespace
            and p.proname in (
                'cleanup_expired_messages', 'delete_message', 'find_member', 'get_conversation',
                'get_conversation_changes', 'get_conversation_messages', 'get_me', 'get_unread_conversation_count',
                'get_unread_message_count', 'get_user_conversations', 'get_user_retention_info',
                'mark_conversation_as_read', 'search_members', 'send_message', 'set_message_retention',
                'soft_delete_expired_messages', 'start_conversation', 'sync_conversations'
            )
        )
    from pg_proc as p
    where p.oid = proc_oid;
end;

-- Grants in a fixed order, the owner's own left out: `role=privileges`.
create or replace function messaging.acl_text(acl aclitem []) returns text
language sql stable
begin atomic
    select coalesce(string_agg(distinct a.item::text, ' ' order by a.item::text), '')
    from (
        select i.item, x.grantee, x.grantor
        from unnest(acl) as i (item)
        cross join lateral aclexplode(array[i.item]) as x
    ) as a
    where a.grantee <> a.grantor;
end;

create or replace function messaging.catalog() returns table (kind text, name text, definition text)
language sql stable
set search_path = pg_catalog, pg_temp
set datestyle = 'ISO'
set intervalstyle = 'postgres'
set timezone = 'UTC'
begin atomic
    with ours as (
        select c.oid, c.relname, c.relnamespace::regnamespace::text || '.' || c.relname as full_name, c.relkind,
            c.relowner::regrole::text as owner, c.relacl, c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
            c.relreplident
        from pg_class as c
        where c.relkind in ('r', 'p', 'f', 'v', 'm', 'S')
            and (
                c.relnamespace = 'messaging'::regnamespace
                or c.oid in (
                    'public.conversations'::regclass, 'public.conversation_participants'::regclass,
                    'public.direct_messages'::regclass
                )
            )
    )

    select 'server', 'version'::text, current_setting('server_version_num')::int / 10000 || ''
    union all
    select
        'schema', n.nspname::text,
        concat_ws('; ', 'owner ' || n.nspowner::regrole, 'grants ' || messaging.acl_text(n.nspacl))
    from pg_namespace as n
    where n.nspname = 'messaging'
    union all
    select
        'type', y.oid::regtype::text,
        concat_ws(
            '; ', 'owner ' || y.typowner::regrole, 'grants ' || messaging.acl_text(y.typacl),
            case when y.typacl is null then 'PUBLIC' end,
            (
                select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
                from pg_attribute as a
                where a.attrelid = y.typrelid and not a.attisdropped
            )
        )
    from pg_type as y
    -- Row types of tables and types of arrays come with what they belong to.
    where y.typnamespace = 'messaging'::regnamespace and y.typelem = 0
        and not exists (select from pg_class as c where c.oid = y.typrelid and c.relkind <> 'c')
    union all
    select
        'table', o.full_name,
        concat_ws(
            '; ', o.relkind::text, 'owner ' || o.owner, 'row security ' || o.relrowsecurity::text,
            'forced ' || o.relforcerowsecurity::text, 'identity ' || o.relreplident::text,
            'options ' || array_to_string(o.reloptions, ','),
            'grants ' || messaging.acl_text(o.relacl),
            case when o.relkind = 'v' then pg_get_viewdef(o.oid) end
        )
    from ours as o
    union all
    select
        'column', o.full_name || '.' || a.attname,
        concat_ws(
            '; ', format_type(a.atttypid, a.atttypmod), case when a.attnotnull then 'not null' end,
            pg_get_expr(d.adbin, d.adrelid), 'grants ' || messaging.acl_text(a.attacl)
        )
    from ours as o
    inner join pg_attribute as a on o.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef as d on a.attrelid = d.adrelid and a.attnum = d.adnum
    where o.relkind <> 'S'
    union all
    select
        'constraint', o.full_name || '.' || k.conname,
        pg_get_constraintdef(k.oid) || case when k.convalidated then '' else ' NOT VALID' end
    from ours as o
    inner join pg_constraint as k on o.oid = k.conrelid
    -- PostgreSQL 18 lists NOT NULL as constraints; the column says so already.
    where k.contype <> 'n'
    union all
    select
        'index', i.indexrelid::regclass::text,
        pg_get_indexdef(i.indexrelid) || case when i.indisvalid then '' else ' INVALID' end
    from ours as o
    inner join pg_index as i on o.oid = i.indrelid
    union all
    select
        'policy', o.full_name || '."' || p.polname || '"',
        concat_ws(
            '; ', p.polcmd::text, case when p.polpermissive then 'permissive' else 'restrictive' end,
            'to ' || array_to_string(array(select r.oid::regrole::text from unnest(p.polroles) as r (oid)), ','),
            'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid)
        )
    from ours as o
    inner join pg_policy as p on o.oid = p.polrelid
    union all
    select
        'trigger', t.tgrelid::regclass || '.' || t.tgname, pg_get_triggerdef(t.oid) || '; ' || t.tgenabled::text
    from pg_trigger as t
    inner join pg_proc as p on t.tgfoid = p.oid
    -- Those on our tables, and ours on the host's.
    where not t.tgisinternal
        and (t.tgrelid in (select o.oid from ours as o) or p.pronamespace = 'messaging'::regnamespace)
    union all
    select
        'function', p.oid::regprocedure::text,
        concat_ws(
            '; ', 'owner ' || p.proowner::regrole::text, 'grants ' || messaging.acl_text(p.proacl),
            -- No ACL at all means the default: everybody may execute.
            case when p.proacl is null then 'PUBLIC' end,
            pg_get_functiondef(p.oid)
        )
    from pg_proc as p
    where messaging.is_ours(p.oid)
    union all
    select
        'publication', p.pubname::text,
        concat_ws(
            '; ', p.pubinsert::text, p.pubupdate::text, p.pubdelete::text, p.pubtruncate::text,
            (
                select string_agg(t.schemaname || '.' || t.tablename, ',' order by t.tablename)
                from pg_publication_tables as t
                where t.pubname = p.pubname
            )
        )
    from pg_publication as p
    where p.pubname in ('bookconnect_dm', 'bookconnect_dm_starts');
end;

-- Keeps what the catalog says now as what `verify` expects. The last step of a migration.
create or replace function messaging.record_catalog() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    delete from messaging.expected_objects;
    insert into messaging.expected_objects (kind, name, definition)
    select c.kind, c.name, c.definition from messaging.catalog() as c;
end;
$$;

-- `create or replace` leaves a function to whoever owned it, and he could give it another body later: in a schema
-- public that everybody may create in (as before PostgreSQL 15), somebody may have been there first.
do $$
declare
    v_others text;
begin
    select pg_catalog.string_agg(p.oid::regprocedure || ' (owner ' || p.proowner::regrole || ')', ', ') into v_others
    from pg_catalog.pg_proc as p
    inner join pg_catalog.pg_namespace as n on n.nspname = 'messaging'
    where messaging.is_ours(p.oid) and p.proowner <> n.nspowner;
    if v_others is not null then
        raise exception 'Somebody else made what must be ours: %.', v_others
            using hint = 'Look at them, drop them, revoke create on schema public from public; then migrate again.';
    end if;
end;
$$;

revoke all on function
messaging.is_ours(oid), messaging.acl_text(aclitem []), messaging.catalog(), messaging.record_catalog()
from public, anon, authenticated, service_role, bookconnect_dm_server;

-- These tables of our commands are older than the roles, so they could not be closed to them earlier.
revoke all on messaging.migrations, messaging.expected_objects, messaging.retention_runs
from public, anon, authenticated, service_role, bookconnect_dm_server;
revoke all on sequence messaging.retention_runs_id_seq
from public, anon, authenticated, service_role, bookconnect_dm_server;
