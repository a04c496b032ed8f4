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
from greenlove_mlflow.environment import BENCHMARK_ONLY_VARIABLE, read_environment
from greenlove_mlflow.pipeline.comparing import check_offers, compare_estimate
from greenlove_mlflow.pipeline.live.busy import busy
from greenlove_mlflow.pipeline.live.policy import OnLimit, OnRefusal, Policy
from greenlove_mlflow.pipeline.options import is_runner, make_options
from greenlove_mlflow.pipeline.tracked_training import TrackedTraining

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from greenlove_mlflow.core.speed.gpus import Precision
    from greenlove_mlflow.pipeline.track_options import TrackOptions

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
    """The estimate of a training, by a benchmark of a few seconds; no MLflow, no network, nothing changed.

    Args:
        model: The module to train, on the device it will be trained on; or an ``EpochRunner`` alone, for training that
            is no PyTorch step.
        optimizer: Its optimizer.
        criterion: The loss; None when the model returns its own.
        data: A ``Dataset`` or the ``DataLoader`` of the real training.
        epochs: Epochs of the real training, at least 1; 1 for an ``EpochRunner`` when not given.
        steps: Its optimizer steps, in place of ``epochs``.
        **options: See ``greenlove_mlflow.pipeline.options.Options``.

    Returns:
        Seconds, kWh, US dollars and grams CO2e, each with the range that holds the truth 95 % of the time.

    Raises:
        InvalidInputError: If an argument cannot be used; nothing has run then.
    """
    from greenlove_mlflow.benchmark.ranks import refuse_several_ranks
    from greenlove_mlflow.benchmark.state.state import check_state
    from greenlove_mlflow.benchmark.subject.training import Training
    from greenlove_mlflow.pipeline.stages import find_place, measure_training
    from greenlove_mlflow.pipeline.undertakings import subject_of

    epochs = 1 if epochs is None and steps is None and is_runner(model) else epochs
    settings, environment = make_options(epochs, {"steps": steps, **options}), read_environment()
    refuse_several_ranks(environment.world_size)
    check_offers(settings.prices, billing=settings.billing, speed_ratios=settings.speed_ratios)
    subject = subject_of(model, optimizer, criterion, data, settings)
    if isinstance(subject, Training):
        check_state(subject)
    place = find_place(settings, environment)
    with busy():
        return measure_training(subject, settings, environment, place).estimate


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
        gpus: GPUs at work: 1, 2, 4 or 8; as many as at home when not given. The smallest instance that has them is
            what is rented, and all of it is paid.
        start_s: Seconds that an instance needs to start; a sourced figure when not given.

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
    """A training with its promise, kept in an MLflow run.

    Joins the active run and leaves it running, or starts one; estimates, compares, records; then meters the body from
    its beginning to its end. In a loop of your own, epochs are told by the optimizer's steps; ``run.epochs()`` and
    ``run.steps()`` tell them exactly, and end early when a limit is spent. An exception in the body ends a run of ours
    as FAILED, Ctrl-C as KILLED, and always goes on to the caller. MLflow's trouble after entry costs one warning, never
    the training.

    Args:
        model: The module to train, on the device it will be trained on; or an ``EpochRunner``, which ``run.train()``
            runs.
        optimizer: Its optimizer.
        criterion: The loss; None when the model returns its own.
        data: A ``Dataset`` or the ``DataLoader`` of the real training.
        epochs: Epochs of the real training, at least 1.
        steps: Its optimizer steps, in place of ``epochs``.
        confirm: Asked with the estimate; a "no" leaves ``run.epochs()`` empty.
        limits: What the training may take at most; an estimate above it leaves ``run.epochs()`` empty, and a training
            that has spent one ends with the epoch.
        on_refusal: ``raise`` raises ``TrainingRefused`` in place of an empty loop.
        on_limit: ``raise`` raises ``LimitReached`` once a limit is spent, also in a loop of your own.
        experiment: MLflow experiment for a run of ours; the active or default one when not given.
        run_name: Name of a run of ours.
        nested: Whether to open a child of the active run; on its own when that run holds a training already.
        run_id: Of a run to take up again, where none is active; with ``done=``, its account goes on.
        log_model: Whether to log the estimator as an MLflow model.
        saved_view: Whether to save a view of the experiment page.
        **options: See ``greenlove_mlflow.pipeline.options.Options``.

    Raises:
        InvalidInputError: If an argument cannot be used; nothing has run then and no run is opened.
        TrackingError: If the MLflow store cannot be used before anything ran.
        TrainingRefused: If the training may not run, and ``on_refusal="raise"``.
    """
    from greenlove_mlflow.benchmark.ranks import refuse_several_ranks
    from greenlove_mlflow.pipeline.running import Keeping, running
    from greenlove_mlflow.pipeline.undertakings import prepare_training

    policy = Policy(limits=limits, confirm=confirm, on_refusal=on_refusal, on_limit=on_limit)
    keeping = Keeping(
        experiment=experiment,
        run_name=run_name,
        nested=nested,
        log_model=log_model,
        saved_view=saved_view,
        run_id=run_id,
    )
    settings, environment = make_options(epochs, {"steps": steps, **options}), read_environment()
    refuse_several_ranks(environment.world_size)
    check_offers(settings.prices, billing=settings.billing, speed_ratios=settings.speed_ratios)
    prepared = prepare_training(
        (model, optimizer, criterion, data), settings, environment, policy=policy, keeping=keeping
    )
    refusal = _BENCHMARK_ONLY if environment.benchmark_only else ""
    with running(prepared.undertaking, measure=prepared.measure, refusal=refusal) as run:
        yield run
