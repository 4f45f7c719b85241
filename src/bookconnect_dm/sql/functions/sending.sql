-- Sending and deleting --------------------------------------------------------------------------------------------

-- What to answer when an insert was refused: the original row (code null) where this is a repeat of one's own send,
-- an error otherwise. Deleted or expired originals come with empty content. Raises nothing, for use within batches.
-- VOLATILE: a repeat must see the row that the first attempt has just committed.
create or replace function messaging.judge_send(message_id uuid, conversation_id uuid, content text)
returns table (code text, detail text, original public.direct_messages)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := auth.uid();
    v_row public.direct_messages;
begin
    if v_caller is null then
        return query select
            'UNAUTHENTICATED', 'Sign in first: the request says nothing of who is asking.',
            null::public.direct_messages;
        return;
    end if;
    select m.* into v_row from public.direct_messages as m where m.id = $1;
    if found then
        if (v_row.sender_id, v_row.conversation_id, v_row.content)
            is distinct from (v_caller, $2, messaging.trimmed($3)) then
            return query select
                'CONFLICT', 'This message id is taken. Send with an id of your own making.',
                null::public.direct_messages;
            return;
        end if;
        if v_row.is_deleted or v_row.retention_expires_at <= clock_timestamp() then
            v_row.is_deleted := true;
            v_row.content := '';
        end if;
        return query select null::text, null::text, v_row;
    elsif not messaging.is_participant($2) then
        return query select
            'CONVERSATION_NOT_FOUND', 'There is no such conversation, or you are not in it.',
            null::public.direct_messages;
    else
        return query select
            'PERMISSION_DENIED', 'You can read this conversation, but no longer write in it.',
            null::public.direct_messages;
    end if;
end;
$$;

-- One insert under row-level security, as whoever calls; null where it is refused.
create or replace function messaging.try_insert(
    message_id uuid, conversation_id uuid, sender_id uuid, content text
) returns public.direct_messages
language plpgsql volatile security invoker set search_path = pg_catalog, pg_temp as $$
declare
    v_row public.direct_messages;
begin
    insert into public.direct_messages (id, conversation_id, sender_id, content)
    values ($1, $2, $3, $4)
    returning * into v_row;
    return v_row;
exception
    -- A plain insert, never ON CONFLICT: the clock's trigger runs before the conflict is found, and only the
    -- rollback of this block takes the clock back.
    when unique_violation or insufficient_privilege then
        return null;
end;
$$;

-- The row where the insert went through or was a repeat; the error otherwise.
create or replace function messaging.settle_send(
    inserted public.direct_messages, message_id uuid, conversation_id uuid, content text
) returns public.direct_messages
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_verdict record;
begin
    if inserted.id is not null then
        return inserted;
    end if;
    select * into v_verdict from messaging.judge_send($2, $3, $4);
    if v_verdict.code is not null then
        perform messaging.fail(v_verdict.code, v_verdict.detail);
    end if;
    return v_verdict.original;
end;
$$;

-- Sends a message. With `message_id` (UUIDv7 of the client's making) a repeat gives the original and changes nothing.
create or replace function public.send_message(conversation_id uuid, content text, message_id uuid default null)
returns public.direct_messages
language sql volatile security invoker
begin atomic
    select messaging.settle_send(
        messaging.try_insert(
            coalesce(send_message.message_id, messaging.uuidv7()),
            send_message.conversation_id, auth.uid(), send_message.content
        ),
        send_message.message_id, send_message.conversation_id, send_message.content
    );
end;

-- Removes one's own message for both sides. Idempotent. Takes its deleted_at from the conversation's clock, so that
-- it has a place in the order; does not touch updated_at, so that inboxes keep theirs.
-- Lock order: the conversation, then the message.
create or replace function messaging.delete_message(message_id uuid) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_caller constant uuid := messaging.caller();
    v_now timestamptz;
    v_row public.direct_messages;
begin
    select m.* into v_row from public.direct_messages as m where m.id = $1;
    if not found or not messaging.is_participant(v_row.conversation_id) then
        perform messaging.fail('MESSAGE_NOT_FOUND', 'There is no such message, or it is gone.');
    elsif v_row.sender_id = v_caller and v_row.is_deleted and v_row.deleted_at < v_row.retention_expires_at then
        return;
    elsif v_row.is_deleted or v_row.retention_expires_at <= clock_timestamp() then
        perform messaging.fail('MESSAGE_NOT_FOUND', 'There is no such message, or it is gone.');
    elsif v_row.sender_id <> v_caller then
        perform messaging.fail('PERMISSION_DENIED', 'Only its sender can delete a message.');
    end if;

    perform from public.conversations as c where c.id = v_row.conversation_id for no key update;
    select greatest(clock_timestamp(), c.position + interval '1 microsecond') into v_now
    from public.conversations as c
    where c.id = v_row.conversation_id;
    -- Under the lock: a second deletion at the same moment, or the end of the message's time, leaves nothing to do.
    update public.direct_messages as m
    set is_deleted = true, deleted_at = v_now
    where m.id = $1 and not m.is_deleted and m.retention_expires_at > v_now;
    if found then
        update public.conversations as c set position = v_now where c.id = v_row.conversation_id;
    end if;
end;
$$;

create or replace function public.delete_message(message_id uuid) returns void
language sql volatile security invoker
begin atomic
    select messaging.delete_message(delete_message.message_id);
end;

revoke all on function
messaging.judge_send(uuid, uuid, text), messaging.try_insert(uuid, uuid, uuid, text),
messaging.settle_send(public.direct_messages, uuid, uuid, text), public.send_message(uuid, text, uuid),
messaging.delete_message(uuid), public.delete_message(uuid)
from public, anon, authenticated, service_role, bookconnect_dm_server;
grant execute on function
messaging.try_insert(uuid, uuid, uuid, text), messaging.settle_send(public.direct_messages, uuid, uuid, text),
public.send_message(uuid, text, uuid), messaging.delete_message(uuid), public.delete_message(uuid)
to authenticated, bookconnect_dm_server;
-- The batch asks without raising.
grant execute on function messaging.judge_send(uuid, uuid, text) to bookconnect_dm_server;
