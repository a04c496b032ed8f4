"""``autolog``: every torch training of the process, in the run that is active or in one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlflow
import pytest
import torch
from torch.optim import optimizer as torch_optimizer

import greenlove_mlflow as greenlove
from greenlove_mlflow.errors import InvalidInputError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def off_afterwards() -> Iterator[None]:
    yield
    greenlove.autolog(disable=True)


def train(steps: int, *, seed: int = 0) -> list[float]:
    torch.manual_seed(seed)
    model = torch.nn.Linear(8, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, 8)).sum().backward()
        optimizer.step()
    return model.weight.flatten().tolist()


def runs(store: str) -> list[Any]:
    return mlflow.MlflowClient(store).search_runs(["0"])


def test_a_training_is_kept_in_the_active_run_and_stays_what_it_is(store: str) -> None:
    bare = train(1100)
    greenlove.autolog(country="DE")
    with mlflow.start_run() as active:
        assert train(1100) == bare
        greenlove.autolog(disable=True)
        assert mlflow.active_run() is not None
    assert [run.info.run_id for run in runs(store)] == [active.info.run_id]
    recorded = runs(store)[0]
    assert recorded.info.status == "FINISHED"
    assert recorded.data.metrics["green/actual/time_h"] > 0.0
    assert recorded.data.metrics["green/train/lap_s"] > 0.0


def test_a_training_without_a_run_gets_one_that_is_in_nobodys_way(store: str) -> None:
    greenlove.autolog(country="DE")
    train(50)
    assert mlflow.active_run() is None
    with mlflow.start_run():
        pass
    greenlove.autolog(disable=True)
    own = [run for run in runs(store) if "greenlove.kind" in run.data.tags]
    assert len(own) == 1
    assert own[0].info.status == "FINISHED"
    assert own[0].data.metrics["green/actual/time_h"] > 0.0


def test_off_again_there_is_no_hook_and_no_run(store: str) -> None:
    before = len(torch_optimizer._global_optimizer_post_hooks)
    greenlove.autolog(country="DE")
    greenlove.autolog(country="DE")
    assert len(torch_optimizer._global_optimizer_post_hooks) == before + 1
    greenlove.autolog(disable=True)
    assert len(torch_optimizer._global_optimizer_post_hooks) == before
    train(20)
    assert runs(store) == []


def test_a_tracked_training_is_counted_by_track_alone(store: str) -> None:
    greenlove.autolog(country="DE")
    model = torch.nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with greenlove.watch(optimizer, steps=20, country="DE", log_model=False, saved_view=False):
        for _ in range(20):
            model(torch.ones(4, 8)).sum().backward()
            optimizer.step()
    assert len(runs(store)) == 1


def test_it_goes_along_with_the_autologging_of_mlflow(store: str) -> None:
    mlflow.autolog(silent=True)
    greenlove.autolog(country="DE")
    try:
        with mlflow.start_run() as active:
            train(50)
            greenlove.autolog(disable=True)
    finally:
        mlflow.autolog(disable=True, silent=True)
    (run,) = runs(store)
    assert run.info.run_id == active.info.run_id
    assert run.data.metrics["green/actual/time_h"] > 0.0


def test_a_bad_option_is_refused_at_once(store: str) -> None:
    with pytest.raises(InvalidInputError, match="did you mean"):
        greenlove.autolog(contry="DE")
