"""What a reader takes away from a page: a table as CSV, and a citation as sentence, BibTeX and model card."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow._version import __version__
from greenlove_mlflow.core.quantity import COLUMNS, LOCAL, known_figures
from greenlove_mlflow.numbers import format_co2_g, format_count, format_duration_s, format_kwh, format_significant
from greenlove_mlflow.units import G_PER_KG, S_PER_H
from greenlove_mlflow.untrusted import spreadsheet_cell

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.offers.compare import ComparisonRow
    from greenlove_mlflow.report.content import ReportContent

CSV_HEADS = (
    "option", "place", *(f"{name}{end}" for name in COLUMNS for end in ("", "_lo", "_hi")), "rented_gpu_count",
    "used_gpu_count", "usd_per_hour", "speed_ratio", "speed_basis", "p_cheaper", "prices_as_of",
)  # fmt: skip
_BIBTEX_SPECIAL = re.compile(r"([\\{}%&#_$~^])")
_BIBTEX_WORDS = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_ENERGY_KNOWN = {"measured": "energy measured", "modelled": "energy modelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A run in the forms in which it is cited.

    Args:
        sentence: A sentence for a paper.
        bibtex: An entry of a bibliography.
        model_card: The ``co2_eq_emissions`` of a Hugging Face model card, YAML; empty where no CO2e is known.
    """

    sentence: str
    bibtex: str
    model_card: str


def options_csv(content: ReportContent) -> str:
    """The estimates here and on each offer, and what happened, as CSV with full precision."""
    estimate, comparison = content.estimate, content.comparison
    rows = [[LOCAL, estimate.grid.place, *_figures(estimate), "", "", "", "", "", "", ""]]
    rows += [_offer_cells(row) for row in (() if comparison is None else comparison.rows)]
    done = content.outcome or content.so_far
    if done is not None:
        co2_kg = None if done.co2_g is None else done.co2_g / G_PER_KG
        took = (done.time_s / S_PER_H, done.cost_usd, done.energy_kwh, co2_kg)
        cells = [cell for value in took for cell in (_number(value), "", "")]
        rows.append(
            ["actual" if content.outcome else "so far", estimate.grid.place, *cells, "", "", "", "", "", "", ""]
        )
    return csv_text(CSV_HEADS, rows)


def csv_text(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as CSV whose texts no spreadsheet evaluates."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([spreadsheet_cell(value) for value in row] for row in rows)
    return text.getvalue()


def citation_of(content: ReportContent) -> Citation:
    """The run as a sentence, a BibTeX entry and a model card's field."""
    sentence = _sentence(content)
    return Citation(sentence=sentence, bibtex=_bibtex(content, sentence), model_card=_model_card(content))


def _sentence(content: ReportContent) -> str:
    estimate, outcome = content.estimate, content.outcome
    if outcome is None:
        time_s, energy_kwh, co2_g = (
            format_duration_s(estimate.time_s), format_kwh(estimate.energy_kwh, missing=""),
            format_co2_g(estimate.co2_g, missing=""),
        )  # fmt: skip
        verb, known = "is estimated to take", "ranges at 95%"
    else:
        time_s, energy_kwh, co2_g = (
            format_duration_s(outcome.time_s), format_kwh(outcome.energy_kwh, missing=""),
            format_co2_g(outcome.co2_g, missing=""),
        )  # fmt: skip
        verb, known = _verb(content), _ENERGY_KNOWN.get(outcome.energy_source, "")
    figures = " and ".join(part for part in (energy_kwh, f"{co2_g} CO2e" if co2_g else "") if part)
    notes = ", ".join(part for part in ("electricity alone" if figures else "", known) if part)
    return (
        f"Training {verb} {time_s} on {_hardware(content)} in {_place(estimate)}"
        f"{f': {figures}' if figures else ''}{f' ({notes})' if notes else ''}. {_tool(content)}."
    )


def _verb(content: ReportContent) -> str:
    outcome = content.outcome
    if outcome is None or outcome.completed:
        return "took"
    planned = f"{content.estimate.workload.epoch_count:.12g}"
    return f"of {len(outcome.epoch_durations_s):,} of {planned} epochs took"


def _bibtex(content: ReportContent, sentence: str) -> str:
    title = f"Energy and carbon footprint of training {content.run_name or 'a model'}"
    key = re.sub(r"[^A-Za-z0-9]", "", (content.run_id or "run")[:8])
    fields = {
        "title": f"{{{_bibtex_text(title)}}}",
        "year": content.date[:4],
        "howpublished": _bibtex_text(_tool(content)),
        "note": _bibtex_text(sentence),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{greenlove-{key},", *lines, "}"])


def _model_card(content: ReportContent) -> str:
    estimate, outcome = content.estimate, content.outcome
    point = None if estimate.co2_g is None else estimate.co2_g.point
    grams = point if outcome is None else outcome.co2_g
    if grams is None:
        return ""
    how = "estimated before the training" if outcome is None else _ENERGY_KNOWN.get(outcome.energy_source, "")
    source = ", ".join(part for part in (_tool(content), how, "electricity alone") if part)
    return "\n".join([
        "co2_eq_emissions:",
        f"  emissions: {format_significant(grams, 4).replace(',', '')}  # grams of CO2e",
        f"  source: {_yaml_text(source)}",
        "  # training_type: pre-training or fine-tuning",
        f"  geographical_location: {_yaml_text(estimate.grid.place)}",
        f"  hardware_used: {_yaml_text(_hardware(content))}",
    ])  # fmt: skip


def _tool(content: ReportContent) -> str:
    run = f", MLflow run {content.run_id[:8]}" if content.run_id else ""
    date = f", {content.date}" if content.date else ""
    return f"greenlove-mlflow {__version__}{run}{date}"


def _hardware(content: ReportContent) -> str:
    statistics = content.estimate.statistics
    if statistics is None:
        return "one machine"
    count = statistics.home_gpu_count if statistics.machine.gpu_name else 1
    return f"{count} x {statistics.machine.processor_name}"


def _place(estimate: Estimate) -> str:
    intensity, source = estimate.grid.intensity_g_per_kwh, estimate.grid.intensity_source
    if intensity is None:
        return estimate.grid.place
    producer = f", {source.producer}" if source is not None and source.producer else ""
    return f"{estimate.grid.place} ({format_count(intensity.point)} g CO2e per kWh, {estimate.grid.scope}{producer})"


def _offer_cells(row: ComparisonRow) -> list[str]:
    ratio = row.time_ratio or row.speed_ratio.ratio
    return [
        row.offer.gpu,
        row.estimate.grid.place,
        *_figures(row.estimate),
        str(row.rented_gpu_count),
        str(row.used_gpu_count),
        _number(row.price_usd_per_hour),
        _number(ratio.point),
        row.speed_ratio.basis,
        _number(row.p_cheaper),
        row.offer.as_of,
    ]


def _figures(estimate: Estimate) -> list[str]:
    known = {quantity.column: value for quantity, value in known_figures(estimate)}
    cells: list[str] = []
    for name in COLUMNS:
        value = known.get(name)
        cells += ["", "", ""] if value is None else [_number(value.point), _number(value.low), _number(value.high)]
    return cells


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _bibtex_text(text: str) -> str:
    return _BIBTEX_SPECIAL.sub(lambda found: _BIBTEX_WORDS.get(found[1], f"\\{found[1]}"), text)


def _yaml_text(text: str) -> str:
    """The text as a YAML string in double quotes, which JSON's are."""
    return json.dumps(text)
