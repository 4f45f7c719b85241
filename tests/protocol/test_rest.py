"""REST as the contract says it, against a real server and database."""

from __future__ import annotations

import json
import re
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from bookconnect_dm import wire
from bookconnect_dm.content import uuid7
from tests.helpers.server import RunningServer
from tests.helpers.world import World
from tests.protocol.conftest import Client

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture
def ada(client: Client, server: RunningServer, shared: World) -> httpx.Client:
    return client(server, shared.ada)


@pytest.fixture
def ben(client: Client, server: RunningServer, shared: World) -> httpx.Client:
    return client(server, shared.ben)


@pytest.fixture
def conversation(ada: httpx.Client) -> str:
    answer = ada.post("/v1/conversations", json={"recipient": "ben"})
    assert answer.status_code in {200, 201}
    return str(answer.json()["conversation_id"])


def send(who: httpx.Client, conversation: str, content: str, **more: str) -> httpx.Response:
    return who.post(f"/v1/conversations/{conversation}/messages", json={"content": content, **more})


def test_me_says_who_i_am(ada: httpx.Client, shared: World) -> None:
    answer = ada.get("/v1/me")
    assert answer.status_code == 200
    me = msgspec.json.decode(answer.content, type=wire.Me)
    assert (me.id, me.username, me.tier) == (str(shared.ada), "ada", "privileged_plus")
    assert me.can_start_conversations
    assert [store.name for store in me.stores] == ["Page & Anchor"]
    assert me.retention == wire.Retention("privileged_plus", 365, None)


def test_answers_are_not_kept_by_anybody(ada: httpx.Client) -> None:
    assert ada.get("/v1/me").headers["cache-control"] == "no-store"


def test_starting_twice_finds_the_first(
    ada: httpx.Client, ben: httpx.Client, shared: World
) -> None:
    first = ada.post("/v1/conversations", json={"recipient": "dora"})
    again = ada.post(
        "/v1/conversations",
        json={"recipient_id": str(shared.dora), "store_id": str(shared.page_anchor)},
    )
    assert (first.status_code, first.json()["is_existing"]) == (201, False)
    assert (again.status_code, again.json()["is_existing"]) == (200, True)
    assert first.json()["conversation_id"] == again.json()["conversation_id"]


def test_a_message_is_stored_and_given_back(
    ada: httpx.Client, conversation: str, shared: World
) -> None:
    answer = send(ada, conversation, "  Have you read it?\n")
    assert answer.status_code == 201
    message = msgspec.json.decode(answer.content, type=wire.DMMessage)
    assert message.content == "Have you read it?"
    assert (message.conversation_id, message.sender_id) == (conversation, str(shared.ada))
    assert isinstance(message.sender, wire.Sender)
    assert message.sender.username == "ada"
    assert not message.is_deleted
    assert TIME.fullmatch(message.sent_at)
    assert TIME.fullmatch(message.expires_at)
    assert UUID(message.id).version == 7


def test_a_repeat_gives_the_original(ada: httpx.Client, conversation: str) -> None:
    message_id = str(uuid7(1))
    first = send(ada, conversation, "Once", id=message_id)
    again = send(ada, conversation, " Once ", id=message_id)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()


def test_another_text_under_a_taken_id_is_a_conflict_that_leaks_nothing(
    ada: httpx.Client, ben: httpx.Client, conversation: str
) -> None:
    message_id = str(uuid4())
    assert send(ada, conversation, "Mine", id=message_id).status_code == 201
    for answer in (
        send(ada, conversation, "Other", id=message_id),
        send(ben, conversation, "Mine", id=message_id),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
        assert "Mine" not in answer.text


def test_a_repeat_of_a_deleted_message_tells_that_it_is_gone(
    ada: httpx.Client, conversation: str
) -> None:
    message_id = str(uuid4())
    send(ada, conversation, "Regrets", id=message_id)
    assert ada.delete(f"/v1/messages/{message_id}").status_code == 204
    again = send(ada, conversation, "Regrets", id=message_id)
    assert (again.status_code, again.json()["is_deleted"], again.json()["content"]) == (
        200,
        True,
        "",
    )


def test_pages_go_back_to_the_beginning_and_forth_again(
    ada: httpx.Client, ben: httpx.Client, own_conversation: str
) -> None:
    sent = [
        send((ada, ben)[n % 2], own_conversation, f"number {n}").json()["id"] for n in range(25)
    ]
    path = f"/v1/conversations/{own_conversation}/messages"
    back: list[str] = []
    cursor: str | None = None
    while True:
        page = ada.get(path, params={"limit": 10} | ({"before": cursor} if cursor else {})).json()
        back = [m["id"] for m in page["messages"]] + back
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert back == sent
    first = ada.get(path, params={"limit": 1, "before": "9999-01-01T00:00:00Z"}).json()
    assert first["messages"][0]["id"] == sent[-1]

    oldest = ada.get(path, params={"limit": 100}).json()["messages"][0]["sent_at"]
    forth = [sent[0]]
    cursor = oldest
    while cursor:
        page = ada.get(path, params={"limit": 7, "after": cursor}).json()
        forth += [m["id"] for m in page["messages"]]
        cursor = page["next_cursor"]
    assert forth == sent


@pytest.fixture
def own_conversation(ada: httpx.Client, shared: World) -> str:
    """A conversation of ada and ben that is empty: its messages are removed by the owner."""
    answer = ada.post("/v1/conversations", json={"recipient": "ben"}).json()
    shared.db.run(
        "delete from public.direct_messages where conversation_id = %s", answer["conversation_id"]
    )
    return str(answer["conversation_id"])


def test_a_full_last_page_has_no_next(ada: httpx.Client, own_conversation: str) -> None:
    for n in range(3):
        send(ada, own_conversation, f"number {n}")
    path = f"/v1/conversations/{own_conversation}/messages"
    page = ada.get(path, params={"limit": 3}).json()
    assert (len(page["messages"]), page["has_more"], page["next_cursor"]) == (3, False, None)
    empty = ada.get(path, params={"before": "2000-01-01T00:00:00.000000Z"}).json()
    assert empty == {"messages": [], "has_more": False, "next_cursor": None}


def test_the_inbox_shows_the_newest_first_and_pages(
    client: Client, server: RunningServer, shared: World
) -> None:
    dora = client(server, shared.dora)
    for name in ("ada", "ben", "cleo"):
        started = dora.post("/v1/conversations", json={"recipient": name}).json()
        send(dora, started["conversation_id"], f"Hello {name}")
    page = dora.get("/v1/conversations", params={"limit": 2})
    inbox = msgspec.json.decode(page.content, type=wire.ConversationPage)
    assert [names(c) for c in inbox.conversations] == ["cleo", "ben"]
    assert inbox.next_cursor
    rest = dora.get("/v1/conversations", params={"limit": 2, "cursor": inbox.next_cursor}).json()
    assert rest["conversations"][0]["other_participant"]["username"] == "ada"
    assert (len(rest["conversations"]), rest["next_cursor"]) == (1, None)
    assert rest["conversations"][0]["last_message"]["content"] == "Hello ada"


def names(conversation: wire.DMConversation) -> str | None:
    other = conversation.other_participant
    return other.username if other else None


def test_unread_counts_until_it_is_read(
    ada: httpx.Client, ben: httpx.Client, own_conversation: str
) -> None:
    path = f"/v1/conversations/{own_conversation}"
    sent = [send(ada, own_conversation, f"number {n}").json() for n in range(3)]
    before = ben.get("/v1/conversations").json()
    assert before["unread_conversations"] >= 1
    assert ben.get(path).json()["unread_count"] == 3
    assert ada.get(path).json()["unread_count"] == 0

    read = ben.post(f"{path}/read", json={"up_to_message": sent[1]["id"]})
    assert read.json() == {"last_read_at": sent[1]["sent_at"]}
    assert ben.get(path).json()["unread_count"] == 1
    assert ben.post(f"{path}/read", json={"up_to": sent[0]["sent_at"]}).json() == read.json()
    assert ben.post(f"{path}/read", json={}).json() == {"last_read_at": sent[2]["sent_at"]}
    seen = ada.get(path).json()["other_participant"]["last_read_at"]
    assert seen == sent[2]["sent_at"]


def test_a_conversation_has_the_shape_of_the_contract(ada: httpx.Client, conversation: str) -> None:
    raw = ada.get(f"/v1/conversations/{conversation}")
    one = msgspec.json.decode(raw.content, type=wire.DMConversation)
    assert one.id == conversation
    listed = ada.get("/v1/conversations").json()["conversations"]
    assert raw.json() in listed


def test_deleting_is_for_both_and_may_be_repeated(
    ada: httpx.Client, ben: httpx.Client, conversation: str
) -> None:
    message_id = send(ada, conversation, "Away with it").json()["id"]
    assert ben.delete(f"/v1/messages/{message_id}").status_code == 403
    for _ in range(2):
        answer = ada.delete(f"/v1/messages/{message_id}")
        assert (answer.status_code, answer.content) == (204, b"")
    for who in (ada, ben):
        page = who.get(f"/v1/conversations/{conversation}/messages").json()
        assert message_id not in {m["id"] for m in page["messages"]}


def test_members_of_my_store_are_found(
    client: Client, server: RunningServer, shared: World
) -> None:
    found = client(server, shared.cleo).get("/v1/members", params={"query": "DOR"})
    (dora,) = msgspec.json.decode(found.content, type=wire.MemberPage).members
    assert (dora.id, dora.username) == (str(shared.dora), "dora")
    everyone = client(server, shared.fern).get("/v1/members").json()["members"]
    assert {m["username"] for m in everyone} == {"edgar"}
    assert not everyone[0]["can_message"]


def test_sync_tells_what_happened_since(
    ada: httpx.Client, ben: httpx.Client, own_conversation: str
) -> None:
    first = ada.post("/v1/sync", json={"epoch": None, "positions": {}})
    start = msgspec.json.decode(first.content, type=wire.SyncAnswer)
    assert own_conversation in {c.id for c in start.conversations}
    positions = {c.conversation_id: c.position for c in start.changes}
    kept = send(ben, own_conversation, "Stays").json()
    gone = send(ben, own_conversation, "Goes").json()
    ben.delete(f"/v1/messages/{gone['id']}")
    then = ada.post("/v1/sync", json={"epoch": start.epoch, "positions": positions})
    answer = msgspec.json.decode(then.content, type=wire.SyncAnswer)
    assert (answer.epoch, answer.reload) == (start.epoch, False)
    (changes,) = [c for c in answer.changes if c.conversation_id == own_conversation]
    assert changes.complete
    assert [m.id for m in changes.messages] == [kept["id"]]
    assert [d.id for d in changes.deleted] == [gone["id"]]
    assert changes.position == changes.deleted[0].deleted_at


# --- the open doors -------------------------------------------------------------------------


def test_health_readiness_and_metrics_need_no_token(client: Client, server: RunningServer) -> None:
    nobody = client(server)
    assert nobody.get("/healthz").text == "ok\n"
    assert nobody.get("/readyz").json() == {"ready": True}
    metrics = nobody.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'bookconnect_dm_http_requests_total{method="GET",route="/readyz"' in metrics.text
    assert "bookconnect_dm_feed_healthy 1.0" in metrics.text


def test_the_document_and_its_page_are_served(client: Client, server: RunningServer) -> None:
    nobody = client(server)
    document = nobody.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "/demo/sign-in" not in document["paths"]
    assert nobody.get("/asyncapi.json").json()["asyncapi"].startswith("3.")
    page = nobody.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name in re.findall(r'(?:href|src)="(/docs/[^"]+)"', page.text):
        assert nobody.get(name).status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_the_components_are_served(client: Client, server: RunningServer) -> None:
    answer = client(server).get("/ui/index.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    for accepted, encoding in (("gzip, br", "br"), ("gzip, br;q=0", "gzip"), ("deflate", None)):
        packed = client(server).get("/ui/index.js", headers={"accept-encoding": accepted})
        assert packed.headers.get("content-encoding") == encoding
        assert packed.text == answer.text
    again = {"if-none-match": answer.headers["etag"]}
    assert client(server).get("/ui/index.js", headers=again).status_code == 304
    plain = client(server).get("/ui/index.js", headers={"accept-encoding": "identity"})
    assert plain.text == answer.text


def test_the_demo_is_not_there_under_serve(client: Client, server: RunningServer) -> None:
    nobody = client(server)
    for answer in (
        nobody.get("/"),
        nobody.post("/demo/sign-in", json={"username": "ada"}),
        nobody.get("/demo/members"),
        *(nobody.get(f"/ui/demo.{kind}") for kind in ("html", "js", "css", "svg")),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


def test_another_origin_may_ask(client: Client, server: RunningServer) -> None:
    answer = client(server).options(
        "/v1/me",
        headers={
            "origin": "https://shop.example",
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization",
        },
    )
    assert answer.status_code in {200, 204}
    assert answer.headers["access-control-allow-origin"] in {"*", "https://shop.example"}
    origin = {"origin": "https://shop.example"}
    script = client(server).get("/ui/index.js", headers=origin)
    assert script.headers["access-control-allow-origin"] in {"*", "https://shop.example"}


def test_every_answer_is_one_that_the_document_names(ada: httpx.Client, conversation: str) -> None:
    """Keys of the answers against the schemas; deeper checks are schemathesis's work."""
    document = ada.get("/openapi.json").json()
    me = json.loads(ada.get("/v1/me").content)
    assert set(me) == set(document["components"]["schemas"]["Me"]["properties"])
