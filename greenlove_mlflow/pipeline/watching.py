"""``watch``: a training of any kind of loop; no step is handed over, its own first seconds are the benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from greenlove_mlflow.benchmark.feed import Feed
from greenlove_mlflow.benchmark.subject.optimizer_steps import find_optimizers
from greenlove_mlflow.core.account.laps import LapPlan
from greenlove_mlflow.environment import read_environment
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline.live.policy import OnLimit, Policy
from greenlove_mlflow.pipeline.live.window import Subject
from greenlove_mlflow.pipeline.options import Options, make_options
from greenlove_mlflow.pipeline.running import Keeping, Undertaking, running
from greenlove_mlflow.pipeline.stages import find_place, read_ground

if TYPE_CHECKING:
    from greenlove_mlflow.core.workload import Limits
    from greenlove_mlflow.pipeline.tracked_training import TrackedTraining

# Where the end is known, so many laps; where it is not, a lap is so many steps.
USUAL_LAP_COUNT = 50
OPEN_LAP_STEPS = 1000


@contextmanager
def watch(
    *watched: Any,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int = 1,
    limits: Limits | None = None,
    on_limit: OnLimit = "stop",
    experiment: str | None = None,
    run_name: str | None = None,
    nested: bool | None = None,
    run_id: str | None = None,
    log_model: bool = True,
    saved_view: bool = True,
    **options: Any,
) -> Iterator[TrackedTraining]:
    """Any training, watched by its optimizer's steps and kept in an MLflow run.

    Nothing is run beforehand: the first seconds of the training are the benchmark, and ``run.estimate`` is None until
    they have passed. ``run.over(loader)`` lets the wait for data be known, ``run.pause()`` and ``run.resume()`` leave a
    validation out of the steps, and ``run.must_stop`` says when a limit is spent.

    Args:
        *watched: The optimizer or optimizers, and the model if its kind and precision shall be known.
        steps: Optimizer steps of the whole training; without it (and ``epochs``) there is no end, and the pace of each
            1,000 steps is kept.
        epochs: Epochs, in place of ``steps``; ``steps_per_epoch=`` says how long one is.
        batch_size: Samples of a step.
        limits: What the training may take at most.
        on_limit: ``raise`` raises ``LimitReached`` once a limit is spent.
        experiment: MLflow experiment for a run of ours; the active or default one when not given.
        run_name: Name of a run of ours.
        nested: Whether to open a child of the active run.
        run_id: Of a run to take up again, where none is active; with ``done=``, its account goes on.
        log_model: Whether to log the estimator as an MLflow model.
        saved_view: Whether to save a view of the experiment page.
        **options: See ``greenlove_mlflow.pipeline.options.Options``; those of a benchmark beforehand do nothing here.

    Raises:
        InvalidInputError: If an argument cannot be used; no run is opened then.
        TrackingError: If the MLflow store cannot be used.
    """
    undertaking = prepare_watched(
        watched,
        {"epochs": epochs, "steps": steps, "batch_size": batch_size, **options},
        policy=Policy(limits=limits, on_limit=on_limit),
        keeping=Keeping(
            experiment=experiment,
            run_name=run_name,
            nested=nested,
            log_model=log_model,
            saved_view=saved_view,
            run_id=run_id,
        ),
    )
    with running(undertaking) as run:
        yield run


def prepare_watched(
    watched: tuple[Any, ...], given: dict[str, Any], *, policy: Policy, keeping: Keeping, tells_steps: bool = False
) -> Undertaking:
    """A training of which only optimizers and model are known, made ready to be watched.

    Args:
        watched: Optimizers, models, or both.
        given: Options by name; with neither ``epochs`` nor ``steps`` the training has no known end.
        policy: What it may take.
        keeping: How it is kept in MLflow.
        tells_steps: Whether the steps are told by calls, so that no optimizer has to be known.

    Raises:
        InvalidInputError: If nothing was given that steps, or an option cannot be used.
    """
    optimizers = find_optimizers(watched)
    model = next((each for each in watched if isinstance(each, torch.nn.Module)), None)
    if not optimizers and not tells_steps:
        raise InvalidInputError(
            "there is no torch optimizer to watch: pass the optimizer (and the model), as in watch(optimizer, model)"
        )
    has_end = given.get("epochs") is not None or given.get("steps") is not None
    settings = make_options(
        given.get("epochs"),
        {**{name: value for name, value in given.items() if name != "epochs"}, "benchmark": "within"}
        | ({} if has_end else {"steps": OPEN_LAP_STEPS, "lap_steps": given.get("lap_steps") or OPEN_LAP_STEPS}),
    )
    device = _device_of(model, optimizers)
    environment = read_environment()
    ground = read_ground(device, settings, environment, find_place(settings, environment))
    lap_steps = _lap_steps(settings)
    return Undertaking(
        subject=Subject(model=model, optimizer=optimizers[0] if optimizers else None, device=device),
        feed=Feed(
            loader=None,
            sample_count=lap_steps * (settings.batch_size or 1),
            batch_size=settings.batch_size or 1,
            steps_per_epoch=lap_steps,
        ),
        plan=_plan(settings, lap_steps, has_end=has_end),
        options=settings,
        environment=environment,
        ground=ground,
        synchronize=_synchronizer(device),
        keeping=keeping,
        policy=policy,
        optimizers=() if tells_steps else optimizers,
    )


def _plan(settings: Options, lap_steps: int, *, has_end: bool) -> LapPlan:
    if not has_end:
        return LapPlan(lap_count=None, steps_per_lap=lap_steps, is_epoch=False)
    if settings.steps is None:
        return LapPlan(lap_count=settings.epochs, steps_per_lap=lap_steps, done_count=settings.done)
    return LapPlan(
        lap_count=settings.steps / lap_steps,
        steps_per_lap=lap_steps,
        done_count=settings.done / lap_steps,
        is_epoch=False,
    )


def _lap_steps(settings: Options) -> int:
    if settings.steps is not None:
        return settings.lap_steps or max(1, math.ceil(settings.steps / USUAL_LAP_COUNT))
    if settings.steps_per_epoch is None:
        raise InvalidInputError("watch(epochs=) needs steps_per_epoch=, the optimizer steps of one; or pass steps=")
    return settings.steps_per_epoch


def _device_of(model: Any, optimizers: tuple[torch.optim.Optimizer, ...]) -> torch.device:
    """Where the first parameter is; the CPU when there is none."""
    parameters = [] if model is None else list(model.parameters())[:1]
    for optimizer in optimizers:
        parameters += [each for group in optimizer.param_groups for each in group["params"]][:1]
    return parameters[0].device if parameters else torch.device("cpu")


def _synchronizer(device: torch.device) -> Callable[[], None]:
    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()

    return synchronize
