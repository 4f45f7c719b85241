"""Retention as a member meets it through the server: to the second, in every answer."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from tests.helpers.live import live
from tests.helpers.server import RunningServer, token_for
from tests.helpers.world import World
from tests.protocol.conftest import Client

EXPIRE = """
update public.direct_messages
set retention_expires_at = clock_timestamp() + %(in_s)s * interval '1 s'
where id = %(id)s
returning retention_expires_at
"""


def _expire(world: World, message_id: str, in_s: float) -> datetime:
    """Let a message's time end soon, as no client can: past the triggers."""
    with world.db.as_superuser() as owner:
        owner.execute("set local session_replication_role = replica")
        row = owner.execute(EXPIRE, {"id": message_id, "in_s": in_s}).fetchone()
    assert row is not None
    moment: datetime = row["retention_expires_at"]
    return moment


def _until(world: World, moment: datetime) -> None:
    """Wait for the database's clock."""
    while not world.db.run("select clock_timestamp() > %s as is_past", moment)[0]["is_past"]:
        time.sleep(0.02)


def _seen(client: httpx.Client, conversation: UUID, message_id: str) -> dict[str, bool]:
    """In which answers of the API a message shows."""
    path = f"/v1/conversations/{conversation}"
    one: dict[str, Any] = client.get(path).json()
    inbox = client.get("/v1/conversations?limit=100").json()
    listed = next(c for c in inbox["conversations"] if c["id"] == str(conversation))
    page = client.get(f"{path}/messages").json()
    epoch = client.post("/v1/sync", json={}).json()["epoch"]
    state = {"epoch": epoch, "positions": {str(conversation): one["created_at"]}}
    told = client.post("/v1/sync", json=state).json()["changes"]
    return {
        "page": message_id in [m["id"] for m in page["messages"]],
        "preview": (one["last_message"] or {}).get("id") == message_id,
        "inbox": (listed["last_message"] or {}).get("id") == message_id,
        "unread": one["unread_count"] > 0,
        "badge": inbox["unread_conversations"] > 0,
        "sync": message_id in [m["id"] for change in told for m in change["messages"]],
    }


def test_a_message_ends_in_every_answer_at_its_second(
    server: RunningServer, shared: World, client: Client
) -> None:
    """No cleaner runs here."""
    conversation = shared.converse(shared.ada, shared.cleo)
    ada, cleo = client(server, shared.ada), client(server, shared.cleo)
    path = f"/v1/conversations/{conversation}/messages"
    body = {"id": str(uuid4()), "content": "Only for a moment"}
    assert cleo.post(path, json=body).status_code == 201
    ends = _expire(shared, body["id"], 3)
    before = _seen(ada, conversation, body["id"])
    if not shared.db.run("select clock_timestamp() > %s as is_past", ends)[0]["is_past"]:
        assert all(before.values()), before
    _until(shared, ends)
    assert not any((after := _seen(ada, conversation, body["id"])).values()), after
    assert not any(_seen(cleo, conversation, body["id"]).values())
    assert cleo.delete(f"/v1/messages/{body['id']}").status_code == 404
    repeat = cleo.post(path, json=body)
    assert (repeat.status_code, repeat.json()["content"], repeat.json()["is_deleted"]) == (
        200,
        "",
        True,
    )


async def test_a_change_of_tier_is_told_to_both_and_the_grace_to_the_member(
    server: RunningServer, shared: World, client: Client
) -> None:
    conversation = shared.converse(shared.dora, shared.cleo)
    cleo = client(server, shared.cleo)
    path = f"/v1/conversations/{conversation}/messages"
    sent = cleo.post(path, json={"content": "It ends within the day"}).json()
    _expire(shared, sent["id"], 3600)
    async with (
        live(server.socket_url, token_for(shared.cleo)) as mine,
        live(server.socket_url, token_for(shared.dora)) as theirs,
    ):
        shared.set_tier(shared.cleo, "privileged")
        for socket in (mine, theirs):
            told = ""
            while told != str(conversation):
                told = (await socket.hear("expiry", "reload"))["conversation_id"]
    message = cleo.get(path).json()["messages"][0]
    lived = datetime.fromisoformat(message["expires_at"]) - datetime.fromisoformat(sent["sent_at"])
    assert lived == timedelta(days=180)
    assert cleo.get("/v1/me").json()["retention"]["grace_ends_at"] is None
    shared.set_tier(shared.cleo, "free")
    retention = cleo.get("/v1/me").json()["retention"]
    left = datetime.fromisoformat(retention["grace_ends_at"]) - datetime.now(UTC)
    assert retention["retention_days"] == 30
    assert timedelta(days=29) < left <= timedelta(days=30, minutes=1)
    assert cleo.get(path).json()["messages"][0]["expires_at"] == message["expires_at"]


async def test_an_erased_member_is_gone_from_the_living_page_unless_a_hold_keeps_him(
    server: RunningServer, shared: World, client: Client
) -> None:
    conversation = shared.converse(shared.ada, shared.ben)
    ada, ben = client(server, shared.ada), client(server, shared.ben)
    path = f"/v1/conversations/{conversation}"
    theirs = ben.post(f"{path}/messages", json={"content": "From ben"}).json()["id"]
    mine = ada.post(f"{path}/messages", json={"content": "From ada"}).json()["id"]
    erase = "delete from auth.users where id = %s"
    shared.db.run("select messaging.place_hold(%s, 'case 12')", conversation)
    with pytest.raises(psycopg.Error, match="LEGAL_HOLD"):
        shared.db.run(erase, shared.ben)
    assert len(ada.get(f"{path}/messages").json()["messages"]) == 2
    shared.db.run("select messaging.release_hold(%s)", conversation)
    async with (
        live(server.socket_url, token_for(shared.ada)) as stays,
        live(server.socket_url, token_for(shared.ben)) as goes,
    ):
        shared.db.run(erase, shared.ben)
        assert (await goes.hear("conversation_removed"))["conversation_id"] == str(conversation)
        heard = await stays.hear("reload", "message_deleted", "conversation")
        assert heard["conversation_id"] == str(conversation)
    assert [m["id"] for m in ada.get(f"{path}/messages").json()["messages"]] == [mine]
    assert theirs != mine
    assert ada.get(path).json()["other_participant"] is None
    assert ada.post(f"{path}/messages", json={"content": "Hello?"}).status_code == 403
    assert ben.get("/v1/conversations").json()["conversations"] == []
    assert ben.get(path).status_code == 404
