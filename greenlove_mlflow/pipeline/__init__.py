"""The doors: ``track``, ``estimate`` and ``compare``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.account.estimate import Estimate, broken_limits
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.offers.offer import PriceSheet
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.environment import BENCHMARK_ONLY_VARIABLE, read_environment
from greenlove_mlflow.errors import GreenloveError
from greenlove_mlflow.pipeline.comparing import compare_estimate, with_probe
from greenlove_mlflow.pipeline.options import make_options
from greenlove_mlflow.pipeline.tracked_training import TrackedTraining, replace_ratios

if TYPE_CHECKING:
    from greenlove_mlflow.core.speed.gpus import Precision
    from greenlove_mlflow.pipeline.options import Options
    from greenlove_mlflow.tracking import TrackedRun

logger = logging.getLogger(__name__)

_BENCHMARK_ONLY = f"{BENCHMARK_ONLY_VARIABLE}=1 asks for the benchmark alone"

__all__ = ["TrackedTraining", "compare", "estimate", "track"]


def estimate(model: Any, optimizer: Any, criterion: Any, data: Any, *, epochs: int, **options: Any) -> Estimate:
    """The estimate of a training, by a benchmark of a few seconds; no MLflow, no network, nothing changed.

    Args:
        model: The module to train, on the device it will be trained on.
        optimizer: Its optimizer.
        criterion: The loss; None when the model returns its own.
        data: A ``Dataset`` or the ``DataLoader`` of the real training.
        epochs: Epochs of the real training, at least 1.
        **options: See ``greenlove_mlflow.pipeline.options.Options``.

    Returns:
        Seconds, kWh, US dollars and grams CO2e, each with the range that holds the truth 95 % of the time.

    Raises:
        InvalidInputError: If an argument cannot be used; nothing has run then.
    """
    from greenlove_mlflow.pipeline.stages import find_place, make_training, measure_training

    settings, environment = make_options(epochs, options), read_environment()
    training = make_training(model, optimizer, criterion, data, settings)
    place = find_place(settings, environment)
    return measure_training(training, settings, environment, place).estimate


def compare(
    estimate: Estimate,
    *,
    gpu: str | None = None,
    prices: str | Path | PriceSheet = "newest",
    region: str | None = None,
    task: str | None = None,
    precision: Precision | None = None,
    speed_ratios: Mapping[str, float] | None = None,
    measured: str | None = None,
    billing: tuple[str, ...] = ("on-demand", "contact-sales"),
    gpus: int = 1,
) -> Comparison:
    """The same training on each offer of a price sheet.

    Args:
        estimate: Of the training at home.
        gpu: The home GPU, when it is not the one that was measured.
        prices: ``newest``, a version, a path to a sheet of one's own, or a ``PriceSheet``.
        region: Region of the offers; the median of their regions when not given.
        task: Published benchmark to take speed ratios from.
        precision: Of the training's matrix products.
        speed_ratios: Known ratios by GPU.
        measured: ``auto`` or a run id: take ratios from own runs of the same workload in MLflow.
        billing: Which prices to compare.
        gpus: GPUs rented, 1, 2, 4 or 8.

    Raises:
        UnknownGpuError: If no table knows ``gpu``; the nearest names are listed.
        TableError: If the price sheet cannot be used; row and column are named.
    """
    return compare_estimate(
        estimate,
        gpu=gpu,
        prices=prices,
        region=region,
        task=task,
        precision=precision,
        speed_ratios=speed_ratios or {},
        measured=measured,
        billing=billing,
        gpus=gpus,
    )


@contextmanager
def track(
    model: Any,
    optimizer: Any,
    criterion: Any,
    data: Any,
    *,
    epochs: int,
    confirm: Callable[[Estimate], bool] | None = None,
    limits: Limits | None = None,
    experiment: str | None = None,
    run_name: str | None = None,
    nested: bool | None = None,
    log_model: bool = True,
    saved_view: bool = True,
    **options: Any,
) -> Iterator[TrackedTraining]:
    """A training with its promise, kept in an MLflow run.

    Joins the active run and leaves it running, or starts one; estimates, compares, records; then hands over a
    ``TrackedTraining`` whose ``epochs()`` are timed, metered and forecast again. An exception in the body ends a run
    of ours as FAILED, Ctrl-C as KILLED, and always goes on to the caller. MLflow's trouble after entry costs one
    warning, never the training.

    Args:
        model: The module to train, on the device it will be trained on.
        optimizer: Its optimizer.
        criterion: The loss; None when the model returns its own.
        data: A ``Dataset`` or the ``DataLoader`` of the real training.
        epochs: Epochs of the real training, at least 1.
        confirm: Asked with the estimate; a "no" leaves ``run.epochs()`` empty.
        limits: What the training may take at most; an estimate above it leaves ``run.epochs()`` empty.
        experiment: MLflow experiment for a run of ours; the active or default one when not given.
        run_name: Name of a run of ours.
        nested: Whether to open a child of the active run; on its own when that run holds a training already.
        log_model: Whether to log the estimator as an MLflow model.
        saved_view: Whether to save a view of the experiment page.
        **options: See ``greenlove_mlflow.pipeline.options.Options``.

    Raises:
        InvalidInputError: If an argument cannot be used; nothing has run then and no run is opened.
        TrackingError: If the MLflow store cannot be used before anything ran.
    """
    from greenlove_mlflow.pipeline.stages import find_place, make_training, measure_training
    from greenlove_mlflow.tracking import open_run
    from greenlove_mlflow.tracking.saved_view import print_view_link

    settings, environment = make_options(epochs, options), read_environment()
    training = make_training(model, optimizer, criterion, data, settings)
    place = find_place(settings, environment)
    with open_run(experiment=experiment, run_name=run_name, nested=nested, rank=environment.rank) as tracked:
        history = tracked.finished_runs if settings.history else tuple
        with tracked.paused():
            measured = measure_training(training, settings, environment, place, history=history)
            comparison, estimate = _compare_or_say_why(measured.estimate, settings)
        tracked.log_promise(estimate, comparison, measured.log, saved_view=saved_view)
        if log_model:
            _log_model_later(tracked, estimate, comparison)
        session = TrackedTraining(
            estimate=estimate,
            comparison=comparison,
            log=measured.log,
            tracked=tracked,
            refusal=_BENCHMARK_ONLY if environment.benchmark_only else _refusal(estimate, limits, confirm),
            open_training_meter=lambda: measured.open_meter(on_sample=tracked.log_power_sample),
            synchronize=training.synchronize,
            on_epoch=settings.on_epoch,
        )
        try:
            yield session
        finally:
            session.close()
            tracked.log_outcome(estimate, comparison, measured.log, session.outcome)
            if saved_view and tracked.view_url:
                print_view_link(tracked.view_url)


def _log_model_later(tracked: TrackedRun, estimate: Estimate, comparison: Comparison | None) -> None:
    """Have the estimator logged as an MLflow model, once everything before it has been sent."""
    from greenlove_mlflow.serving.gather import gather_facts
    from greenlove_mlflow.serving.logging_model import log_facts

    sheet = None if comparison is None else comparison.prices
    tracked.later(
        "logging the estimator as a model",
        lambda client, run_id: log_facts(run_id, gather_facts(estimate.statistics, sheet=sheet), client=client),
    )


def _compare_or_say_why(estimate: Estimate, options: Options) -> tuple[Comparison | None, Estimate]:
    """The comparison, and the estimate that remembers its ratios; a comparison that fails costs a caveat only."""
    try:
        estimate = with_probe(estimate)
        comparison = compare(
            estimate,
            prices=options.prices,
            region=options.cloud_region,
            speed_ratios=options.speed_ratios,
            measured=options.measured,
            billing=options.billing,
            gpus=options.gpus,
        )
    except GreenloveError as error:
        logger.warning("no comparison: %s", error)
        caveat = Caveat.of("no-comparison", why=str(error))
        return None, replace(estimate, caveats=(*estimate.caveats, caveat))
    return comparison, replace_ratios(estimate, comparison, cloud_region=options.cloud_region)


def _refusal(estimate: Estimate, limits: Limits | None, confirm: Callable[[Estimate], bool] | None) -> str:
    """Why the training may not run, in words; empty when it may."""
    broken = broken_limits(estimate, limits) if limits else ()
    if broken:
        reason = "the estimate breaks " + " and ".join(broken)
        logger.warning("training not approved: %s", reason)
        return reason
    if confirm is not None and not confirm(estimate):
        return "confirm() said no"
    return ""
