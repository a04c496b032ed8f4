"""Rendering: content to one HTML file that fetches nothing."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.report.verdict import outcome_sentences, verdict_sentences
from greenlove_mlflow.report.view import caveats_of, figures_of, measured_of, offers_of, plan_of, sources_of

if TYPE_CHECKING:
    from jinja2 import Environment

    from greenlove_mlflow.report.content import ReportContent


def render_report(content: ReportContent) -> str:
    """The report of one run as the text of one HTML file: nothing fetched, everything escaped."""
    outcome = () if content.outcome is None else outcome_sentences(content.estimate, content.outcome)
    return _environment().get_template("report.html.j2").render(
        content=content,
        verdict=verdict_sentences(content.estimate, content.comparison),
        outcome=outcome,
        figures=figures_of(content.estimate),
        offers=offers_of(content.comparison),
        plan=plan_of(content),
        caveats=caveats_of(content),
        measured=measured_of(content),
        sources=sources_of(content),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment: Any = Environment(
        loader=PackageLoader("greenlove_mlflow.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment  # type: ignore[no-any-return]
