"""``KerasCallback``: ``model.fit`` of Keras on torch estimated, metered and kept in MLflow."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.integrations.followed import Followed

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
    """Estimates a ``fit`` from its first seconds, meters it, and keeps both in MLflow.

    ``model.fit(..., callbacks=[KerasCallback()])`` is all. The active run is joined, else one is started. Validation is
    left out of the steps; a limit that is spent stops the training. Keras tells a callback of no error: a ``fit`` that
    raises is settled when the next one begins, or when the process ends.

    Args:
        batch_size: Samples of a batch, as ``fit`` is told; only the words of the estimate use it.
        limits: What the training may take at most.
        **options: As those of ``greenlove.track`` (country, prices, experiment, ...).

    Raises:
        InvalidInputError: If an option cannot be used.
    """

    def __init__(self, *, batch_size: int = 32, limits: Limits | None = None, **options: Any) -> None:
        super().__init__()
        self._followed = Followed(limits=limits, **options)
        self._batch_size = batch_size

    @property
    def run(self) -> TrackedTraining | None:
        """The training under way, or the last one; None before there was one."""
        return self._followed.run

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin, with the epochs and the steps that Keras plans."""
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        plan: dict[str, Any] = {"batch_size": self._batch_size}
        if epochs and steps:
            plan |= {"epochs": int(epochs), "steps_per_epoch": int(steps)}
        watched = tuple(each for each in (self.model, getattr(self.model, "optimizer", None)) if each is not None)
        self._followed.begin(watched, plan)
        atexit.register(self._followed.end)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The batch has come."""
        self._followed.ready()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """A step has ended."""
        if self._followed.step():
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """An epoch has ended, its validation included."""
        if self._followed.lap():
            self.model.stop_training = True

    def on_test_begin(self, logs: Any = None) -> None:
        """Validation is no training step."""
        self._followed.pause("validation")

    def on_test_end(self, logs: Any = None) -> None:
        """The training goes on."""
        self._followed.resume()

    def on_train_end(self, logs: Any = None) -> None:
        """The training has ended, early or not."""
        self._followed.end()
        atexit.unregister(self._followed.end)
