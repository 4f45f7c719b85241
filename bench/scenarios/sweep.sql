-- A store with 1,000 members and 5,000 conversations; messages come by pg_temp.fill(), spread over all of them in the
-- order of their time, as years of use would have left them. Triggers are off: the times are in the past.

insert into public.stores (id, name) values ('c0000000-0000-4000-8000-000000000001', 'The Large One');

create function pg_temp.member(n int) returns uuid language sql immutable as
$$ select ('c1000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;

create function pg_temp.conversation(n int) returns uuid language sql immutable as
$$ select ('c2000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;

-- The two members of a conversation: neighbours at a distance that grows with n.
create function pg_temp.one(n int) returns uuid language sql immutable as
$$ select pg_temp.member(n % 1000) $$;

create function pg_temp.other(n int) returns uuid language sql immutable as
$$ select pg_temp.member((n % 1000 + n / 1000 + 1) % 1000) $$;

insert into auth.users (id) select pg_temp.member(n) from generate_series(0, 999) as n;
insert into public.users (id, username) select pg_temp.member(n), 'member ' || n from generate_series(0, 999) as n;
insert into public.store_members (store_id, user_id)
select 'c0000000-0000-4000-8000-000000000001', pg_temp.member(n) from generate_series(0, 999) as n;

insert into public.conversations (id, store_id, created_at, updated_at, position)
select
    pg_temp.conversation(n), 'c0000000-0000-4000-8000-000000000001',
    now() - interval '90 days', now() - interval '30 days', now() - interval '30 days'
from generate_series(0, 4999) as n;
insert into messaging.conversation_pairs (store_id, low, high, conversation_id)
select
    'c0000000-0000-4000-8000-000000000001', least(pg_temp.one(n), pg_temp.other(n)),
    greatest(pg_temp.one(n), pg_temp.other(n)), pg_temp.conversation(n)
from generate_series(0, 4999) as n;
insert into public.conversation_participants (conversation_id, user_id, joined_at, last_read_at)
select pg_temp.conversation(n), m.id, now() - interval '90 days', now() - interval '90 days'
from generate_series(0, 4999) as n
cross join lateral (values (pg_temp.one(n)), (pg_temp.other(n))) as m (id);

-- Message number i of `total`: 80 to 31 days old, so that it expired 50 days to 1 day ago; and every tenth is young.
create function pg_temp.fill(start int, many int, total int) returns void language plpgsql as $$
begin
    set local session_replication_role = replica;
    insert into public.direct_messages (id, conversation_id, sender_id, content, sent_at, retention_expires_at)
    select
        gen_random_uuid(), pg_temp.conversation(m.c),
        case when m.i % 2 = 0 then pg_temp.one(m.c) else pg_temp.other(m.c) end,
        repeat('Have you read the last chapter? ', 3), m.sent_at, m.sent_at + interval '720 hours'
    from (
        select
            i, (i::bigint * 7919 % 5000)::int as c,
            now() - interval '80 days' + interval '49 days' * (i::float / total) as sent_at
        from generate_series(start, start + many - 1) as i
        union all
        select
            i, (i::bigint * 104729 % 5000)::int,
            now() - interval '29 days' + interval '28 days' * (i::float / total)
        from generate_series(start, start + many - 1, 10) as i
    ) as m;
end;
$$;

create function pg_temp.pairs() returns table (sender_id uuid, conversation_id uuid) language sql as
$$ select pg_temp.one(n), pg_temp.conversation(n) from generate_series(0, 4999, 7) as n $$;
