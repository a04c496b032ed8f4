"""``KerasCallback`` in a real ``fit`` on torch: nothing of the training changes, and its run holds what happened."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

import greenlove_mlflow as greenlove

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.slow

EPOCHS = 3


def make() -> tuple[Any, Any]:
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    return model, np.random.default_rng(0).normal(size=(320, 8)).astype("float32")


def fit(callbacks: list[Any], epochs: int = EPOCHS, **options: Any) -> Any:
    model, x = make()
    model.fit(x, x[:, :1], batch_size=32, epochs=epochs, verbose=0, callbacks=callbacks, **options)
    return model


def a_callback(**options: Any) -> Any:
    return greenlove.KerasCallback(country="DE", log_model=False, saved_view=False, **options)


def test_weights_are_as_without_it_and_the_run_holds_every_epoch(store: str) -> None:
    callback = a_callback()
    with_it, without = fit([callback], validation_split=0.1), fit([], validation_split=0.1)
    assert all(np.array_equal(*pair) for pair in zip(with_it.get_weights(), without.get_weights(), strict=True))
    assert len(callback.run.outcome.epoch_durations_s) == EPOCHS
    assert callback.run.outcome.completed
    run = MlflowClient().get_run(callback.run.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["green/actual/time_h"] > 0.0


def test_a_spent_limit_stops_fit(store: str) -> None:
    callback = a_callback(limits=greenlove.Limits(hours=1e-9))
    wait = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: callback.run.wait(60.0))
    fit([callback, wait], epochs=60)
    assert callback.run.step_count < 60 * 10
    assert MlflowClient().get_run(callback.run.run_id).data.tags["greenlove.status"] == "stopped"


def test_a_fit_that_raises_is_settled_when_the_next_begins(store: str) -> None:
    class Breaks(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise RuntimeError("broke")

    callback = a_callback()
    with pytest.raises(RuntimeError, match="broke"):
        fit([callback, Breaks()])
    first = callback.run.run_id
    fit([callback])
    assert callback.run.run_id != first
    assert MlflowClient().get_run(first).info.status == "FAILED"


def test_a_fit_with_an_initial_epoch_continues_the_account(store: str) -> None:
    first = a_callback()
    fit([first], epochs=6, initial_epoch=0, validation_split=0.1)
    second = a_callback(run_id=first.run.run_id)
    fit([second], epochs=9, initial_epoch=6, validation_split=0.1)
    assert second.run.run_id == first.run.run_id
    assert second.run.plan.done_count == 6
    laps = MlflowClient().get_metric_history(second.run.run_id, "green/train/epoch_s")
    assert sorted(point.step for point in laps) == list(range(9))


def test_data_shuffled_by_pythons_random_numbers_is_shuffled_as_without_it(store: str) -> None:
    if not hasattr(keras.utils, "PyDataset"):
        pytest.skip("this Keras has no PyDataset")

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> Any:
            return x[32 * index : 32 * index + 32], x[32 * index : 32 * index + 32, :1]

    weights = []
    for callbacks in ([], [a_callback()]):
        model, x = make()
        model.fit(Batches(), epochs=2, verbose=0, callbacks=callbacks, shuffle=True)
        weights.append(model.get_weights())
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))


class StopsWithin(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the training within its third epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) == (2, 4):
            self.model.stop_training = True


def test_an_epoch_that_is_stopped_within_is_no_lap(store: str) -> None:
    callback = a_callback()
    fit([callback, StopsWithin()], epochs=4)
    assert callback.run.step_count == 25
    assert len(callback.run.outcome.epoch_durations_s) == 2
    assert not callback.run.outcome.completed


def test_a_second_fit_that_goes_on_continues_the_run_of_the_first(store: str) -> None:
    callback = a_callback()
    model, x = make()
    for epochs, initial in ((2, 0), (4, 2), (2, 0)):
        model.fit(x, x[:, :1], epochs=epochs, initial_epoch=initial, verbose=0, callbacks=[callback])
    runs = MlflowClient().search_runs(["0"], order_by=["attributes.start_time"])
    laps = [MlflowClient().get_metric_history(run.info.run_id, "green/train/epoch_s") for run in runs]
    assert [sorted(point.step for point in each) for each in laps] == [[0, 1, 2, 3], [0, 1]]
    assert all("mlflow.parentRunId" not in run.data.tags for run in runs)


def test_a_loop_of_ones_own_by_batches_is_followed_without_a_plan(store: str) -> None:
    callback = a_callback()
    model, x = make()
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    for batch in range(10):
        callback.on_train_batch_begin(batch)
        model.train_on_batch(x[:32], x[:32, :1])
        callback.on_train_batch_end(batch)
    callback.on_epoch_end(0)
    callback.on_train_end()
    assert callback.run.step_count == 10
    assert MlflowClient().get_run(callback.run.run_id).info.status == "FINISHED"
