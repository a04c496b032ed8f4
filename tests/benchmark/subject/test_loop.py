"""The trainings of a process: the loader in use, and which of them may begin; nothing is moved."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from greenlove_mlflow.benchmark.subject.loop import benchmarking, find_loader_in_use, refuse_inside_benchmark, training
from greenlove_mlflow.errors import InvalidInputError


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


def begin_a_training() -> str:
    try:
        with training():
            return "begun"
    except InvalidInputError as error:
        return str(error)


def test_a_training_in_a_thread_that_a_benchmark_waits_for_is_refused() -> None:
    said: list[str] = []
    with benchmarking():
        thread = threading.Thread(target=lambda: said.append(begin_a_training()), daemon=True)
        thread.start()
        thread.join(30.0)
    assert "begun inside the benchmark" in said[0]


def test_a_training_in_a_pool_that_a_benchmark_waits_for_is_refused() -> None:
    with ThreadPoolExecutor(1) as pool, benchmarking():
        assert "begun inside the benchmark" in pool.submit(begin_a_training).result(30.0)


def test_a_training_in_another_thread_waits_for_the_benchmark() -> None:
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(begin_a_training()), daemon=True)
    with benchmarking():
        thread.start()
        with pytest.raises(InvalidInputError, match="begun inside the benchmark"):
            refuse_inside_benchmark()
        assert said == []
    thread.join(30.0)
    assert said == ["begun"]
    refuse_inside_benchmark()
