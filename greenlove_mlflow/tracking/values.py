"""Converts records to MLflow params, tags and metric points, as plain values."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator

from greenlove_mlflow._version import __version__
from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import SCHEMA_VERSION, RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.choice import saving
from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
from greenlove_mlflow.core.quantity import LOCAL, known_figures
from greenlove_mlflow.core.records import BenchmarkLog
from greenlove_mlflow.numbers import round_significant
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.names import metric_key
from greenlove_mlflow.tracking.spool.delivery import Point
from greenlove_mlflow.units import G_PER_KG, S_PER_H

UNKNOWN = "unknown"
MEAN_OVER_TASKS = "mean"


def params_of(statistics: RunFacts, prices_version: str = "") -> dict[str, str]:
    """The run's params: the plan and what it was priced with; ``unknown`` for missing values."""
    workload, grid = statistics.workload, statistics.grid
    return {
        names.PARAM_GPU: statistics.machine.processor_name,
        names.PARAM_EPOCHS: f"{workload.epoch_count:.12g}",
        names.PARAM_BATCH_SIZE: str(workload.batch_size),
        names.PARAM_SAMPLE_COUNT: str(workload.sample_count),
        names.PARAM_PRECISION: statistics.precision,
        names.PARAM_TASK: statistics.task or MEAN_OVER_TASKS,
        names.PARAM_COUNTRY: grid.code or grid.place,
        names.PARAM_CARBON_G_PER_KWH: _number(grid.intensity_g_per_kwh),
        names.PARAM_USD_PER_KWH: _number(grid.price_usd_per_kwh),
        names.PARAM_PRICES_VERSION: statistics.prices_version or prices_version or UNKNOWN,
        names.PARAM_THROUGHPUT_VERSION: statistics.throughput_version or UNKNOWN,
        names.PARAM_METHOD: statistics.fit.method,
        names.PARAM_BOUND_BY: (None if statistics.profile is None else statistics.profile.bound_by) or UNKNOWN,
        names.PARAM_WORLD_SIZE: str(statistics.home_gpu_count),
    }


def opening_tags(kind: str = names.KIND_TRACK) -> dict[str, str]:
    """The tags of a newly opened run of that kind."""
    return {
        names.TAG_SCHEMA_VERSION: SCHEMA_VERSION,
        names.TAG_KIND: kind,
        names.TAG_STATUS: names.STATUS_RUNNING,
        names.TAG_VERSION: __version__,
    }


def tags_of(statistics: RunFacts, prices_as_of: str = "") -> dict[str, str]:
    """The tags used by later searches, including everything that an estimate needs."""
    tags = {
        names.TAG_STATS: stats_json(statistics),
        names.TAG_MACHINE: statistics.machine.fingerprint,
        names.TAG_WORKLOAD: statistics.workload_fingerprint,
        names.TAG_PRICES_AS_OF: prices_as_of,
    }
    for reading in statistics.power:
        text = f"{reading.source}: {reading.note}" if reading.note else reading.source
        tags[f"{names.TAG_POWER_SOURCE}.{reading.device}"] = text
    return {key: value for key, value in tags.items() if value}


def stats_json(statistics: RunFacts) -> str:
    """The run facts as JSON that fits a tag; if too long, caveats are dropped first, then ratios from tables.

    A ratio that was given or measured is in no table and is never dropped.
    """
    text = statistics.to_json()
    for slim in (_without_caveats, _with_own_ratios_alone):
        if len(text) < names.TAG_VALUE_LIMIT:
            break
        statistics = slim(statistics)
        text = statistics.to_json()
    return text


def estimate_points(
    estimate: Estimate, comparison: Comparison | None, *, as_of: str, timestamp_ms: int | None = None
) -> list[Point]:
    """The estimates as metric points of four significant digits, whose step is the date of the prices, as yyyymmdd.

    Args:
        estimate: The estimate at home.
        comparison: The comparison with offers; None when there is none.
        as_of: Date of the prices, ISO 8601.
        timestamp_ms: Time of an estimate that was made again for another reason than newer prices; ``as_of`` when None.
    """
    step = names.step_of_date(as_of)
    at_ms = names.timestamp_ms_of_date(as_of) if timestamp_ms is None else timestamp_ms
    values = dict(_home_values(estimate))
    if comparison is not None:
        for row in comparison.rows:
            values.update(_offer_values(row))
        values.update(_saving_values(comparison))
    # MLflow's pages show every digit of a value.
    return [
        Point(key=key, value=round_significant(value), timestamp_ms=at_ms, step=step) for key, value in values.items()
    ]


def benchmark_points(log: BenchmarkLog, spearman_rho: float | None) -> list[Point]:
    """One point per benchmarked epoch and quantity; its step is the epoch's running index."""
    began_ms = started_ms(log)
    points = []
    for record in log.epochs:
        at_ms = began_ms + round((record.start_s + record.duration_s) * 1000.0)
        values = {names.BENCH_EPOCH_S: record.duration_s, names.BENCH_SAMPLE_COUNT: float(record.sample_count)}
        if record.phase != "validation":
            values[names.BENCH_EPOCH_SCALED_S] = record.scaled_s(log.sample_count)
        points += [
            Point(key=key, value=value, timestamp_ms=at_ms, step=record.epoch_index) for key, value in values.items()
        ]
    if spearman_rho is not None:
        end_ms = began_ms + round(log.duration_s * 1000.0)
        points.append(Point(key=names.BENCH_SPEARMAN_RHO, value=spearman_rho, timestamp_ms=end_ms, step=0))
    return points


def started_ms(log: BenchmarkLog) -> int:
    """Start of the benchmark, milliseconds since 1970; 0 when the log does not say."""
    if not log.started_at:
        return 0
    began = dt.datetime.fromisoformat(log.started_at.replace("Z", "+00:00"))
    return round((began if began.tzinfo else began.replace(tzinfo=dt.timezone.utc)).timestamp() * 1000.0)


def _home_values(estimate: Estimate) -> Iterator[tuple[str, float]]:
    for quantity, interval in known_figures(estimate):
        yield metric_key(quantity.metric, LOCAL), interval.point
        yield metric_key(quantity.metric, LOCAL, "lo"), interval.low
        yield metric_key(quantity.metric, LOCAL, "hi"), interval.high


def _offer_values(row: ComparisonRow) -> Iterator[tuple[str, float]]:
    subject = names.offer_slug(row)
    for quantity, interval in known_figures(row.estimate):
        yield metric_key(quantity.metric, subject), interval.point


def _saving_values(comparison: Comparison) -> Iterator[tuple[str, float]]:
    saved = saving(comparison)
    if saved is None:
        return
    yield names.SAVING_TIME_H, saved.time_s.point / S_PER_H
    if saved.cost_usd is not None:
        yield names.SAVING_USD, saved.cost_usd.point
    if saved.co2_g is not None:
        yield names.SAVING_CO2_KG, saved.co2_g.point / G_PER_KG


def _number(interval: Interval | None) -> str:
    return UNKNOWN if interval is None else repr(interval.point)


def _without_caveats(statistics: RunFacts) -> RunFacts:
    return dataclasses.replace(statistics, fit=dataclasses.replace(statistics.fit, caveats=()), caveats=())


def _with_own_ratios_alone(statistics: RunFacts) -> RunFacts:
    own = tuple(each for each in statistics.ratios if each.speed_ratio.basis in ("given", "measured"))
    return dataclasses.replace(statistics, ratios=own)
