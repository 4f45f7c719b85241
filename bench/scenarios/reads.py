"""Reading over HTTP: inbox, history at any depth, member search, catching up, beginning to talk."""

from __future__ import annotations

import json
from typing import Any

from bench import loader
from bench.asking import WARM_ROUNDS
from bench.figures import Chart, Figure, Report, Series
from bench.harness import Bench
from bench.stats import median, percentile
from bench.stores import STORE_ID, conversation_id, member_id

ORDER = 30
TARGETS = {
    "inbox, 200 conversations": 4.0,
    "inbox, 1,000 conversations": 10.0,
    "history, newest page": 3.0,
    "history, middle page": 3.0,
    "history, oldest page": 3.0,
}
STATEMENTS = {
    "inbox, 200 conversations": "select * from public.get_user_conversations()",
    "history, newest page": "select * from public.get_conversation_messages(%(long)s)",
}


def play(bench: Bench) -> Report:
    """Each round asks each thing once; a block of rounds is a repetition."""
    store = bench.store()
    with bench.admin(store.database) as db:
        groups = groups_of(db)
    rounds = 100 if bench.size.is_full else 60
    p95: dict[str, list[float]] = {name: [] for name in groups}
    p50: dict[str, list[float]] = {name: [] for name in groups}
    with bench.server(store.database) as running:
        for pair in range(bench.size.pairs):
            found = bench.load([running], load="ask", groups=groups, rounds=rounds,
                               first=pair * (rounds + WARM_ROUNDS))  # fmt: skip
            for name, took in found["ms"].items():
                p95[name].append(percentile(took, 0.95))
                p50[name].append(percentile(took, 0.5))
    floor = p50["nothing at all (GET /healthz)"]
    report = Report(
        scenario="reads",
        title="Reading",
        how="One client on one connection, request by request, all kinds in turns; the server's"
        " answer whole. The baseline is a request that asks for nothing.",
        size=f"{store.messages:,} messages; one conversation has 100,000",
    )
    for name in groups:
        report.figures += [
            Figure(what=f"{name}, p95", unit="ms", values=p95[name], target=TARGETS.get(name),
                   baseline_is="a request that asks for nothing, p50", baseline=floor),
        ]  # fmt: skip
    ratio = [a / b for a, b in zip(p50["history, oldest page"], p50["history, newest page"],
                                   strict=True)]  # fmt: skip
    report.figures.append(Figure(what="history, oldest page to newest page, p50", unit="x",
                                 values=ratio, target=1.3))  # fmt: skip
    report.charts.append(Chart(name="reads", title="Reading over HTTP", unit="ms", series=[
        Series(name=label, points=[(name, median(values[name])) for name in groups])
        for label, values in (("p50", p50), ("p95", p95))]))  # fmt: skip
    return report


def groups_of(db: Any) -> dict[str, list[dict[str, Any]]]:
    """What is asked of a store, by the figure's name."""
    long = conversation_id(loader.LONG)
    reader = member_id(4)
    path = f"/v1/conversations/{long}/messages"
    at = {share: _position(db, long, share) for share in (0.5, 0.999)}
    busy = member_id(1)
    strangers = [row[0] for row in db.execute(
        "select u.id::text from public.users as u where u.id <> %s and not exists (select from"
        " messaging.conversation_pairs as p where (p.low, p.high) = (least(u.id, %s::uuid),"
        " greatest(u.id, %s::uuid))) order by u.id desc limit 2000", [busy] * 3)]  # fmt: skip
    # Those of the staff may begin to talk, whatever their tier.
    db.execute("update public.store_members set role = 'manager' where user_id = %s", (busy,))
    return {
        "nothing at all (GET /healthz)": [{"path": "/healthz", "member": reader}],
        "inbox, 20 conversations": [{"path": "/v1/conversations", "member": member_id(3)}],
        "inbox, 200 conversations": [{"path": "/v1/conversations", "member": member_id(2)}],
        "inbox, 1,000 conversations": [{"path": "/v1/conversations", "member": busy}],
        "history, newest page": [{"path": path, "member": reader}],
        "history, middle page": [{"path": f"{path}?before={at[0.5]}", "member": reader}],
        "history, oldest page": [{"path": f"{path}?before={at[0.999]}", "member": reader}],
        "search for a member": [
            {"path": f"/v1/members?query={text}", "member": reader}
            for text in ("a", "an", "ad", "ada", "ada%20a", "reader_12", "gogol", "z")
        ],
        "begin a conversation": [
            {"method": "POST", "path": "/v1/conversations", "member": busy,
             "body": {"recipient_id": one, "store_id": STORE_ID}} for one in strangers
        ],
        "catch up after a minute": _syncs(db, "1 minute"),
        "catch up after a day": _syncs(db, "1 day"),
        "catch up after 30 days": _syncs(db, "30 days"),
    }  # fmt: skip


def _position(db: Any, conversation: str, share: float) -> str:
    """Of a message so far back."""
    row = db.execute(
        "select messaging.wire_time(sent_at) from public.direct_messages where conversation_id = %s"
        " order by sent_at desc offset %s limit 1",
        (conversation, int(loader.LONG_MESSAGES * share * 0.97)),
    ).fetchone()
    return str(row[0]) if row else "2020-01-01T00:00:00.000000Z"


def _syncs(db: Any, away: str) -> list[dict[str, Any]]:
    """What clients of ten members ask for who were away so long."""
    found = []
    epoch = db.execute("select messaging.epoch()").fetchone()[0]
    for number in range(11, 21):
        rows = db.execute(
            "select c.id::text, messaging.wire_time(least(c.position, now() - %s::interval))"
            " from public.conversation_participants as p"
            " inner join public.conversations as c on p.conversation_id = c.id"
            " where p.user_id = %s",
            (away, member_id(number)),
        ).fetchall()
        body = {"epoch": epoch, "positions": dict(rows), "cursor": None}
        found.append({"method": "POST", "path": "/v1/sync", "member": member_id(number),
                      "body": json.loads(json.dumps(body))})  # fmt: skip
    return found
