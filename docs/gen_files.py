"""Files of the repository that are pages too, and links that lead out of ``docs/``.

A page links to files of the repository as any reader of the repository would; what of them the site holds as well
(reports, pictures, the guide for contributors) is linked there, and of the rest the path is printed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# Files that are a page under another name.
PAGES = {
    ROOT / "CONTRIBUTING.md": DOCS / "contributing.md",
    ROOT / "CHANGELOG.md": DOCS / "changelog.md",
    ROOT / "data" / "README.md": DOCS / "reference" / "tables.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")


def include(name: str) -> str:
    """The text of a Markdown file of the repository behind its title, linked as from the page that it is."""
    path = ROOT / name
    return relink(path.read_text("utf-8").split("\n", 1)[1], source=path, page=PAGES[path])


def relink(text: str, *, source: Path, page: Path) -> str:
    """The text with its links as they must stand on a page of the site.

    Args:
        text: Markdown.
        source: The file that it stands in; its links are relative to it.
        page: The file that stands for the page, inside ``docs/``.
    """

    def rewritten(match: re.Match[str]) -> str:
        mark, words, target, fragment = match[1], match[2], match[3], match[4] or ""
        place = _place_on_site((source.parent / target).resolve())
        if place is None:
            path = (source.parent / target).resolve().relative_to(ROOT)
            return f"`{path}`" if words.strip("`") == str(path) else f"{words} (`{path}`)"
        return f"{mark}[{words}]({os.path.relpath(place, page.parent)}{fragment})"

    return _LINK.sub(rewritten, text)


def report_files() -> list[Path]:
    """The files of ``reports/`` that pages show or link to, and those that these show or link to in turn."""
    found: set[Path] = set()
    waiting = sorted(DOCS.rglob("*.md"))
    while waiting:
        page = waiting.pop()
        fresh = {path for path in _linked(page) if path.is_relative_to(ROOT / "reports") and _is_shown(path)} - found
        found |= fresh
        waiting += [path for path in fresh if path.suffix == ".md"]
    return sorted(found)


def source_of_page(src_uri: str) -> Path:
    """The file of the repository that a page of the site is made from."""
    return ROOT / src_uri if src_uri.startswith("reports/") else DOCS / src_uri


def _linked(page: Path) -> Iterator[Path]:
    for match in _LINK.finditer(page.read_text("utf-8")):
        yield (page.parent / match[3]).resolve()


def _place_on_site(path: Path) -> Path | None:
    if path in PAGES:
        return PAGES[path]
    if path.is_relative_to(DOCS):
        return path
    if path.is_relative_to(ROOT / "reports") and _is_shown(path):
        return DOCS / path.relative_to(ROOT)
    return None


def _is_shown(path: Path) -> bool:
    return path.suffix in (".md", ".png", ".html") and path.exists()
