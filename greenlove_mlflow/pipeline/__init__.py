"""Public entry points: ``track``, ``estimate`` and ``compare``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING, PriceSheet
from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.environment import BENCHMARK_ONLY_VARIABLE, Environment, read_environment
from greenlove_mlflow.pipeline.comparing import check_offers, compare_estimate
from greenlove_mlflow.pipeline.live.policy import OnLimit, OnRefusal, Policy
from greenlove_mlflow.pipeline.options import Options, make_options
from greenlove_mlflow.pipeline.tracked_training import TrackedTraining

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from greenlove_mlflow.benchmark.checked_subject import Subject
    from greenlove_mlflow.core.speed.gpus import Precision
    from greenlove_mlflow.pipeline.options import TrackOptions

_BENCHMARK_ONLY = f"{BENCHMARK_ONLY_VARIABLE}=1 asks for the benchmark alone"

__all__ = ["TrackedTraining", "compare", "estimate", "track"]


def estimate(
    model: Any,
    optimizer: Any = None,
    criterion: Any = None,
    data: Any = None,
    epochs: int | None = None,
    *,
    steps: int | None = None,
    **options: Unpack[TrackOptions],
) -> Estimate:
    """Estimate a training by a benchmark of a few seconds, without MLflow or network; the model's state is restored.

    Args:
        model: The module to train, on its training device; or an ``EpochRunner`` alone, for training that is not a
            PyTorch step.
        optimizer: Its optimizer.
        criterion: The loss; None when the model returns its own.
        data: A ``Dataset`` or the ``DataLoader`` of the real training.
        epochs: Epochs of the real training, at least 1; 1 for an ``EpochRunner`` when not given.
        steps: Optimizer steps of the real training, instead of ``epochs``.
        **options: See ``greenlove_mlflow.pipeline.options.Options``.

    Returns:
        Time in s, energy in kWh, cost in US dollars and CO2e in grams, each with a 95% range.

    Raises:
        InvalidInputError: If an argument is invalid; raised before anything runs.
    """
    from greenlove_mlflow.benchmark.checked_subject import is_runner
    from greenlove_mlflow.benchmark.meeting import meet
    from greenlove_mlflow.benchmark.ranks import failing_together, on_all_ranks
    from greenlove_mlflow.benchmark.subject.loop import benchmarking, busy, refuse_inside_benchmark
    from greenlove_mlflow.pipeline.estimating import measure_training
    from greenlove_mlflow.pipeline.ground import read_ground
    from greenlove_mlflow.pipeline.undertaking import subject_of
    from greenlove_mlflow.terminal import say_on_stderr

    refuse_inside_benchmark()
    epochs = 1 if epochs is None and steps is None and is_runner(model) else epochs
    settings, environment = _read_settings(epochs, {"steps": steps, **options})
    ranks = meet(settings.asked_for("estimate"), environment.world_size, say=say_on_stderr)

    def checked() -> Subject:
        subject = subject_of(
            model, optimizer, criterion, data, options=settings, environment=environment, ranks=ranks, puts_back=True
        )
        if subject.unkept is not None:
            raise subject.unkept
        return subject

    subject = on_all_ranks(ranks, checked)
    settings = settings.on(ranks)
    with busy(), benchmarking(), failing_together(ranks):
        ground = read_ground(subject.device, settings, environment, ranks)
        return measure_training(subject, settings, environment, ground, ranks=ranks).estimate


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
    billing: tuple[str, ...] = DEFAULT_BILLING,
    gpus: int | None = None,
    start_s: float | None = None,
) -> Comparison:
    """Compare the estimate with the same training on each offer of a price sheet.

    Args:
        estimate: The estimate of the training at home.
        gpu: The home GPU, if not the one that was measured.
        prices: ``newest``, a version, a path to your own price sheet, or a ``PriceSheet``.
        region: Region of the offers; the median of their regions when not given.
        task: Published benchmark to take speed ratios from.
        precision: Precision of the training's matrix products.
        speed_ratios: Known speed ratios by GPU.
        measured: ``auto`` or a run id: take ratios from your own runs of the same workload in MLflow.
        billing: Kinds of price to compare.
        gpus: GPUs used, 1 to 8; as many as at home when not given. The smallest instance that has them is
            rented and paid in full.
        start_s: Seconds that an instance needs to start; a sourced value when not given.

    Returns:
        Home and every offer with its time, energy, cost and CO2e.

    Raises:
        UnknownGpuError: If no table lists ``gpu``; the message suggests the nearest names.
        TableError: If the price sheet is invalid; the message names row and column.
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
        start_s=start_s,
    )


@contextmanager
def track(
    model: Any,
    optimizer: Any = None,
    criterion: Any = None,
    data: Any = None,
    epochs: int | None = None,
    *,
    steps: int | None = None,
    confirm: Callable[[Estimate], bool] | None = None,
    limits: Limits | None = None,
    on_refusal: OnRefusal = "skip",
    on_limit: OnLimit = "stop",
    experiment: str | None = None,
    run_name: str | None = None,
    nested: bool | None = None,
    run_id: str | None = None,
    log_model: bool = True,
    saved_view: bool = True,
    **options: Unpack[TrackOptions],
) -> Iterator[TrackedTraining]:
    """Estimate a training, then meter it while it runs, and record both in an MLflow run.

    Joins the active run and leaves it open, or starts one; estimates, compares and records; then meters the body of
    the ``with`` block. In your own loop, epochs are inferred from optimizer steps; ``run.epochs()`` and ``run.steps()``
    mark them exactly, and end early when a limit is reached. An exception in the body ends a run that was started here
    as FAILED, Ctrl-C as KILLED, and always propagates to the caller. After entry, MLflow failures become one warning,
    never an exception in training.

    Args:
        model: The module to train, on its training device; or an ``EpochRunner``, which ``run.train()`` runs.
        optimizer: Its optimizer.
        criterion: The loss; None when the model returns its own.
        data: A ``Dataset`` or the ``DataLoader`` of the real training.
        epochs: Epochs of the real training, at least 1.
        steps: Optimizer steps of the real training, instead of ``epochs``.
        confirm: Called with the estimate; False leaves ``run.epochs()`` empty.
        limits: Upper limits for the training; an estimate above one leaves ``run.epochs()`` empty, and a training that
            reaches one ends with the epoch.
        on_refusal: ``raise`` raises ``TrainingRefused`` instead of leaving the loop empty.
        on_limit: ``raise`` raises ``LimitReached`` once a limit is reached, also in your own loop.
        experiment: MLflow experiment for a new run; the active or default one when not given.
        run_name: Name of a new run.
        nested: Whether to open a child of the active run; by default only if that run already holds a training.
        run_id: Id of a run to resume, if none is active; with ``done=``, its totals are continued.
        log_model: Whether to log the estimator as an MLflow model.
        saved_view: Whether to save a view of the experiment page.
        **options: See ``greenlove_mlflow.pipeline.options.Options``.

    Raises:
        InvalidInputError: If an argument is invalid; raised before anything runs or a run is opened.
        TrackingError: If the MLflow store cannot be used; raised before anything runs.
        TrainingRefused: If the training is refused and ``on_refusal="raise"``.
    """
    from greenlove_mlflow.benchmark.meeting import meet
    from greenlove_mlflow.benchmark.ranks import on_all_ranks
    from greenlove_mlflow.pipeline.running import running
    from greenlove_mlflow.pipeline.undertaking import Keeping, prepare_training
    from greenlove_mlflow.terminal import say_on_stderr

    policy = Policy(limits=limits, confirm=confirm, on_refusal=on_refusal, on_limit=on_limit)
    keeping = Keeping(
        experiment=experiment,
        run_name=run_name,
        nested=nested,
        log_model=log_model,
        saved_view=saved_view,
        run_id=run_id,
    )
    settings, environment = _read_settings(epochs, {"steps": steps, **options})
    ranks = meet(settings.asked_for("track"), environment.world_size, say=say_on_stderr)
    undertaking = on_all_ranks(
        ranks,
        lambda: prepare_training(
            (model, optimizer, criterion, data), settings, environment, policy=policy, keeping=keeping, ranks=ranks
        ),
    )
    refusal = _BENCHMARK_ONLY if environment.benchmark_only else ""
    with running(undertaking, refusal=refusal) as run:
        yield run


def _read_settings(epochs: int | None, options: Mapping[str, Any]) -> tuple[Options, Environment]:
    """The checked options, those on offers included, and the environment."""
    settings, environment = make_options(epochs, options), read_environment()
    check_offers(
        settings.prices,
        billing=settings.billing,
        speed_ratios=settings.speed_ratios,
        region=settings.cloud_region,
        gpus=settings.gpus,
        task=settings.task,
    )
    return settings, environment
