"""Bad input by HTTP: each fault has its code, one clear sentence, and leaks nothing."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import re
import socket
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest

from bookconnect_dm.errors import ERRORS
from tests.helpers.server import SECRET, RunningServer, running_server, token_for
from tests.helpers.world import World
from tests.protocol.conftest import Client

NOBODY = UUID("b0000000-0000-4000-8000-000000000099")


@pytest.fixture
def ada(client: Client, server: RunningServer, shared: World) -> httpx.Client:
    return client(server, shared.ada)


@pytest.fixture(scope="module")
def conversation(shared: World) -> UUID:
    return shared.converse(shared.ada, shared.ben)


def problem(answer: httpx.Response, code: str, field: str | None = None) -> dict[str, Any]:
    """Checks that `answer` is this error in the contract's shape, and gives its body."""
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (ERRORS[code].status, code), body
    assert body["status"] == answer.status_code
    assert body["detail"].endswith(".")
    assert body.get("field") == field
    return body


# --- who is asking --------------------------------------------------------------------------

CALLS = [
    ("GET", "/v1/me"),
    ("GET", "/v1/conversations"),
    ("POST", "/v1/conversations"),
    ("GET", f"/v1/conversations/{NOBODY}"),
    ("GET", f"/v1/conversations/{NOBODY}/messages"),
    ("POST", f"/v1/conversations/{NOBODY}/messages"),
    ("POST", f"/v1/conversations/{NOBODY}/read"),
    ("DELETE", f"/v1/messages/{NOBODY}"),
    ("GET", "/v1/members"),
    ("POST", "/v1/sync"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_needs_a_token(
    client: Client, server: RunningServer, method: str, path: str
) -> None:
    answer = client(server).request(method, path)
    problem(answer, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == "Bearer"


def tokens(user_id: UUID) -> dict[str, str]:
    claims = {"sub": str(user_id), "aud": "authenticated", "role": "authenticated", "exp": 2**31}

    def made(**changes: object) -> str:
        return jwt.encode({**claims, **changes}, SECRET, algorithm="HS256")

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    good = made()
    return {
        "none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}.",
        "stripped": ".".join([*good.split(".")[:2], ""]),
        "ended": token_for(user_id, ttl_s=-1),
        "forged": token_for(user_id, secret="another secret of thirty-two bytes"),
        "audience": made(aud="other"),
        "role": made(role="anon"),
        "service": made(role="service_role"),
        "nobody": made(sub="ada"),
        "garbage": "garbage",
        "huge": "x" * 10_000,
    }


@pytest.mark.parametrize("kind", sorted(tokens(NOBODY)))
def test_a_token_that_is_not_good_is_refused(
    client: Client, server: RunningServer, shared: World, kind: str
) -> None:
    headers = {"authorization": f"Bearer {tokens(shared.ada)[kind]}"}
    problem(client(server).get("/v1/me", headers=headers), "UNAUTHENTICATED")


@pytest.mark.parametrize("header", ["", "Basic eDp5", "Bearer", "bearer"])
def test_other_ways_to_sign_in_are_refused(
    client: Client, server: RunningServer, header: str
) -> None:
    answer = client(server).get("/v1/me", headers={"authorization": header})
    problem(answer, "UNAUTHENTICATED")


def test_a_member_whom_the_host_does_not_know_sees_nothing(
    client: Client, server: RunningServer, conversation: UUID
) -> None:
    stranger = client(server, NOBODY)
    me = stranger.get("/v1/me")
    assert me.status_code == 200
    assert (me.json()["tier"], me.json()["stores"]) == ("free", [])
    assert stranger.get("/v1/conversations").json()["conversations"] == []
    answer = stranger.get(f"/v1/conversations/{conversation}")
    problem(answer, "CONVERSATION_NOT_FOUND")


# --- content --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["", "   ", "\n\u3000\ufeff", "x" * 1001, "a\0b", "half \ud83d", "\udc00 other"]
)
def test_content_that_cannot_be_stored(ada: httpx.Client, conversation: UUID, content: str) -> None:
    answer = ada.post(
        f"/v1/conversations/{conversation}/messages",
        content=json.dumps({"content": content}),
        headers={"content-type": "application/json"},
    )
    problem(answer, "INVALID_CONTENT", "content")


def test_a_thousand_characters_of_any_kind_go_through(
    ada: httpx.Client, conversation: UUID
) -> None:
    for content in (
        "x" * 1000,
        "😀" * 1000,
        "👩‍👩‍👧‍👦",
        "\u202e\u0301",
        "<script>alert(1)</script>",
    ):
        answer = ada.post(f"/v1/conversations/{conversation}/messages", json={"content": content})
        assert (answer.status_code, answer.json()["content"]) == (201, content)


# --- ids and parameters ---------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["x", "0", "null", "%00", "' or 1=1 --", "0192f000-0000-7000-8000"])
def test_a_malformed_id_is_said_to_be_one(ada: httpx.Client, bad: str) -> None:
    problem(ada.get(f"/v1/conversations/{bad}"), "INVALID_REQUEST", "conversation_id")
    problem(ada.delete(f"/v1/messages/{bad}"), "INVALID_REQUEST", "message_id")


@pytest.mark.parametrize(
    "path",
    ["//v1/me", "/v1//me", "/v1/me/", "/metrics/", "//readyz", "//", "/ui", "/ui//", "//ui/"],
)
def test_a_path_is_written_in_one_way(
    client: Client, server: RunningServer, shared: World, path: str
) -> None:
    """A proxy that keeps /metrics for the operator knows no other."""
    answer = client(server, shared.ada).get(f"{server.url}{path}")
    problem(answer, "NOT_FOUND")


def test_foreign_and_unknown_conversations_look_alike(
    client: Client, server: RunningServer, shared: World, conversation: UUID
) -> None:
    cleo = client(server, shared.cleo)
    for one in (conversation, uuid4()):
        path = f"/v1/conversations/{one}"
        bodies = [
            problem(answer, "CONVERSATION_NOT_FOUND")
            for answer in (
                cleo.get(path),
                cleo.get(f"{path}/messages"),
                cleo.post(f"{path}/messages", json={"content": "x"}),
                cleo.post(f"{path}/read", json={}),
            )
        ]
        assert len({body["detail"] for body in bodies}) == 1


def test_foreign_and_unknown_messages_look_alike(
    client: Client, server: RunningServer, shared: World, conversation: UUID
) -> None:
    message = shared.send(shared.ada, conversation, "Between us")
    cleo = client(server, shared.cleo)
    details = {
        problem(cleo.delete(f"/v1/messages/{one}"), "MESSAGE_NOT_FOUND")["detail"]
        for one in (message, uuid4())
    }
    assert len(details) == 1
    ben = client(server, shared.ben)
    problem(ben.delete(f"/v1/messages/{message}"), "PERMISSION_DENIED")


@pytest.mark.parametrize("limit", ["0", "-1", "101", "1.5", "x", " ", "٣", "1e1", "99999999999"])
def test_a_limit_out_of_range_is_refused(ada: httpx.Client, conversation: UUID, limit: str) -> None:
    for path in (
        "/v1/conversations",
        f"/v1/conversations/{conversation}/messages",
        "/v1/members",
    ):
        problem(ada.get(path, params={"limit": limit}), "INVALID_REQUEST", "limit")


@pytest.mark.parametrize("bad", ["x", " ", "2026-01-01", "2026-01-01T00:00:00.000000Z", "_", "1_x"])
def test_a_cursor_is_not_made_by_hand(ada: httpx.Client, bad: str) -> None:
    problem(ada.get("/v1/conversations", params={"cursor": bad}), "INVALID_REQUEST", "cursor")


@pytest.mark.parametrize("field", ["before", "after"])
@pytest.mark.parametrize("bad", ["x", " ", "2026-13-01T00:00:00Z", "infinity", "now"])
def test_a_position_is_not_made_by_hand(
    ada: httpx.Client, conversation: UUID, field: str, bad: str
) -> None:
    answer = ada.get(f"/v1/conversations/{conversation}/messages", params={field: bad})
    problem(answer, "INVALID_REQUEST", field)


def test_a_parameter_without_a_value_is_none(ada: httpx.Client, conversation: UUID) -> None:
    path = f"/v1/conversations/{conversation}/messages"
    for empty, absent in (
        ("/v1/conversations?limit=20&cursor=", "/v1/conversations"),
        ("/v1/conversations?limit=&cursor=", "/v1/conversations"),
        (f"{path}?limit=50&before=", path),
        (f"{path}?limit=&before=&after=", path),
        ("/v1/members?query=&limit=20", "/v1/members"),
    ):
        answer = ada.get(empty)
        assert (answer.status_code, answer.json()) == (200, ada.get(absent).json()), empty


@pytest.mark.parametrize("cursor", ["", None])
def test_a_sync_with_an_empty_cursor_is_a_first_one(ada: httpx.Client, cursor: str | None) -> None:
    answer = ada.post("/v1/sync", json={"cursor": cursor})
    assert (answer.status_code, answer.json()) == (200, ada.post("/v1/sync", json={}).json())


def test_before_and_after_together_are_refused(ada: httpx.Client, conversation: UUID) -> None:
    both = {"before": "2026-01-01T00:00:00Z", "after": "2026-01-01T00:00:00Z"}
    answer = ada.get(f"/v1/conversations/{conversation}/messages", params=both)
    problem(answer, "INVALID_REQUEST", "after")


# --- starting -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"recipient": "nobody"}, "USER_NOT_FOUND", "recipient"),
        ({"recipient": "edgar"}, "USER_NOT_FOUND", "recipient"),
        ({"recipient_id": str(NOBODY)}, "USER_NOT_FOUND", "recipient_id"),
        ({"recipient": "ada"}, "INVALID_REQUEST", "recipient"),
        (
            {"recipient": "edgar", "store_id": "a0000000-0000-4000-8000-000000000001"},
            "USER_NOT_FOUND",
            "recipient",
        ),
        ({}, "INVALID_REQUEST", "recipient"),
        ({"recipient": "ben", "recipient_id": str(NOBODY)}, "INVALID_REQUEST", "recipient"),
        ({"recipient": ""}, "INVALID_REQUEST", "recipient"),
        ({"recipient": "a\0b"}, "INVALID_REQUEST", "recipient"),
        ({"recipient": "x" * 201}, "INVALID_REQUEST", "recipient"),
        ({"recipient_id": "x"}, "INVALID_REQUEST", "recipient_id"),
        ({"recipient": "ben", "store_id": "x"}, "INVALID_REQUEST", "store_id"),
        (
            {"recipient": "ben", "store_id": "a0000000-0000-4000-8000-000000000002"},
            "STORE_CONTEXT_ERROR",
            "store_id",
        ),
        ({"recipient": "ben", "shop": 1}, "INVALID_REQUEST", "shop"),
    ],
)
def test_a_start_that_cannot_be(
    ada: httpx.Client, body: dict[str, object], code: str, field: str
) -> None:
    problem(ada.post("/v1/conversations", json=body), code, field)


def test_a_free_member_may_not_start(client: Client, server: RunningServer, shared: World) -> None:
    answer = client(server, shared.cleo).post("/v1/conversations", json={"recipient": "dora"})
    problem(answer, "PERMISSION_DENIED")


# --- reading, deleting, syncing -------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"up_to": "x"}, "INVALID_REQUEST", "up_to"),
        ({"up_to_message": "x"}, "INVALID_REQUEST", "up_to_message"),
        ({"up_to_message": str(NOBODY)}, "MESSAGE_NOT_FOUND", "up_to_message"),
        (
            {"up_to": "2026-01-01T00:00:00Z", "up_to_message": str(NOBODY)},
            "INVALID_REQUEST",
            "up_to",
        ),
    ],
)
def test_reading_up_to_what_is_not_there(
    ada: httpx.Client, conversation: UUID, body: dict[str, object], code: str, field: str
) -> None:
    problem(ada.post(f"/v1/conversations/{conversation}/read", json=body), code, field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"positions": {"x": "2026-01-01T00:00:00.000000Z"}}, "positions"),
        ({"positions": {str(NOBODY): "yesterday"}}, "positions"),
        ({"positions": {str(NOBODY): "2026-01-01T00:00:00Z"}}, "positions"),
        ({"positions": {str(NOBODY): "2026-99-01T00:00:00.000000Z"}}, "positions"),
        ({"positions": {str(NOBODY): "a\0"}}, "positions"),
        ({"positions": {str(NOBODY): 1}}, "positions"),
        ({"positions": []}, "positions"),
        ({"epoch": 1}, "epoch"),
        ({"epoch": "a\0"}, "epoch"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "a\0"}, "cursor"),
        ({"since": "x"}, "since"),
    ],
)
def test_a_sync_that_cannot_be(ada: httpx.Client, body: dict[str, object], field: str) -> None:
    problem(ada.post("/v1/sync", json=body), "INVALID_REQUEST", field)


def test_a_search_for_odd_characters_is_a_search(ada: httpx.Client) -> None:
    for text in ("%", "_", "\\", "'", "😀", " ", "*"):
        assert ada.get("/v1/members", params={"query": text}).status_code == 200
    problem(ada.get("/v1/members?query=a%00b"), "INVALID_REQUEST", "query")


# --- HTTP itself ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/nope", "/v1", "/v1/nope", "/v1/me/x", "/ui/nope.js", "/ui/%2e%2e/app.py", "/ui/..%2fapp.py"],
)
def test_what_is_not_there(ada: httpx.Client, path: str) -> None:
    problem(ada.get(path), "NOT_FOUND")


def test_the_components_say_how_to_embed_them(client: Client, server: RunningServer) -> None:
    page = client(server).get("/ui/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    shown = html.unescape(page.text)
    assert '<script type="module" src="/ui/index.js"></script>' in shown
    assert "<bookconnect-messages" in shown
    assert "getToken" in shown
    for link in re.findall(r'href="([^"]+)"', page.text):
        assert client(server).get(link).status_code == 200, link


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/asyncapi.json", "/ui/",
     "/ui/index.js", "/docs/page.css"],
)  # fmt: skip
def test_an_uptime_checker_may_ask_for_the_head(
    client: Client, server: RunningServer, path: str
) -> None:
    stranger = client(server)
    whole, head = stranger.get(path), stranger.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "cache-control", "content-security-policy"):
        assert head.headers.get(name) == whole.headers.get(name), name
    assert int(head.headers["content-length"]) > 0
    refused = stranger.put(path)
    problem(refused, "METHOD_NOT_ALLOWED")
    for answer in (refused, stranger.options(path)):
        allowed = {one.strip() for one in answer.headers["allow"].split(",")}
        assert allowed == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/v1/me"),
        ("PUT", "/v1/me"),
        ("DELETE", "/v1/conversations"),
        ("PATCH", "/v1/sync"),
        ("POST", "/v1/me"),
    ],
)
def test_a_method_that_is_not_there(ada: httpx.Client, method: str, path: str) -> None:
    answer = ada.request(method, path)
    if method == "HEAD":
        assert (answer.status_code, answer.content) == (405, b"")
    else:
        problem(answer, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"]


@pytest.mark.parametrize("body", [b" ", b"{", b"\xff\xfe", b"[1]", b"null", b"1", b"[" * 50_000])
def test_a_body_that_is_no_json_object(ada: httpx.Client, conversation: UUID, body: bytes) -> None:
    answer = ada.post(
        f"/v1/conversations/{conversation}/messages",
        content=body,
        headers={"content-type": "application/json"},
    )
    problem(answer, "INVALID_REQUEST")


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "multipart/form-data", ""])
def test_a_body_of_another_kind(ada: httpx.Client, conversation: UUID, media_type: str) -> None:
    answer = ada.post(
        f"/v1/conversations/{conversation}/messages",
        content=b'{"content": "x"}',
        headers={"content-type": media_type},
    )
    problem(answer, "UNSUPPORTED_MEDIA_TYPE")


def test_half_a_character_in_a_name_is_no_failure_of_ours(ada: httpx.Client) -> None:
    problem(
        ada.post(
            "/v1/sync",
            content=b'{"\\ud800":1}',
            headers={"content-type": "application/json"},
        ),
        "INVALID_REQUEST",
    )


@pytest.mark.parametrize("media_type", [None, "application/json", "text/plain"])
def test_no_body_at_all_asks_for_nothing_in_particular(
    ada: httpx.Client, conversation: UUID, media_type: str | None
) -> None:
    """Many a client names the type of every body, also of the one that it does not send."""
    headers = {"content-type": media_type} if media_type else {}
    path = f"/v1/conversations/{conversation}"
    assert ada.post(f"{path}/read", headers=headers).json().keys() == {"last_read_at"}
    assert "next_cursor" in ada.post("/v1/sync", headers=headers).json()
    problem(ada.post(f"{path}/messages", headers=headers), "INVALID_REQUEST", field="content")
    problem(ada.post("/v1/conversations", headers=headers), "INVALID_REQUEST", field="recipient")


def test_json_with_a_charset_is_json(ada: httpx.Client, conversation: UUID) -> None:
    answer = ada.post(
        f"/v1/conversations/{conversation}/messages",
        content=b'{"content": "x"}',
        headers={"content-type": "Application/JSON; charset=utf-8"},
    )
    assert answer.status_code == 201


def test_a_body_that_is_too_large(ada: httpx.Client, conversation: UUID) -> None:
    path = f"/v1/conversations/{conversation}/messages"
    json_type = {"content-type": "application/json"}
    problem(ada.post(path, content=b"x" * 1_100_000, headers=json_type), "PAYLOAD_TOO_LARGE")
    chunks = (b"x" * 10_000 for _ in range(110))  # without a length in its header
    problem(ada.post(path, content=chunks, headers=json_type), "PAYLOAD_TOO_LARGE")


def test_what_is_no_http_harms_nobody(server: RunningServer, ada: httpx.Client) -> None:
    for noise in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as line:
            line.sendall(noise)
            line.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                line.recv(1000)
    assert ada.get("/v1/me").status_code == 200


def test_the_log_holds_no_content_and_no_token(
    ada: httpx.Client, server: RunningServer, conversation: UUID
) -> None:
    secret_text = "the butler did it"
    ada.post(
        f"/v1/conversations/{conversation}/messages",
        json={"content": secret_text, "id": "x"},
    )
    ada.post(f"/v1/conversations/{conversation}/messages", json={"content": secret_text})
    assert secret_text not in server.log
    assert "eyJ" not in server.log


# --- limits ---------------------------------------------------------------------------------


def test_limits_of_sends_and_starts(own: World, client: Client) -> None:
    with running_server(
        own.db,
        LIMIT_SENDS_PER_SECOND="0.5",
        LIMIT_SEND_BURST="3",
        LIMIT_STARTS_PER_HOUR="2",
        LIMIT_PAGE="10",
        LIMIT_BODY_BYTES="500",
        ORIGINS="https://shop.example",
    ) as strict:
        ada, ben = client(strict, own.ada), client(strict, own.ben)
        started = ada.post("/v1/conversations", json={"recipient": "ben"})
        assert started.status_code == 201
        for _ in range(3):  # finding what exists takes no turn
            assert ada.post("/v1/conversations", json={"recipient": "ben"}).status_code == 200
        assert ada.post("/v1/conversations", json={"recipient": "dora"}).status_code == 201
        refused = ada.post("/v1/conversations", json={"recipient": "cleo"})
        problem(refused, "RATE_LIMIT_EXCEEDED")
        path = f"/v1/conversations/{started.json()['conversation_id']}/messages"
        for _ in range(3):
            assert ada.post(path, json={"content": "x"}).status_code == 201
        refused = ada.post(path, json={"content": "x"})
        body = problem(refused, "RATE_LIMIT_EXCEEDED")
        assert 0 < body["retry_after"] <= 2
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        assert ben.post(path, json={"content": "x"}).status_code == 201

        problem(ada.get(path, params={"limit": 11}), "INVALID_REQUEST", "limit")
        problem(ada.post(path, json={"content": "x" * 600}), "PAYLOAD_TOO_LARGE")
        for origin, welcome in (("https://shop.example", True), ("https://evil.example", False)):
            answer = ada.get("/v1/me", headers={"origin": origin})
            assert (answer.headers.get("access-control-allow-origin") == origin) is welcome
