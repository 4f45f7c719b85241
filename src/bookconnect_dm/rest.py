"""HTTP: the calls of the table behind Litestar's routes, and every error as problem+json.

In charge of: routes, headers, CORS, sizes, static files, and what an error looks like by HTTP.
Knows about: Litestar, the table of calls in `openapi`, the calls themselves.
Does not know: what a call means, who may do what.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final

import structlog
from litestar import Litestar, Request, Response, route
from litestar.config.cors import CORSConfig
from litestar.exceptions import ClientException, HTTPException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from litestar.types import ExceptionHandlersMap, Method

from bookconnect_dm import asyncapi, wire
from bookconnect_dm.assets import read_assets
from bookconnect_dm.calls import Answer, Calls, Demo, Ready
from bookconnect_dm.door import Door
from bookconnect_dm.errors import Problem
from bookconnect_dm.openapi import DEMO_OPERATIONS, OPERATIONS, document
from bookconnect_dm.tracing import HEADER

__all__ = ["http_app", "path_as_written"]

AnyRequest = Request[Any, Any, Any]
Call = Callable[[AnyRequest], Awaitable[Answer]]

_FILES: Final = files("bookconnect_dm")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types lit-html"
)

_UI: Final = "/ui/"

log = structlog.get_logger("rest")


def http_app(door: Door, *, ready: Ready, demo: Demo | None) -> Litestar:
    """Everything that is served by HTTP."""
    settings = door.settings
    return Litestar(
        [
            *_routes(door, ready, demo),
            _fixed(
                "/openapi.json", wire.encode(document(demo=demo is not None)), "application/json"
            ),
            _fixed("/asyncapi.json", wire.encode(asyncapi.document()), "application/json"),
            _file("/docs", "docs_page/index.html"),
            _file("/docs/page.css", "docs_page/page.css", "text/css"),
            _file("/docs/page.js", "docs_page/page.js", "text/javascript"),
            *([_file("/", "ui/demo.html")] if demo else []),
            _file(_UI, "docs_page/ui.html"),
            _page_files(demo=demo is not None),
        ],
        cors_config=CORSConfig(
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["retry-after", HEADER],
        ),
        exception_handlers=_exception_handlers(door),
        request_max_body_size=settings.limits.body_bytes,
        openapi_config=None,
        logging_config=None,
    )


def path_as_written(path: str) -> str:
    """`path`, or where Litestar would tidy it up, one that nobody serves.

    A proxy that keeps `/metrics` for the operator knows no other way of writing it.
    """
    is_folder = path in {"/", _UI}
    is_tidy = is_folder or not ("//" in path or path.endswith("/") or f"{path}/" == _UI)
    return path if is_tidy else "/404"


def _routes(door: Door, ready: Ready, demo: Demo | None) -> list[HTTPRouteHandler]:
    """One handler a path, for all its methods: Litestar's own OPTIONS knows only the first."""
    calls = Calls(door, ready, demo)
    paths: dict[str, dict[Method, Call]] = {}
    for operation in OPERATIONS + (DEMO_OPERATIONS if demo else ()):
        by_method = paths.setdefault(operation.path, {})
        by_method[operation.method] = getattr(calls, operation.name)
        if operation.has_head:  # uvicorn leaves the body out
            by_method["HEAD"] = by_method["GET"]
    return [_handler(door, path, by_method) for path, by_method in paths.items()]


def _file(path: str, name: str, media_type: str = "text/html") -> HTTPRouteHandler:
    return _fixed(path, (_FILES / name).read_bytes(), media_type)


def _page_files(*, demo: bool) -> HTTPRouteHandler:
    """The components: a browser asks each time whether a file is new, and mostly hears 304."""
    everything = read_assets(_FILES / "ui")
    assets = {name: one for name, one in everything.items() if demo or not name.startswith("demo.")}

    async def file(request: AnyRequest, name: str) -> ASGIResponse:
        asset = assets.get(name.lstrip("/"))
        if asset is None:
            raise NotFoundException
        headers = [
            ("etag", asset.etag),
            ("vary", "accept-encoding"),
            ("cache-control", "no-cache"),
            _NO_SNIFF,
        ]
        if request.headers.get("if-none-match", "").removeprefix("W/") == asset.etag:
            return ASGIResponse(status_code=304, headers=headers)
        encoding, body = asset.for_one_who_accepts(request.headers.get("accept-encoding", ""))
        if encoding:
            headers.append(("content-encoding", encoding))
        return ASGIResponse(body=body, media_type=asset.media_type, headers=headers)

    made = route(
        "/ui/{name:path}", http_method=["GET", "HEAD"], status_code=200, include_in_schema=False
    )
    return made(file)


def _fixed(path: str, body: bytes, media_type: str) -> HTTPRouteHandler:
    """A route whose answer is the same for everybody, always."""
    headers = (("content-security-policy", _POLICY), ("cache-control", "no-cache"), _NO_SNIFF)

    async def answer() -> ASGIResponse:
        return ASGIResponse(body=body, media_type=media_type, headers=headers)

    made = route(path, http_method=["GET", "HEAD"], status_code=200, include_in_schema=False)
    return made(answer)


PROBLEM_TYPE: Final = "application/problem+json"
_NO_STORE: Final = ("cache-control", "no-store")
_NO_SNIFF: Final = ("x-content-type-options", "nosniff")


def _handler(door: Door, path: str, calls: Mapping[Method, Call]) -> HTTPRouteHandler:
    metrics = door.metrics
    methods: list[Method] = [*calls, "OPTIONS"]
    options = ASGIResponse(status_code=204, headers=(("allow", ", ".join(methods)), _NO_STORE))

    async def handle(request: AnyRequest) -> ASGIResponse:
        call = calls.get(request.method)
        if call is None:
            return options
        started = time.perf_counter()
        try:
            response = _response(await call(request))
        except Problem as problem:
            response = rejected(problem)
        except HTTPException as error:
            response = rejected(_problem_of_http(error), allow=_allow(error))
        except Exception as error:  # the outer edge of a request
            # What it was about stays out of the log: a message is nobody's business.
            log.exception("request_failed", route=path, error=type(error).__name__)
            response = rejected(Problem("INTERNAL"))
        seconds = time.perf_counter() - started
        status = response.status_code
        metrics.request(path, request.method, status, seconds)
        log.debug("request", route=path, method=request.method, status=status, took_s=seconds)
        return response

    def rejected(problem: Problem, allow: str | None = None) -> ASGIResponse:
        metrics.rejected("rest", problem.code)
        return problem_response(problem, allow=allow)

    # What an id must look like is said by the call, not by the router. The status here is only
    # what Litestar would give; each answer brings its own.
    made = route(
        path.replace("}", ":str}"), http_method=methods, status_code=200, include_in_schema=False
    )
    return made(handle)


def _response(answer: Answer) -> ASGIResponse:
    body = answer.body if isinstance(answer.body, bytes) else wire.encode(answer.body)
    return ASGIResponse(
        body=body,
        status_code=answer.status,
        media_type=answer.media_type,
        headers=(_NO_STORE, _NO_SNIFF),
    )


def problem_response(problem: Problem, *, allow: str | None = None) -> ASGIResponse:
    """`problem` as application/problem+json."""
    return ASGIResponse(
        body=wire.encode(problem_body(problem)),
        status_code=problem.kind.status,
        media_type=PROBLEM_TYPE,
        headers=_problem_headers(problem, allow),
    )


def problem_body(problem: Problem) -> wire.ProblemBody:
    """`problem` as it goes over the wire."""
    return wire.ProblemBody(
        code=problem.code,
        detail=problem.detail,
        title=problem.kind.title,
        status=problem.kind.status,
        field=problem.field,
        retry_after=problem.retry_after,
    )


def _problem_headers(problem: Problem, allow: str | None) -> list[tuple[str, str]]:
    headers = [_NO_STORE, _NO_SNIFF]
    if problem.code == "UNAUTHENTICATED":
        headers.append(("www-authenticate", "Bearer"))
    if problem.retry_after is not None:
        headers.append(("retry-after", str(max(1, math.ceil(problem.retry_after)))))
    if allow:
        headers.append(("allow", allow))
    return headers


_BY_STATUS: Final = {
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
}


def _problem_of_http(error: HTTPException) -> Problem:
    code = _BY_STATUS.get(error.status_code)
    if code is None:
        code = "INVALID_REQUEST" if isinstance(error, ClientException) else "INTERNAL"
    return Problem(code)


def _allow(error: HTTPException) -> str | None:
    return (error.headers or {}).get("allow")


def _exception_handlers(door: Door) -> ExceptionHandlersMap:
    """What answers when no handler was reached: no such path, no such method, our own mistake."""

    def of_http(_request: AnyRequest, error: HTTPException) -> Response[bytes]:
        problem = _problem_of_http(error)
        door.metrics.request("other", "other", problem.kind.status, 0.0)
        door.metrics.rejected("rest", problem.code)
        return _plain_response(problem, _allow(error))

    def of_anything(_request: AnyRequest, error: Exception) -> Response[bytes]:
        log.error("request_failed", route="other", error=type(error).__name__)
        return _plain_response(Problem("INTERNAL"), None)

    return {HTTPException: of_http, Exception: of_anything}


def _plain_response(problem: Problem, allow: str | None) -> Response[bytes]:
    return Response(
        wire.encode(problem_body(problem)),
        status_code=problem.kind.status,
        media_type=PROBLEM_TYPE,
        headers=dict(_problem_headers(problem, allow)),
    )
