"""A training that a benchmark would use up is measured within, and says so; where it must be asked before, refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.utils.data import DataLoader, IterableDataset

import greenlove_mlflow as greenlove
from greenlove_mlflow.benchmark import Training
from greenlove_mlflow.benchmark.ranks import Member, Ranks
from greenlove_mlflow.environment import read_environment
from greenlove_mlflow.errors import StateNotKeepableError
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.pipeline.options import make_options
from greenlove_mlflow.pipeline.undertakings import _with_benchmark, _with_what_can_be_kept


class Once(IterableDataset):  # type: ignore[type-arg]
    """A stream that can be read once."""

    def __init__(self) -> None:
        self.rows = (row for row in range(1000))

    def __iter__(self) -> Any:
        return self.rows


def a_training(data: Any) -> Training:
    model = torch.nn.Linear(1, 1)
    return Training(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), criterion=torch.nn.MSELoss(), data=data
    )


def test_a_stream_that_can_be_read_once_turns_to_within(capsys: pytest.CaptureFixture[str]) -> None:
    training = a_training(DataLoader(Once(), batch_size=4))
    options = _with_what_can_be_kept(training, make_options(3, {"steps_per_epoch": 4}), Policy())
    assert options.benchmark == "within"
    assert "data.dataset.rows is an iterator" in capsys.readouterr().err
    assert next(training.data.dataset.rows) == 0  # nothing has been read


def test_of_several_ranks_one_says_that_it_turns_to_within(capsys: pytest.CaptureFixture[str]) -> None:
    training = a_training(DataLoader(Once(), batch_size=4))
    options = _with_what_can_be_kept(training, make_options(3, {"steps_per_epoch": 4}), Policy(), speaks=False)
    assert options.benchmark == "within"
    assert capsys.readouterr().err == ""


def test_who_is_to_be_asked_beforehand_is_refused() -> None:
    training = a_training(DataLoader(Once(), batch_size=4))
    with pytest.raises(StateNotKeepableError):
        _with_what_can_be_kept(training, make_options(3, {}), Policy(confirm=lambda _: True))


def test_a_runner_that_reads_a_stream_is_refused_with_nothing_read() -> None:
    rows = iter(range(100))

    class Reads:
        sample_count, batch_size = 10, 1

        def run_epoch(self, sample_count: int) -> None:
            for _ in range(sample_count):
                next(rows)

    with pytest.raises(StateNotKeepableError, match="rows is an iterator"):
        _with_what_can_be_kept(Reads(), make_options(3, {}), Policy())
    with pytest.raises(StateNotKeepableError, match="rows is an iterator"):
        greenlove.estimate(Reads(), epochs=3)
    assert next(rows) == 0


def test_what_can_be_kept_is_measured_before(capsys: pytest.CaptureFixture[str]) -> None:
    options = _with_benchmark(make_options(3, {}), read_environment(), Policy(), None)
    options = _with_what_can_be_kept(a_training(DataLoader(list(range(8)))), options, Policy())  # type: ignore[arg-type]
    assert options.benchmark == "before"
    assert capsys.readouterr().err == ""


def test_ranks_are_measured_within_unless_the_caller_asks_first() -> None:
    ranks = Ranks(HashStore(), rank=0, members=[Member(host="a", pid=1, asks="")])
    environment = read_environment()
    usual = _with_benchmark(make_options(3, {}), environment, Policy(), ranks)
    assert usual.benchmark == "within"
    stated = _with_benchmark(make_options(3, {"benchmark": "before"}), environment, Policy(), ranks)
    assert stated.benchmark == "before"
    asked = _with_benchmark(make_options(3, {}), environment, Policy(confirm=lambda _: True), ranks)
    assert asked.benchmark == "before"
