"""What a run records: the estimate once the benchmark is done, the outcome once training is."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.outcome import Outcome, time_error_ratio
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.records import BenchmarkLog
from greenlove_mlflow.tracking import artifacts, names
from greenlove_mlflow.tracking import values as record
from greenlove_mlflow.tracking.artifacts import input_of, sources_used, tables_used, training_input
from greenlove_mlflow.tracking.names import NOTE_TAG
from greenlove_mlflow.tracking.note import make_note
from greenlove_mlflow.tracking.outcomes import outcome_values
from greenlove_mlflow.tracking.spool.events import PowerEvent
from greenlove_mlflow.tracking.spool.measurements import write_power
from greenlove_mlflow.words.summary import best_option_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from greenlove_mlflow.tracking.spool.run_events import RunEvents


def keep_points_and_estimates(
    run: RunEvents,
    estimate: Estimate,
    comparison: Comparison | None,
    log: BenchmarkLog | None,
    *,
    streamed: bool = False,
) -> None:
    """Record the benchmark and the estimates; the slower parts follow in ``keep_files`` and ``keep_page``.

    Args:
        run: The run to record in.
        estimate: The estimate at home.
        comparison: The comparison with offers; None when there is none.
        log: The benchmark's log; None when another run holds the benchmark.
        streamed: Whether the log's power samples were already recorded as they were taken.
    """
    rho = None if estimate.statistics is None else estimate.statistics.fit.spearman_rho
    if log is not None:
        keep_points(run, log, rho, streamed=streamed)
    keep_estimates(run, estimate, comparison)


def keep_files(run: RunEvents, estimate: Estimate, comparison: Comparison | None, log: BenchmarkLog) -> None:
    """Record the benchmark as files, and the tables behind the estimates."""
    keep_benchmark_files(run, log)
    tables = tables_used(estimate, comparison)
    # MLflow's table of runs names the first input, so it is what the run trains on.
    own = [] if estimate.statistics is None else [training_input(estimate.statistics)]
    run.inputs([*own, *(input_of(table) for table in tables)])
    for table in tables:
        folder = names.ARTIFACT_TABLES
        run.artifact(f"{folder}/{table.name}.parquet", partial(artifacts.write_table_parquet, table))
        run.artifact(f"{folder}/{table.name}.csv", partial(artifacts.write_table_csv, table))
        if table.notice:
            run.artifact(f"{folder}/{table.name}_NOTICE.txt", partial(artifacts.write_notice, table))


def keep_points(run: RunEvents, log: BenchmarkLog, spearman_rho: float | None, *, streamed: bool = False) -> None:
    """Record the benchmark's measurements as metrics.

    Args:
        run: The run to record in.
        log: The benchmark's log.
        spearman_rho: Spearman correlation of the passes' time with their samples; None when unknown.
        streamed: Whether the log's power samples were already recorded as they were taken.
    """
    for point in record.benchmark_points(log, spearman_rho):
        run.metric(point.key, point.value, point.step, point.timestamp_ms)
    began_ms = record.started_ms(log)
    for sample in () if streamed else log.power_samples:
        run.power_sample(sample, began_ms + round(sample.at_s * 1000.0))
    sampled = {sample.device for sample in log.power_samples}
    for reading in log.power:
        if reading.device not in sampled:
            run.metric(names.power_key(reading.device), reading.power_w, 0, began_ms)


def keep_benchmark_files(run: RunEvents, log: BenchmarkLog) -> None:
    """Record the benchmark's measurements as files."""
    began_ms = record.started_ms(log)
    times_ms = [began_ms + round(sample.at_s * 1000.0) for sample in log.power_samples]
    run.artifact(names.ARTIFACT_BENCHMARK, lambda path: artifacts.write_epochs(log, path))
    run.artifact(names.ARTIFACT_BENCHMARK_CSV, lambda path: artifacts.write_epochs_csv(log, path))
    run.artifact(names.ARTIFACT_BLOCKS, lambda path: artifacts.write_blocks(log, path))
    rows = [
        PowerEvent(device=each.device, at_s=each.at_s, power_w=each.power_w, timestamp_ms=at_ms, step=0)
        for at_ms, each in zip(times_ms, log.power_samples, strict=True)
    ]
    run.artifact(names.ARTIFACT_POWER, lambda path: write_power(rows, path))


def keep_estimates(run: RunEvents, estimate: Estimate, comparison: Comparison | None) -> None:
    """Record the estimates as params, tags, metrics and a table."""
    as_of = "" if comparison is None else comparison.prices.as_of
    if estimate.statistics is not None:
        version = "" if comparison is None else comparison.prices.version
        run.params(record.params_of(estimate.statistics, version))
        run.tags(record.tags_of(estimate.statistics, as_of))
    if comparison is not None:
        run.tags({names.TAG_BEST_OPTION: best_option_words(comparison)})
    for point in record.estimate_points(estimate, comparison, as_of=as_of or _today()):
        run.metric(point.key, point.value, point.step, point.timestamp_ms)
    run.artifact(
        names.ARTIFACT_ESTIMATES, lambda path: artifacts.write_estimates(estimate, comparison, path), is_table=True
    )


def keep_outcome(run: RunEvents, estimate: Estimate, outcome: Outcome | None) -> None:
    """Record the outcome; does nothing when no epoch was run."""
    if outcome is None:
        return
    for key, value in outcome_values(outcome, time_error_ratio(outcome, estimate)).items():
        run.metric(key, value, 0)  # MLflow draws a metric of one point at step 0 as a bar across runs
    if outcome.energy_source:
        run.tags({f"{names.TAG_POWER_SOURCE}.actual": outcome.energy_source})
    if outcome.energy_note:
        run.tags({f"{names.TAG_POWER_SOURCE}.note": outcome.energy_note})


def keep_page(
    run: RunEvents,
    estimate: Estimate,
    comparison: Comparison | None,
    log: BenchmarkLog | None,
    *,
    outcome: Outcome | None = None,
    notice: str = "",
    status: str = "",
) -> None:
    """Record the figures, the report and, on a run that this package started, the note.

    With an outcome or a notice, report and note replace the earlier ones; the figures show the estimate and stay.

    Args:
        run: The run to record in.
        estimate: The estimate at home.
        comparison: The comparison with offers; None when there is none.
        log: The benchmark's log; None keeps the note alone, since another run holds the benchmark and the report.
        outcome: The outcome; None when there is none yet.
        notice: Text shown first; empty without one.
        status: Status of the run; from the outcome when empty.
    """
    from greenlove_mlflow.report import ReportContent, render_report

    status = status or (names.STATUS_RUNNING if outcome is None else "finished" if outcome.completed else "")
    if run.is_ours:
        note = make_note(
            estimate,
            comparison,
            run_id=run.run_id,
            outcome=outcome,
            notice=notice,
            status=status,
            has_page=log is not None,
        )
        run.tags({NOTE_TAG: note})
    if log is None:
        return
    if outcome is None and not notice:
        keep_pictures(run, estimate, comparison, log)
    content = ReportContent(
        estimate=estimate,
        comparison=comparison,
        log=log,
        sources=sources_used(estimate, comparison),
        run_id=run.run_id,
        run_name=run.run_name,
        status=status,
        notice=notice,
        url=run.url,
        outcome=outcome,
        made_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    run.artifact(names.ARTIFACT_REPORT, lambda path: path.write_text(render_report(content), encoding="utf-8"))


def keep_pictures(run: RunEvents, estimate: Estimate, comparison: Comparison | None, log: BenchmarkLog) -> None:
    """Record the figures."""
    from greenlove_mlflow import plots

    fit = None if estimate.statistics is None else estimate.statistics.fit
    draw = {
        "epochs": lambda: plots.plot_epochs(log),
        "passes_by_size": lambda: plots.plot_passes_by_size(log),
        "scaling": lambda: plots.plot_scaling(log, fit),
        "power": lambda: plots.plot_power(log),
    }
    if comparison is not None:
        draw["crusoe"] = lambda: plots.plot_crusoe(comparison)
    for name, make in draw.items():
        run.artifact(f"{names.ARTIFACT_PLOTS}/{name}.png", partial(_draw, make))


def _draw(make: Callable[[], Figure], path: Path) -> None:
    from greenlove_mlflow.plots.canvas import write_figure

    write_figure(make(), path)


def _today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())
