"""Published keys: fetched, kept, fetched again when a new one appears, and left alone otherwise."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from bookconnect_dm import keys as keys_module
from bookconnect_dm.config import Settings
from bookconnect_dm.errors import Problem
from bookconnect_dm.keys import Keyring
from tests.helpers.server import running_server
from tests.helpers.world import World

ADA = UUID("b0000000-0000-4000-8000-00000000000a")


class Publisher:
    """Serves a JWKS document, and counts who asks."""

    def __init__(self) -> None:
        self.private: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.status = 200
        self.body: bytes | None = None
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                body = outer.document() if outer.body is None else outer.body
                self.send_response(outer.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks"

    def add(self, kid: str) -> None:
        self.private[kid] = ec.generate_private_key(ec.SECP256R1())

    def document(self) -> bytes:
        entries: list[dict[str, Any]] = [
            {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": kid}
            for kid, key in self.private.items()
        ]
        return json.dumps({"keys": entries}).encode()

    def token(self, kid: str, user_id: UUID = ADA) -> str:
        claims = {
            "sub": str(user_id),
            "aud": "authenticated",
            "role": "authenticated",
            "exp": time.time() + 60,
        }
        return jwt.encode(claims, self.private[kid], algorithm="ES256", headers={"kid": kid})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    made = Publisher()
    made.add("one")
    yield made
    made.close()


@pytest.fixture
def keyring(publisher: Publisher) -> Keyring:
    return Keyring(Settings(jwks_url=publisher.url))


async def test_keys_are_fetched_once_and_kept(publisher: Publisher, keyring: Keyring) -> None:
    for _ in range(5):
        assert (await keyring.identify(publisher.token("one"))).user_id == ADA
    assert publisher.asked == 1


async def test_a_new_key_is_found_without_a_restart(
    publisher: Publisher, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "PAUSE_S", (0.0, 0.0))
    fresh = Keyring(Settings(jwks_url=publisher.url))
    await fresh.identify(publisher.token("one"))
    publisher.add("two")
    assert (await fresh.identify(publisher.token("two"))).user_id == ADA
    assert publisher.asked == 2


async def test_tokens_with_invented_keys_do_not_make_us_ask_again_and_again(
    publisher: Publisher, keyring: Keyring
) -> None:
    await keyring.identify(publisher.token("one"))
    stranger = jwt.encode({}, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": "x"})
    for _ in range(20):
        with pytest.raises(Problem, match="UNAUTHENTICATED"):
            await keyring.identify(stranger)
    assert publisher.asked == 1


async def test_a_withdrawn_key_is_forgotten_in_time(
    publisher: Publisher, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "PAUSE_S", (0.0, 0.0))
    fresh = Keyring(Settings(jwks_url=publisher.url))
    old = publisher.token("one")
    await fresh.identify(old)
    publisher.add("two")
    del publisher.private["one"]
    monkeypatch.setattr(keys_module, "FRESH_S", 0.0)
    with pytest.raises(Problem, match="UNAUTHENTICATED"):
        await fresh.identify(old)


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (404, b""), (302, b""), (200, b"<html>"), (200, b'{"keys":[]}')],
)
async def test_a_publisher_that_fails_is_unavailable_not_unauthenticated(
    publisher: Publisher, keyring: Keyring, status: int, body: bytes
) -> None:
    publisher.status, publisher.body = status, body
    for _ in range(3):
        with pytest.raises(Problem, match="UNAVAILABLE"):
            await keyring.identify("a.b.c")
    assert publisher.asked == 1  # the pause between attempts holds


async def test_the_last_good_keys_outlive_a_publisher_that_is_away(
    publisher: Publisher, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = publisher.token("one")
    await keyring.identify(token)
    publisher.status = 500
    monkeypatch.setattr(keys_module, "FRESH_S", 0.0)
    monkeypatch.setattr(keyring, "_next_fetch", 0.0)
    assert (await keyring.identify(token)).user_id == ADA
    assert publisher.asked == 2


async def test_a_publisher_that_hangs_holds_nobody_up(
    publisher: Publisher, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = publisher.token("one")
    await keyring.identify(token)
    begun: list[str] = []

    async def hang(url: str) -> bytes:
        begun.append(url)
        await asyncio.sleep(60)
        return b""

    monkeypatch.setattr(keys_module, "_download", hang)
    monkeypatch.setattr(keyring, "_fetched_at", time.monotonic() - 1.5 * keys_module.FRESH_S)
    monkeypatch.setattr(keyring, "_next_fetch", 0.0)
    async with asyncio.timeout(10):
        for _ in range(5):
            assert (await keyring.identify(token)).user_id == ADA
            await asyncio.sleep(0)
    assert len(begun) == 1
    assert keyring._refresh is not None
    keyring._refresh.cancel()


async def test_a_document_without_end_is_not_read_to_it(
    publisher: Publisher, keyring: Keyring
) -> None:
    publisher.body = b" " * (keys_module.DOCUMENT_BYTES + 1)
    with pytest.raises(Problem, match="UNAVAILABLE"):
        await keyring.identify("a.b.c")


async def test_a_token_is_not_remembered_beyond_its_end(
    publisher: Publisher, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = publisher.token("one")
    identity = await keyring.identify(token)
    monkeypatch.setattr("time.time", lambda: identity.expires_at)
    with pytest.raises(Problem, match="ended"):
        await keyring.identify(token)


async def test_only_so_many_tokens_are_remembered(
    publisher: Publisher, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "REMEMBERED", 3)
    for n in range(10):
        await keyring.identify(publisher.token("one", UUID(int=n)))
    assert len(keyring._good) <= 3


def test_a_server_with_published_keys_lets_members_in(publisher: Publisher, own: World) -> None:
    with running_server(own.db, JWT_SECRET="", JWKS_URL=publisher.url) as server:
        headers = {"authorization": f"Bearer {publisher.token('one', own.ada)}"}
        me = httpx.get(f"{server.url}/v1/me", headers=headers, verify=False)
        assert me.json()["username"] == "ada"
        hs256 = jwt.encode({"sub": str(own.ada)}, "x" * 32, "HS256")
        headers = {"authorization": f"Bearer {hs256}"}
        assert httpx.get(f"{server.url}/v1/me", headers=headers, verify=False).status_code == 401
