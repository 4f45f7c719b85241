"""A member with 100,000 messages changes his tier: all their expiry times are computed anew."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench import stores
from bench.figures import Figure, Report
from bench.harness import Bench
from bench.stores import STORE_ID
from bookconnect_dm import retention

ORDER = 100
MESSAGES = 100_000
AT_ONCE = """
update public.direct_messages set retention_expires_at = retention_expires_at + interval '1 hour'
"""
FILL = """
set session_replication_role = replica;
insert into public.stores (id, name) values ('{store}', 'Bench');
insert into auth.users (id) select lpad(to_hex(n), 32, '0')::uuid from generate_series(1, 101) as n;
insert into public.users (id, username, user_tier)
select u.id, 'r' || u.id, 'privileged' from auth.users as u;
insert into messaging.tier_changes (user_id, changed_at, tier)
select u.id, '-infinity', 'privileged' from auth.users as u;
insert into public.conversations (id, store_id)
select lpad(to_hex(n), 32, 'c')::uuid, '{store}' from generate_series(1, 100) as n;
insert into public.conversation_participants (conversation_id, user_id)
select lpad(to_hex(n), 32, 'c')::uuid, lpad(to_hex(m.u), 32, '0')::uuid
from generate_series(1, 100) as n cross join lateral (values (101), (n)) as m (u);
insert into public.direct_messages
    (id, conversation_id, sender_id, content, sent_at, retention_expires_at)
select
    gen_random_uuid(), lpad(to_hex(i % 100 + 1), 32, 'c')::uuid, lpad(to_hex(101), 32, '0')::uuid,
    repeat('Have you read it? ', 5), s.at, s.at + interval '4320 hours'
from generate_series(1, {messages}) as i
cross join lateral (select now() - interval '170 days' * (i::float / {messages}) as at) as s;
set session_replication_role = origin;
analyze;
"""


def play(bench: Bench) -> Report:
    """The change itself, and the worker's batches until nothing is pending."""
    change, rest, plain = [], [], []
    for _ in range(bench.size.pairs):
        database = stores.open_empty(bench.postgres, "recalculation")
        with bench.admin(database) as db:
            db.execute(FILL.format(store=STORE_ID, messages=MESSAGES))
            change.append(_timed(db, "update public.users set user_tier = 'privileged_plus'"
                                 " where id = lpad(to_hex(101), 32, '0')::uuid") * 1e3)  # fmt: skip
            began = time.perf_counter()
            done = asyncio.run(retention.run_once(bench.admin_url(database)))
            rest.append(MESSAGES / (time.perf_counter() - began))
            if done.counts.get("recalculate", 0) < MESSAGES:
                raise SystemExit(f"Not all were computed anew: {done.counts}")
            plain.append(MESSAGES / _timed(db, AT_ONCE))
    return Report(
        scenario="recalculation",
        title="Recalculation after a change of tier",
        how=f"A member with {MESSAGES:,} messages in 100 conversations goes up a tier. The change"
        " rewrites what expires soon; the worker's small batches the rest, with their pauses. The"
        " baseline is one UPDATE of the same rows, which holds them all to its end.",
        size=f"{MESSAGES:,} messages",
        figures=[
            Figure(what="the change itself, in the host's transaction", unit="ms", values=change),
            Figure(what="computed anew by the worker", unit="messages/s", values=rest,
                   baseline_is="one UPDATE of all", baseline=plain),
        ],
    )  # fmt: skip


def _timed(db: Any, statement: str) -> float:
    began = time.perf_counter()
    db.execute(statement)
    return time.perf_counter() - began
