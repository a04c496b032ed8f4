"""What all callbacks share: a training whose framework never reports its end, and the run of a checkpoint."""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

import greenlove_mlflow as greenlove
from greenlove_mlflow.integrations.followed import Beginning, Followed
from tests.support.warm import WarmPython

pytestmark = pytest.mark.slow

STEPS = 24
ROOT = Path(__file__).resolve().parents[2]


def make_parts() -> tuple[Any, Any]:
    model = torch.nn.Linear(8, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def begin(
    followed: Followed | None = None,
    *,
    steps: int = STEPS,
    done: int = 0,
    parts: tuple[Any, Any] | None = None,
    **over: Any,
) -> Followed:
    """A training followed through some of its steps."""
    model, optimizer = parts or make_parts()
    followed = followed or Followed(country="DE", log_model=False, saved_view=False)
    plan = {"steps": STEPS, "lap_steps": 6, "batch_size": 4, "done": done}
    followed.begin(lambda: Beginning(watched=(model, optimizer), plan=plan, **over))
    for _ in range(steps):
        model(torch.ones(4, 8)).sum().backward()
        optimizer.step()
        followed.step()
    return followed


def status_of(run_id: str | None) -> str:
    status: str = mlflow.MlflowClient().get_run(run_id).info.status
    return status


def test_a_training_that_never_ended_has_failed_at_its_last_step(store: str) -> None:
    followed = begin(steps=8)
    first = followed.run
    assert first is not None
    time.sleep(1.5)  # the program does something else
    begin(followed)
    followed.end()
    assert status_of(first.run_id) == "FAILED"
    assert first.outcome is not None
    assert first.outcome.time_s < 1.0
    assert followed.run is not None
    assert followed.run.run_id != first.run_id
    assert status_of(followed.run.run_id) == "FINISHED"


@pytest.mark.parametrize(("is_older", "status"), [(False, "KILLED"), (True, "FAILED")])
def test_ctrl_c_is_told_from_other_errors(
    store: str, monkeypatch: pytest.MonkeyPatch, is_older: bool, status: str
) -> None:
    interrupt = KeyboardInterrupt()
    if is_older:  # than the training: another one was interrupted, this one failed
        monkeypatch.setattr(sys, "last_value", interrupt, raising=False)
    followed = begin(steps=4)
    if not is_older:
        monkeypatch.setattr(sys, "last_value", interrupt, raising=False)
    followed.abandon()
    assert followed.run is not None
    assert status_of(followed.run.run_id) == status


def test_a_program_that_ends_by_an_error_leaves_a_failed_run(store: str, tmp_path: Path, python: WarmPython) -> None:
    program = (
        "from tests.integrations.test_followed import begin\n"
        "followed = begin(steps=8)\n"
        "print(followed.run.run_id, flush=True)\n"
        "raise RuntimeError('the training broke')\n"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store, "PYTHONPATH": str(ROOT)}
    done = python.run(["-c", program], folder=tmp_path, environment=environment, timeout_s=300)
    assert "the training broke" in done.stderr
    run = mlflow.MlflowClient(store).get_run(done.stdout.split()[0])
    assert run.info.status == "FAILED"
    assert run.data.metrics["green/actual/time_h"] > 0.0


def test_a_checkpoint_without_its_run_begins_another(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    followed = begin(done=12, steps=12, resumed_run_id="0" * 32)
    followed.end()
    assert "another one begins" in capsys.readouterr().err
    assert followed.run is not None
    assert status_of(followed.run.run_id) == "FINISHED"


def test_the_run_asked_for_comes_before_that_of_the_checkpoint(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = mlflow.MlflowClient()
    wanted = client.create_run("0").info.run_id
    kept = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", wanted)
    followed = begin(done=12, steps=12, resumed_run_id=kept)
    followed.end()
    assert followed.run is not None
    assert followed.run.run_id == wanted


def test_a_training_that_broke_is_settled_when_that_of_another_callback_begins(store: str) -> None:
    broken: Any = begin()
    inner = _one_call_deeper(begin)
    assert status_of(broken.run.run_id) == "RUNNING"
    inner.end()
    next_one: Any = begin()
    next_one.end()
    assert status_of(broken.run.run_id) == "FAILED"
    kept = mlflow.MlflowClient(store).get_run(next_one.run.run_id)
    assert kept.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in kept.data.tags


def _one_call_deeper(call: Any) -> Any:
    return call()


def test_two_callbacks_of_one_training_keep_one_run(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    parts, key = make_parts(), object()
    first = begin(steps=0, parts=parts, key=key)
    second = begin(steps=STEPS, parts=parts, key=key)
    first.end()
    second.end()
    assert second.run is None
    assert capsys.readouterr().err.count("tracked already") == 1
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert run.info.status == "FINISHED"


def test_a_callback_within_a_block_that_tracks_its_model_leaves_it_to_the_block(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, optimizer = make_parts()
    quiet: Any = {"country": "DE", "log_model": False, "saved_view": False, "summary": False}
    with greenlove.watch(optimizer, steps=STEPS, **quiet) as outer:
        inner = begin(parts=(model, optimizer))
        inner.end()
        another = begin(steps=4)  # of another model: its own training, a child
        another.end()
    assert inner.run is None
    assert "tracked already" in capsys.readouterr().err
    assert outer.step_count == STEPS
    runs = {run.info.run_id: run for run in mlflow.MlflowClient().search_runs(["0"])}
    assert another.run is not None
    assert set(runs) == {outer.run_id, another.run.run_id}
    assert runs[str(another.run.run_id)].data.tags["mlflow.parentRunId"] == outer.run_id


@pytest.mark.parametrize("after", ["none", "a training that a limit ended"])
def test_trouble_at_the_beginning_stops_nobodys_training(store: str, after: str) -> None:
    followed = Followed(country="DE", log_model=False, saved_view=False, limits=greenlove.Limits(hours=1e-9))
    if after != "none":
        begin(followed, steps=STEPS - 4)
        assert followed.run is not None
        followed.run.wait(60.0)
        assert followed.step()
        followed.end()

    def breaks() -> Beginning:
        raise KeyError("the framework has changed")

    with pytest.warns(UserWarning, match="no longer follows this training: KeyError"):
        followed.begin(breaks)
    assert followed.run is None
    assert not followed.step()
    assert not followed.lap()
    followed.pause("validation")
    followed.end()


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))], ids=["deep", "pickle"]
)
def test_a_copy_after_a_training_has_its_options_and_no_run(store: str, copied: Any) -> None:
    followed = Followed(country="DE", log_model=False, saved_view=False, run_name="mine")
    begin(followed).end()
    again = copied(followed)
    assert again.run is None
    begin(again).end()
    names = [run.info.run_name for run in mlflow.MlflowClient().search_runs(["0"])]
    assert names == ["mine", "mine"]


@pytest.mark.parametrize(("per_lap", "counted"), [(3.0, 3.0), (1.0, 1.0), (0.5, 0.5)])
def test_the_estimate_counts_as_many_validations_as_there_are(store: str, per_lap: float, counted: float) -> None:
    laps = 40
    plan = {"steps": 10 * laps, "lap_steps": 10, "batch_size": 4}
    followed = Followed(country="DE", log_model=False, saved_view=False)
    followed.begin(lambda: Beginning(watched=make_parts(), plan=plan, validations_per_lap=per_lap))
    for step in range(10 * laps):
        followed.step()
        if step < 100 and (step + 1) % 5 == 0:
            followed.pause("validation")
            time.sleep(0.02)
            followed.resume()
    followed.end()
    assert followed.run is not None
    assert followed.run.estimate is not None
    assert followed.run.log is not None
    workload = followed.run.estimate.workload
    validations = workload.epoch_count // workload.validation_every_epochs * workload.validation_s
    assert validations == pytest.approx(counted * laps * followed.run.log.validation_s)


@pytest.mark.parametrize(
    ("module", "extra", "absent"),
    [
        ("lightning", "lightning", ("lightning.pytorch", "pytorch_lightning")),
        ("huggingface", "huggingface", ("transformers",)),
        ("keras", "keras", ("keras.callbacks",)),
    ],
)
def test_a_framework_that_is_absent_is_named_with_its_extra(
    module: str, extra: str, absent: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in absent:
        monkeypatch.setitem(sys.modules, name, None)
    name = f"greenlove_mlflow.integrations.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match=rf"pip install 'greenlove-mlflow\[{extra}\]'"):
        importlib.import_module(name)
