"""``KerasCallback``: estimate and meter ``model.fit`` of Keras on torch, and record it in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.integrations.followed import Beginning, Followed

if TYPE_CHECKING:
    from greenlove_mlflow.pipeline.tracked_training import TrackedTraining

try:
    from keras.callbacks import Callback as _Base
except ImportError as error:
    raise ImportError(
        f"greenlove.KerasCallback needs Keras 3 on torch ({error}): pip install 'greenlove-mlflow[keras]', and set "
        "KERAS_BACKEND=torch before Keras is imported"
    ) from error


class KerasCallback(_Base):  # type: ignore[misc]
    """Estimates a ``fit`` from its first seconds, meters it, and records both in MLflow.

    Use ``model.fit(..., callbacks=[KerasCallback()])``. It joins the active run, else starts one. Validation is left
    out of the steps; spending a limit stops training. ``initial_epoch`` and ``run_id=`` (or ``MLFLOW_RUN_ID``) continue
    an earlier part. Keras does not report errors to callbacks: a ``fit`` that raises is closed, at its last batch, when
    the next one begins or the process ends.

    Args:
        batch_size: Samples in a batch, as passed to ``fit``; used only in the text of the estimate.
        limits: Limits of the run.
        **options: Options of ``greenlove.track`` (country, prices, experiment, ...).

    Raises:
        InvalidInputError: If an option cannot be used.
    """

    def __init__(self, *, batch_size: int = 32, limits: Limits | None = None, **options: Any) -> None:
        super().__init__()
        self._followed = Followed(limits=limits, **options)
        self._batch_size = batch_size
        self._is_due = False
        self._batch_count = self._epoch_count = 0

    @property
    def run(self) -> TrackedTraining | None:
        """The current run, or the last one; None before the first."""
        return self._followed.run

    def on_train_begin(self, logs: Any = None) -> None:
        """Note that a ``fit`` has begun; its first epoch is known later."""
        self._is_due = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin with the first epoch, which is not 0 if training is resumed."""
        self._batch_count = 0
        if not self._is_due:
            return
        self._is_due = False
        self._followed.begin(lambda: self._read(int(epoch)))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Report that the batch has arrived."""
        self._followed.ready()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Report the end of a step."""
        self._batch_count += 1
        if self._followed.step():
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report the end of an epoch, including its validation; one that was stopped within is none."""
        is_whole = self._batch_count >= int(self._known.get("steps") or 0)
        self._epoch_count = int(epoch) + is_whole
        if is_whole and self._followed.lap():
            self.model.stop_training = True

    def on_test_begin(self, logs: Any = None) -> None:
        """Pause for validation."""
        self._followed.pause("validation")

    def on_test_end(self, logs: Any = None) -> None:
        """Resume after validation."""
        self._followed.resume()

    def on_train_end(self, logs: Any = None) -> None:
        """End the run, whether training was complete or stopped early."""
        self._followed.end()

    @property
    def _known(self) -> dict[str, Any]:
        """What Keras told of the training; empty before, where Keras 3.0 has no such attribute yet."""
        return getattr(self, "params", None) or {}

    def _read(self, epoch: int) -> Beginning:
        params = self._known
        epochs, steps = params.get("epochs"), params.get("steps")
        plan: dict[str, Any] = {"batch_size": self._batch_size}
        if epochs and steps:
            plan |= {"epochs": int(epochs), "steps_per_epoch": int(steps), "done": epoch}
        watched = tuple(each for each in (self.model, getattr(self.model, "optimizer", None)) if each is not None)
        goes_on = 0 < epoch == self._epoch_count
        resumed_run_id = self.run.run_id if goes_on and self.run is not None else None
        return Beginning(watched=watched, plan=plan, key=params or None, resumed_run_id=resumed_run_id)
