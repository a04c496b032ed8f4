"""The reference of caveats, from their registry."""

from __future__ import annotations

import re

from greenlove_mlflow.core.caveats import CAVEATS, CaveatKind

# In the order in which a reader should care.
SEVERITIES = {
    "wrong-without": ("Misleading unless known", "The figure misleads a reader who does not know this."),
    "act": ("Ask for action", "The reader can and should do something."),
    "note": ("Notes", "Assumptions that are good to know."),
}


def render_caveats() -> str:
    """One table a severity: each code, what it says, what to do."""
    return "\n".join(line for severity in SEVERITIES for line in _section(severity))


def _section(severity: str) -> list[str]:
    title, words = SEVERITIES[severity]
    kinds = {code: kind for code, kind in sorted(CAVEATS.items()) if kind.severity == severity}
    rows = [_row(code, kind) for code, kind in kinds.items()]
    header = ["| code | what it says | what to do |", "|---|---|---|"]
    return [f"## {title}", "", f"`{severity}`: {words}", "", *header, *rows, ""]


def _row(code: str, kind: CaveatKind) -> str:
    return f'| <span id="{code}">`{code}`</span> | {_cell(kind.sentence)} | {_cell(kind.remedy)} |'


def _cell(text: str) -> str:
    """A sentence as a cell; its placeholders by name, in braces that no extension of Markdown takes for its own."""
    named = re.sub(r"\{(\w+)[^{}]*\}", r"&#123;\1&#125;", " ".join(text.split()))
    return named.replace("|", "\\|").replace("<", "&lt;")
