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


class TrainerCallback(_Base):
    """Estimates a ``Trainer`` run from its first seconds, meters it, and records both in its MLflow run.

    Use ``Trainer(..., callbacks=[TrainerCallback()])``, also with subclasses of ``Trainer``. It joins the run that
    ``report_to="mlflow"`` opens, else the active run, else starts one. Evaluation and saving are left out of the steps;
    spending a limit stops training.

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
            "lap_steps": max(1, math.ceil(state.max_steps / max(1, state.num_train_epochs))),
            "batch_size": max(1, args.train_batch_size * args.gradient_accumulation_steps),
        }
        self._followed.begin(watched, plan)

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
