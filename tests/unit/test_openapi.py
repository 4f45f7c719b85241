from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bookconnect_dm.calls import Calls
from bookconnect_dm.errors import ERRORS
from bookconnect_dm.openapi import DEMO_OPERATIONS, EXAMPLES, OPERATIONS, Operation, document

# The contract's own table of calls.
CALLS = {
    ("GET", "/v1/me"),
    ("GET", "/v1/conversations"),
    ("POST", "/v1/conversations"),
    ("GET", "/v1/conversations/{conversation_id}"),
    ("GET", "/v1/conversations/{conversation_id}/messages"),
    ("POST", "/v1/conversations/{conversation_id}/messages"),
    ("POST", "/v1/conversations/{conversation_id}/read"),
    ("POST", "/v1/sync"),
    ("DELETE", "/v1/messages/{message_id}"),
    ("GET", "/v1/members"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
}


def test_the_table_holds_exactly_the_calls_of_the_contract() -> None:
    assert {(o.method, o.path) for o in OPERATIONS} == CALLS
    assert all(o.is_public == (not o.path.startswith("/v1/")) for o in OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS + DEMO_OPERATIONS, ids=lambda o: o.name)
def test_each_call_is_there_and_names_errors_that_exist(operation: Operation) -> None:
    assert callable(getattr(Calls, operation.name))
    assert set(operation.errors) <= set(ERRORS)
    assert operation.summary.endswith(".")


@pytest.mark.parametrize("struct", EXAMPLES, ids=lambda t: t.__name__)
def test_each_example_is_one(struct: type) -> None:
    example = EXAMPLES[struct]
    decoded: object = msgspec.convert(example, struct)
    encoded: dict[str, Any] = json.loads(msgspec.json.encode(decoded))
    assert example.items() <= encoded.items()


def test_every_reference_of_the_document_leads_somewhere() -> None:
    made = document(demo=True)
    text = json.dumps(made)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(made["components"]["schemas"])


def test_only_the_demo_documents_the_demo() -> None:
    assert "/demo/sign-in" in document(demo=True)["paths"]
    assert "/demo/sign-in" not in document()["paths"]


def test_errors_are_told_with_their_codes() -> None:
    send = document()["paths"]["/v1/conversations/{conversation_id}/messages"]["post"]
    assert "`CONFLICT`" in send["responses"]["409"]["description"]
    assert "`UNSUPPORTED_MEDIA_TYPE`" in send["responses"]["415"]["description"]
    assert send["security"] == [{"bearer": []}]
