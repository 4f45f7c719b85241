-- A year of a busy installation: 20 stores of 1,000 members (the first has 1,100), 10,000 conversations with 20,000
-- participants, 200,000 messages. One member has 1,000 conversations; the first of these has 50,000 messages.
-- Triggers are off, as for any import (docs/decisions/0002).
set session_replication_role = replica;
set synchronous_commit = off;

create function pg_temp.make_id(kind text, n bigint) returns uuid
language sql immutable as $$ select md5(kind || n)::uuid $$;

insert into public.stores (id, name)
select pg_temp.make_id('store', s), 'Store ' || s from generate_series(0, 19) as s;

insert into auth.users (id) select pg_temp.make_id('user', u) from generate_series(0, 20099) as u;

insert into public.users (id, username, displayname, user_tier)
select
    pg_temp.make_id('user', u), 'member_' || u, (array['Ada', 'Ben', 'Cleo', 'Dora', 'Edgar'])[1 + u % 5] || ' ' || u,
    (array['free', 'privileged', 'privileged_plus'])[1 + u % 3]
from generate_series(0, 20099) as u;

-- Members 0 to 1,099 are in store 0, each further thousand in the next.
insert into public.store_members (store_id, user_id, role)
select
    pg_temp.make_id('store', greatest(0, (u - 100) / 1000)), pg_temp.make_id('user', u),
    case when u % 500 = 7 then 'manager' else 'member' end
from generate_series(0, 20099) as u;

-- Conversation c < 1,000: member 0 with member c + 1. Others: neighbours of one store.
create temporary table pair as
select c, 0 as one, c + 1 as other, 0 as store from generate_series(0, 999) as c
union all
select
    c, 1100 + (c * 2) % 19000, 1100 + (c * 2) % 19000 + 1 + 2 * (c / 9500), (1000 + (c * 2) % 19000) / 1000
from generate_series(1000, 9999) as c;

insert into messaging.tier_changes (user_id, changed_at, tier)
select pg_temp.make_id('user', u), '-infinity', (array['free', 'privileged', 'privileged_plus'])[1 + u % 3]
from generate_series(0, 20099) as u;

-- The long conversation has a message every 10 minutes; the others one a day, ending up to 10 days ago.
create temporary table told as
select 0 as c, n, now() - n * interval '10 minutes' as sent_at from generate_series(1, 50000) as n
union all
select c, n, now() - (n + c % 10) * interval '1 day' - c * interval '1 second'
from generate_series(1, 9999) as c
cross join generate_series(1, 15) as n
union all
select 1, n, now() - (n + 20) * interval '1 day' from generate_series(1, 15) as n;

insert into public.conversations (id, store_id, created_at, updated_at, position)
select
    pg_temp.make_id('conversation', p.c), pg_temp.make_id('store', p.store), min(t.sent_at) - interval '1 minute',
    max(t.sent_at), max(t.sent_at)
from pair as p
inner join told as t on p.c = t.c
group by p.c, p.store;

insert into messaging.conversation_pairs (store_id, low, high, conversation_id)
select
    pg_temp.make_id('store', p.store),
    least(pg_temp.make_id('user', p.one), pg_temp.make_id('user', p.other)),
    greatest(pg_temp.make_id('user', p.one), pg_temp.make_id('user', p.other)),
    pg_temp.make_id('conversation', p.c)
from pair as p;

-- Everybody has read to the end, but for every tenth conversation.
insert into public.conversation_participants (conversation_id, user_id, joined_at, last_read_at)
select
    c.id, pg_temp.make_id('user', m.member), c.created_at,
    case when p.c % 10 = 3 then c.updated_at - interval '3 days' else c.updated_at end
from pair as p
inner join public.conversations as c on pg_temp.make_id('conversation', p.c) = c.id
cross join lateral (values (p.one), (p.other)) as m (member);

-- One in 50 was deleted by its sender; what is older than 30 days from a free member was swept. Rows lie in the table
-- in the order of sending, as they would, with ids in that order (UUIDv7); the indexes are made afterwards.
create temporary table index_definition as
select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition
from pg_index as i
where i.indrelid = 'public.direct_messages'::regclass and not i.indisprimary;

do $$
declare v_name text;
begin
    for v_name in select d.name from index_definition as d loop
        execute 'drop index ' || v_name;
    end loop;
end;
$$;

insert into public.direct_messages (
    id, conversation_id, sender_id, content, sent_at, is_deleted, deleted_at, retention_expires_at
)
select
    ('0199' || lpad(to_hex(row_number() over (order by t.sent_at)), 8, '0') || '70008000000000000000')::uuid,
    pg_temp.make_id('conversation', t.c), pg_temp.make_id('user', s.sender),
    'Have you read chapter ' || t.n || '? ' || repeat('It turns. ', t.n % 12), t.sent_at,
    t.n % 50 = 0 or e.expires_at < now(),
    case when t.n % 50 = 0 then t.sent_at + interval '5 minutes' when e.expires_at < now() then e.expires_at end,
    e.expires_at
from told as t
inner join pair as p on t.c = p.c
cross join lateral (select case when t.n % 2 = 0 then p.one else p.other end as sender) as s
cross join lateral (
    select t.sent_at + (array[interval '720 hours', interval '4320 hours', interval '8760 hours'])[1 + s.sender % 3] as expires_at
) as e
order by t.sent_at;

do $$
declare v_definition text;
begin
    for v_definition in select d.definition from index_definition as d loop
        execute v_definition;
    end loop;
end;
$$;

update public.conversations as c
set position = greatest(c.position, d.newest)
from (
    select m.conversation_id, max(m.deleted_at) as newest
    from public.direct_messages as m
    where m.is_deleted and m.deleted_at < m.retention_expires_at
    group by m.conversation_id
) as d
where c.id = d.conversation_id;

set session_replication_role = origin;
