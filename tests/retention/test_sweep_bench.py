"""The bench of a large sweep, small: it counts right, and senders get through."""

from __future__ import annotations

import asyncio
import os

import pytest

from bench.scenarios import sweep
from tests.helpers.postgres import SERVER, Database

PROOF = os.environ.get("PROOF") == "1"


@pytest.mark.parametrize("messages", [1_000_000 if PROOF else 5_000])
async def test_a_large_sweep_takes_all_and_only_what_is_due(pg: Database, messages: int) -> None:
    result = await asyncio.to_thread(
        sweep.measure, pg.admin_url, pg.url(SERVER), messages=messages, quiet_s=1.0, rate=50.0
    )
    young = messages // 10
    sent = result.quiet.count + result.busy.count
    left = pg.run("select count(*) as many, bool_or(is_deleted) as any from public.direct_messages")
    assert (result.sweep.marked, result.sweep.removed) == (messages, messages)
    assert left == [{"many": young + sent, "any": False}]
    assert result.quiet.failures + result.busy.failures == 0
    # Generous: a fraction of what a laptop does. The figures themselves are the bench's to tell.
    assert result.sweep.removed / result.sweep.took_s > 500
    assert result.sweep.longest_batch_ms < 5_000
    print("\n".join(sweep.report(result, messages)))
