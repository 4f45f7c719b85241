-- Support: errors, times, content ---------------------------------------------------------------------------------

-- Raises an error of the contract: SQLSTATE PT<HTTP status> (PostgREST answers with that status), the code as
-- message, the sentence as detail, the field at fault as hint.
create or replace function messaging.fail(code text, detail text, field text default null) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    raise exception using
        errcode = 'PT' || case code
            when 'INVALID_REQUEST' then '400'
            when 'UNAUTHENTICATED' then '401'
            when 'PERMISSION_DENIED' then '403'
            when 'STORE_CONTEXT_ERROR' then '403'
            when 'USER_NOT_FOUND' then '404'
            when 'CONVERSATION_NOT_FOUND' then '404'
            when 'MESSAGE_NOT_FOUND' then '404'
            when 'CONFLICT' then '409'
            when 'LEGAL_HOLD' then '409'
            when 'INVALID_CONTENT' then '422'
            else '500'
        end,
        message = code, detail = fail.detail, hint = coalesce(field, '');
end;
$$;

-- Who is asking; an error where nobody is.
create or replace function messaging.caller() returns uuid
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    v_caller uuid := auth.uid();
begin
    if v_caller is null then
        perform messaging.fail('UNAUTHENTICATED', 'Sign in first: the request says nothing of who is asking.');
    end if;
    return v_caller;
end;
$$;

-- RFC 3339, UTC, always six digits and Z: also the form of positions, which clients compare as strings.
create or replace function messaging.wire_time(moment timestamptz) returns text
language sql stable parallel safe
begin atomic
    select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
end;

create or replace function messaging.page_size(wanted int, standard int, most int) returns int
language sql immutable parallel safe
begin atomic
    select least(greatest(coalesce(wanted, standard), 1), most);
end;

-- Trimmed by one list of characters, the same in SQL, Python and JavaScript (tests/vectors/trim.json).
create or replace function messaging.trimmed(content text) returns text
language sql immutable parallel safe
begin atomic
    select btrim(
        content,
        E'\u0009\u000A\u000B\u000C\u000D\u0020\u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007'
        '\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF'
    );
end;

create or replace function messaging.checked_content(content text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    v_content text := messaging.trimmed(content);
begin
    if v_content is null or v_content = '' then
        perform messaging.fail('INVALID_CONTENT', 'A message needs at least one visible character.', 'content');
    elsif length(v_content) > 1000 then
        perform messaging.fail('INVALID_CONTENT', 'A message has at most 1,000 characters.', 'content');
    end if;
    return v_content;
end;
$$;

-- An error unless the caller takes part; the same for a conversation that does not exist.
create or replace function messaging.require_participant(conversation_id uuid) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if conversation_id is null then
        perform messaging.fail('INVALID_REQUEST', 'Name the conversation by its id.', 'conversation_id');
    end if;
    perform messaging.caller();
    if not messaging.is_participant($1) then
        perform messaging.fail('CONVERSATION_NOT_FOUND', 'There is no such conversation, or you are not in it.');
    end if;
end;
$$;

-- Which history positions belong to: changes when the database is restored to an earlier time or fails over, and is
-- another one in a database that was made with this one as its template.
create or replace function messaging.epoch() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return md5(pg_catalog.concat_ws(
        '/',
        (select c.system_identifier from pg_catalog.pg_control_system() as c),
        (select d.oid from pg_catalog.pg_database as d where d.datname = pg_catalog.current_database()),
        case
            when pg_catalog.pg_is_in_recovery() then 'standby'
            else left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)
        end,
        (select s.value from messaging.settings as s where s.name = 'epoch_seed')
    ));
end;
$$;

-- These are called by functions of this schema only, which run as their owner.
revoke all on function
messaging.fail(text, text, text), messaging.caller(), messaging.wire_time(timestamptz),
messaging.page_size(int, int, int), messaging.trimmed(text),
messaging.checked_content(text), messaging.require_participant(uuid), messaging.epoch()
from public, anon, authenticated, service_role, bookconnect_dm_server;
