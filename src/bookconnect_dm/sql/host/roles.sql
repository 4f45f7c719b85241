-- Roles of the cluster. Re-applied on every `migrate up`; makes what is missing, changes nothing that exists.
-- Lock order: none. What the migrating role may not create is printed as the statement that an administrator runs.

create schema if not exists messaging;
revoke all on schema messaging from public;

create function pg_temp.ensure_role(role_name text, attributes text, required boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from pg_catalog.pg_roles r where r.rolname = role_name) then
        return;
    end if;
    execute pg_catalog.format('create role %I %s', role_name, attributes);
exception
    -- Another database of the same cluster is being migrated at this moment.
    when duplicate_object or unique_violation then
        null;
    when insufficient_privilege then
        if required then
            raise exception 'The role % does not exist and % may not create it.', role_name, current_user
                using hint = pg_catalog.format(
                    'As an administrator run: create role %I %s; then migrate again.', role_name, attributes);
        end if;
        raise warning 'The role % does not exist. As an administrator run: create role % %;',
            role_name, role_name, attributes;
end;
$$;

do $$
begin
    perform pg_temp.ensure_role('anon', 'nologin noinherit', true);
    perform pg_temp.ensure_role('authenticated', 'nologin noinherit', true);
    perform pg_temp.ensure_role('service_role', 'nologin noinherit', true);
    -- Two logins, without a password until the operator sets one (docs/how-to/install.md).
    perform pg_temp.ensure_role('bookconnect_dm_server', 'login noinherit', true);
    perform pg_temp.ensure_role('bookconnect_dm_feed', 'login noinherit replication', false);
end;
$$;

drop function pg_temp.ensure_role (text, text, boolean);

-- A hardened host has taken schema public from everybody; what clients call is there.
do $$
declare
    v_role text;
begin
    foreach v_role in array array['authenticated', 'bookconnect_dm_server', 'service_role'] loop
        if not pg_catalog.has_schema_privilege(v_role, 'public', 'usage') then
            execute pg_catalog.format('grant usage on schema public to %I', v_role);
        end if;
    end loop;
end;
$$;

-- Default privileges of the host may have opened the schema to anybody.
revoke all on schema messaging from anon, authenticated, service_role, bookconnect_dm_server;
grant usage on schema messaging to bookconnect_dm_server, service_role;
