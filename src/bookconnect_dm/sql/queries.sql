-- The statements that the server runs, by name. Parameters are psycopg's: %(name)s.
--
-- Each is one round trip, in autocommit: one statement is one transaction. messaging.become() says who is asking,
-- for this transaction only. Nothing relies on the order of the text: what must come after it takes its answer (me.ok)
-- as an argument or as a condition.
--
-- Ids, times and JSON of rows come as the wire's text, made here: the driver decodes text in C, and everything else of
-- theirs in Python (a page of 50 messages: 14 us against 350, for 50 us more in the database).

-- name: schema
-- And whether row-level security binds this login: it does not bind superusers, owners, and who has BYPASSRLS.
select messaging.schema_version(), row_security_active('public.direct_messages');

-- name: epoch
select messaging.epoch();

-- name: find_user
select messaging.find_user(%(username)s::text)::text;

-- name: profile
select messaging.profile(%(user_id)s::uuid);

-- name: ephemeral_key
-- With the database's time, by which servers tell what is old.
select messaging.ephemeral_key(), extract(epoch from clock_timestamp())::double precision;

-- name: emit
select messaging.emit(%(content)s::bytea);

-- name: membership
select m.snapshot, m.conversation_id::text, m.user_ids::text[], (select messaging.epoch()) as epoch
from messaging.membership(%(actor)s::uuid) as m;

-- name: me
select f.answer
from messaging.become(%(actor)s::uuid) as me (ok)
cross join lateral (select public.get_me() as answer where me.ok) as f;

-- name: conversations
select
    f.unread_conversations, f.id::text, f.store_id::text, messaging.wire_time(f.created_at) as created_at,
    messaging.wire_time(f.updated_at) as updated_at, messaging.wire_time(f.last_read_at) as last_read_at,
    f.other_id::text, f.other_username, f.other_displayname, f.other_avatar_url,
    messaging.wire_time(f.other_last_read_at) as other_last_read_at,
    f.message_id::text, f.message_content, messaging.wire_time(f.message_sent_at) as message_sent_at,
    f.message_sender_id::text, messaging.wire_time(f.message_expires_at) as message_expires_at, f.unread_count
from messaging.become(%(actor)s::uuid) as me (ok)
cross join lateral messaging.inbox(
    case when me.ok then %(page_limit)s::int end, %(before_updated_at)s::timestamptz, %(before_id)s::uuid
) as f;

-- name: conversation
select f.answer
from messaging.become(%(actor)s::uuid) as me (ok)
cross join lateral (select public.get_conversation(%(conversation_id)s::uuid) as answer where me.ok) as f;

-- name: messages
with page as materialized (
    select f.*
    from messaging.become(%(actor)s::uuid) as me (ok)
    cross join lateral public.get_conversation_messages(
        %(conversation_id)s::uuid, case when me.ok then %(page_limit)s::int end,
        %(before)s::timestamptz, %(after)s::timestamptz
    ) as f
),

senders as materialized (
    select s.sender_id, messaging.profile(s.sender_id) as profile
    from (select distinct page.sender_id from page) as s
)

select
    p.id::text, p.sender_id::text, p.content, messaging.wire_time(p.sent_at) as sent_at,
    messaging.wire_time(p.retention_expires_at) as expires_at, p.has_more, s.profile::text
from page as p
left join senders as s on p.sender_id = s.sender_id;

-- name: start_by_id
select f.conversation_id::text, f.is_existing
from messaging.become(%(actor)s::uuid) as me (ok)
cross join lateral public.start_conversation(
    case when me.ok then %(recipient_id)s::uuid end, %(store_id)s::uuid
) as f;

-- name: start_by_username
select f.conversation_id::text, f.is_existing
from messaging.become(%(actor)s::uuid) as me (ok)
cross join lateral (select public.find_member(%(recipient)s::text) as id where me.ok) as r
cross join lateral public.start_conversation(r.id, %(store_id)s::uuid) as f;

-- name: read
select messaging.wire_time(f.last_read_at) as last_read_at
from messaging.become(%(actor)s::uuid) as me (ok)
cross join lateral (
    select public.mark_conversation_as_read(
        %(conversation_id)s::uuid, %(up_to)s::timestamptz, %(up_to_message)s::uuid
    ) as last_read_at
    where me.ok
) as f;

-- name: delete
select f.done
from messaging.become(%(actor)s::uuid) as me (ok)
cross join lateral (select public.delete_message(%(message_id)s::uuid)::text as done where me.ok) as f;

-- name: members
select f.id::text, f.username, f.displayname, f.avatar_url, f.can_message
from messaging.become(%(actor)s::uuid) as me (ok)
cross join lateral public.search_members(%(query)s::text, case when me.ok then %(page_limit)s::int end) as f;

-- name: sync
select f.answer
from messaging.become(%(actor)s::uuid) as me (ok)
cross join lateral (select public.sync_conversations(%(state)s::jsonb) as answer where me.ok) as f;

-- name: send_batch
-- Of a message that is new the sender has told us all but its times.
select
    r.n, r.code, r.detail, r.field, r.is_new, messaging.wire_time(r.sent_at) as sent_at,
    messaging.wire_time(r.retention_expires_at) as expires_at, r.is_deleted,
    case when not r.is_new then r.content end as content
from messaging.send_batch(
    %(actors)s::uuid[], %(message_ids)s::uuid[], %(conversation_ids)s::uuid[], %(contents)s::text[]
) as r;

-- name: send_one
-- The sender is not called actor here: the writer is fair by itself, and a lane must not wait for his other statements.
select
    r.n, r.code, r.detail, r.field, r.is_new, messaging.wire_time(r.sent_at) as sent_at,
    messaging.wire_time(r.retention_expires_at) as expires_at, r.is_deleted,
    case when not r.is_new then r.content end as content
from messaging.send_one(
    %(sender)s::uuid, %(message_id)s::uuid, %(conversation_id)s::uuid, %(content)s::text, %(lock_wait_ms)s::int
) as r;

-- name: snapshot
select pg_current_snapshot()::text;

-- name: log_standby_snapshot
-- From PostgreSQL 16 on, and only where it is granted; a slot on a standby waits for its record in the primary's log.
select pg_log_standby_snapshot();
