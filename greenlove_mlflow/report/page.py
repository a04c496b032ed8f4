"""Renders content as one HTML file that fetches nothing."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlove_mlflow._version import __version__
from greenlove_mlflow.report import notes, view
from greenlove_mlflow.report.charts.chart_data import chart_tables
from greenlove_mlflow.report.data import can_replan, page_facts
from greenlove_mlflow.report.takeaway import citation_of, options_csv
from greenlove_mlflow.words.summary import asks_for_action, next_time
from greenlove_mlflow.words.verdict import (
    fate_of,
    headline_sentences,
    home_sentence,
    progress_sentences,
    was_estimated_sentence,
    would_take_sentence,
)

if TYPE_CHECKING:
    from jinja2 import Environment

    from greenlove_mlflow.report.content import ReportContent

ASSETS = Path(__file__).parent / "assets"
# These can end a script element or, the last two, a line of JavaScript; as JSON escapes they are safe.
_JSON_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
# Matches the space to make non-breaking between a number and its unit.
_NUMBER_AND_UNIT = re.compile(r"(?<=\d) (?=(?:d|h|min|s|ms|m?Wh|kWh|MWh|mg|g|kg|t|W|kW)\b|%)|(?<=\d [dh]) (?=\d)")
_OPTION_CHARTS = ("cost_time", "carbon")


def render_report(content: ReportContent) -> str:
    """The report of a run as one HTML file that fetches nothing; all text is escaped."""
    content = _with_tables(content)
    estimate, comparison = content.estimate, content.comparison
    facts = page_facts(content)
    charts = [*(_OPTION_CHARTS if comparison is not None else ()), *facts["charts"]]
    caveats, offer_caveats = notes.caveats_of(content), notes.offer_caveats_of(content)
    asking = asks_for_action(caveats)
    assumed = [each for each in caveats if each not in asking]
    return render(
        "report.html.j2",
        facts,
        charts,
        content=content,
        fate=fate_of(content.status),
        where=_where(content),
        headline=_headline(content),
        verdict=_verdict(content),
        advice="" if comparison is None else next_time(comparison, has_ended=content.outcome is not None),
        figures=view.figures_of(estimate, content.outcome, content.so_far),
        parts=view.step_parts(estimate),
        options=None if comparison is None else view.options_of(comparison),
        equivalents=view.equivalents_of(estimate, content.equivalences, content.outcome),
        citation=citation_of(content),
        csv=options_csv(content),
        tables=chart_tables(facts["charts"]),
        version=__version__,
        can_replan=can_replan(content),
        plan=notes.plan_of(content),
        diagnostics=notes.diagnostics_of(content),
        asking=asking,
        assumed=assumed,
        offer_caveats=offer_caveats,
        speeds=notes.speeds_of(content),
        measured=notes.measured_of(content),
        sources=notes.sources_of(content),
        commands=notes.commands_of(content),
    )


def render(template: str, facts: dict[str, Any], charts: list[str], **texts: Any) -> str:
    """Render a page from its template, its facts and the names of its charts."""
    specs = {name: chart_specs()[name] for name in charts}
    return _environment().get_template(template).render(
        facts_json=script_json(facts),
        charts_json=script_json(specs),
        chart_names=frozenset(charts),
        vega=_asset("vega.js"),
        **texts,
    )  # fmt: skip


def _where(content: ReportContent) -> tuple[str, ...]:
    """Date, machine and place of the run, for the line above everything else."""
    statistics = content.estimate.statistics
    machine = "" if statistics is None else statistics.machine.processor_name
    # A page shows a running training as it was when the page was made.
    as_of = f"as of {content.made_at[:16].replace('T', ' ')} UTC" if content.status == "running" else ""
    known = (content.date, machine, content.estimate.grid.place, as_of if content.made_at else "")
    return tuple(part for part in known if part)


def _verdict(content: ReportContent) -> str:
    if content.so_far is not None:
        return was_estimated_sentence(content.estimate)
    return would_take_sentence(content.estimate) if content.status == "refused" else home_sentence(content.estimate)


def _headline(content: ReportContent) -> tuple[str, ...]:
    estimate, so_far = content.estimate, content.so_far
    happened = headline_sentences(estimate, content.outcome, status=content.status, notice=content.notice)
    return happened if so_far is None else (*progress_sentences(estimate, so_far, seen_at=content.seen_at), *happened)


def script_json(value: Any) -> Any:
    """JSON that is safe inside a script element, whatever text it holds."""
    from markupsafe import Markup

    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for char, escape in _JSON_ESCAPES.items():
        text = text.replace(char, escape)
    return Markup(text)  # noqa: S704 - no HTML special character is left


@lru_cache(maxsize=1)
def chart_specs() -> dict[str, Any]:
    """The compiled charts by name."""
    charts: dict[str, Any] = json.loads((ASSETS / "charts.json").read_text(encoding="utf-8"))["charts"]
    return charts


@lru_cache(maxsize=1)
def _asset(name: str) -> Any:
    from markupsafe import Markup

    return Markup((ASSETS / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of this package


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("greenlove_mlflow.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["together"] = lambda text: _NUMBER_AND_UNIT.sub("\u00a0", text)
    return environment


def _with_tables(content: ReportContent) -> ReportContent:
    """The content with the bundled price sheets and equivalences if it has none."""
    from greenlove_mlflow.tables import read_equivalences, read_price_sheet, table_versions

    sheets, equivalences = content.price_sheets, content.equivalences
    if not sheets and content.comparison is not None:
        sheets = tuple(read_price_sheet(version) for version in table_versions("crusoe_prices"))
    if not equivalences and content.estimate.co2_g is not None:
        equivalences = read_equivalences()
    return dataclasses.replace(content, price_sheets=sheets, equivalences=equivalences)
