"""What a walk reaches, what it leaves alone, and what it calls it."""

from __future__ import annotations

import queue
import time
from typing import Any

import pytest
import torch
from torch import nn

from greenlove_mlflow.benchmark.state import walk
from greenlove_mlflow.benchmark.state.walk import Roots, Walk


def paths_of(found: Walk) -> dict[int, str]:
    return {id(each.thing): each.path for each in found.found}


def test_what_is_found_is_called_as_the_user_reaches_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = {"losses": [[]]}

    net = Net()
    found = paths_of(Walk(Roots(training={"model": net})))
    assert found[id(net.seen["losses"][0])] == "model.seen['losses'][0]"


def test_no_code_of_the_users_is_run() -> None:
    class Touchy:
        def __init__(self) -> None:
            self.inner = [1.0, [2.0]]

        @property
        def trap(self) -> Any:
            raise AssertionError("a property was read")

        def __iter__(self) -> Any:
            raise AssertionError("an iterator was made")

        def __len__(self) -> int:
            raise AssertionError("the length was asked")

        def __eq__(self, other: object) -> bool:
            raise AssertionError("it was compared")

        __hash__ = object.__hash__

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was asked for")

    touchy = Touchy()
    inner = vars(touchy)["inner"]
    assert id(inner) in paths_of(Walk(Roots(training={}, data={"data": touchy})))


def test_what_a_step_names_is_found_and_libraries_are_not_entered() -> None:
    noted: list[list[int]] = [[]]

    def helper() -> None:
        noted[0].append(1)

    def step() -> None:
        helper()
        torch.manual_seed(0)
        time.sleep(0)

    found = Walk(Roots(training={}, step={"train_step": step}))
    assert id(noted[0]) in paths_of(found)
    assert len(found.found) < 20


def test_a_clock_that_the_step_moves_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        def __init__(self) -> None:
            self.now_s, self.laps = 0.0, [0.0, [1.0]]

        def perf_counter(self) -> float:
            return self.now_s

    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock.perf_counter)
    found = paths_of(Walk(Roots(training={}, step={"train_step": lambda: clock.laps})))
    assert id(clock) not in found
    assert id(clock.laps) not in found


def test_rows_beyond_the_limit_are_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MOST_OBJECTS_IN_ROWS", 50)
    monkeypatch.setattr(walk, "WATCHED_ROWS", 20)
    rows: list[list[int]] = [[at, []] for at in range(2000)]  # type: ignore[list-item]
    generator = torch.Generator()
    data = {"rows": rows, "transform": [[generator]]}
    found = Walk(Roots(training={}, data={"data": data}))
    assert id(generator) in paths_of(found)
    assert found.rows_passed_over > 1900
    assert len(found.found) < 200


def test_a_queue_in_a_step_is_no_state_of_the_training() -> None:
    spy: queue.SimpleQueue[int] = queue.SimpleQueue()
    kinds = [each.kind.name for each in Walk(Roots(training={}, step={"train_step": lambda: spy.put(1)})).found]
    assert kinds.count("STREAM") == 1
