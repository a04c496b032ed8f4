"""A training's own loop seen from outside: optimizer steps told by hooks, and the loader in use; nothing is moved."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from greenlove_mlflow.benchmark.subject.loop import find_loader_in_use, find_optimizers, watched_steps


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


@pytest.fixture
def data() -> TensorDataset:
    return TensorDataset(torch.arange(100.0))


def test_a_loader_is_found_while_it_is_iterated(data: TensorDataset) -> None:
    found = []
    for index, _ in enumerate(DataLoader(data, batch_size=8)):
        if index == 4:
            found.append(find_loader_in_use(data))
    assert found[0] is not None
    assert (found[0].batch_size, found[0].batch_count, found[0].drawn_count) == (8, 13, 5)


def test_no_loader_is_found_before_and_after_it_is_iterated(data: TensorDataset) -> None:
    loader = DataLoader(data, batch_size=8)
    assert find_loader_in_use(data) is None
    for _ in loader:
        pass
    assert find_loader_in_use(data) is None


def test_a_loader_over_other_data_is_not_taken(data: TensorDataset) -> None:
    other = TensorDataset(torch.arange(50.0))
    for _ in DataLoader(other, batch_size=5):
        assert find_loader_in_use(data) is None


def test_two_loaders_over_the_same_data_are_not_chosen_between(data: TensorDataset) -> None:
    for _ in DataLoader(data, batch_size=50):
        for _ in DataLoader(data, batch_size=50):
            assert find_loader_in_use(data) is None


def test_looking_draws_no_batch_and_no_random_number(data: TensorDataset) -> None:
    def order(look: bool) -> list[float]:
        torch.manual_seed(3)
        values = []
        for (batch,) in DataLoader(data, batch_size=10, shuffle=True):
            if look:
                find_loader_in_use(data)
            values += batch.tolist()
        return values

    assert order(look=True) == order(look=False)


def test_data_without_a_length_has_no_batch_count() -> None:
    class Endless(IterableDataset[int]):
        def __iter__(self):
            return iter(range(20))

    endless = Endless()
    for _ in DataLoader(endless, batch_size=5):
        found = find_loader_in_use(endless)
        assert found is not None
        assert found.batch_count is None
        assert found.batch_size == 5
