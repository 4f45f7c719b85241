"""The page's files, ready to be sent: read once, without comments, compressed, with a fingerprint.

In charge of: what a browser gets for each file of the page, and how little of it has to travel.
Knows about: the files in the package. Does not know: HTTP routes, who asks.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final

try:
    import brotli  # type: ignore[import-untyped]
except ImportError:  # a machine for which nobody has built it
    brotli = None

__all__ = ["Asset", "read_assets", "without_comments"]

# No HTML: whole pages are answered with a policy of their own.
MEDIA_TYPES: Final = {
    "css": "text/css",
    "js": "text/javascript",
    "json": "application/json",
    "svg": "image/svg+xml",
}

# Comments that stand on lines of their own, and indentation, which means nothing to a browser: no
# template has text that keeps its blanks. A licence travels with its code. Nothing else is touched,
# so a line of the browser's debugger is a line of the source.
_BLOCK: Final = re.compile(
    r"^[ \t]*/\*\*(?!\s*\n? *\*? *@license)(?:(?!\*/).)*\*/[ \t]*$", re.MULTILINE | re.DOTALL
)
_NEVER: Final = re.compile(r";\s*q=0(?:\.0*)?\s*$")
_LINE: Final = re.compile(r"^[ \t]*//[^\n]*$", re.MULTILINE)
_INDENTATION: Final = re.compile(r"^ {2,}", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    media_type: str
    etag: str
    plain: bytes

    def for_one_who_accepts(self, encodings: str) -> tuple[str | None, bytes]:
        """The smallest form that this `accept-encoding` names, and its name."""
        accepted = {
            one.partition(";")[0].strip() for one in encodings.split(",") if not _NEVER.search(one)
        }
        for name, body in _packed(self.plain).items():
            if name in accepted:
                return name, body
        return None, self.plain


def without_comments(script: str) -> str:
    """The same script on the same lines, without what only its readers need."""
    blank = _BLOCK.sub(lambda found: "\n" * found[0].count("\n"), script)
    return _INDENTATION.sub("", _LINE.sub("", blank))


def read_assets(folder: Traversable) -> Mapping[str, Asset]:
    """Every file of a folder by its path in it."""
    return {path: _asset(path, file.read_bytes()) for path, file in _walk(folder, "")}


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _walk(entry, f"{path}/")
        elif path.rpartition(".")[2] in MEDIA_TYPES and entry.name != "package.json":
            found.append((path, entry))
    return found


def _asset(path: str, content: bytes) -> Asset:
    kind = path.rpartition(".")[2]
    plain = without_comments(content.decode()).encode() if kind == "js" else content
    etag = f'"{hashlib.sha256(plain).hexdigest()[:20]}"'
    return Asset(MEDIA_TYPES[kind], etag, plain)


@functools.cache
def _packed(plain: bytes) -> Mapping[str, bytes]:
    """Smallest first, made when somebody asks first: Brotli's best takes milliseconds a file."""
    packed = {"gzip": gzip.compress(plain, 9, mtime=0)}
    return packed if brotli is None else {"br": brotli.compress(plain), **packed}
