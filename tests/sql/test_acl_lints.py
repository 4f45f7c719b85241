"""Rules about our schema as queries on the catalog: each must return no row."""

from __future__ import annotations

import pytest

from tests.helpers.postgres import Database

OURS = """
with ours as (
    select c.oid, c.relname, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity
    from pg_class as c
    where c.relnamespace = 'messaging'::regnamespace
        or c.oid in (
            'public.conversations'::regclass, 'public.conversation_participants'::regclass,
            'public.direct_messages'::regclass
        )
),
functions as (
    select p.*, l.lanname, p.pronamespace::regnamespace::text as schema_name
    from pg_proc as p inner join pg_language as l on p.prolang = l.oid
    where p.pronamespace in ('messaging'::regnamespace, 'public'::regnamespace)
),
policies as (
    select p.*, o.relname, pg_get_expr(p.polqual, p.polrelid) as using_text,
        pg_get_expr(p.polwithcheck, p.polrelid) as check_text
    from pg_policy as p inner join ours as o on p.polrelid = o.oid
)
"""

LINTS = {
    "every table has row-level security": """
        select relname from ours where relkind = 'r' and not relrowsecurity
    """,
    # With FORCE an owner without BYPASSRLS recurses, and the cleaner silently deletes nothing.
    "no table forces row-level security on its owner": """
        select relname from ours where relforcerowsecurity
    """,
    # An empty path is not enough: tests/access/test_definers.py.
    "every body that is parsed when it runs pins its search_path": """
        select oid::regprocedure from functions
        where prosqlbody is null
            and not coalesce('search_path=pg_catalog, pg_temp' = any(proconfig), false)
    """,
    "every definer function has a body that binds its names or a pinned path": """
        select oid::regprocedure from functions
        where prosecdef and prosqlbody is null and proconfig is null
    """,
    "functions in public are invoker wrappers with bound names": """
        select oid::regprocedure from functions
        where schema_name = 'public' and proname <> 'set_message_retention'
            and (prosecdef or prosqlbody is null)
    """,
    "no function has two signatures, which PostgREST cannot tell apart": """
        select schema_name, proname from functions group by 1, 2 having count(*) > 1
    """,
    "no function claims to leak nothing": """
        select oid::regprocedure from functions where proleakproof
    """,
    "everything belongs to one owner, who is no login of ours": """
        select 'mixed' from (
            select relowner from ours union select proowner from functions
        ) as o having count(*) > 1
        union all
        select relname::text from ours
        where relowner::regrole::text in (
            'anon', 'authenticated', 'service_role', 'bookconnect_dm_server', 'bookconnect_dm_feed'
        )
    """,
    "policies are for everybody: grants decide who comes as far as them": """
        select polname from policies where polroles <> '{0}' or not polpermissive
    """,
    "policies ask who is there once a statement, not once a row": """
        select polname from policies
        where regexp_replace(
                -- A batch of sends is one statement whose rows have senders of their own; what is
                -- asked here is asked for the rows that are inserted, and for no others.
                concat(
                    using_text,
                    case when polname <> 'Users can send messages' then check_text end
                ),
                'SELECT auth\\.uid\\(\\)', '', 'g'
            ) ~ 'auth\\.uid'
    """,
    # That is all that live delivery sees.
    "policies for reading depend on participants and the row's own columns only": """
        select polname, f.found from policies
        cross join lateral regexp_matches(using_text, '(\\w+\\.\\w+)\\(', 'g') as f (found)
        where polcmd = 'r'
            and f.found[1] not in ('messaging.is_participant', 'messaging.my_conversations')
        union all
        select polname, array['a subquery'] from policies
        where polcmd = 'r' and using_text ~* 'from (public\\.)?(conversation|direct)'
    """,
    "helpers of policies take no user: that would be an oracle": """
        select distinct f.oid::regprocedure from policies as p
        inner join pg_depend as d on d.classid = 'pg_policy'::regclass and d.objid = p.oid
            and d.refclassid = 'pg_proc'::regclass
        inner join functions as f on f.oid = d.refobjid
        where 'user_id' = any(f.proargnames) or 'actor' = any(f.proargnames)
    """,
    "helpers of policies are stable definers": """
        select distinct f.oid::regprocedure from policies as p
        inner join pg_depend as d on d.classid = 'pg_policy'::regclass and d.objid = p.oid
            and d.refclassid = 'pg_proc'::regclass
        inner join functions as f on f.oid = d.refobjid
        where not f.prosecdef or f.provolatile <> 's'
    """,
    "nobody may hand on what he was granted": """
        select relname::text from pg_class as c
        cross join lateral aclexplode(c.relacl) as a
        where a.is_grantable and a.grantee <> c.relowner
            and relnamespace in ('messaging'::regnamespace, 'public'::regnamespace)
        union all
        select f.oid::regprocedure::text from functions as f
        cross join lateral aclexplode(f.proacl) as a
        where a.is_grantable and a.grantee <> f.proowner
    """,
    # PostgreSQL fires in name order: a clock that comes last has shortened retention by hours.
    "the clock is read before retention is computed from it": """
        select 'clock last' where (
            select array_agg(t.tgname order by t.tgname) from pg_trigger as t
            where t.tgrelid = 'public.direct_messages'::regclass and not t.tgisinternal
                and t.tgtype & 4 = 4 and t.tgtype & 2 = 2
        ) <> '{_100_set_message_clock,set_message_retention_trigger}'
    """,
    "every trigger fires for clients, and none for a restore": """
        select tgname from pg_trigger as t inner join ours as o on t.tgrelid = o.oid
        where not t.tgisinternal and t.tgenabled <> 'O'
    """,
    "every foreign key is served by an index": """
        select k.conname from pg_constraint as k inner join ours as o on k.conrelid = o.oid
        where k.contype = 'f' and not exists (
            select from pg_index as i
            where i.indrelid = k.conrelid
                and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
        )
    """,
    "every column is NOT NULL but those that say why not": """
        select o.relname || '.' || a.attname from ours as o
        inner join pg_attribute as a on a.attrelid = o.oid and a.attnum > 0 and not a.attisdropped
        where o.relkind = 'r' and o.relname in (
            'conversations', 'conversation_participants', 'direct_messages', 'conversation_pairs'
        ) and not a.attnotnull and a.attname <> 'deleted_at'
    """,
    "publications have no row filter and no column list, and no truncate": """
        select pubname from pg_publication_rel as r
        inner join pg_publication as p on r.prpubid = p.oid
        where r.prqual is not null or r.prattrs is not null or p.pubtruncate or p.puballtables
    """,
    "replica identities are the default": """
        select c.relname from pg_class as c inner join ours as o on c.oid = o.oid
        where c.relkind = 'r' and c.relreplident <> 'd'
    """,
    "our logins are what they must be and no more": """
        select rolname from pg_roles
        where rolname in ('bookconnect_dm_server', 'bookconnect_dm_feed') and (
            rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or not rolcanlogin
            or rolreplication <> (rolname = 'bookconnect_dm_feed')
        )
    """,
    "our logins are members of nothing": """
        select m.member::regrole from pg_auth_members as m
        where m.member::regrole::text in ('bookconnect_dm_server', 'bookconnect_dm_feed')
    """,
}

POLICIES = {
    ("conversations", "Users see their conversations", "r"),
    ("conversations", "Users can create conversations", "a"),
    ("conversations", "Users can update conversation timestamps", "w"),
    ("conversation_participants", "Users see their participants", "r"),
    ("conversation_participants", "Users can join conversations", "a"),
    ("conversation_participants", "Users can update their participation", "w"),
    ("direct_messages", "Users see their messages", "r"),
    ("direct_messages", "Users can send messages", "a"),
    ("direct_messages", "Users can delete their messages", "w"),
}


@pytest.mark.parametrize("rule", LINTS)
def test_the_schema_keeps_the_rule(pg: Database, rule: str) -> None:
    assert pg.run(OURS + LINTS[rule]) == []


def test_the_nine_policies_have_the_missions_names(pg: Database) -> None:
    found = pg.run(OURS + "select relname, polname, polcmd from policies")
    assert {tuple(row.values()) for row in found} == POLICIES
