"""``LightningCallback`` in the real trainer: nothing of the training changes, and its run holds what happened."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow import MlflowClient

import greenlove_mlflow as greenlove
from tests.support.warm import WarmPython

lightning = pytest.importorskip("lightning")
pytestmark = pytest.mark.slow

EPOCHS, STEPS = 4, 30
ROOT = Path(__file__).resolve().parents[2]


class Net(lightning.LightningModule):
    def __init__(self, *, fails_at: int | None = None, interrupts: bool = False) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Dropout(0.1), torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
        )
        self.fails_at, self.interrupts = fails_at, interrupts

    def training_step(self, batch: Any, index: int) -> Any:
        if self.fails_at == self.global_step:
            raise KeyboardInterrupt if self.interrupts else RuntimeError("the training broke")
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class ManualNet(Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, index: int) -> None:
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        half = self.net[1].parameters(), self.net[3].parameters()
        return [torch.optim.SGD(each, lr=0.1) for each in half]


def loader() -> torch.utils.data.DataLoader[Any]:
    torch.manual_seed(3)
    data = torch.utils.data.TensorDataset(torch.randn(10 * STEPS, 8), torch.randint(0, 3, (10 * STEPS,)))
    return torch.utils.data.DataLoader(data, batch_size=10, shuffle=True)


def fit(callbacks: list[Any], net: Net | None = None, *, ckpt: Path | None = None, **options: Any) -> tuple[Net, Any]:
    lightning.seed_everything(1)
    net = net or Net()
    options = {"max_epochs": EPOCHS, "logger": False, "enable_checkpointing": False, **options}
    trainer = lightning.Trainer(
        callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", **options
    )
    trainer.fit(net, loader(), loader(), ckpt_path=ckpt)
    return net, trainer


def a_callback(**options: Any) -> Any:
    return greenlove.LightningCallback(country="DE", log_model=False, saved_view=False, **options)


def status_of(callback: Any) -> str:
    return MlflowClient().get_run(callback.run.run_id).info.status  # type: ignore[no-any-return]


def test_weights_and_metrics_are_as_without_it_and_the_run_holds_every_epoch(store: str) -> None:
    callback = a_callback()
    with_it, trainer = fit([callback])
    without, plain = fit([])
    assert all(torch.equal(*pair) for pair in zip(with_it.parameters(), without.parameters(), strict=True))
    assert trainer.callback_metrics == plain.callback_metrics
    run = callback.run
    assert run.outcome.completed
    assert len(run.outcome.epoch_durations_s) == EPOCHS
    data = MlflowClient().get_run(run.run_id).data
    assert data.metrics["green/actual/time_h"] > 0.0
    assert data.metrics["green/time_h/local"] > 0.0
    assert data.params["green.epochs"] == str(EPOCHS)
    assert status_of(callback) == "FINISHED"
    assert mlflow.active_run() is None


def test_accumulated_batches_make_one_step(store: str) -> None:
    callback = a_callback()
    fit([callback], accumulate_grad_batches=3)
    assert callback.run.step_count == EPOCHS * STEPS / 3
    assert len(callback.run.outcome.epoch_durations_s) == EPOCHS


def test_max_steps_ends_within_an_epoch(store: str) -> None:
    callback = a_callback()
    fit([callback], max_epochs=-1, max_steps=45)
    assert callback.run.step_count == 45
    assert callback.run.outcome.completed


def test_a_step_of_several_optimizers_by_hand_counts_once(store: str) -> None:
    callback = a_callback()
    fit([callback], ManualNet())
    assert callback.run.step_count == EPOCHS * STEPS
    assert callback.run.outcome.completed


class AccumulatesByHand(Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, index: int) -> None:
        optimizer = self.optimizers()
        self.manual_backward(torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))
        if (index + 1) % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()


def test_batches_are_the_steps_of_manual_optimization_as_they_are_planned(store: str) -> None:
    callback = a_callback()
    _, trainer = fit([callback], AccumulatesByHand())
    assert trainer.global_step == EPOCHS * STEPS / 3
    assert callback.run.step_count == callback.run.plan.left_step_count == EPOCHS * STEPS


def test_the_run_of_the_mlflow_logger_is_joined(store: str) -> None:
    from lightning.pytorch.loggers import MLFlowLogger

    logger = MLFlowLogger(experiment_name="theirs", tracking_uri=store)
    callback = a_callback()
    fit([callback], logger=logger)
    assert callback.run.run_id == logger.run_id
    experiments = [each.experiment_id for each in MlflowClient().search_experiments()]
    assert len(MlflowClient().search_runs(experiments)) == 1
    metrics = MlflowClient().get_run(logger.run_id).data.metrics
    assert {"loss", "green/actual/time_h"} <= set(metrics)


@pytest.mark.parametrize(("interrupts", "status"), [(False, "FAILED"), (True, "KILLED")])
def test_a_training_that_breaks_ends_by_its_cause(store: str, interrupts: bool, status: str) -> None:
    callback = a_callback()
    # Lightning 2.2 takes Ctrl-C for a wish to end and returns.
    with contextlib.suppress(RuntimeError, KeyboardInterrupt, SystemExit):
        fit([callback], Net(fails_at=2 * STEPS + 5, interrupts=interrupts))
    assert status_of(callback) == status
    assert callback.run.step_count == 2 * STEPS + 5


class Waits(lightning.pytorch.Callback):  # type: ignore[misc]
    """Gives the estimate the time that a training of minutes gives it."""

    def __init__(self, callback: Any) -> None:
        self.callback = callback

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.callback.run.wait(60.0)


def test_a_spent_limit_stops_it_as_early_stopping_does(store: str) -> None:
    callback = a_callback(limits=greenlove.Limits(hours=1e-9))
    _, trainer = fit([callback, Waits(callback)], max_epochs=50)
    assert trainer.current_epoch < 50
    assert MlflowClient().get_run(callback.run.run_id).data.tags["greenlove.status"] == "stopped"


def test_a_resumed_training_goes_on_in_its_run(store: str, tmp_path: Path) -> None:
    first = a_callback()
    _, trainer = fit([first], max_epochs=2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    second = a_callback()
    fit([second], ckpt=tmp_path / "half.ckpt")
    assert second.run.run_id == first.run.run_id
    history = MlflowClient().get_metric_history(second.run.run_id, "green/train/epoch_s")
    assert sorted(point.step for point in history) == list(range(EPOCHS))


def test_a_training_that_is_killed_goes_on_in_the_run_of_its_checkpoint(
    store: str, tmp_path: Path, python: WarmPython
) -> None:
    program = (
        "import os, signal, sys\n"
        "from tests.integrations.test_lightning import *\n"
        "class Dies(lightning.pytorch.Callback):\n"
        "    def on_train_epoch_end(self, trainer, pl_module):\n"
        "        callback.run.wait(120.0)\n"
        "    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):\n"
        "        if trainer.global_step == 2 * STEPS + 5:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "callback = a_callback()\n"
        "saves = lightning.pytorch.callbacks.ModelCheckpoint(dirpath=sys.argv[1], save_last=True)\n"
        "fit([callback, Dies(), saves], enable_checkpointing=True)\n"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store, "PYTHONPATH": str(ROOT)}
    command = ["-c", program, str(tmp_path)]
    killed = python.run(command, folder=tmp_path, environment=environment, timeout_s=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    callback = a_callback()
    fit([callback], ckpt=tmp_path / "last.ckpt")
    (run,) = MlflowClient().search_runs(["0"])
    assert callback.run.run_id == run.info.run_id
    assert run.info.status == "FINISHED"
    laps = MlflowClient().get_metric_history(run.info.run_id, "green/train/epoch_s")
    assert sorted(point.step for point in laps) == list(range(EPOCHS))
    whole_s = sum(point.value for point in laps)
    assert run.data.metrics["green/actual/time_h"] * 3600.0 == pytest.approx(whole_s, rel=0.05)


def test_a_second_fit_that_goes_on_continues_the_run_of_the_first(store: str) -> None:
    callback = a_callback()
    net, trainer = fit([callback], max_epochs=2)
    first = callback.run.run_id
    trainer.fit_loop.max_epochs = 4
    trainer.fit(net, loader())
    assert callback.run.run_id == first
    laps = MlflowClient().get_metric_history(first, "green/train/epoch_s")
    assert sorted(point.step for point in laps) == [0, 1, 2, 3]


def test_a_callback_used_again_after_a_resumed_training_has_another_run(store: str, tmp_path: Path) -> None:
    _, trainer = fit([a_callback()], max_epochs=1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    callback = a_callback()
    fit([callback], ckpt=tmp_path / "half.ckpt", max_epochs=2)
    resumed = callback.run.run_id
    fit([callback], max_epochs=1)
    assert callback.run.run_id != resumed
    assert "mlflow.parentRunId" not in MlflowClient().get_run(callback.run.run_id).data.tags


class StopsWithin(lightning.pytorch.Callback):  # type: ignore[misc]
    """Ends the training within its third epoch."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 2 * STEPS + 1:
            trainer.should_stop = True


def test_an_epoch_that_is_stopped_within_is_no_lap(store: str) -> None:
    callback = a_callback()
    fit([callback, StopsWithin()])
    assert callback.run.step_count == 2 * STEPS + 1
    assert len(callback.run.outcome.epoch_durations_s) == 2
    assert not callback.run.outcome.completed


@pytest.mark.parametrize(
    ("options", "validations_s", "every"),
    [({"val_check_interval": 0.2}, 5.0, 1), ({"check_val_every_n_epoch": 2}, 1.0, 2)],
)
def test_the_estimate_has_the_validations_that_are_planned(
    store: str, options: dict[str, Any], validations_s: float, every: int
) -> None:
    callback = a_callback()
    fit([callback], max_epochs=12, **options)
    workload = callback.run.estimate.workload
    assert workload.validation_every_epochs == every
    assert workload.validation_s == pytest.approx(validations_s * callback.run.log.validation_s)


class StopsBy(lightning.pytorch.callbacks.EarlyStopping):  # type: ignore[misc]
    """Stops after the second epoch, whatever the loss."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            trainer.should_stop = True


def test_a_training_that_stops_early_has_the_epochs_that_it_trained(store: str) -> None:
    callback = a_callback()
    fit([callback, StopsBy("val_loss")])
    assert len(callback.run.outcome.epoch_durations_s) == 2
    assert not callback.run.outcome.completed
    assert status_of(callback) == "FINISHED"


def test_max_time_ends_a_training_without_an_estimate_of_its_end(store: str) -> None:
    callback = a_callback()
    _, trainer = fit([callback], max_epochs=-1, max_time=timedelta(seconds=2))
    assert callback.run.step_count == trainer.global_step
    assert callback.run.plan.lap_count is None
    assert MlflowClient().get_run(callback.run.run_id).data.metrics["green/actual/time_h"] > 0.0
    assert status_of(callback) == "FINISHED"


class SlowToValidate(Net):
    def validation_step(self, batch: Any, index: int) -> None:
        if self.current_epoch == 0:
            time.sleep(0.1)


def test_validation_is_timed_apart_from_the_steps(store: str) -> None:
    callback = a_callback()
    fit([callback], SlowToValidate(), max_epochs=8)
    log = callback.run.log
    assert log.validation_s >= STEPS * 0.1
    # With the validation among them, a pass over the data would take longer than it by itself.
    assert max(record.duration_s / record.step_count for record in log.epochs) < log.validation_s / STEPS


def test_what_is_left_is_in_the_progress_bar(store: str) -> None:
    callback = a_callback(progress_bar=True)
    _, trainer = fit([callback, Waits(callback)])
    assert trainer.progress_bar_metrics["left_h"] >= 0.0


def test_it_is_a_callback_of_the_package_that_the_program_uses(tmp_path: Path, python: WarmPython) -> None:
    program = (
        "import pytorch_lightning, greenlove_mlflow\n"
        "print(issubclass(greenlove_mlflow.LightningCallback, pytorch_lightning.Callback))\n"
    )
    done = python.run(["-c", program], folder=tmp_path, environment={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout == "True\n", done.stderr


def test_mlflow_autologging_and_the_callback_share_a_run(store: str) -> None:
    mlflow.pytorch.autolog(log_models=False)
    callback = a_callback()
    try:
        with mlflow.start_run() as active:
            fit([callback], max_epochs=2)
    finally:
        mlflow.pytorch.autolog(disable=True)
    (run,) = MlflowClient().search_runs(["0"])
    assert callback.run.run_id == run.info.run_id == active.info.run_id
    assert {"loss", "green/actual/time_h"} <= set(run.data.metrics)


def test_an_unknown_option_is_refused_where_it_is_written() -> None:
    with pytest.raises(greenlove.GreenloveError, match="country"):
        greenlove.LightningCallback(contry="DE")
