"""What MkDocs does beside turning Markdown into pages: generated parts, reports, formulas.

A page asks for a generated part by a line of its own, ``<!-- generated: NAME -->``; the parts are made from the code
and the tables, so they cannot fall behind them. Formulas become MathML when the pages are built: a browser draws it
without any script.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from gen_caveats import render_caveats  # noqa: E402 - beside this file
from gen_commands import render_commands  # noqa: E402
from gen_files import DOCS, include, relink, report_files, source_of_page  # noqa: E402
from gen_layers import render_layers  # noqa: E402
from gen_options import render_options  # noqa: E402
from latex2mathml.converter import convert  # noqa: E402

PARTS = {
    "caveats": render_caveats,
    "changelog": lambda: include("CHANGELOG.md"),
    "commands": render_commands,
    "contributing": lambda: include("CONTRIBUTING.md"),
    "layers": lambda: render_layers("greenlove_mlflow"),
    "layers-of-core": lambda: render_layers("greenlove_mlflow.core"),
    "options": render_options,
    "tables": lambda: include("data/README.md"),
}
_PART = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)
_FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def on_files(files: Any, *, config: Any) -> Any:
    """Add the reports and pictures that pages link to."""
    from mkdocs.structure.files import File

    for path in report_files():
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Put the generated parts in their places, and lead the links to where things are on the site."""
    uri = page.file.src_uri
    return fill(relink(markdown, source=source_of_page(uri), page=DOCS / uri))


def on_page_content(page_html: str, *, page: Any, config: Any, files: Any) -> str:
    """Turn formulas into MathML."""
    return _FORMULA.sub(lambda match: mathml(match[2]), page_html)


def fill(markdown: str) -> str:
    """The text with each generated part in its place."""
    return _PART.sub(lambda match: PARTS[match[1]](), markdown)


def mathml(formula: str) -> str:
    r"""A formula between ``\(`` and ``\)``, or ``\[`` and ``\]``, as MathML."""
    text = html.unescape(re.sub(r"<[^>]+>", "", formula)).strip()
    display = "block" if text.startswith(r"\[") else "inline"
    return convert(text[2:-2].strip(), display=display)
