"""``TrainerCallback``: estimate and meter a Hugging Face ``Trainer`` and record it in MLflow, without changing it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.integrations.followed import Followed

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
        watched = tuple(each for each in (kwargs.get("model"), kwargs.get("optimizer")) if each is not None)
        plan = {
            "steps": max(1, state.max_steps),
            "done": min(state.global_step, max(0, state.max_steps - 1)),
            "lap_steps": _steps_per_epoch(state, args, kwargs.get("train_dataloader")),
            "batch_size": max(1, args.train_batch_size * args.gradient_accumulation_steps),
        }
        states = state.stateful_callbacks if isinstance(state.stateful_callbacks, dict) else {}
        resumed = states.get(_STATE) if state.global_step else None
        self._followed.begin(watched, plan, resumed_run_id=_run_id_in(resumed))
        if self.run is not None:
            states[_STATE] = {"args": {}, "attributes": {"run_id": self.run.run_id}}

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
            self._is_paused = True
            self._followed.pause("validation" if control.should_evaluate else "")


def _steps_per_epoch(state: Any, args: Any, loader: Any) -> int:
    """Optimizer steps per epoch, as planned by epochs, else as the loader has them, else an even share."""
    if args.max_steps <= 0:
        steps: float = state.max_steps / args.num_train_epochs
        return max(1, round(steps))
    try:
        steps = len(loader) / args.gradient_accumulation_steps
    except TypeError:  # a stream without a length
        steps = state.max_steps / max(1, state.num_train_epochs)
    return max(1, math.ceil(steps))


def _run_id_in(state: Any) -> str | None:
    """The run in our entry of a checkpoint; None if there is none."""
    attributes = state.get("attributes") if isinstance(state, dict) else None
    run_id = attributes.get("run_id") if isinstance(attributes, dict) else None
    return run_id if isinstance(run_id, str) and run_id else None
