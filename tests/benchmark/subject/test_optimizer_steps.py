"""Optimizer steps told from outside; the weights end as without."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.optim import optimizer as torch_optimizer

from greenlove_mlflow.benchmark.subject.optimizer_steps import find_optimizers, watched_steps


def make(**kinds: Any) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Linear(3, 1)
    return model, kinds.get("kind", torch.optim.SGD)(model.parameters(), lr=0.1)


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()


class Wrapper:
    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer


def test_optimizers_are_found_alone_in_containers_and_in_wrappers() -> None:
    first, second = make()[1], make()[1]
    assert find_optimizers(first) == (first,)
    assert find_optimizers({"g": first, "d": second}) == (first, second)
    assert find_optimizers([Wrapper(first), first]) == (first,)
    assert find_optimizers(None) == ()
    assert find_optimizers(object()) == ()


def test_each_step_is_told_and_none_after_the_block() -> None:
    model, optimizer = make()
    told: list[int] = []
    with watched_steps([optimizer], lambda: told.append(1)):
        for _ in range(3):
            step(model, optimizer)
    step(model, optimizer)
    assert len(told) == 3


def test_nothing_is_left_when_the_block_raises() -> None:
    def patched() -> tuple[Any, Any]:
        return dict(torch_optimizer._global_optimizer_post_hooks), torch.amp.GradScaler.step

    def fail() -> None:
        with watched_steps([make()[1]], lambda: None), watched_steps([make()[1]], lambda: None):
            assert patched() != before
            raise KeyError

    before = patched()
    with pytest.raises(KeyError):
        fail()
    assert patched() == before


def test_of_several_optimizers_the_one_that_steps_most_counts() -> None:
    generator, critic = make(), make()
    told: list[int] = []
    with watched_steps([generator[1], critic[1]], lambda: told.append(1)):
        for _ in range(4):
            step(*critic)
            step(*critic)
            step(*generator)
    assert len(told) == 8


def train_scaled(model: torch.nn.Module, optimizer: Any, values: list[float]) -> None:
    scaler = torch.amp.GradScaler("cpu")
    for value in values:
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(2, 3)).sum() * value).backward()
        scaler.step(optimizer)
        scaler.update()


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_scaler_skips_is_a_step_and_stays_skipped(fused: bool) -> None:
    def train(watch: bool) -> tuple[int, list[float]]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        optimizer, other = torch.optim.Adam(model.parameters(), fused=fused), make()
        told: list[int] = []
        with watched_steps([optimizer] if watch else [], lambda: told.append(1)):
            train_scaled(model, optimizer, [1.0, math.inf, 1.0, math.inf])
            train_scaled(*other, [math.inf])
        return len(told), model.weight.flatten().tolist()

    assert train(watch=True) == (4, train(watch=False)[1])


def test_steps_are_told_where_two_trainings_overlap_in_any_order() -> None:
    first, second = make(), make()
    told: list[str] = []
    one, two = (
        watched_steps([first[1]], lambda: told.append("first")),
        watched_steps([second[1]], lambda: told.append("second")),
    )
    one.__enter__()
    two.__enter__()
    train_scaled(*first, [math.inf])
    one.__exit__(None, None, None)
    train_scaled(*first, [math.inf])
    train_scaled(*second, [math.inf])
    two.__exit__(None, None, None)
    assert told == ["first", "second"]


def test_an_optimizer_that_replaces_another_counts_on() -> None:
    model, optimizer = make()
    told: list[int] = []
    with watched_steps([optimizer], lambda: told.append(1)):
        for _ in range(3):
            step(model, optimizer)
        replacing = torch.optim.Adam(model.parameters())
        for _ in range(4):
            step(model, replacing)
    assert len(told) == 7


def test_an_optimizer_made_later_around_another_counts_once_with_it() -> None:
    class Around(torch.optim.Optimizer):
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            super().__init__(inner.param_groups, {})
            self.inner = inner

        def step(self) -> None:  # type: ignore[override]
            self.inner.step()

    model, optimizer = make()
    told: list[int] = []
    with watched_steps([optimizer], lambda: told.append(1)):
        around = Around(optimizer)
        for _ in range(5):
            step(model, around)
    assert len(told) == 5


def test_steps_for_other_parameters_are_told_apart() -> None:
    (model, optimizer), (other_model, other) = make(), make()
    told: list[str] = []
    with watched_steps([optimizer], lambda: told.append("own"), lambda: told.append("other")):
        step(model, optimizer)
        step(other_model, other)
    assert told == ["own", "other"]


def test_lbfgs_steps_once_a_batch_however_often_it_asks_for_the_loss() -> None:
    model, optimizer = make(kind=torch.optim.LBFGS)
    asked, told = [], []

    def closure() -> torch.Tensor:
        asked.append(1)
        optimizer.zero_grad()
        loss = (model(torch.ones(2, 3)) ** 2).sum()
        loss.backward()
        return loss

    with watched_steps([optimizer], lambda: told.append(1)):
        optimizer.step(closure)
    assert len(told) == 1
    assert len(asked) > 1


def test_a_watched_optimizer_ends_with_the_weights_of_an_unwatched_one() -> None:
    def weights(watch: bool) -> list[float]:
        torch.manual_seed(0)
        model, optimizer = make(kind=torch.optim.Adam)
        with watched_steps([optimizer] if watch else [], lambda: None):
            for _ in range(5):
                step(model, optimizer)
        return model.weight.flatten().tolist()

    assert weights(watch=True) == weights(watch=False)
