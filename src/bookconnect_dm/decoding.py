"""From JSON bytes to structs, with errors that a person can use.

In charge of: saying what is wrong with a frame or a body, in which field, under which `ref`.
Knows about: msgspec, and what browsers do to text.
Does not know: which frames and bodies there are (`wire` does).
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta

__all__ = ["MalformedError", "Ref", "decode_body", "decode_frame"]

_T = TypeVar("_T")

Ref = Annotated[str, Meta(max_length=200)] | Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)]
"""What a client calls its own frame; it comes back in the `ack` or `error`."""


class MalformedError(ValueError):
    """Bytes that are not what was expected: `detail` for a person, `field` and `ref` if known."""

    def __init__(self, detail: str, *, field: str | None = None, ref: Ref | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.ref = ref


def decode_frame(
    data: bytes | str, decoder: msgspec.json.Decoder[_T], known: frozenset[str]
) -> _T | None:
    """The frame in `data`; None for a `type` that is not `known`. Raises `MalformedError`."""
    try:
        return decoder.decode(data)
    except _UNREADABLE as error:
        return _second_look(data, error, decoder, known)


_UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


def decode_body(data: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """The request body in `data`. Raises `MalformedError`.

    Text may hold lone surrogates afterwards; whoever stores text looks for them.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _malformed_from(error, what="body") from None
    except _UNREADABLE as error:
        return _converted(_lenient(data, error, what="body"), decoder, what="body")


def _second_look(
    data: bytes | str, error: Exception, decoder: msgspec.json.Decoder[_T], known: frozenset[str]
) -> _T | None:
    """Off the fast path: tells unknown types from broken frames, and finds the `ref`."""
    value = _lenient(data, error, what="frame")
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind not in known:
        return None
    ref = _ref_of(value)
    frame = _converted(value, decoder, what="frame", ref=ref)
    if ref is None and getattr(frame, "ref", UNSET) is not UNSET:
        raise MalformedError("A ref is text or a whole number.", field="ref")
    return frame


def _lenient(data: bytes | str, error: Exception, *, what: str) -> object:
    """`data` by the standard library's parser, which lets lone surrogates through.

    Browsers send them (half an emoji), and the sender deserves an answer that names his frame.
    """
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise _malformed_from(error, what=what) from None


def _converted(
    value: object, decoder: msgspec.json.Decoder[_T], *, what: str, ref: Ref | None = None
) -> _T:
    try:
        return msgspec.convert(value, decoder.type)
    except msgspec.ValidationError as found:
        raise _malformed_from(found, what=what, ref=ref) from None
    except UnicodeError:
        detail = f"The {what} has a field whose name holds half a character."
        raise MalformedError(detail, ref=ref) from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _ref_of(value: object) -> Ref | None:
    """The `ref` of a parsed frame, if it is one that can be sent back."""
    if not isinstance(value, dict):
        return None
    try:
        ref: Ref | None = msgspec.convert(value.get("ref"), Ref | None)
        msgspec.json.encode(ref)
    except (msgspec.ValidationError, UnicodeError):
        return None
    return ref


_AT: Final = re.compile(r" - at `(?:key` in `)?\$?([^`]*)`$")
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `([^`]+)`")


def _malformed_from(error: Exception, *, what: str, ref: Ref | None = None) -> MalformedError:
    """`error` of the decoder, in words that need no knowledge of the decoder."""
    if not isinstance(error, msgspec.ValidationError):
        return MalformedError(f"The {what} is not valid JSON in UTF-8.", ref=ref)
    at = _AT.search(str(error))
    path = [at[1].replace("[...]", "").strip(".")] if at else []
    reason = _AT.sub("", str(error))
    if missing := _MISSING.search(reason):
        reason, path = f"The {what} needs the field `{missing[1]}`", [*path, missing[1]]
    elif unknown := _UNKNOWN.search(reason):
        reason, path = f"The {what} has no field `{unknown[1]}`", [*path, unknown[1]]
    field = ".".join(part for part in path if part) or None
    return MalformedError(f"{reason}.", field=field, ref=ref)
