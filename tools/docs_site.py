"""What the documentation's site has that docs/ has not: the pages at the root, the decisions' list.

In charge of: bringing ARCHITECTURE.md, CHANGELOG.md and CONTRIBUTING.md in with their links set
right, listing docs/decisions by number in the navigation.
Knows about: MkDocs' hooks.
Does not know: what a page says.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
FROM_THE_ROOT = {
    "ARCHITECTURE.md": "explain/architecture-overview.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every decision into the navigation, by number."""
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    nav: list[Any] = config.nav or []
    for section in nav:
        if "Decisions" in section:
            section["Decisions"] = [f"decisions/{page.name}" for page in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live at the root."""
    for name, place in FROM_THE_ROOT.items():
        text = with_links_from((ROOT / name).read_text("utf-8"), place)
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Set links to pages at the root right: a checkout and the site have them in two places.

    And take away what stands behind a block's language: it is for the test that runs the block.
    """
    for name, place in FROM_THE_ROOT.items():
        there = posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")
        up = "../" * (page.file.src_uri.count("/") + 1)
        markdown = markdown.replace(f"]({up}{name})", f"]({there})")
    return re.sub(r"^```(\w+) .*$", r"```\1", markdown, flags=re.MULTILINE)


def with_links_from(text: str, place: str) -> str:
    """The same page, its links to docs/ and to its neighbours as they are from its new place."""
    up = "../" * place.count("/")

    def moved(link: re.Match[str]) -> str:
        target = link[1]
        if target == "docs/decisions":
            return f"]({up}decisions/0001-wal-and-not-notify.md)"
        if target in FROM_THE_ROOT:
            return f"]({up}{FROM_THE_ROOT[target]})"
        return f"]({up}{target.removeprefix('docs/')})"

    return re.sub(r"\]\(((?!https?:|#)[^)]+)\)", moved, text)
