-- Tables. Versioned: never edited after release; a later change is a later file.
-- The three tables of the mission with its columns, and one more: conversations.position (docs/decisions/0002).
-- Bookkeeping lives in schema messaging, which no client reaches.

-- direct_messages.id sorts by time of making. PostgreSQL 18 has uuidv7(); 15 to 17 get the same layout (RFC 9562):
-- 48 bits of Unix milliseconds, then a version-4 UUID's random bits with the version turned from 4 into 7.
do $$
begin
    if pg_catalog.current_setting('server_version_num')::int >= 180000 then
        create function messaging.uuidv7() returns uuid
        language sql volatile parallel safe
        begin atomic
            select pg_catalog.uuidv7();
        end;
    else
        create function messaging.uuidv7() returns uuid
        language sql volatile parallel safe
        begin atomic
            select encode(
                set_bit(
                    set_bit(
                        overlay(
                            uuid_send(gen_random_uuid())
                            placing substring(
                                int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3
                            )
                            from 1 for 6
                        ),
                        52, 1
                    ),
                    53, 1
                ),
                'hex'
            )::uuid;
        end;
    end if;
end;
$$;

create table public.conversations (
    id uuid primary key default gen_random_uuid(),
    store_id uuid not null references public.stores (id) on delete cascade,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    position timestamptz not null default now()
)
-- Each send updates its conversation's clock; room on the page keeps that update off the indexes (HOT).
with (fillfactor = 70);

comment on table public.conversations is 'One conversation of a store''s members; for two members exactly one.';
comment on column public.conversations.updated_at is 'sent_at of the newest message; inboxes are sorted by it.';
comment on column public.conversations.position is
'The conversation''s clock: the newest sent_at, or deleted_at of a deletion by its sender. Rises in commit order.';

create table public.conversation_participants (
    conversation_id uuid not null references public.conversations (id) on delete cascade,
    user_id uuid not null references auth.users (id) on delete cascade,
    joined_at timestamptz not null default now(),
    last_read_at timestamptz not null default now(),
    primary key (conversation_id, user_id)
)
with (fillfactor = 70);

comment on column public.conversation_participants.last_read_at is
'Position up to which this member has read. Moves forward only, never past the newest message.';

create table public.direct_messages (
    id uuid primary key default messaging.uuidv7(),
    conversation_id uuid not null references public.conversations (id) on delete cascade,
    sender_id uuid not null references auth.users (id) on delete cascade,
    content text not null check (length(content) <= 1000 and content <> ''),
    sent_at timestamptz not null default now(),
    is_deleted boolean not null default false,
    deleted_at timestamptz null,
    retention_expires_at timestamptz not null,
    check (is_deleted = (deleted_at is not null))
);

comment on column public.direct_messages.id is 'May be made by the client (UUIDv7); the idempotency key of the send.';
comment on column public.direct_messages.sent_at is
'The conversation''s clock at the insert: unique and rising within a conversation, in commit order.';
comment on column public.direct_messages.deleted_at is
'Before retention_expires_at: the sender deleted it. At or after: it expired and was swept.';

-- What is left of one pair and store: the lock that makes two simultaneous starts one conversation.
create table messaging.conversation_pairs (
    store_id uuid not null references public.stores (id) on delete cascade,
    low uuid not null,
    high uuid not null,
    conversation_id uuid not null unique references public.conversations (id) on delete cascade,
    primary key (store_id, low, high),
    check (low < high)
);

-- Every tier that a member was seen with. The first row starts at -infinity. Expiry is computed from all of it.
create table messaging.tier_changes (
    user_id uuid not null references auth.users (id) on delete cascade,
    changed_at timestamptz not null,
    tier text not null check (tier in ('free', 'privileged', 'privileged_plus')),
    primary key (user_id, changed_at)
);

-- Members whose messages are to be given new expiry times. While a row is here, the sweep leaves him alone.
create table messaging.recalculations (
    user_id uuid primary key references auth.users (id) on delete cascade,
    requested_at timestamptz not null,
    -- A pass is the last one when it began after every transaction below this had ended: one that was running when
    -- the tier changed may still commit a message with the old expiry.
    waits_for xid8 null,
    -- The pass that is under way: the oldest transaction running when it began, and how far it has come.
    pass_xmin xid8 null,
    done_to timestamptz null,
    done_to_id uuid null,
    -- Conversations whose clients must load anew, not yet told.
    touched uuid [] not null default '{}'
);

-- A client whose position lies before this cannot catch up step by step and loads the conversation anew.
create table messaging.reload_marks (
    conversation_id uuid primary key references public.conversations (id) on delete cascade,
    reload_before timestamptz not null
);

create table messaging.legal_holds (
    conversation_id uuid primary key references public.conversations (id),
    reason text not null,
    placed_at timestamptz not null default now(),
    placed_by text not null default current_user
);

-- One row a batch; counts, never content.
create table messaging.cleanup_ledger (
    id bigint generated always as identity primary key,
    happened_at timestamptz not null default clock_timestamp(),
    step text not null check (step in ('recalculate', 'soft_delete', 'cleanup', 'erase')),
    messages int not null,
    oldest_expiry timestamptz null,
    newest_expiry timestamptz null
);

create table messaging.settings (
    name text primary key,
    value text not null
);

insert into messaging.settings (name, value) values
('epoch_seed', gen_random_uuid()::text),
-- Signs what servers say to each other through the log (typing, presence).
('ephemeral_key', encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'hex'));

-- A row of a page of history. A named type, since its names are those of the function's arguments too.
create type messaging.history_row as (
    id uuid,
    conversation_id uuid,
    sender_id uuid,
    content text,
    sent_at timestamptz,
    retention_expires_at timestamptz,
    has_more boolean
);
revoke all on type messaging.history_row from public, anon, authenticated, service_role, bookconnect_dm_server;

-- What became of one row of a batch of sends. `code` null: stored, or the original of a repeat.
create type messaging.send_result as (
    n int,
    code text,
    detail text,
    field text,
    is_new boolean,
    id uuid,
    conversation_id uuid,
    sender_id uuid,
    content text,
    sent_at timestamptz,
    retention_expires_at timestamptz,
    is_deleted boolean
);
revoke all on type messaging.send_result from public, anon, authenticated, service_role, bookconnect_dm_server;

-- Default privileges of the host may have granted anything to anybody: everything off, by name, before 002 grants.
revoke all on
public.conversations, public.conversation_participants, public.direct_messages,
messaging.conversation_pairs, messaging.tier_changes, messaging.recalculations, messaging.reload_marks,
messaging.legal_holds, messaging.cleanup_ledger, messaging.settings
from public, anon, authenticated, service_role, bookconnect_dm_server;

revoke all on all sequences in schema messaging
from public, anon, authenticated, service_role, bookconnect_dm_server;

revoke all on function messaging.uuidv7() from public, anon, authenticated, service_role, bookconnect_dm_server;

alter table public.conversations enable row level security;
alter table public.conversation_participants enable row level security;
alter table public.direct_messages enable row level security;
-- No policy follows for these: a lock for the day on which somebody exposes the schema.
alter table messaging.conversation_pairs enable row level security;
alter table messaging.tier_changes enable row level security;
alter table messaging.recalculations enable row level security;
alter table messaging.reload_marks enable row level security;
alter table messaging.legal_holds enable row level security;
alter table messaging.cleanup_ledger enable row level security;
alter table messaging.settings enable row level security;

-- What the feed reads. Messages and participants in full; of conversations only that one began (and in which store).
-- Later migrations ALTER these: dropping and making one anew loses rows of the stream.
create publication bookconnect_dm
for table public.direct_messages, public.conversation_participants
with (publish = 'insert, update, delete');
create publication bookconnect_dm_starts
for table public.conversations
with (publish = 'insert');
