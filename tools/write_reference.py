"""Write the reference pages that say what the code says.

`python tools/write_reference.py` writes them; with `--check` it only says which are out of date.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer

from bookconnect_dm import asyncapi, config, openapi, wire
from bookconnect_dm.cli import cli
from bookconnect_dm.errors import CLOSES, ERRORS
from bookconnect_dm.metrics import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"

COMMANDS_INTRODUCTION = (
    "Written by `make docs` from the commands themselves. Settings come from the environment:"
    " [settings](settings.md). An error is one sentence that says what to do, and a status"
    " other than 0; with `BOOKCONNECT_DM_LOG_LEVEL=debug` it also says where it arose."
)
ERRORS_INTRODUCTION = (
    "Written by `make docs` from the table in `errors.py`. REST answers"
    " `application/problem+json` with `code`, `detail` and, where one field is at fault,"
    " `field`; a socket sends an `error` frame with the same."
)

METRICS_INTRODUCTION = (
    "Written by `make docs` from the table in `metrics.py`. `GET /metrics` shows them as text for"
    " Prometheus, without a login: let only your scraper reach it. A scrape reads what the server"
    " knows already and asks the database nothing. No label holds an id, a name or a text of a"
    " member. What begins with `process_` or `python_` comes from the client library. How to use"
    " them: [watch it](../how-to/watch.md)."
)

# Typer brings a click of its own that is not exported: commands and options are duck-typed here.
Command = Any


def commands_page() -> str:
    """Every command with its options, as `--help` tells them."""
    parts = [
        "# Commands",
        COMMANDS_INTRODUCTION,
    ]
    for name, command in leaves("bookconnect-dm", typer.main.get_command(cli)):
        parts += [f"## `{name}`", str(command.help)]
        options = [option_line(option) for option in command.params]
        if options:
            parts.append("\n".join(options))
    return "\n\n".join(parts) + "\n"


def leaves(name: str, command: Command) -> Iterator[tuple[str, Command]]:
    """Every command that does something, with its full name."""
    inner = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        yield name, command
    for key, value in inner.items():
        yield from leaves(f"{name} {key}", value)


def option_line(option: Command) -> str:
    """One option as a line of a list."""
    names = " or ".join(f"`{name}`" for name in option.opts)
    if option.required:
        note = " Required."
    elif option.is_flag or option.default is None:
        note = ""
    else:
        note = f" Default: `{option.default}`."
    return f"- {names}: {option.help}{note}"


SETTINGS_INTRODUCTION = (
    "Written by `make docs` from `config.py`. All come from the environment and are read once. The"
    " demo needs none of them: it makes its own in `.demo/secrets.json`."
)
LIMITS_INTRODUCTION = (
    "For each member, unless it says otherwise; 0 switches a limit off. A rate and its burst are"
    " one limit, off where either is 0. Sizes (of a frame, a body, a page, a queue) can be set, not"
    " switched off, since one stranger could then fill the memory."
)


def settings_page() -> str:
    """Every setting with its default, and what stands under it in `config.py`."""
    parts = ["# Settings", SETTINGS_INTRODUCTION, settings_table(config.Settings, config.PREFIX)]
    limits = settings_table(config.LimitSettings, f"{config.PREFIX}LIMIT_")
    return "\n\n".join([*parts, "## Limits", LIMITS_INTRODUCTION, limits]) + "\n"


def settings_table(kind: type[Any], prefix: str) -> str:
    """One row a field."""
    meanings = field_docstrings(kind)
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(kind):
        if prefix + field.name.upper() in config.SETTING_NAMES:
            name = f"`{prefix}{field.name.upper()}`"
            rows.append(f"| {name} | {default_of(field.default)} | {meanings[field.name]} |")
    return "\n".join(rows)


def default_of(value: object) -> str:
    """A default as it would be written into the environment."""
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, float):
        value = f"{value:g}"
    return "" if value in {"", None} else f"`{value}`"


def field_docstrings(kind: type[Any]) -> dict[str, str]:
    """What stands under each field of a class, on one line."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(kind)).body[:1])  # type: ignore[attr-defined]
    found = {}
    for field, after in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
            found[field.target.id] = " ".join(ast.literal_eval(after.value).split())
    return found


API_INTRODUCTION = """\
Written by `make docs` from the code that answers. A running server shows the same in full, with \
every field, at `/docs` (OpenAPI at `/openapi.json`, AsyncAPI at `/asyncapi.json`).

Three ways lead to the same functions in the database, which decide: REST, the socket, and SQL \
for clients that come through PostgREST or [Supabase](../how-to/supabase.md). What is refused, \
and what to do then: [errors](errors.md).

## Rules of the wire

- `Authorization: Bearer <JWT>` with `sub`, `aud`, `exp` and `role: authenticated`. A good token \
whose `sub` the host does not know, or has erased, is accepted all the same; its holder sees \
nothing and reaches nobody.
- Times are RFC 3339 in UTC with six digits and `Z`. Positions and cursors are opaque: compare \
them as strings, never parse them.
- A message's id may be made by the client (UUIDv7). The same id with the same content again gives \
the original, so a send is repeated until it is answered.
- A position moves only by `message` and `message_deleted` frames in the order of their arrival, \
and by the `position` of a sync answer; never by an acknowledgement or a page.
- After any gap: connect, `auth`, `ready`, keep the frames that come, ask `/v1/sync` until \
`next_cursor` is null, drop what was kept at or before each position, go live. `reload` and \
`complete: false` mean: forget it and load it anew.
- Ignore what you do not know: fields of answers and frames, and types of frames. The server \
ignores unknown fields and types of frames too. A REST body with a field that is not known is \
refused with 400, so that a slip of the pen is told and not passed over.
- A query parameter without a value (`?cursor=`) is as if it were not there, and so is an empty \
body where every field may be left out.
- The addresses that need no token answer `HEAD` as they answer `GET`, without the body; those \
under `/v1` do not.\
"""

SQL_FUNCTIONS = """\
For `authenticated`, with `request.jwt.claims` set as PostgREST does. Arguments are passed by name.

```sql
start_conversation(recipient_id uuid, store_id uuid default null)
    -> (conversation_id uuid, is_existing boolean)
send_message(conversation_id uuid, content text, message_id uuid default null)
    -> the row of direct_messages
get_user_conversations(page_limit int default 20, before_updated_at timestamptz default null,
    before_id uuid default null)
get_conversation_messages(conversation_id uuid, page_limit int default 50,
    before timestamptz default null, after timestamptz default null)
get_conversation_changes(conversation_id uuid, since timestamptz, page_limit int default 500)
    -> jsonb {messages, deleted, position, complete}
sync_conversations(state jsonb) -> jsonb
mark_conversation_as_read(conversation_id uuid, up_to timestamptz default null,
    up_to_message uuid default null) -> timestamptz
delete_message(message_id uuid) -> void
get_unread_message_count(conversation_id uuid) -> int
get_unread_conversation_count() -> int
get_user_retention_info() -> (tier text, retention_days int, grace_ends_at timestamptz)
get_me() -> jsonb
get_conversation(conversation_id uuid) -> jsonb
search_members(query text, page_limit int default 20)
find_member(username text) -> uuid
```

For the service role, one bounded batch a call, until 0: `soft_delete_expired_messages()`, \
`cleanup_expired_messages()`.\
"""


def api_page() -> str:
    """Every call, every frame, every SQL function."""
    parts = ["# API specification", API_INTRODUCTION, "## REST", "\n".join(rest_rows())]
    clients, servers = get_args(wire.ClientFrame), get_args(wire.ServerFrame)
    parts += ["## Socket: `/v1/realtime`", "JSON text frames. What a client says:"]
    parts += ["\n".join(frame_rows(clients)), "What the server says:"]
    parts += ["\n".join(frame_rows(servers)), "## SQL", SQL_FUNCTIONS]
    return "\n\n".join(parts) + "\n"


def rest_rows() -> Iterator[str]:
    """One row a call."""
    yield "| call | what it does | answers |"
    yield "|---|---|---|"
    for path, calls in openapi.document()["paths"].items():
        for method, call in calls.items():
            answers = ", ".join(call["responses"])
            yield f"| {method.upper()} `{path}` | {call['summary']} | {answers} |"


def frame_rows(frames: tuple[type, ...]) -> Iterator[str]:
    """One row a frame: its meaning and an example as it goes over the wire."""
    yield "| frame | meaning | example |"
    yield "|---|---|---|"
    for frame in frames:
        example = json.dumps(asyncapi.EXAMPLES[frame])
        meaning = " ".join((inspect.getdoc(frame) or "").split("\n\n")[0].split())
        yield f"| `{asyncapi.EXAMPLES[frame]['type']}` | {meaning} | `{example}` |"


def errors_page() -> str:
    """Every error code and every close code."""
    parts = [
        "# Errors",
        ERRORS_INTRODUCTION,
    ]
    for kind in ERRORS.values():
        parts += [
            f"## {kind.code}",
            f"HTTP {kind.status}. {kind.title}.",
            f"{kind.meaning}",
            f"What to do: {kind.what_to_do}",
        ]
    parts.append("# Close codes of a socket")
    for close in CLOSES.values():
        parts += [f"## {close.code} {close.name}", f"{close.meaning}", close.what_to_do]
    return "\n\n".join(parts) + "\n"


def metrics_page() -> str:
    """Every metric, as a scraper sees it."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.shown}` | {family.kind} | {labels} | {family.meaning} |")
    notes = [
        "A histogram shows as three: `_bucket` (with `le`), `_sum` and `_count`.",
        (
            "`bookconnect_dm_retention_*` and `bookconnect_dm_store_bytes` are there only on"
            " servers with `BOOKCONNECT_DM_RETENTION_URL`; what is to do and what stores take is"
            " known to the one that leads."
        ),
    ]
    return "\n\n".join(["# Metrics", METRICS_INTRODUCTION, "\n".join(lines), *notes]) + "\n"


PAGES = {
    "api-specification.md": api_page,
    "cli.md": commands_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "settings.md": settings_page,
}


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    for name, page in PAGES.items():
        path = FOLDER / name
        text = page()
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
    if stale and "--check" in sys.argv:
        print(f"docs/reference: {', '.join(stale)} out of date: run make docs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
