"""One pass: steps of new shapes stand apart, the first wait is told from the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from greenlove_mlflow.benchmark import BenchmarkPlan, make_feed
from greenlove_mlflow.benchmark.passes import FirstUses, Limit, run_pass
from greenlove_mlflow.benchmark.session import Session
from tests.support.clock import VirtualClock


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock().installed() as installed:
        yield installed


def batches_of(lengths: list[int]) -> list[torch.Tensor]:
    return [torch.zeros(4, length) for length in lengths]


def test_step_of_a_new_shape_is_a_block_of_its_own(clock: VirtualClock) -> None:
    uses = FirstUses()
    uses.is_new(torch.zeros(4, 8))

    done = run_pass(
        batches_of([8, 8, 9, 8, 9, 10]), lambda _: clock.advance(0.01), Limit(), synchronize=lambda: None,
        first_uses=uses,
    )  # fmt: skip

    assert [(block.step_count, block.is_first_use) for block in done.blocks] == [
        (1, False), (1, False), (1, True), (2, False), (1, True)
    ]  # fmt: skip
    assert done.step_count == 6
    assert done.whole
    assert done.duration_s == pytest.approx(0.06)


def test_every_batch_is_trained_on_once_whatever_its_shape(clock: VirtualClock) -> None:
    seen: list[int] = []
    lengths = [3, 5, 3, 7, 7, 5, 9, 3]

    run_pass(batches_of(lengths), lambda batch: seen.append(batch.shape[1]), Limit(), synchronize=lambda: None,
             first_uses=FirstUses())  # fmt: skip

    assert seen == lengths


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((torch.zeros(2, 3), torch.zeros(2)), (torch.ones(2, 3), torch.ones(2)), True),
        ({"ids": torch.zeros(2, 3)}, {"ids": torch.zeros(2, 4)}, False),
        ([torch.zeros(2), "text"], [torch.zeros(2), "other"], True),
    ],
)
def test_shapes_are_told_apart_through_tuples_lists_and_mappings(one: Any, other: Any, same: bool) -> None:
    uses = FirstUses()
    assert uses.is_new(one)
    assert uses.is_new(other) != same


def test_first_wait_is_told_from_the_others(clock: VirtualClock) -> None:
    def loader() -> Iterator[int]:
        clock.advance(2.0)
        for _ in range(5):
            clock.advance(0.1)
            yield 0

    class Loader:
        def __iter__(self) -> Iterator[int]:
            return loader()

    done = run_pass(Loader(), lambda _: clock.advance(0.01), Limit(), synchronize=lambda: None)

    assert done.first_wait_s == pytest.approx(2.1)
    assert done.data_wait_s == pytest.approx(2.5)


def test_epoch_on_a_gpu_leaves_first_uses_out_of_its_steps(clock: VirtualClock) -> None:
    """Shapes cost 0.5 s at first and 0.01 s after that: no step is taken for slower than it will be."""
    from greenlove_mlflow.benchmark.adaptive import run_adaptive
    from greenlove_mlflow.core.timing.noise import startup_of_passes

    lengths = [8 + index % 12 for index in range(600)]
    built: set[int] = set()

    def step(batch: torch.Tensor) -> None:
        clock.advance(0.01 if batch.shape[1] in built else 0.5)
        built.add(batch.shape[1])

    class Loader:
        batch_size = 4

        def __len__(self) -> int:
            return len(lengths)

        def __iter__(self) -> Iterator[torch.Tensor]:
            return iter(batches_of(lengths))

    session = Session(make_feed(Loader()), step, BenchmarkPlan(epoch_count=20), synchronize=lambda: None,
                      host_sees_steps=False)  # fmt: skip
    run_adaptive(session)
    startup = startup_of_passes(session.epochs, session.blocks)

    assert startup is not None
    assert startup.step_s == pytest.approx(0.01, rel=0.01)
    assert sum(block.is_first_use for block in session.blocks) >= 6
