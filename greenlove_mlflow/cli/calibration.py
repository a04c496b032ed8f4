"""``greenlove calibration``: how past estimates turned out, and what the next estimate learns from them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenlove_mlflow.cli import columns, echo, echo_whole
from greenlove_mlflow.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from greenlove_mlflow.core.timing.drift import Drift, FinishedRun

STRIP_CHARACTERS = 31
# Columns that a narrow terminal does without, in this order: the ratio, the machine, the picture, when it ended.
_SPARED = (5, 2, 6, 0)
SHOWN_SKIPPED = 5
_HEAD = ("finished", "run", "on", "estimated", "took", "ratio", "estimate | actual *", "taught")


@click.command()
@click.option("--experiment", "experiments", multiple=True, help="Only runs of this experiment; all when not given.")
@click.option(
    "--figure", type=click.Path(dir_okay=False, path_type=Path), help="Draw them into this .png, .svg or .pdf."
)
@click.option("--forget", metavar="RUN", help="Leave this run out of what later estimates learn from.")
@click.option("--remember", metavar="RUN", help="Bring a run back that was left out.")
@click.option("--store", "store_uri", help="MLflow store; what MLflow is set to when not given.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    experiments: tuple[str, ...],
    figure: Path | None,
    forget: str | None,
    remember: str | None,
    store_uri: str | None,
    as_json: bool,
) -> None:
    """Show how finished runs compare with their estimates, and what the next estimate here learns from them.

    Exit code 0 when they were shown, even if there are none yet; 1 when the store cannot be read; 2 for wrong usage.
    """
    from greenlove_mlflow.benchmark import read_machine
    from greenlove_mlflow.core.timing.drift import learn_drift
    from greenlove_mlflow.stored.stored_runs import find_run_id
    from greenlove_mlflow.tracking.reading import leave_out

    if figure is not None and figure.suffix not in (".png", ".svg", ".pdf"):
        raise click.UsageError("--figure ends in .png, .svg or .pdf")
    for run, bring_back in ((forget, False), (remember, True)):
        if run is not None:
            leave_out(find_run_id(run, store_uri=store_uri), store_uri=store_uri, bring_back=bring_back)
    found, skipped = _read_runs(store_uri, experiments)
    runs = sorted(found, key=lambda run: run.finished_at)
    drift = learn_drift(runs, machine=read_machine(_device()))
    if figure is not None and runs:
        _write_figure([run for run in runs if not run.unfit] or runs, figure)
    if as_json:
        echo_whole(json.dumps({**_plain(runs, drift), "skipped": dict(skipped)}, allow_nan=False))
        return
    echo("\n".join(_lines(runs, drift)))
    for run_id, reason in skipped[:SHOWN_SKIPPED]:
        echo(f"Left out {run_id}: {reason}")
    if len(skipped) > SHOWN_SKIPPED:
        echo(f"... and {len(skipped) - SHOWN_SKIPPED} more left out; --json names them all")
    if figure is not None and runs:
        echo(f"Drawn in {figure}")


def plot_calibration(runs: Sequence[FinishedRun]) -> Figure:
    """A figure of actual over estimated time per run, each with its estimated range."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    places = range(1, len(runs) + 1)
    widths = [math.expm1(run.promised_log_half_width) for run in runs]
    below = [-math.expm1(-run.promised_log_half_width) for run in runs]
    errors = [_error(run) for run in runs]
    axes.errorbar(places, [0.0] * len(runs), yerr=[below, widths], fmt="none", ecolor="#9aa5b1", capsize=3)
    for inside, colour, label in ((True, "#1b7f5c", "inside the range"), (False, "#b3261e", "outside")):
        chosen = [place for place, run in zip(places, runs, strict=True) if run.was_inside is inside]
        if chosen:
            axes.plot(chosen, [errors[place - 1] for place in chosen], "o", color=colour, label=label)
    axes.axhline(0.0, color="#52606d", linewidth=0.8)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(xlabel="finished trainings, oldest first", ylabel="took longer than estimated by")
    axes.set_title(f"{sum(run.was_inside for run in runs)} of {len(runs)} inside the estimated range")
    axes.legend(frameon=False)
    return figure


def _read_runs(
    store_uri: str | None, experiments: Sequence[str]
) -> tuple[Sequence[FinishedRun], Sequence[tuple[str, str]]]:
    import mlflow
    from mlflow.exceptions import MlflowException

    from greenlove_mlflow.errors import RunDataError
    from greenlove_mlflow.tracking import read_finished_runs
    from greenlove_mlflow.tracking.spool.boundary import cause, first_line
    from greenlove_mlflow.tracking.spool.mlflow_store import make_client

    uri = store_uri or mlflow.get_tracking_uri()
    try:
        found = [make_client(uri).get_experiment_by_name(name) for name in experiments]
        for name, experiment in zip(experiments, found, strict=True):
            if experiment is None:
                raise RunDataError(f"there is no experiment {name!r} in this MLflow store")
        ids = [experiment.experiment_id for experiment in found if experiment is not None]
        return read_finished_runs(uri, ids or None)
    except MlflowException as error:
        raise RunDataError(f"the MLflow store could not be read: {first_line(error)}") from cause(error)


def _device() -> str:
    from greenlove_mlflow.benchmark.machine.machine import pick_device

    return str(pick_device())


def _lines(runs: Sequence[FinishedRun], drift: Drift) -> list[str]:
    from greenlove_mlflow.words.fitting import fitted_table

    if not runs:
        return ["No training has finished under track() in this store yet, so ranges rest on the benchmark alone."]
    lines = fitted_table([_HEAD, *(_cells(run) for run in runs)], columns(), spared=_SPARED)
    counted = [run for run in runs if not run.unfit]
    inside = sum(run.was_inside for run in counted)
    lines += ["", *(f"{run.run_id[:8]} teaches nothing: {run.unfit}" for run in runs if run.unfit)]
    lines += [
        f"{inside} of {len(counted)} trainings ended inside their estimated range (19 in 20 should).",
    ]
    lines.append(f"The next estimate here {_words(drift)}.")
    return lines


def _words(drift: Drift) -> str:
    from greenlove_mlflow.numbers import format_share

    if not drift.calibrated_on:
        return "rests on the benchmark alone, because no finished runs exist yet"
    scale = 1.0 if drift.scale is None else drift.scale
    words = f"learns from {drift.calibrated_on}. It allows for {scale:.2g} times the drift that a benchmark suggests"
    if drift.bias_log:
        words += f", and is corrected by {format_share(math.expm1(drift.bias_log))}"
    return words


def _cells(run: FinishedRun) -> tuple[str, ...]:
    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.numbers import format_duration_s

    promised = Interval.from_log_width(run.promised_s, run.promised_log_half_width)
    return (
        run.finished_at[:16].replace("T", " "),
        run.run_id[:8],
        run.processor_name,
        format_duration_s(promised),
        format_duration_s(run.actual_s),
        f"{run.actual_s / run.promised_s:.3f}",
        _strip(run),
        "nothing" if run.unfit else f"{math.expm1(run.log_ratio):+.1%}",
    )


def _strip(run: FinishedRun) -> str:
    """One row of text: the estimated range in brackets, the estimate as a bar, the outcome as a star.

    A star on an edge lies beyond it.
    """
    reach = 2.0 * run.promised_log_half_width or 1.0
    middle = STRIP_CHARACTERS // 2
    quarter = middle // 2
    strip = list("." * STRIP_CHARACTERS)
    strip[middle - quarter], strip[middle], strip[middle + quarter] = "[", "|", "]"
    place = middle + round(math.log(run.actual_s / run.promised_s) / reach * 2 * quarter)
    strip[min(STRIP_CHARACTERS - 1, max(0, place))] = "*"
    return "".join(strip)


def _error(run: FinishedRun) -> float:
    return run.actual_s / run.promised_s - 1.0


def _write_figure(runs: Sequence[FinishedRun], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        plot_calibration(runs).savefig(temporary)


def _plain(runs: Sequence[FinishedRun], drift: Drift) -> dict[str, Any]:
    return {
        "calibrated_on": drift.calibrated_on,
        "drift_scale": drift.scale,
        "bias_log": drift.bias_log,
        "inside_count": sum(run.was_inside for run in runs if not run.unfit),
        "runs": [
            {
                "run_id": run.run_id,
                "finished_at": run.finished_at,
                "processor": run.processor_name,
                "promised_s": run.promised_s,
                "actual_s": run.actual_s,
                "log_half_width": run.promised_log_half_width,
                "inside": run.was_inside,
                "unfit": run.unfit,
            }
            for run in runs
        ],
    }
