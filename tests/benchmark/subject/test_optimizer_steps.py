"""Optimizer steps told by torch's hooks: what is counted, what is not, and that nothing stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch

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
    assert not optimizer._optimizer_step_post_hooks


def test_hooks_go_when_the_block_raises() -> None:
    optimizer = make()[1]
    with pytest.raises(KeyError), watched_steps([optimizer], lambda: None):
        raise KeyError
    assert not optimizer._optimizer_step_post_hooks


def test_of_several_optimizers_the_one_that_steps_most_counts() -> None:
    generator, critic = make(), make()
    told: list[int] = []
    with watched_steps([generator[1], critic[1]], lambda: told.append(1)):
        for _ in range(4):
            step(*critic)
            step(*critic)
            step(*generator)
    assert len(told) == 8


def test_a_step_that_a_scaler_skips_is_not_told() -> None:
    model, optimizer = make()
    scaler = torch.amp.GradScaler("cpu")
    told: list[int] = []
    with watched_steps([optimizer], lambda: told.append(1)):
        for value in (1.0, float("inf"), 1.0):
            optimizer.zero_grad()
            scaler.scale(model(torch.ones(2, 3)).sum() * value).backward()
            scaler.step(optimizer)
            scaler.update()
    assert len(told) == 2


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
