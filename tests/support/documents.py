"""The Markdown files of the project: their code blocks, excerpts and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", *GUIDE]
DOCUMENTS = [*PAGES, *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG"))]
_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<comment>[^\n]*) -->\n *)?```(?P<language>\w+)\n(?P<text>.*?)\n(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_EXCERPT = re.compile(r"<!-- excerpt of (\S+) -->\n(?:```\w*\n(.*?)\n```|((?:\|[^\n]*\n)+))", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)\s#]+)")


@dataclass(frozen=True, slots=True)
class Block:
    """One code block: its language, its text, and the comment right above it."""

    language: str
    text: str
    comment: str

    @property
    def reason_not_run(self) -> str:
        """Why it is not run where the tests run; empty when it is."""
        return self.comment.removeprefix("not run").lstrip(": ") if self.comment.startswith("not run") else ""

    @property
    def file_name(self) -> str:
        """The file that its text stands for; empty when it is none."""
        return self.comment.removeprefix("file: ") if self.comment.startswith("file: ") else ""


def blocks_of(path: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    return [
        Block(
            found["language"],
            "\n".join(line.removeprefix(found["indent"]) for line in found["text"].splitlines()),
            found["comment"] or "",
        )
        for found in _BLOCK.finditer(path.read_text("utf-8"))
    ]


def excerpts_of(path: Path) -> list[tuple[str, str]]:
    """What a page quotes: the file, and the lines quoted from it."""
    return [(source, fenced or table) for source, fenced, table in _EXCERPT.findall(path.read_text("utf-8"))]


def links_of(path: Path) -> list[Path]:
    """The files of the project that a page links to."""
    return [(path.parent / target).resolve() for target in _LINK.findall(path.read_text("utf-8"))]


def named(path: Path) -> str:
    """The path inside the project, as a test's name."""
    return path.relative_to(ROOT).as_posix()
