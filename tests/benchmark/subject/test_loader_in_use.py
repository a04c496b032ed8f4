"""The loader that a training really uses, found by its data set; nothing of it is moved."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from greenlove_mlflow.benchmark.subject.loader_in_use import find_loader_in_use


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
