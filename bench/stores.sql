-- name: people
-- Members 1 to :active write; the others are there to be written to. Tiers 70 / 20 / 10; ids tell the number.
insert into public.stores (id, name) values ('5704e000-0000-4000-8000-000000000001', 'The Full House');
insert into auth.users (id)
select ('e0000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid from generate_series(1, %(people)s::int) as n;
insert into public.users (id, username, displayname, user_tier)
select
    ('e0000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'reader_' || n,
    (array['Ada', 'Ben', 'Cleo', 'Dora', 'Edgar', 'Fern', 'Greta', 'Hugo', 'Ines', 'Jonas'])[n %% 10 + 1] || ' '
    || (array['Abbott', 'Brandt', 'Castel', 'Dumas', 'Eliot', 'Frisch', 'Gogol'])[n %% 7 + 1] || ' ' || n,
    case when n %% 10 < 7 then 'free' when n %% 10 < 9 then 'privileged' else 'privileged_plus' end
from generate_series(1, %(people)s::int) as n;
insert into public.store_members (store_id, user_id)
select '5704e000-0000-4000-8000-000000000001', u.id from auth.users as u;
insert into messaging.tier_changes (user_id, changed_at, tier) select u.id, '-infinity', u.user_tier from public.users as u;

-- name: conversations
-- From the numbers of their members; ids tell the number of the conversation.
create unlogged table public.bench_pairs (n int primary key, one uuid not null, other uuid not null, id uuid not null);
insert into public.bench_pairs
select
    p.n, ('e0000000-0000-4000-8000-' || lpad(to_hex(p.one), 12, '0'))::uuid,
    ('e0000000-0000-4000-8000-' || lpad(to_hex(p.other), 12, '0'))::uuid,
    ('c0000000-0000-4000-8000-' || lpad(to_hex(p.n), 12, '0'))::uuid
from unnest(%(ones)s::int [], %(others)s::int []) with ordinality as p (one, other, n);
insert into public.conversations (id, store_id, created_at, updated_at, position)
select p.id, '5704e000-0000-4000-8000-000000000001', %(since)s, %(since)s, %(since)s from public.bench_pairs as p;
insert into messaging.conversation_pairs (store_id, low, high, conversation_id)
select '5704e000-0000-4000-8000-000000000001', least(p.one, p.other), greatest(p.one, p.other), p.id
from public.bench_pairs as p;
insert into public.conversation_participants (conversation_id, user_id, joined_at, last_read_at)
select p.id, m.id, %(since)s, %(since)s
from public.bench_pairs as p
cross join lateral (values (p.one), (p.other)) as m (id);

-- name: clocks
-- The clocks that the messages leave; most members have read all, one in eight is behind in a conversation.
update public.conversations as c
set updated_at = m.newest, position = greatest(m.newest, m.deleted), created_at = least(c.created_at, m.oldest)
from (
    select d.conversation_id, max(d.sent_at) as newest, min(d.sent_at) as oldest, max(d.deleted_at) as deleted
    from public.direct_messages as d
    group by d.conversation_id
) as m
where m.conversation_id = c.id;
update public.conversation_participants as p
set last_read_at = case
    when hashtext(p.conversation_id::text || p.user_id::text) %% 8 = 0
        then c.updated_at - interval '1 day' * (abs(hashtext(p.user_id::text)) %% 7)
    else c.updated_at
end
from public.conversations as c
where p.conversation_id = c.id;

-- name: mission
-- The mission's own tables of messages, with its indexes and keys and without any security: the plain INSERT.
create schema mission;
create table mission.conversations (
    id uuid primary key default gen_random_uuid(),
    store_id uuid references public.stores (id) on delete cascade not null,
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);
create table mission.direct_messages (
    id uuid primary key default gen_random_uuid(),
    conversation_id uuid references mission.conversations (id) on delete cascade,
    sender_id uuid references auth.users (id) on delete cascade,
    content text not null check (length(content) <= 1000),
    sent_at timestamptz default now(),
    is_deleted boolean default false,
    deleted_at timestamptz null,
    retention_expires_at timestamptz null
);
create index on mission.direct_messages (conversation_id, sent_at desc);
create index on mission.direct_messages (sender_id);
create index on mission.direct_messages (retention_expires_at) where retention_expires_at is not null;
create index on mission.direct_messages (conversation_id, sent_at desc) where is_deleted = false;
insert into mission.conversations (id, store_id) select c.id, c.store_id from public.conversations as c;
