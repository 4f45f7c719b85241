from __future__ import annotations

import pytest

from bookconnect_dm.errors import CLOSES, ERRORS, Problem, kind_of

# The contract's own list, so that a slip in the table is seen.
STATUSES = {
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "USER_NOT_FOUND": 404,
    "CONVERSATION_NOT_FOUND": 404,
    "MESSAGE_NOT_FOUND": 404,
    "INVALID_CONTENT": 422,
    "INVALID_REQUEST": 400,
    "STORE_CONTEXT_ERROR": 403,
    "CONFLICT": 409,
    "LEGAL_HOLD": 409,
    "RATE_LIMIT_EXCEEDED": 429,
    "UNAVAILABLE": 503,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "INTERNAL": 500,
}
CLOSE_CODES = {4401, 4403, 4408, 1009, 4429, 4409, 4500, 1012}


def test_the_table_holds_exactly_the_contract() -> None:
    assert {code: kind.status for code, kind in ERRORS.items()} == STATUSES
    assert set(CLOSES) == CLOSE_CODES


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_says_what_it_means_and_what_to_do(code: str) -> None:
    kind = ERRORS[code]
    assert kind.code == code
    assert kind.title
    assert kind.meaning.endswith(".")
    assert kind.what_to_do.endswith(".")


@pytest.mark.parametrize("code", sorted(CLOSES))
def test_every_close_says_what_it_means_and_what_to_do(code: int) -> None:
    close = CLOSES[code]
    assert close.code == code
    assert close.name
    assert close.meaning.endswith(".")
    assert close.what_to_do.endswith(".")


def test_close_codes_of_errors_are_in_the_table_of_closes() -> None:
    assert {k.close_code for k in ERRORS.values()} - {None} <= set(CLOSES)


def test_a_problem_without_words_uses_those_of_the_table() -> None:
    problem = Problem("CONFLICT")
    assert problem.detail == ERRORS["CONFLICT"].meaning
    assert str(problem).startswith("CONFLICT: ")


def test_an_unknown_code_counts_as_internal() -> None:
    assert kind_of("NO_SUCH_CODE") is ERRORS["INTERNAL"]
    assert Problem("NO_SUCH_CODE", "x").code == "INTERNAL"
