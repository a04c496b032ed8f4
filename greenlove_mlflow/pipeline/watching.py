"""``watch``: tracks any kind of training loop, whose first seconds are the benchmark."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from greenlove_mlflow.benchmark.checked_subject import Subject
from greenlove_mlflow.benchmark.feed import Feed
from greenlove_mlflow.benchmark.meeting import meet
from greenlove_mlflow.benchmark.ranks import on_all_ranks
from greenlove_mlflow.benchmark.subject.optimizer_steps import find_optimizers
from greenlove_mlflow.core.account.laps import LapPlan
from greenlove_mlflow.environment import read_environment
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline.ground import read_ground
from greenlove_mlflow.pipeline.live.policy import OnLimit, Policy
from greenlove_mlflow.pipeline.options import Options, make_options
from greenlove_mlflow.pipeline.running import running
from greenlove_mlflow.pipeline.undertaking import Keeping, Undertaking
from greenlove_mlflow.terminal import say_on_stderr

if TYPE_CHECKING:
    from greenlove_mlflow.core.workload import Limits
    from greenlove_mlflow.pipeline.tracked_training import TrackedTraining

# Number of laps if the end is known; if not, a lap is a fixed number of steps.
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
    """Watch any training by its optimizer steps and record it in an MLflow run.

    Nothing is run beforehand: the first seconds of training are the benchmark, and ``run.estimate`` is None until they
    have passed. ``run.over(loader)`` measures the wait for data, ``run.pause()`` and ``run.resume()`` exclude a
    validation from the steps, and ``run.must_stop`` says when a limit is reached.

    Args:
        *watched: The optimizer or optimizers, and optionally the model, to record its kind and precision.
        steps: Optimizer steps of the whole training; without ``steps`` and ``epochs`` it has no known end, and the pace
            of each 1,000 steps is recorded.
        epochs: Epochs, instead of ``steps``; ``steps_per_epoch=`` gives their length.
        batch_size: Samples per step.
        limits: Upper limits for the training.
        on_limit: ``raise`` raises ``LimitReached`` once a limit is reached.
        experiment: MLflow experiment for a new run; the active or default one when not given.
        run_name: Name of a new run.
        nested: Whether to open a child of the active run.
        run_id: Id of a run to resume, if none is active; with ``done=``, its totals are continued.
        log_model: Whether to log the estimator as an MLflow model.
        saved_view: Whether to save a view of the experiment page.
        **options: See ``greenlove_mlflow.pipeline.options.Options``; those for a benchmark before training are ignored.

    Raises:
        InvalidInputError: If an argument is invalid; no run is opened then.
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
    watched: tuple[Any, ...],
    given: dict[str, Any],
    *,
    policy: Policy,
    keeping: Keeping,
    tells_steps: bool = False,
    validations_per_lap: float = 1.0,
) -> Undertaking:
    """Prepare to watch a training of which only optimizers and model are known.

    Args:
        watched: Optimizers, models, or both.
        given: Options by name; with neither ``epochs`` nor ``steps`` the training has no known end.
        policy: What it is allowed to take.
        keeping: How it is recorded in MLflow.
        tells_steps: Whether steps are reported by calls, so that no optimizer is needed.
        validations_per_lap: Validations in a lap; below 1 where several laps pass between two.

    Raises:
        InvalidInputError: If no optimizer was given or an option is invalid.
    """
    optimizers = find_optimizers(watched)
    model = next((each for each in watched if isinstance(each, torch.nn.Module)), None)
    if not optimizers and not tells_steps:
        raise InvalidInputError(
            "there is no torch optimizer to watch: pass the optimizer (and the model), as in watch(optimizer, model)"
        )
    has_end = given.get("epochs") is not None or given.get("steps") is not None
    settings = _settings(given, has_end=has_end, validations_per_lap=validations_per_lap)
    device = _device_of(model, optimizers)
    environment = read_environment()
    ranks = meet(settings.asked_for("watch"), environment.world_size, say=say_on_stderr)
    settings = settings.on(ranks)
    ground = on_all_ranks(ranks, lambda: read_ground(device, settings, environment, ranks))
    lap_steps = _lap_steps(settings)
    return Undertaking(
        subject=Subject(
            model=model,
            optimizer=optimizers[0] if optimizers else None,
            device=device,
            feed=Feed(
                loader=None,
                sample_count=lap_steps * (settings.batch_size or 1),
                batch_size=settings.batch_size or 1,
                steps_per_epoch=lap_steps,
            ),
            optimizers=() if tells_steps else optimizers,
        ),
        plan=_plan(settings, lap_steps, has_end=has_end),
        options=settings,
        environment=environment,
        ground=ground,
        keeping=keeping,
        policy=policy,
        ranks=ranks,
        validations_per_lap=max(1.0, validations_per_lap),
    )


def _settings(given: dict[str, Any], *, has_end: bool, validations_per_lap: float) -> Options:
    """The options by name, with those that watching implies."""
    own: dict[str, Any] = {"benchmark": "within"}
    if 0.0 < validations_per_lap < 1.0 and "validation_every_epochs" not in given:
        own["validation_every_epochs"] = max(1, round(1.0 / validations_per_lap))
    if not has_end:
        own |= {"steps": OPEN_LAP_STEPS, "lap_steps": given.get("lap_steps") or OPEN_LAP_STEPS}
    return make_options(given.get("epochs"), {name: value for name, value in given.items() if name != "epochs"} | own)


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
    """The device of the first parameter; the CPU when there is none."""
    parameters = [] if model is None else list(model.parameters())[:1]
    for optimizer in optimizers:
        parameters += [each for group in optimizer.param_groups for each in group["params"]][:1]
    return parameters[0].device if parameters else torch.device("cpu")
