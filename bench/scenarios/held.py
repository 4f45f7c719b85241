"""One conversation's row is held by a foreign session for five seconds: what the others notice."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

from bench import loader
from bench.figures import Figure, Report
from bench.harness import Bench, Server, token
from bench.stores import Store, conversation_id, member_id

ORDER = 50
RATE = 200
HELD_S = 5.0


def play(bench: Bench) -> Report:
    """Quiet and held in turns, on two servers of one database."""
    store = bench.store()
    held_id = conversation_id(loader.LONG)
    members = [
        {**one, "conversations": left}
        for one in store.members(500)
        if (left := [c for c in one["conversations"] if c != held_id])
    ]
    here, there = members[::2], members[1::2]
    quiet: dict[str, list[float]] = {"the same server": [], "a second server": []}
    busy: dict[str, list[float]] = {"the same server": [], "a second server": []}
    with bench.server(store.database) as one, bench.server(store.database) as two:
        for pair in range(bench.size.pairs):
            for name, server in (("the same server", one), ("a second server", two)):
                some = here if name == "the same server" else there
                for into in (quiet, busy):
                    with _held(bench, store, one) if into is busy else contextlib.nullcontext():
                        found = bench.load([server], load="talk", members=some, rate=RATE,
                                           seconds=HELD_S - 1, warm_s=0.5, seed=pair,
                                           all_hear=False)  # fmt: skip
                    if found["errors"]:
                        raise SystemExit(f"Others were refused: {found['errors']}")
                    into[name].append(found["ack_ms"]["p99"])
    return Report(
        scenario="held",
        title="A conversation that is held",
        how=f"{RATE} sends a second in other conversations, while a foreign session holds one"
        f" conversation's row for {HELD_S:.0f} s and members of it keep sending on the first"
        " server; against the same without.",
        size=f"{store.messages:,} messages before",
        figures=[
            Figure(what=f"acknowledged p99, on {name}", unit="ms", values=busy[name], target=2.0,
                   as_ratio=True, baseline_is="quiet", baseline=quiet[name])
            for name in quiet
        ],
    )  # fmt: skip


@contextlib.contextmanager
def _held(bench: Bench, store: Store, server: Server) -> Any:
    """Hold the row; two members send into it for as long."""
    is_over = threading.Event()

    def send() -> None:
        until = time.monotonic() + HELD_S
        while not is_over.wait(0.1) and time.monotonic() < until:
            threading.Thread(target=_post, args=(server,), daemon=True).start()

    with bench.admin(store.database) as db, db.transaction():
        db.execute(
            "select from public.conversations where id = %s for update",
            (conversation_id(loader.LONG),),
        )
        sending = threading.Thread(target=send)
        sending.start()
        try:
            yield
        finally:
            is_over.set()
            sending.join()


def _post(server: Server) -> None:
    request = Request(
        f"{server.url}/v1/conversations/{conversation_id(loader.LONG)}/messages",
        data=json.dumps({"id": str(uuid4()), "content": "Are you there?"}).encode(),
        headers={"Authorization": f"Bearer {token(member_id(4))}",
                 "Content-Type": "application/json"},
    )  # fmt: skip
    with contextlib.suppress(OSError), urlopen(request, timeout=15) as answer:
        answer.read()
