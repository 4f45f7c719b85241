from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bookconnect_dm.auth import Identity, Key, KeySet, Rules, UnknownKeyError, sign, verify
from bookconnect_dm.errors import Problem

SECRET = "a secret of thirty-two bytes or more"
KEYS = KeySet.of_secret(SECRET)
RULES = Rules()
ADA = UUID("b0000000-0000-4000-8000-00000000000a")
NOW = 1_790_000_000.0
CLAIMS: dict[str, Any] = {
    "sub": str(ADA),
    "aud": "authenticated",
    "role": "authenticated",
    "exp": NOW + 60,
}


def token(secret: str = SECRET, algorithm: str = "HS256", **changes: object) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, secret, algorithm=algorithm)


def refused(text: str, keys: KeySet = KEYS, rules: Rules = RULES, now: float = NOW) -> str:
    with pytest.raises(Problem) as caught:
        verify(text, keys, rules=rules, now=now)
    assert caught.value.code == "UNAUTHENTICATED"
    return caught.value.detail


def test_a_good_token_names_its_member_and_its_end() -> None:
    assert verify(token(), KEYS, rules=RULES, now=NOW) == Identity(ADA, NOW + 60)


def test_a_token_of_our_own_making_is_good() -> None:
    rules = Rules(audience="shop", issuer="us")
    made = sign(ADA, SECRET, rules=rules, ttl_s=60, now=NOW)
    assert verify(made, KEYS, rules=rules, now=NOW).user_id == ADA
    refused(made)


def test_one_audience_of_several_is_enough() -> None:
    verify(token(aud=["other", "authenticated"]), KEYS, rules=RULES, now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW},
        {"exp": NOW - 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"aud": "somebody else"},
        {"aud": None},
        {"aud": []},
        {"aud": 3},
        {"role": None},
        {"role": "anon"},
        {"role": "service_role"},
        {"role": ["authenticated"]},
        {"sub": None},
        {"sub": "ada"},
        {"sub": ""},
        {"sub": 7},
        {"nbf": NOW + 120},
        {"iat": NOW + 120},
    ],
)
def test_a_token_that_lacks_something_is_refused(changes: dict[str, object]) -> None:
    # PyJWT itself refuses to make some of these, so the payload is signed as it is.
    claims = {n: v for n, v in {**CLAIMS, **changes}.items() if v is not None}
    refused(jwt.PyJWS().encode(json.dumps(claims).encode(), SECRET, algorithm="HS256"))


def test_a_clock_a_little_behind_does_not_matter() -> None:
    verify(token(nbf=NOW + 30, iat=NOW + 30), KEYS, rules=RULES, now=NOW)


def test_the_issuer_counts_only_where_it_is_set() -> None:
    verify(token(iss="anybody"), KEYS, rules=RULES, now=NOW)
    strict = Rules(issuer="https://shop.example")
    verify(token(iss="https://shop.example"), KEYS, rules=strict, now=NOW)
    refused(token(iss="https://evil.example"), rules=strict)
    refused(token(), rules=strict)


def test_a_far_end_is_as_far_as_a_date_goes() -> None:
    assert verify(token(exp=10**18), KEYS, rules=RULES, now=NOW).expires_at < 253_402_300_800


# --- forgeries ------------------------------------------------------------------------------


def test_another_secret_is_refused() -> None:
    refused(token(secret="another secret of thirty-two bytes"))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS512", "RS256"])
def test_the_token_does_not_choose_its_algorithm(algorithm: str) -> None:
    refused(f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(CLAIMS)}.")


def test_a_stronger_sounding_algorithm_with_our_secret_is_refused() -> None:
    secret = SECRET * 2
    refused(token(secret, algorithm="HS512"), keys=KeySet.of_secret(secret))


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a.b.c", "Bearer x", "x" * 9000, "ä.ö.ü", "\0", token() + "x", token()[:-2]],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    refused(text)


def test_a_critical_extension_that_we_do_not_know_is_refused() -> None:
    refused(jwt.encode(CLAIMS, SECRET, headers={"crit": ["exp2"], "exp2": 1}))


def test_a_changed_payload_is_refused() -> None:
    head, _, signature = token().split(".")
    refused(f"{head}.{part({**CLAIMS, 'sub': str(UUID(int=1))})}.{signature}")


@given(st.text(max_size=100) | st.from_regex(r"[\w-]{1,30}\.[\w-]{1,30}\.[\w-]{0,30}"))
def test_any_text_is_refused_in_the_one_way(text: str) -> None:
    refused(text)


# --- published keys -------------------------------------------------------------------------

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def jwk(algorithm: type, public_key: Any, **more: str) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(algorithm.to_jwk(public_key))  # type: ignore[attr-defined]
    return {**entry, **more}


RSA_JWK = jwk(jwt.algorithms.RSAAlgorithm, RSA.public_key(), kid="rsa", alg="RS256", use="sig")
EC_JWK = jwk(jwt.algorithms.ECAlgorithm, EC.public_key(), kid="ec")
ED_JWK = jwk(jwt.algorithms.OKPAlgorithm, ED.public_key(), kid="ed")


def key_set(*entries: object) -> KeySet:
    return KeySet.of_jwks(json.dumps({"keys": entries}).encode())


PUBLISHED = key_set(RSA_JWK, EC_JWK, ED_JWK)


@pytest.mark.parametrize(
    ("kid", "private", "algorithm"),
    [("rsa", RSA, "RS256"), ("ec", EC, "ES256"), ("ed", ED, "EdDSA")],
)
def test_each_published_key_opens_with_its_own_algorithm(
    kid: str, private: Any, algorithm: str
) -> None:
    made = jwt.encode(CLAIMS, private, algorithm=algorithm, headers={"kid": kid})
    assert verify(made, PUBLISHED, rules=RULES, now=NOW).user_id == ADA


def test_a_public_key_is_no_shared_secret() -> None:
    """The classic confusion: HS256 with the published RSA key as its secret."""
    signed = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{part(CLAIMS)}"
    for secret in (RSA_PEM, json.dumps(RSA_JWK).encode()):
        seal = hmac.digest(secret, signed.encode(), "sha256")
        refused(f"{signed}.{base64.urlsafe_b64encode(seal).decode().rstrip('=')}", keys=PUBLISHED)


def test_a_key_is_not_used_under_anothers_name() -> None:
    refused(jwt.encode(CLAIMS, EC, algorithm="ES256", headers={"kid": "rsa"}), keys=PUBLISHED)


def test_another_algorithm_of_the_same_key_is_refused() -> None:
    refused(jwt.encode(CLAIMS, RSA, algorithm="PS256", headers={"kid": "rsa"}), keys=PUBLISHED)


@pytest.mark.parametrize("headers", [{"kid": "new"}, {}])
def test_an_unknown_key_asks_for_a_fresher_set(headers: dict[str, str]) -> None:
    made = jwt.encode(CLAIMS, RSA, algorithm="RS256", headers=headers)
    with pytest.raises(UnknownKeyError):
        verify(made, PUBLISHED, rules=RULES, now=NOW)


def test_the_only_key_needs_no_name() -> None:
    made = jwt.encode(CLAIMS, RSA, algorithm="RS256")
    assert verify(made, key_set(RSA_JWK), rules=RULES, now=NOW).user_id == ADA


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "x"},
        {**RSA_JWK, "use": "enc"},
        {**RSA_JWK, "alg": "HS256"},
        {**RSA_JWK, "alg": "RS512"},
        {**RSA_JWK, "n": "!"},
        {**RSA_JWK, "kid": 7},
        {"kid": "rsa"},
        {},
    ],
)
def test_keys_that_we_cannot_use_are_left_out(entry: dict[str, Any]) -> None:
    assert set(key_set(entry, EC_JWK).keys) == {"ec"}
    with pytest.raises(ValueError, match="no key"):
        key_set(entry)


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": 1}', b"\xff", b"<html>"])
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="JWKS"):
        KeySet.of_jwks(document)


def test_a_secret_is_found_whatever_the_token_names() -> None:
    assert KEYS.find("x") == KEYS.find(None) == Key("HS256", SECRET.encode())


def test_looking_at_a_token_is_quick(benchmark_s: Callable[[Callable[[], object]], float]) -> None:
    made = token()
    assert benchmark_s(lambda: verify(made, KEYS, rules=RULES, now=NOW)) < 0.002


@pytest.fixture
def benchmark_s() -> Callable[[Callable[[], object]], float]:
    def measure(call: Callable[[], object]) -> float:
        times = []
        for _ in range(50):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        return min(times)

    return measure
