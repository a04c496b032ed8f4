"""A training that a benchmark would use up is measured within, and says so; where it must be asked before, refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.utils.data import DataLoader, IterableDataset

import greenlove_mlflow as greenlove
from greenlove_mlflow.benchmark.ranks import Member, Ranks
from greenlove_mlflow.environment import read_environment
from greenlove_mlflow.errors import InvalidInputError, StateNotKeepableError
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.pipeline.options import make_options
from greenlove_mlflow.pipeline.undertaking import (
    Keeping,
    Undertaking,
    _is_usual_before,
    _say_it_is_within,
    prepare_training,
    subject_of,
)


class Once(IterableDataset):  # type: ignore[type-arg]
    """A stream that can be read once."""

    def __init__(self) -> None:
        self.rows = (row for row in range(1000))

    def __iter__(self) -> Any:
        return self.rows


def prepared(data: Any, policy: Policy | None = None, **options: Any) -> Undertaking:
    return prepare_training(
        (*parts(), data),
        make_options(3, options),
        read_environment(),
        policy=policy or Policy(),
        keeping=Keeping(),
    )


def parts() -> tuple[Any, Any, Any]:
    model = torch.nn.Linear(1, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1), torch.nn.MSELoss()


def one_of(pids: tuple[int, ...]) -> Ranks:
    return Ranks(HashStore(), rank=0, members=[Member(host="a", pid=pid, asks="") for pid in pids])


def test_a_stream_that_can_be_read_once_turns_to_within(capsys: pytest.CaptureFixture[str]) -> None:
    data = DataLoader(Once(), batch_size=4)
    assert not prepared(data, steps_per_epoch=4).is_measured_before
    assert "data.dataset.rows is an iterator" in capsys.readouterr().err
    assert next(data.dataset.rows) == 0  # nothing has been read


def test_of_several_ranks_one_says_that_it_turns_to_within(capsys: pytest.CaptureFixture[str]) -> None:
    _say_it_is_within(StateNotKeepableError("it cannot", found="it"), speaks=False)
    assert capsys.readouterr().err == ""


def test_a_stream_is_not_looked_into_where_the_benchmark_is_to_be_within(capsys: pytest.CaptureFixture[str]) -> None:
    data = DataLoader(Once(), batch_size=4)
    assert not prepared(data, steps_per_epoch=4, benchmark="within").is_measured_before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("policy", "options"), [(Policy(confirm=lambda _: True), {}), (Policy(), {"method": "original"})]
)
def test_who_needs_an_estimate_beforehand_is_refused(policy: Policy, options: dict[str, Any]) -> None:
    data = DataLoader(Once(), batch_size=4)
    with pytest.raises(StateNotKeepableError):
        prepared(data, policy, steps_per_epoch=4, **options)
    assert next(data.dataset.rows) == 0


def test_a_runner_that_reads_a_stream_is_refused_with_nothing_read() -> None:
    rows = iter(range(100))

    class Reads:
        sample_count, batch_size = 10, 1

        def run_epoch(self, sample_count: int) -> None:
            for _ in range(sample_count):
                next(rows)

    with pytest.raises(StateNotKeepableError, match="rows is an iterator"):
        prepare_training(
            (Reads(), None, None, None), make_options(3, {}), read_environment(), policy=Policy(), keeping=Keeping()
        )
    with pytest.raises(StateNotKeepableError, match="rows is an iterator"):
        greenlove.estimate(Reads(), epochs=3)
    assert next(rows) == 0


def test_a_runner_has_no_steps_to_be_timed_within() -> None:
    runner = greenlove.CallableRunner(run=lambda count: None, sample_count=100)
    with pytest.raises(InvalidInputError, match="an EpochRunner has no steps"):
        prepare_training(
            (runner, None, None, None),
            make_options(3, {"benchmark": "within"}),
            read_environment(),
            policy=Policy(),
            keeping=Keeping(),
        )


@pytest.mark.parametrize("benchmark", ["before", "within"])
def test_a_budget_of_the_environment_that_cannot_be_read_is_refused_beforehand(
    monkeypatch: pytest.MonkeyPatch, benchmark: str
) -> None:
    monkeypatch.setenv("GREENLOVE_BUDGET_S", "soon")
    with pytest.raises(InvalidInputError, match="GREENLOVE_BUDGET_S must be a number of seconds"):
        prepared(DataLoader(torch.zeros(8, 1)), benchmark=benchmark)


def test_what_can_be_kept_is_measured_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepared(DataLoader(list(range(8)))).is_measured_before  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""


def test_ranks_are_measured_within_unless_the_caller_asks_first() -> None:
    ranks, environment = one_of((1,)), read_environment()
    assert not _is_usual_before(make_options(3, {}), environment, Policy(), ranks)
    assert _is_usual_before(make_options(3, {"benchmark": "before"}), environment, Policy(), ranks)
    assert _is_usual_before(make_options(3, {}), environment, Policy(confirm=lambda _: True), ranks)


def test_the_laps_follow_the_batch_size_of_the_benchmark() -> None:
    data = torch.utils.data.TensorDataset(torch.zeros(64, 1), torch.zeros(64, 1))
    assert prepared(data, plan={"batch_size": 16}).plan.steps_per_lap == 4
    assert prepared(data, batch_size=8).plan.steps_per_lap == 8


def test_the_original_method_is_refused_on_several_ranks() -> None:
    data = torch.utils.data.TensorDataset(torch.zeros(64, 1), torch.zeros(64, 1))
    with pytest.raises(InvalidInputError, match="method='original' is for one process"):
        subject_of(*parts(), data, options=make_options(3, {"method": "original"}), ranks=one_of((1, 2)))
