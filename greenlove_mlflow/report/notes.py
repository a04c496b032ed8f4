"""The page's text: plan and machine, diagnostics, caveats, measured and modelled values, sources, commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlove_mlflow.core.energy.equivalences import SHOWN_KEYS
from greenlove_mlflow.numbers import (
    NOT_MEASURED,
    format_count,
    format_duration_s,
    format_epochs,
    format_kwh,
    format_share,
    format_usd,
    format_w,
)

if TYPE_CHECKING:
    from greenlove_mlflow.core.provenance import Caveat, Source
    from greenlove_mlflow.core.records import BenchmarkLog, PowerReading
    from greenlove_mlflow.core.timing.fit import Fit
    from greenlove_mlflow.report.content import ReportContent

Pair = tuple[str, str]

BASIS_WORDS: dict[str, str] = {
    "given": "the ratio was given by the user",
    "measured": "our own runs of this workload on that GPU",
    "throughput": "published training throughputs of both GPUs in the same suite",
    "mlperf": "MLPerf training results of both GPUs in the same round",
    "spec": "published arithmetic rate and memory bandwidth only: the roughest basis",
}
_METERED = ("counter", "sampled")


def plan_of(content: ReportContent) -> tuple[Pair, ...]:
    """The plan and the machine, as pairs of name and text."""
    plan, statistics = content.estimate.workload, content.estimate.statistics
    per_epoch = f"{plan.steps_per_epoch:,} steps of up to {plan.batch_size:,} samples"
    pairs = [("Plan", f"{format_epochs(plan.epoch_count)} of {plan.sample_count:,} samples, {per_epoch} each")]
    if statistics is not None:
        machine = statistics.machine
        versions = [
            f"{name} {version}"
            for name, version in (("driver", machine.driver_version), ("CUDA", machine.cuda_version),
                                  ("torch", machine.torch_version))
            if version
        ]  # fmt: skip
        pairs.append(("Machine", ", ".join([machine.processor_name, *versions])))
        pairs.append(("Precision", statistics.precision))
        pairs.append(("Electricity", f"{content.estimate.grid.place}, {_found_words(content.estimate.grid.basis)}"))
    if content.log is not None:
        pairs.append(("Benchmark", _benchmark_words(content.log)))
    if content.run_id:
        pairs.append(("MLflow run", f"{content.run_name} {content.run_id}".strip()))
    return tuple(pairs)


def diagnostics_of(content: ReportContent) -> tuple[Pair, ...]:
    """Diagnostics of the benchmark, as pairs of name and text."""
    fit = content.known_fit
    if fit is None:
        return ()
    pairs = [
        ("Time of an epoch", f"{format_duration_s(fit.epoch_s)}, the first one {format_duration_s(fit.first_epoch_s)}")
    ]
    if fit.one_off_s > 0.0:
        statistics = content.estimate.statistics
        is_paid = statistics is not None and statistics.one_off_paid
        words = f"{format_duration_s(fit.one_off_s)} for the first steps (compilation, tuning, caches)"
        pairs.append(("Paid once", f"{words}, paid by the benchmark already" if is_paid else words))
    pairs += _width_words(fit)
    if fit.spearman_rho is not None:
        pairs.append(("Does time grow with the data", _spearman_words(fit.spearman_rho)))
    if fit.affine_r2 is not None:
        straight = format_share(fit.affine_r2)
        pairs.append(("Straight line through the sizes", f"explains {straight} of the differences between them"))
    if fit.overhead_s > 0.0 and fit.epoch_s > 0.0:
        share = format_share(fit.overhead_s / fit.epoch_s)
        pairs.append(("Fixed cost of an epoch", f"{format_duration_s(fit.overhead_s)}, {share} of it"))
    return tuple(pairs)


def caveats_of(content: ReportContent) -> tuple[Caveat, ...]:
    """All caveats of the estimate and the comparison, without duplicates."""
    found = list(content.estimate.caveats)
    if content.comparison is not None:
        found += content.comparison.caveats
    return tuple(dict.fromkeys(found))


def offer_caveats_of(content: ReportContent) -> tuple[tuple[Caveat, tuple[str, ...]], ...]:
    """All caveats of offers, without duplicates, each with its offers."""
    found: dict[Caveat, list[str]] = {}
    rows = () if content.comparison is None else content.comparison.rows
    for row in rows:
        for caveat in dict.fromkeys((*row.speed_ratio.caveats, *row.estimate.caveats)):
            found.setdefault(caveat, []).append(row.offer.gpu)
    return tuple((caveat, tuple(dict.fromkeys(names))) for caveat, names in found.items())


def speeds_of(content: ReportContent) -> tuple[tuple[str, str], ...]:
    """The basis of the offers' speed: offers with the same basis and detail, and a description."""
    found: dict[tuple[str, str], list[str]] = {}
    rows = () if content.comparison is None else content.comparison.rows
    for row in rows:
        found.setdefault((row.speed_ratio.basis, row.speed_ratio.detail), []).append(row.offer.gpu)
    return tuple(
        (", ".join(dict.fromkeys(offers)), f"{basis}: {detail or BASIS_WORDS[basis]}")
        for (basis, detail), offers in found.items()
    )


def measured_of(content: ReportContent) -> tuple[tuple[str, str, str], ...]:
    """Measured and modelled values: quantity, value, basis."""
    estimate, statistics = content.estimate, content.estimate.statistics
    fit = content.known_fit
    timed = "measured: the training's own steps, timed on this machine"
    rows = [("Time of an epoch", format_duration_s(None if fit is None else fit.epoch_s), timed)]
    if statistics is None or not statistics.power:
        rows.append(("Power", NOT_MEASURED, "no meter could be read and nothing to model it from"))
    else:
        rows += [_power_row(reading) for reading in statistics.power]
    if statistics is not None:
        pue = f"{statistics.pue.point:.2f}"
        rows.append(("Overhead of the building (PUE)", pue, "given, or typical of such a place"))
    grid = estimate.grid
    if grid.price_usd_per_kwh is not None:
        price = f"{format_usd(grid.price_usd_per_kwh)} per kWh"
        rows.append(("Electricity price", price, _known_words(grid.basis, grid.price_source)))
    if grid.intensity_g_per_kwh is not None:
        carbon = f"{format_count(grid.intensity_g_per_kwh.point)} g CO2e per kWh, {grid.scope}"
        rows.append(("Carbon intensity of the grid", carbon, _known_words(grid.basis, grid.intensity_source)))
    if content.comparison is not None:
        for basis in dict.fromkeys(row.speed_ratio.basis for row in content.comparison.rows):
            rows.append(("Speed of offers", f"basis {basis}", BASIS_WORDS[basis]))
    return tuple(rows)


def sources_of(content: ReportContent) -> tuple[Source, ...]:
    """All sources, without duplicates: those given, and of prices, grid, speed ratios and equivalences."""
    grid = content.estimate.grid
    found = [*content.sources, grid.intensity_source, grid.price_source]
    if content.comparison is not None:
        found += [content.comparison.prices.source, *(row.speed_ratio.source for row in content.comparison.rows)]
    found += [each.source for each in content.equivalences if each.key in SHOWN_KEYS]
    return tuple({(source.producer, source.title, source.version): source for source in found if source}.values())


def commands_of(content: ReportContent) -> tuple[Pair, ...]:
    """Commands to make this page again, and to repeat the estimate with other prices."""
    run = content.run_id or "RUN_ID"
    return (
        ("This page, from what MLflow holds", f"greenlove report {run}"),
        ("The same training by the newest prices", f"greenlove compare {run}"),
    )


def _power_row(reading: PowerReading) -> tuple[str, str, str]:
    name = {"gpu": "Power of the GPU", "cpu": "Power of the CPU", "ram": "Power of the memory"}.get(
        reading.device.split("_")[0], f"Power of {reading.device}"
    )
    kind = "measured" if reading.source in _METERED else reading.source
    energy = "" if reading.energy_j is None else f", {format_kwh(reading.energy_j / 3.6e6)} while metered"
    detail = f": {reading.note}" if reading.note else ""
    return (name, f"{format_w(reading.power_w)}{energy}", f"{kind}{detail}")


def _width_words(fit: Fit) -> list[Pair]:
    """The contributions to the width of the time's range."""
    if fit.method == "original":
        return [("Range of the time", "the original's: 1.96 times the spread of epochs times the root of their number")]
    if fit.conformal_log_half_width:
        return [("Range of the time", f"by the errors of finished runs alone: {fit.calibrated_on}")]
    parts = [
        ("fast noise of the steps", fit.noise_log_sd / max(1.0, fit.block_count) ** 0.5),
        ("slow drift of the machine", fit.drift_log_sd),
        ("what had to be extrapolated", fit.structure_log_sd),
    ]
    text = ", ".join(f"{name} {format_share(value)}" for name, value in parts if value > 0.0)
    learned = f"; drift learned from {fit.calibrated_on}" if fit.calibrated_on else ""
    return [("What makes the range", f"one standard deviation each: {text}{learned}")] if text else []


def _spearman_words(rho: float) -> str:
    strength = "yes, steadily" if rho > 0.95 else "mostly" if rho > 0.7 else "hardly: the sizes tried say little"
    return f"{strength} (rank correlation {rho:.2f})"


def _benchmark_words(log: BenchmarkLog) -> str:
    stop = {"precise": "stopped as soon as more would not help", "budget": "stopped at its time limit",
            "complete": "ran every planned epoch", "cap": "stopped at its cap"}.get(log.stop_reason, "")  # fmt: skip
    words = [f"{format_duration_s(log.duration_s)}, {len(log.epochs)} passes", f"method {log.method}"]
    return ", ".join([*words, *([stop] if stop else [])])


def _found_words(basis: str) -> str:
    return {
        "given": "figures given",
        "named": "place named",
        "environment": "place from the environment",
        "time-zone": "place taken from the system's time zone",
        "world": "place unknown: the world's average",
        "live": "read live",
        "geoip": "place taken from the network address",
    }.get(basis, basis)


def _known_words(basis: str, source: Source | None) -> str:
    where = "" if source is None else f": {source.producer}, {source.title}"
    return f"{_found_words(basis)}{where}"
