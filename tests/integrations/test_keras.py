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


def fit(callbacks: list[Any], epochs: int = EPOCHS, **options: Any) -> Any:
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    x = np.random.default_rng(0).normal(size=(320, 8)).astype("float32")
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
