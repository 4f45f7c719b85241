"""From a token to the member it stands for.

In charge of: which tokens count. One algorithm per key, never the one that a token asks for.
Knows about: JSON Web Tokens and JSON Web Keys; keys and the time of day are handed in.
Does not know: where keys come from, HTTP, sockets, the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import jwt
import msgspec

from bookconnect_dm.errors import Problem

TOKEN_BYTES: Final = 8_192
ROLE: Final = "authenticated"
CLOCK_SKEW_S: Final = 60.0
"""How far `nbf` and `iat` may lie ahead of our clock. The end of a token is taken as written."""

_FAR_FUTURE: Final = 253_370_764_800.0  # year 9999: what a datetime can hold
_KEY_ALGORITHMS: Final = MappingProxyType({"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, and until when (Unix seconds) that may be believed."""

    user_id: UUID
    expires_at: float


@dataclass(frozen=True, slots=True)
class Key:
    """A key together with the only algorithm it may be used with."""

    algorithm: str
    material: Any


class UnknownKeyError(Exception):
    """The token names a key that is not in the set: the set may be old, fetch it again."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of an installation: one shared secret, or a published set found by `kid`."""

    keys: Mapping[str | None, Key]

    @classmethod
    def of_secret(cls, secret: str) -> KeySet:
        """HS256 with `secret`, whatever `kid` a token names."""
        return cls(MappingProxyType({None: Key("HS256", secret.encode())}))

    @classmethod
    def of_jwks(cls, document: bytes) -> KeySet:
        """The signing keys of a JWKS document; unusable entries are left out.

        Raises `ValueError` if it is no JWKS document, or holds no key that we can use.
        """
        try:
            entries = msgspec.json.decode(document, type=_Jwks).keys
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ValueError("not a JWKS document") from error
        keys = {entry.get("kid"): key for entry in entries if (key := _key_of(entry))}
        if not keys:
            raise ValueError("the JWKS document holds no key for RS256, ES256 or EdDSA")
        return cls(MappingProxyType(keys))

    def find(self, kid: str | None) -> Key:
        """The key called `kid`. Raises `UnknownKeyError`."""
        only_secret = self.keys.get(None)
        if only_secret is not None and only_secret.algorithm == "HS256":
            return only_secret
        if kid is None and len(self.keys) == 1:
            return next(iter(self.keys.values()))
        try:
            return self.keys[kid]
        except KeyError:
            raise UnknownKeyError from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a token must say besides being signed."""

    audience: str = "authenticated"
    issuer: str = ""


def verify(token: str, keys: KeySet, *, rules: Rules, now: float) -> Identity:
    """The member that `token` stands for at `now`.

    Raises `Problem` UNAUTHENTICATED, or `UnknownKeyError` if a fresher key set may help.
    """
    return _identity(_signed_claims(token, keys), rules=rules, now=now)


def sign(user_id: UUID, secret: str, *, rules: Rules, ttl_s: float, now: float) -> str:
    """A token for `user_id`, valid from `now` for `ttl_s`: development, operations and tests."""
    claims: dict[str, Any] = {
        "sub": str(user_id),
        "aud": rules.audience,
        "role": ROLE,
        "iat": int(now),
        "exp": int(now + ttl_s),
    }
    if rules.issuer:
        claims["iss"] = rules.issuer
    return jwt.encode(claims, secret.encode(), algorithm="HS256")


class _Jwks(msgspec.Struct):
    keys: list[dict[str, Any]]


class _Claims(msgspec.Struct):
    sub: str
    aud: str | list[str]
    exp: int | float
    role: str
    iss: str | None = None
    nbf: int | float | None = None
    iat: int | float | None = None


_jws = jwt.PyJWS()
_claims: msgspec.json.Decoder[_Claims] = msgspec.json.Decoder(_Claims)


def _key_of(entry: Mapping[str, Any]) -> Key | None:
    """The key that a JWKS entry describes; None for what we do not use."""
    algorithm = _KEY_ALGORITHMS.get(str(entry.get("kty")))
    wrong_use = entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm
    kid = entry.get("kid")
    if algorithm is None or wrong_use or not isinstance(kid, str | None):
        return None
    try:
        material = jwt.PyJWK(dict(entry), algorithm=algorithm).key
    except jwt.PyJWTError:
        return None
    return Key(algorithm, material)


def _refused(detail: str) -> Problem:
    return Problem("UNAUTHENTICATED", detail)


def _signed_claims(token: str, keys: KeySet) -> _Claims:
    if not token:
        raise _refused("A token is needed.")
    if len(token) > TOKEN_BYTES or not token.isascii():
        raise _refused("The token is not one of ours.")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = keys.find(kid)
        # Only the key's own algorithm is offered: `alg: none` and RS256 -> HS256 swaps fail here.
        payload = _jws.decode(token, key.material, algorithms=[key.algorithm])
        return _claims.decode(payload)
    except (jwt.PyJWTError, msgspec.DecodeError, ValueError, TypeError) as error:
        raise _refused("The token is not one of ours.") from error


def _identity(claims: _Claims, *, rules: Rules, now: float) -> Identity:
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if rules.audience not in audiences:
        raise _refused("The token was made for another service.")
    if rules.issuer and claims.iss != rules.issuer:
        raise _refused("The token was made by another issuer.")
    if claims.role != ROLE:
        raise _refused("The token is not a member's.")
    if not claims.exp > now:
        raise _refused("The token has ended.")
    if max(claims.nbf or 0, claims.iat or 0) > now + CLOCK_SKEW_S:
        raise _refused("The token is not valid yet.")
    try:
        user_id = UUID(claims.sub)
    except ValueError as error:
        raise _refused("The token names no member.") from error
    return Identity(user_id, min(float(claims.exp), _FAR_FUTURE))
