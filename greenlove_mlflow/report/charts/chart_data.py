"""Data for the charts of a page, besides the options, and the same as small tables for readers who cannot see them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from greenlove_mlflow.numbers import (
    duration_scale,
    format_count,
    format_duration_s,
    format_kwh,
    format_money,
    format_share,
    format_usd,
    format_w,
)
from greenlove_mlflow.numbers.ticks import money_ticks
from greenlove_mlflow.units import J_PER_KWH

if TYPE_CHECKING:
    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.records import BenchmarkLog, EpochRecord, PowerReading
    from greenlove_mlflow.core.timing.fit import Fit
    from greenlove_mlflow.report.content import ReportContent


Json = dict[str, Any]
Item = TypeVar("Item")

PHASE_WORDS = {
    "first-contact": "first contact",
    "exploration": "exploration",
    "warm-up": "warm-up",
    "revisit": "revisit",
    "timed": "timed",
    "steady": "timed",
    "scaling": "other sizes",
}
# Phases of passes that are excluded from means; the page draws them hollow.
HOLLOW_PHASES = frozenset({"first-contact", "warm-up", "exploration"})
# Name of home among the options of a price history.
HERE = "here"
_FIT_POINTS = 40
# More points than a chart has pixels would only make the page larger.
_MOST_SAMPLES = 400
_MOST_FORECASTS = 200
_MOST_ROWS = 40


def chart_data(content: ReportContent) -> dict[str, Json]:
    """The data sets of each chart with data, by the chart's name."""
    found: dict[str, Json] = {}
    log, fit = content.log, content.known_fit
    if log is not None and (passes := _passes(log)):
        found["scaling"] = {
            "passes": passes,
            "fit": [] if fit is None else fit_line(log, fit),
            **_seen("phase", passes),
        }
        if fit is not None and (left := residuals(log, fit)):
            found["residuals"] = {"residuals": left, "zero": [{"residual": 0.0}], **_seen("phase", left)}
        found["passes_by_size"] = {"passes": passes_by_size(log)}
    if log is not None and (log.power or log.power_samples):
        samples, means = _power_samples(log), _power_means(log)
        found["power"] = {"samples": samples, "means": means, **_seen("kind", [*samples, *means])}
    outcome = content.outcome or content.so_far
    if outcome is not None and outcome.forecasts_s:
        found["forecast"] = _forecast(content)
    if len({point.as_of for point in content.price_history}) > 1:
        found["price_history"] = _history(content)
    return found


def seconds_of_samples(fit: Fit, sample_count: float) -> float:
    """Seconds that the fit predicts for a pass over that many samples."""
    return fit.overhead_s + (fit.epoch_s - fit.overhead_s) * sample_count / fit.sample_count


def fit_line(log: BenchmarkLog, fit: Fit) -> list[Json]:
    """The fit from the smallest pass to a whole epoch, with the 95% range of one pass of that size."""
    smallest = min(record.sample_count for record in log.epochs)
    if smallest >= fit.sample_count:
        smallest = max(1, fit.sample_count // 10)
    sizes = [smallest * (fit.sample_count / smallest) ** (step / (_FIT_POINTS - 1)) for step in range(_FIT_POINTS)]
    lines = []
    for size in sizes:
        seconds = seconds_of_samples(fit, size)
        factor = math.exp(fit.t_quantile * fit.rate_log_sd(seconds)) if seconds > 0.0 else 1.0
        lines.append({"samples": size, "seconds": seconds, "low": seconds / factor, "high": seconds * factor})
    return [line for line in lines if line["seconds"] > 0.0]


def residuals(log: BenchmarkLog, fit: Fit) -> list[Json]:
    """Residual of each block of steps (each pass if there are no blocks) from the fit, in per cent."""
    blocks = [block for block in log.blocks if block.phase == "timed"] if fit.step_s > 0.0 else []
    passes = [each for each in log.epochs if each.phase in PHASE_WORDS and each.phase not in HOLLOW_PHASES]
    unit = "steps" if blocks else "samples"
    # Time, phase, number of units, duration and expected duration of a unit.
    parts = [
        (block.start_s + block.duration_s / 2.0, block.phase, block.step_count, block.duration_s, fit.step_s)
        for block in blocks
    ] or [
        (each.start_s, each.phase, each.sample_count, each.duration_s,
         seconds_of_samples(fit, each.sample_count) / each.sample_count)
        for each in passes
    ]  # fmt: skip
    found = []
    for at_s, phase, count, duration_s, unit_s in parts:
        off = duration_s / (count * unit_s) - 1.0 if unit_s > 0.0 else 0.0
        found.append({
            "at_s": at_s, "phase": PHASE_WORDS[phase], "hollow": False, "residual": 100.0 * off,
            "residual_text": format_share(off), "samples_text": f"{format_count(count)} {unit}",
        })  # fmt: skip
    return found


def thinned(items: Sequence[Item], most: int) -> Sequence[Item]:
    """Every n-th item, including the last, about ``most`` at most."""
    stride = max(1, math.ceil(len(items) / most))
    kept = list(items[::stride])
    if items and kept[-1] is not items[-1]:
        kept.append(items[-1])
    return kept


def _seen(field: str, rows: Sequence[Json]) -> Json:
    """The categories that occur in a chart's data, for its legend."""
    parameter = {"phase": "phases_seen", "kind": "devices_seen"}[field]
    return {"titles": {parameter: list(dict.fromkeys(row[field] for row in rows))}}


def _passes(log: BenchmarkLog) -> list[Json]:
    return [_pass(record) for record in log.epochs if record.phase in PHASE_WORDS]


def _pass(record: EpochRecord) -> Json:
    return {
        "samples": record.sample_count,
        "seconds": record.duration_s,
        "phase": PHASE_WORDS[record.phase],
        "hollow": record.phase in HOLLOW_PHASES,
        "samples_text": format_count(record.sample_count),
        "seconds_text": format_duration_s(record.duration_s),
        "whole_text": "whole" if record.whole else "cut short",
    }


def _power_samples(log: BenchmarkLog) -> list[Json]:
    devices = dict.fromkeys(sample.device for sample in log.power_samples)
    found: list[Json] = []
    for device in devices:
        mine = [sample for sample in log.power_samples if sample.device == device]
        found += [
            {"at_s": round(each.at_s, 2), "watts": round(each.power_w, 2), "device": device, "kind": _kind(device),
             }
            for each in thinned(mine, _MOST_SAMPLES)
        ]  # fmt: skip
    return found


def _power_means(log: BenchmarkLog) -> list[Json]:
    end_s = max([log.duration_s, 1.0, *(sample.at_s for sample in log.power_samples)])
    return [_mean(reading, at_s) for reading in log.power for at_s in (0.0, end_s)]


def _mean(reading: PowerReading, at_s: float) -> Json:
    factor = math.exp(reading.log_half_width)
    energy = None if reading.energy_j is None else reading.energy_j / J_PER_KWH
    return {
        "at_s": at_s,
        "watts": reading.power_w,
        "low": reading.power_w / factor,
        "high": reading.power_w * factor,
        "device": reading.device,
        "kind": _kind(reading.device),
        "mean_text": format_w(reading.power_w),
        "energy_text": format_kwh(energy, missing="not counted"),
        "source": reading.note or reading.source,
    }


def _kind(device: str) -> str:
    return next((kind for kind in ("gpu", "cpu", "ram") if device.startswith(kind)), "other")


def _forecast(content: ReportContent) -> Json:
    outcome, promised = content.outcome or content.so_far, content.estimate.time_s
    assert outcome is not None  # noqa: S101 - checked by the caller
    scale = duration_scale([promised, outcome.time_s])

    def shown(value: Interval, role: str, **more: Any) -> Json:
        seen = value.scaled(scale.factor)
        return {"point": seen.point, "low": seen.low, "high": seen.high, "role": role, **more}

    numbered = list(enumerate(outcome.forecasts_s, start=1))
    data: Json = {
        "promise": [shown(promised, "estimated", epoch=epoch) for epoch in (0, max(1, len(numbered)))],
        "forecasts": [
            shown(value, "forecast", epoch=epoch, text=format_duration_s(value))
            for epoch, value in thinned(numbered, _MOST_FORECASTS)
        ],
        "truth": [],
    }
    if outcome.completed:
        point = outcome.time_s * scale.factor
        data["truth"] = [{"point": point, "role": "happened", "text": format_duration_s(outcome.time_s)}]
    return {**data, "titles": {"time_title": f"whole training, {scale.unit}"}}


def passes_by_size(log: BenchmarkLog) -> list[Json]:
    """The passes with their number of samples, numbered within it, the largest first."""
    passes = [record for record in log.epochs if record.phase in PHASE_WORDS]
    counts: Counter[int] = Counter()
    found = []
    for record in sorted(passes, key=lambda each: (-each.sample_count, each.epoch_index)):
        counts[record.sample_count] += 1
        name = f"{format_count(record.sample_count)} samples"
        found.append({**_pass(record), "name": name, "pass": counts[record.sample_count]})
    return found


def _history(content: ReportContent) -> Json:
    last = max(point.as_of for point in content.price_history)
    rows = [
        {
            "as_of": point.as_of,
            "version": point.as_of,
            "name": point.gpu,
            "role": "here" if point.gpu == HERE else "offer",
            "is_last": point.as_of == last,
            "cost": point.cost_usd,
            "cost_text": format_money(point.cost_usd),
            "price_text": format_usd(point.price_usd_per_hour, missing="per kWh, see sources"),
        }
        for point in content.price_history
    ]
    costs = [point.cost_usd for point in content.price_history]
    return {"history": rows, "titles": {"money_ticks": money_ticks(min(costs), max(costs))}}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """Column heads and rows, all text."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def chart_tables(charts: dict[str, dict[str, Any]]) -> dict[str, DataTable]:
    """One table per chart, except charts of the options, which have their own table."""
    makers = {
        "scaling": _passes_table,
        "passes_by_size": _by_size_table,
        "residuals": _residuals_table,
        "power": _power_table,
        "forecast": _forecast_table,
        "price_history": _history_table,
    }
    return {name: makers[name](data) for name, data in charts.items() if name in makers}


def _passes_table(data: dict[str, Any]) -> DataTable:
    return DataTable(
        title="Benchmarked passes",
        heads=("Phase", "Samples", "Took", "Pass"),
        rows=tuple(
            (each["phase"], each["samples_text"], each["seconds_text"], each["whole_text"])
            for each in thinned(data["passes"], _MOST_ROWS)
        ),
    )


def _by_size_table(data: dict[str, Any]) -> DataTable:
    rows = tuple(
        (each["name"], str(each["pass"]), each["seconds_text"], each["phase"])
        for each in thinned(data["passes"], _MOST_ROWS)
    )
    return DataTable(title="Passes by sample size", heads=("Pass over", "Pass", "Took", "Phase"), rows=rows)


def _residuals_table(data: dict[str, Any]) -> DataTable:
    return DataTable(
        title="Distance from the fit",
        heads=("At", "Over", "Against the fit"),
        rows=tuple(
            (format_duration_s(each["at_s"]), each["samples_text"], each["residual_text"])
            for each in thinned(data["residuals"], _MOST_ROWS)
        ),
    )


def _power_table(data: dict[str, Any]) -> DataTable:
    means = {each["device"]: each for each in data["means"]}.values()
    samples = data["samples"]
    spans = {device: [each["watts"] for each in samples if each["device"] == device] for device in _devices_table(data)}
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


def _devices_table(data: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(each["device"] for each in (*data["means"], *data["samples"])))


def _forecast_table(data: dict[str, Any]) -> DataTable:
    rows = tuple((str(each["epoch"]), each["text"]) for each in thinned(data["forecasts"], _MOST_ROWS))
    return DataTable(title="Forecasts", heads=("Epochs done", "Forecast of the whole"), rows=rows)


def _history_table(data: dict[str, Any]) -> DataTable:
    rows = tuple((each["name"], each["as_of"], each["price_text"], each["cost_text"]) for each in data["history"])
    return DataTable(title="Cost by date of prices", heads=("Option", "Prices of", "Price", "Cost"), rows=rows)
