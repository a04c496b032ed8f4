"""``LightningCallback``: estimate and meter a Lightning run and record it in MLflow, without changing it."""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.integrations.followed import Beginning, Followed
from greenlove_mlflow.units import S_PER_H

if TYPE_CHECKING:
    from greenlove_mlflow.pipeline.tracked_training import TrackedTraining
    from greenlove_mlflow.tracking.spool.header import RunToJoin


def _callback_class() -> Any:
    """Lightning's ``Callback`` from the package that the program uses: ``lightning`` or ``pytorch_lightning``."""
    first, second = ("lightning.pytorch", "pytorch_lightning")
    if first not in sys.modules and second in sys.modules:
        first, second = second, first
    for root in (first, second):
        with contextlib.suppress(ImportError):
            return importlib.import_module(root).Callback
    raise ImportError("greenlove.LightningCallback needs Lightning: pip install 'greenlove-mlflow[lightning]'")


class LightningCallback(_callback_class()):  # type: ignore[misc]
    """Estimates a Lightning run from its first seconds, meters it, and records both in its MLflow run.

    Use ``Trainer(callbacks=[LightningCallback()])``. It joins the run of an ``MLFlowLogger``, else the active run, else
    the one named in the checkpoint that training is resumed from, else starts one. Validation is left out of the steps;
    spending a limit stops training as early stopping does.

    Args:
        limits: Limits of the run.
        progress_bar: Whether to show the remaining hours in the progress bar.
        **options: Options of ``greenlove.track`` (country, prices, experiment, ...).

    Raises:
        InvalidInputError: If an option cannot be used.
    """

    def __init__(self, *, limits: Limits | None = None, progress_bar: bool = False, **options: Any) -> None:
        super().__init__()
        self._followed = Followed(limits=limits, **options)
        self._progress_bar = progress_bar
        self._global_step = 0
        self._resumed_run_id: str | None = None
        self._ended_at_step: int | None = None
        self._laps_are_epochs = False

    @property
    def run(self) -> TrackedTraining | None:
        """The current run, or the last one; None before the first."""
        return self._followed.run

    @property
    def _last_run_id(self) -> str | None:
        return None if self.run is None else self.run.run_id

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, once the trainer is set up and a checkpoint is loaded."""
        self._global_step = trainer.global_step
        self._followed.begin(lambda: self._read(trainer))

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Report that the batch has arrived."""
        self._followed.ready()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count a step if one was taken; accumulated batches take none. Under manual optimization each batch is one."""
        if pl_module.automatic_optimization and trainer.global_step == self._global_step:
            return
        self._global_step = trainer.global_step
        if self._followed.step():
            trainer.should_stop = True
        if self._progress_bar and self.run is not None and self.run.forecast is not None:
            pl_module.log("left_h", _left_h(self.run), prog_bar=True, logger=False)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Report a lap if laps are epochs; an epoch that was stopped within is none."""
        if self._laps_are_epochs and trainer.is_last_batch and self._followed.lap():
            trainer.should_stop = True

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Pause for validation."""
        if not trainer.sanity_checking:
            self._followed.pause("validation")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Resume after validation."""
        if not trainer.sanity_checking:
            self._followed.resume()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the run, whether training was complete or stopped early."""
        self._ended_at_step = trainer.global_step
        self._followed.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End the run after a failure or an interruption."""
        self._ended_at_step = trainer.global_step
        self._followed.end(exception)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: the MLflow run, so that resumed training continues in it."""
        return {"run_id": self._last_run_id}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the MLflow run named in a checkpoint."""
        self._resumed_run_id = state_dict.get("run_id")

    def _read(self, trainer: Any) -> Beginning:
        plan = _plan(trainer)
        self._laps_are_epochs = "epochs" in plan
        resumed_run_id, self._resumed_run_id = self._resumed_run_id, None
        if not trainer.global_step:
            resumed_run_id = None  # a learning rate finder has saved and restored the state of an earlier training
        elif resumed_run_id is None and trainer.global_step == self._ended_at_step:
            resumed_run_id = self._last_run_id
        return Beginning(
            watched=(trainer.lightning_module, *trainer.optimizers),
            plan=plan,
            key=trainer.fit_loop,
            validations_per_lap=_validations_per_epoch(trainer),
            join=_run_to_join(trainer),
            resumed_run_id=resumed_run_id,
        )


def _plan(trainer: Any) -> dict[str, Any]:
    steps_per_epoch = _steps_per_epoch(trainer, trainer.num_training_batches)
    batch_size = _batch_size(trainer)
    total = _total_steps(trainer)
    if steps_per_epoch is not None and total is not None and total % steps_per_epoch == 0:
        return {
            "epochs": total // steps_per_epoch,
            "done": min(trainer.current_epoch, total // steps_per_epoch - 1),
            "steps_per_epoch": steps_per_epoch,
            "batch_size": batch_size,
        }
    lap_steps = {} if steps_per_epoch is None else {"lap_steps": steps_per_epoch}
    if total is None:
        return {"batch_size": batch_size, **lap_steps}
    done = 0 if not trainer.lightning_module.automatic_optimization else trainer.global_step
    return {"steps": total, "done": min(done, total - 1), "batch_size": batch_size, **lap_steps}


def _validations_per_epoch(trainer: Any) -> float:
    """Validations of an epoch that has any, or the share of epochs that have one; 1 if unknown."""
    batches, between, every = trainer.num_training_batches, trainer.val_check_batch, trainer.check_val_every_n_epoch
    if not between or not math.isfinite(batches) or not math.isfinite(between):
        return 1.0 / (every or 1)
    if every is None:
        return float(batches / between)
    return float(max(1, batches // between)) / float(every)


def _run_to_join(trainer: Any) -> RunToJoin | None:
    """The run of an ``MLFlowLogger``; None if there is none."""
    from greenlove_mlflow.tracking.spool.header import RunToJoin

    for logger in trainer.loggers:
        if type(logger).__name__ == "MLFlowLogger":
            return RunToJoin(run_id=str(logger.run_id), store_uri=getattr(logger, "_tracking_uri", None))
    return None


def _steps_per_epoch(trainer: Any, batches: float) -> int | None:
    """Optimizer steps per epoch; None if the data has no length."""
    if not math.isfinite(batches) or batches < 1:
        return None
    accumulated: int = trainer.accumulate_grad_batches if trainer.lightning_module.automatic_optimization else 1
    return max(1, math.ceil(batches / accumulated))


def _total_steps(trainer: Any) -> int | None:
    """Optimizer steps of the whole run (stepping batches under manual optimization); None without an end."""
    batches: float = trainer.num_training_batches
    epochs: int | None = trainer.max_epochs
    if trainer.lightning_module.automatic_optimization:
        total: float = trainer.estimated_stepping_batches
        return int(total) if math.isfinite(total) and total > 0 else None
    if epochs is None or epochs < 1 or not math.isfinite(batches):
        return None
    return max(1, int(batches) * epochs)


def _batch_size(trainer: Any) -> int:
    """Samples per optimizer step, if the loader reports its batch size."""
    loader = trainer.train_dataloader
    size = int(getattr(loader, "batch_size", None) or 1)
    return max(1, size * int(trainer.accumulate_grad_batches))


def _left_h(run: TrackedTraining) -> float:
    forecast_s = 0.0 if run.forecast is None else run.forecast.time_s.point
    return max(0.0, forecast_s - run.elapsed_s) / S_PER_H
