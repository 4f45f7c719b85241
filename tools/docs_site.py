"""What the documentation's site has that docs/ has not: the pages at the root, the decisions' list.

In charge of: bringing ARCHITECTURE.md, CHANGELOG.md and CONTRIBUTING.md in with their links set
right, listing docs/decisions by number in the navigation.
Knows about: MkDocs' hooks.
Does not know: what a page says.
"""

from __future__ import annotations

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


SECTIONS = {"How to": "how-to", "Reference": "reference", "Explain": "explain"}
"""Pages of a folder that mkdocs.yml does not place come at the end of its section."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every page of a folder into its section, and every decision, by number."""
    nav: list[Any] = config.nav or []
    for section in nav:
        for title, folder in SECTIONS.items():
            if title in section:
                placed = [
                    next(iter(p.values())) if isinstance(p, dict) else p for p in section[title]
                ]
                section[title] += [page for page in pages_in(folder) if page not in placed]
        if "Decisions" in section:
            section["Decisions"] = pages_in("decisions")
    return config


def pages_in(folder: str) -> list[str]:
    """The pages of a folder, as the navigation names them."""
    return [f"{folder}/{page.name}" for page in sorted((ROOT / "docs" / folder).glob("*.md"))]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live at the root."""
    for name, place in FROM_THE_ROOT.items():
        text = with_links_from((ROOT / name).read_text("utf-8"), place)
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Set links out of docs/ right: a checkout has what they lead to, the site has not.

    Pages at the root are in the site, elsewhere; of a source file the words stay. And take away
    what stands behind a block's language: it is for the test that runs the block.
    """
    here = (ROOT / "docs" / page.file.src_uri).parent
    up = "../" * page.file.src_uri.count("/")

    def moved(link: re.Match[str]) -> str:
        target = (here / link[2]).resolve()
        if not target.is_relative_to(ROOT) or target.is_relative_to(ROOT / "docs"):
            return link[0]
        name = target.relative_to(ROOT).as_posix()
        place = FROM_THE_ROOT.get(name)
        return f"[{link[1]}]({up}{place})" if place else f"{link[1]} (`{name}`)"

    markdown = re.sub(r"\[([^\]]+)\]\((\.\./[^)#]+)\)", moved, markdown)
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
