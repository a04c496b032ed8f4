"""``TrainerCallback``: estimate and meter a Hugging Face ``Trainer`` and record it in MLflow, without changing it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.integrations.followed import Beginning, Followed

if TYPE_CHECKING:
    from greenlove_mlflow.pipeline.tracked_training import TrackedTraining

try:
    from transformers import TrainerCallback as _Base
except ImportError as error:
    raise ImportError(
        "greenlove.TrainerCallback needs transformers: pip install 'greenlove-mlflow[huggingface]'"
    ) from error

# Key of our entry among the states of callbacks that a checkpoint keeps.
_STATE = "greenlove"


class TrainerCallback(_Base):
    """Estimates a ``Trainer`` run from its first seconds, meters it, and records both in its MLflow run.

    Use ``Trainer(..., callbacks=[TrainerCallback()])``, also with subclasses of ``Trainer``. It joins the run that
    ``report_to="mlflow"`` opens, else the active run, else the one named in the checkpoint that training is resumed
    from, else starts one. Evaluation and saving are left out of the steps; spending a limit stops training.
    ``Trainer`` does not report errors to callbacks: a training that raises is closed, at its last step, when the next
    one begins or the process ends.

    Args:
        limits: Limits of the run.
        **options: Options of ``greenlove.track`` (country, prices, experiment, ...).

    Raises:
        InvalidInputError: If an option cannot be used.
    """

    def __init__(self, *, limits: Limits | None = None, **options: Any) -> None:
        self._followed = Followed(limits=limits, **options)
        self._is_paused = False

    @property
    def run(self) -> TrackedTraining | None:
        """The current run, or the last one; None before the first."""
        return self._followed.run

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin, with the planned and completed steps, which are known here even for a resumed run."""
        self._is_paused = False
        states = state.stateful_callbacks if isinstance(state.stateful_callbacks, dict) else {}
        self._followed.begin(lambda: _read(args, state, states.get(_STATE), kwargs))
        if self.run is not None:
            states[_STATE] = {"args": {}, "attributes": {"run_id": self.run.run_id}}
        if getattr(args, "eval_on_start", False):
            self._pause("" if args.eval_strategy == "no" else "validation")

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report that the first batch of a step has arrived."""
        if self._is_paused:
            self._is_paused = False
            self._followed.resume()
        self._followed.ready()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the end of an optimizer step; an evaluation or a checkpoint may follow."""
        if self._followed.step():
            control.should_training_stop = True
        self._pause_if_asked(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the end of an epoch; an evaluation may follow."""
        self._pause_if_asked(control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the run, whether training was complete or stopped early."""
        self._followed.end()

    def _pause_if_asked(self, control: Any) -> None:
        if (control.should_evaluate or control.should_save) and not self._is_paused:
            self._pause("validation" if control.should_evaluate else "")

    def _pause(self, what: str) -> None:
        self._is_paused = True
        self._followed.pause(what)


def _read(args: Any, state: Any, kept: Any, parts: dict[str, Any]) -> Beginning:
    """A training as known when it begins, even a resumed one.

    Args:
        args: The training's arguments.
        state: The trainer's state.
        kept: Our entry of the checkpoint; None if there is none.
        parts: Model, optimizer and data.
    """
    steps = max(1, state.max_steps)
    lap_steps = _steps_per_epoch(state, args, parts.get("train_dataloader"))
    is_by_steps = args.eval_strategy == "steps" and state.eval_steps
    return Beginning(
        watched=tuple(parts[name] for name in ("model", "optimizer") if parts.get(name) is not None),
        plan={
            "steps": steps,
            "done": min(state.global_step, steps - 1),
            "batch_size": max(1, args.train_batch_size * args.gradient_accumulation_steps),
            **({} if lap_steps is None else {"lap_steps": lap_steps}),
        },
        key=state,
        validations_per_lap=lap_steps / state.eval_steps if is_by_steps and lap_steps else 1.0,
        resumed_run_id=_run_id_in(kept) if state.global_step else None,
    )


def _steps_per_epoch(state: Any, args: Any, loader: Any) -> int | None:
    """Optimizer steps per epoch, as planned by epochs, else as the loader has them; None for a stream of no length."""
    if args.max_steps <= 0:
        epochs = float(args.num_train_epochs)
        return max(1, round(int(state.max_steps) / epochs)) if epochs > 0.0 else None
    try:
        return max(1, math.ceil(len(loader) / int(args.gradient_accumulation_steps)))
    except TypeError:
        return None


def _run_id_in(state: Any) -> str | None:
    """The run in our entry of a checkpoint; None if there is none."""
    attributes = state.get("attributes") if isinstance(state, dict) else None
    run_id = attributes.get("run_id") if isinstance(attributes, dict) else None
    return run_id if isinstance(run_id, str) and run_id else None
