"""The data behind each chart as a small table, for readers who cannot see the chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from greenlove_mlflow.numbers import format_duration_s, format_w
from greenlove_mlflow.report.charts.data import thinned

_MOST_ROWS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """Column heads and rows, all text."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def chart_tables(charts: dict[str, dict[str, Any]]) -> dict[str, DataTable]:
    """One table per chart, except charts of the options, which have their own table."""
    makers = {
        "scaling": _passes,
        "passes_by_size": _by_size,
        "residuals": _residuals,
        "power": _power,
        "forecast": _forecast,
        "price_history": _history,
    }
    return {name: makers[name](data) for name, data in charts.items() if name in makers}


def _passes(data: dict[str, Any]) -> DataTable:
    return DataTable(
        title="Benchmarked passes",
        heads=("Phase", "Samples", "Took", "Pass"),
        rows=tuple(
            (each["phase"], each["samples_text"], each["seconds_text"], each["whole_text"])
            for each in thinned(data["passes"], _MOST_ROWS)
        ),
    )


def _by_size(data: dict[str, Any]) -> DataTable:
    rows = tuple(
        (each["name"], str(each["pass"]), each["seconds_text"], each["phase"])
        for each in thinned(data["passes"], _MOST_ROWS)
    )
    return DataTable(title="Passes by sample size", heads=("Pass over", "Pass", "Took", "Phase"), rows=rows)


def _residuals(data: dict[str, Any]) -> DataTable:
    return DataTable(
        title="Distance from the fit",
        heads=("At", "Over", "Against the fit"),
        rows=tuple(
            (format_duration_s(each["at_s"]), each["samples_text"], each["residual_text"])
            for each in thinned(data["residuals"], _MOST_ROWS)
        ),
    )


def _power(data: dict[str, Any]) -> DataTable:
    means = {each["device"]: each for each in data["means"]}.values()
    samples = data["samples"]
    spans = {device: [each["watts"] for each in samples if each["device"] == device] for device in _devices(data)}
    known = {each["device"]: each for each in means}
    rows = []
    for device, watts in spans.items():
        mean = known.get(device)
        rows.append((
            device,
            "not formed" if mean is None else mean["mean_text"],
            "not formed" if mean is None else mean["source"],
            f"{format_w(min(watts))} to {format_w(max(watts))}" if watts else "no samples",
            "not counted" if mean is None else mean["energy_text"],
        ))  # fmt: skip
    heads = ("Device", "Mean used", "Known by", "Samples between", "Energy while metered")
    return DataTable(title="Power by device", heads=heads, rows=tuple(rows))


def _devices(data: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(each["device"] for each in (*data["means"], *data["samples"])))


def _forecast(data: dict[str, Any]) -> DataTable:
    rows = tuple((str(each["epoch"]), each["text"]) for each in thinned(data["forecasts"], _MOST_ROWS))
    return DataTable(title="Forecasts", heads=("Epochs done", "Forecast of the whole"), rows=rows)


def _history(data: dict[str, Any]) -> DataTable:
    rows = tuple((each["name"], each["as_of"], each["price_text"], each["cost_text"]) for each in data["history"])
    return DataTable(title="Cost by date of prices", heads=("Option", "Prices of", "Price", "Cost"), rows=rows)
