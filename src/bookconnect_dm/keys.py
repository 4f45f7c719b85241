"""The keys that tokens are checked with.

In charge of: having them at hand: one shared secret, or a published set that is fetched, kept,
and fetched again when it may be old.
Knows about: HTTP, and how often to ask a publisher who does not answer.
Does not know: what a token says (`auth` does).
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from bookconnect_dm.auth import Identity, KeySet, Rules, UnknownKeyError, verify
from bookconnect_dm.config import Settings
from bookconnect_dm.errors import Problem
from bookconnect_dm.tls import https_context

__all__ = ["Keyring"]

FRESH_S: Final = 600.0
"""A published set is used this long before it is looked at again, so that a withdrawn key goes."""
PAUSE_S: Final = (10.0, 300.0)
"""Between two fetches at least this long, whatever tokens ask for; doubled while they fail."""
FETCH_S: Final = 5.0
DOCUMENT_BYTES: Final = 1_048_576
REMEMBERED: Final = 4_096
"""Tokens that were found good under the present keys; looking again costs 0.1 ms a request."""

log = structlog.get_logger("keys")


class Keyring:
    """Says who a token stands for, with the keys of this installation."""

    def __init__(self, settings: Settings) -> None:
        self._rules = Rules(audience=settings.jwt_audience, issuer=settings.jwt_issuer)
        self._url = settings.jwks_url
        self._keys = KeySet.of_secret(settings.jwt_secret) if settings.jwt_secret else None
        self._fetched_at = float("-inf")
        self._next_fetch = float("-inf")
        self._pause = PAUSE_S[0]
        self._fetching = asyncio.Lock()
        self._refresh: asyncio.Task[KeySet] | None = None
        self._good: dict[str, Identity] = {}
        self._good_under: KeySet | None = None

    async def identify(self, token: str) -> Identity:
        """The member that `token` stands for. Raises `Problem`."""
        keys = await self._current()
        try:
            return self._verify(token, keys)
        except UnknownKeyError:
            pass
        # A key that was made after our set was fetched: look once more, if we have not just done.
        keys = await self._refreshed(keys)
        try:
            return self._verify(token, keys)
        except UnknownKeyError:
            raise Problem("UNAUTHENTICATED", "The token is not one of ours.") from None

    def _verify(self, token: str, keys: KeySet) -> Identity:
        now = time.time()
        if self._good_under is not keys:
            self._good, self._good_under = {}, keys
        known = self._good.pop(token, None)
        if known is None or known.expires_at <= now:
            known = verify(token, keys, rules=self._rules, now=now)
        if len(self._good) >= REMEMBERED:
            del self._good[next(iter(self._good))]  # the one not seen for longest
        self._good[token] = known
        return known

    async def _current(self) -> KeySet:
        keys = self._keys
        if keys is None:
            keys = await self._refreshed(None)
        elif self._url and time.monotonic() > max(self._fetched_at + FRESH_S, self._next_fetch):
            keys = await self._renewed(keys)
        return keys

    async def _renewed(self, keys: KeySet) -> KeySet:
        """Keys that are fresh; those at hand, and fresh ones soon, where that may take long."""
        has_failed = self._pause > PAUSE_S[0]
        if not has_failed and time.monotonic() > self._fetched_at + 2 * FRESH_S:
            # Nobody has asked for long: what was withdrawn meanwhile may not be let in once more.
            return await self._refreshed(keys)
        if self._refresh is None or self._refresh.done():
            # Beside: a publisher that hangs must not hold up everybody, again and again.
            self._refresh = asyncio.create_task(self._refreshed(keys))
        return keys

    async def _refreshed(self, seen: KeySet | None) -> KeySet:
        """A set newer than `seen`, or `seen` if there is none to be had now."""
        async with self._fetching:
            if self._keys is seen and self._url and time.monotonic() >= self._next_fetch:
                await self._fetch()
            if self._keys is None:
                raise Problem(
                    "UNAVAILABLE", "The keys for tokens are not available.", retry_after=5
                )
            return self._keys

    async def _fetch(self) -> None:
        import httpx

        try:
            self._keys = KeySet.of_jwks(await _download(self._url))
        except (httpx.HTTPError, ValueError, TimeoutError) as error:
            log.warning("jwks_not_fetched", error=type(error).__name__, detail=str(error))
            self._next_fetch = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, PAUSE_S[1])
        else:
            self._pause = PAUSE_S[0]
            self._fetched_at = time.monotonic()
            self._next_fetch = self._fetched_at + self._pause


async def _download(url: str) -> bytes:
    import httpx

    body = bytearray()
    async with (
        asyncio.timeout(FETCH_S),
        httpx.AsyncClient(follow_redirects=False, verify=https_context()) as client,
        client.stream("GET", url, headers={"accept": "application/json"}) as response,
    ):
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > DOCUMENT_BYTES:
                raise ValueError("the JWKS document is too large")
    return bytes(body)
