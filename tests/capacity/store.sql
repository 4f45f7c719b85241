-- A store as a plan says: members of three tiers, conversations that one of the two may have started, and no message
-- yet. Triggers are off, since the messages will lie in the past. Replaced: :members, :conversations (of a member).
set session_replication_role = replica;

create function pg_temp.make_id(kind text, n bigint) returns uuid
language sql immutable as $$ select md5(kind || n)::uuid $$;

insert into public.stores (id, name) values (pg_temp.make_id('store', 0), 'The Measured One');

create temporary table member as
select
    u, pg_temp.make_id('user', u) as id,
    (array['free', 'free', 'free', 'free', 'free', 'free', 'free', 'privileged', 'privileged', 'privileged_plus'])
    [1 + u % 10] as tier
from generate_series(0, :members - 1) as u;

insert into auth.users (id) select m.id from member as m;
insert into public.users (id, username, user_tier) select m.id, 'member_' || m.u, m.tier from member as m;

create temporary table pair as
select row_number() over () - 1 as c, p.one, p.other
from (
    select distinct on (least(j.one, j.other), greatest(j.one, j.other)) j.one, j.other
    from (
        select s.u as one, (s.u + 1 + n) % :members as other
        from member as s
        cross join generate_series(0, :conversations * 10 / 6 + 2) as n
        where s.tier <> 'free'
    ) as j
    where j.one <> j.other
    order by least(j.one, j.other), greatest(j.one, j.other)
) as p
order by md5(p.one || '/' || p.other)
limit :members * :conversations / 2;

insert into public.conversations (id, store_id)
select pg_temp.make_id('conversation', p.c), pg_temp.make_id('store', 0) from pair as p;

insert into public.conversation_participants (conversation_id, user_id)
select pg_temp.make_id('conversation', p.c), m.id
from pair as p
inner join member as m on m.u in (p.one, p.other);

insert into messaging.conversation_pairs (store_id, low, high, conversation_id)
select
    pg_temp.make_id('store', 0), least(a.id, b.id), greatest(a.id, b.id), pg_temp.make_id('conversation', p.c)
from pair as p
inner join member as a on p.one = a.u
inner join member as b on p.other = b.u;

-- Each member writes as often as any other, in any of his conversations.
create temporary table place as
select
    row_number() over (order by m.u) - 1 as n, m.id as sender_id, m.tier,
    array_agg(pg_temp.make_id('conversation', p.c) order by p.c) as conversations
from member as m
inner join pair as p on m.u in (p.one, p.other)
group by m.u, m.id, m.tier;
create unique index on place (n);

-- The messages of `days` days from `first` on, in the order of their sending.
create function pg_temp.write(first int, days int, per_day int, mean float) returns void
language sql as $$
    insert into public.direct_messages (
        id, conversation_id, sender_id, content, sent_at, retention_expires_at
    )
    select
        ('0199' || lpad(to_hex(first::bigint * per_day + w.n), 8, '0') || '7000' || '8' || substr(md5(w.n::text), 1, 15))::uuid,
        p.conversations[1 + floor(w.where_to * cardinality(p.conversations))::int], p.sender_id,
        repeat('x', w.length), w.sent_at,
        w.sent_at + case p.tier when 'free' then interval '720 hours' when 'privileged' then interval '4320 hours'
            else interval '8760 hours' end
    from (
        select
            i as n, floor(random() * (select count(*) from place))::int as who, random() as where_to,
            least(1000, ceil(-ln(1 - random()) * mean))::int as length,
            timestamptz '2025-01-01 00:00+00' + first * interval '24 hours' + i * (interval '24 hours' / per_day)
            as sent_at
        from generate_series(0, days * per_day - 1) as i
        offset 0
    ) as w
    inner join place as p on w.who = p.n
    order by w.n
$$;

-- What senders delete, and the night's two steps. Gives the dead rows that it left.
create function pg_temp.sweep(today int, recovery_days int, deleted_share float) returns bigint
language plpgsql as $$
declare
    v_now constant timestamptz := timestamptz '2025-01-01 00:00+00' + (today + 1) * interval '24 hours';
    v_rows bigint;
    v_dead bigint := 0;
begin
    update public.direct_messages as m
    set is_deleted = true, deleted_at = m.sent_at + interval '5 minutes'
    where m.sent_at >= v_now - interval '24 hours' and random() < deleted_share;
    get diagnostics v_rows = row_count;
    v_dead := v_dead + v_rows;
    update public.direct_messages as m
    set is_deleted = true, deleted_at = v_now
    where not m.is_deleted and m.retention_expires_at < v_now;
    get diagnostics v_rows = row_count;
    v_dead := v_dead + v_rows;
    delete from public.direct_messages as m
    where m.is_deleted and m.retention_expires_at < v_now - recovery_days * interval '24 hours';
    get diagnostics v_rows = row_count;
    return v_dead + v_rows;
end;
$$;
