"""The document says what `wire` says, and each example is a frame."""

from __future__ import annotations

import json
from typing import Any, get_args

import jsonschema_rs
import pytest

from bookconnect_dm import wire
from bookconnect_dm.asyncapi import EXAMPLES, document
from bookconnect_dm.errors import CLOSES

FRAMES = [*get_args(wire.ClientFrame), *get_args(wire.ServerFrame)]


def follow(reference: str) -> Any:
    at: Any = document()
    for key in reference.removeprefix("#/").split("/"):
        at = at[key]
    return at


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [one for inner in value.values() for one in references(inner)]
    return [one for inner in value for one in references(inner)] if isinstance(value, list) else []


def test_every_reference_leads_somewhere() -> None:
    found = references(document())
    assert len(found) > 2 * len(FRAMES)
    for reference in found:
        assert follow(reference)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda f: f.__name__)
def test_each_frame_is_there_with_an_example_that_fits_its_schema(frame: type) -> None:
    message = document()["components"]["messages"][frame.__name__]
    assert message["summary"].endswith((".", "`."))
    (example,) = message["examples"]
    schema = {**message["payload"], "components": document()["components"]}
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(example["payload"])
    assert example["payload"]["type"] == message["name"]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda f: f.__name__)
def test_each_example_is_read_as_its_frame(frame: type) -> None:
    data = json.dumps(EXAMPLES[frame])
    is_clients = frame in get_args(wire.ClientFrame)
    decode = wire.decode_client_frame if is_clients else wire.decode_server_frame
    decoded = decode(data)
    assert type(decoded) is frame
    assert json.loads(wire.encode(decoded)) == EXAMPLES[frame]


def test_each_frame_of_a_client_is_an_operation_and_has_its_answers() -> None:
    operations = document()["operations"]
    tags = {frame.__struct_config__.tag for frame in get_args(wire.ClientFrame)}
    assert set(operations) == tags | {"events"}
    for tag in tags - {"typing"}:
        assert operations[tag]["reply"]["messages"]


def test_every_close_code_is_told() -> None:
    assert set(document()["x-close-codes"]) == {str(code) for code in CLOSES}
