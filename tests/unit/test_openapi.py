from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
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


@pytest.mark.parametrize("struct", EXAMPLES, ids=lambda t: t.__name__)
def test_each_example_fits_its_schema(struct: type) -> None:
    made = document(demo=True)
    schema = {
        "$ref": f"#/components/schemas/{struct.__name__}",
        "components": made["components"],
    }
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(EXAMPLES[struct])


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("2026-11-22T10:15:30.123456Z", True),
        ("2024-02-29T00:00:00.000000Z", True),
        ("2000-02-29T23:59:59.999999Z", True),
        ("2026-02-29T00:00:00.000000Z", False),
        ("1900-02-29T00:00:00.000000Z", False),
        ("2026-02-31T00:00:00.000000Z", False),
        ("2026-04-31T00:00:00.000000Z", False),
        ("2026-00-10T00:00:00.000000Z", False),
        ("2026-13-10T00:00:00.000000Z", False),
        ("0000-01-01T00:00:00.000000Z", False),
        ("2026-11-22T24:00:00.000000Z", False),
        ("2026-11-22T10:15:30.123Z", False),
    ],
)
def test_the_document_allows_just_the_cursors_that_name_a_time(text: str, is_one: bool) -> None:
    (cursor,) = (
        parameter["schema"]["pattern"]
        for parameter in document()["paths"]["/v1/conversations"]["get"]["parameters"]
        if parameter["name"] == "cursor"
    )
    found = re.search(cursor, f"{text}_0192f000-0000-7000-8000-000000000001")
    assert bool(found) == is_one


@pytest.mark.parametrize("operation", OPERATIONS + DEMO_OPERATIONS, ids=lambda o: o.name)
def test_a_body_may_be_left_out_just_where_an_empty_one_is_right(operation: Operation) -> None:
    if operation.body is None:
        return
    made = document(demo=True)
    told = made["paths"][operation.path][operation.method.lower()]["requestBody"]["required"]
    schema = {"$ref": f"#/components/schemas/{operation.body.__name__}", **made}
    assert told != jsonschema_rs.is_valid(schema, {})


def test_every_reference_of_the_document_leads_somewhere() -> None:
    made = document(demo=True)
    text = json.dumps(made)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(made["components"]["schemas"])


def test_the_head_of_what_is_public_is_documented_without_a_body() -> None:
    paths = document(demo=True)["paths"]
    assert {path for path, calls in paths.items() if "head" in calls} == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/demo/members",
    }
    for calls in paths.values():
        if "head" in calls:
            assert calls["head"]["responses"].keys() == calls["get"]["responses"].keys()
            assert all("content" not in one for one in calls["head"]["responses"].values())


def test_every_parameter_may_be_empty() -> None:
    for calls in document()["paths"].values():
        for call in calls.values():
            for one in call["parameters"]:
                assert one.get("allowEmptyValue", False) is (one["in"] == "query")


def test_only_the_demo_documents_the_demo() -> None:
    assert "/demo/sign-in" in document(demo=True)["paths"]
    assert "/demo/sign-in" not in document()["paths"]


def test_errors_are_told_with_their_codes() -> None:
    send = document()["paths"]["/v1/conversations/{conversation_id}/messages"]["post"]
    assert "`CONFLICT`" in send["responses"]["409"]["description"]
    assert "`UNSUPPORTED_MEDIA_TYPE`" in send["responses"]["415"]["description"]
    assert send["security"] == [{"bearer": []}]
