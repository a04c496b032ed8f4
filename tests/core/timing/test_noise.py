"""Noise of the timed passes, and what the first step of each shape costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from greenlove_mlflow.core.records import BlockRecord
from greenlove_mlflow.core.timing.noise import excess_s, first_use_cost, noise_of_blocks
from tests.support.factories import an_epoch

SIMULATIONS = 600


def correlation_factors(rho: float, count: int, *, seed: int = 3) -> np.ndarray:
    """What the noise says of series of so many blocks, each a first-order autoregressive one."""
    rng = np.random.default_rng(seed)
    record = an_epoch(epoch_index=0, phase="timed", whole=False, step_count=10 * (count + 1), duration_s=count + 1.0)
    found = []
    for _ in range(SIMULATIONS):
        state, logs = rng.normal(), []
        for _ in range(count + 1):
            logs.append(state)
            state = rho * state + np.sqrt(1.0 - rho**2) * rng.normal()
        blocks = [
            BlockRecord(
                epoch_index=0,
                phase="timed",
                start_s=float(number),
                step_count=10,
                duration_s=float(np.exp(0.02 * log)),
            )
            for number, log in enumerate(logs)
        ]
        found.append(noise_of_blocks([record], blocks).correlation_factor)
    return np.array(found)


@pytest.mark.parametrize("count", [10, 16, 40])
@pytest.mark.parametrize("rho", [0.3, 0.5])
def test_the_correlation_of_a_few_blocks_is_not_told_too_small(rho: float, count: int) -> None:
    factors = correlation_factors(rho, count)
    told = (factors - 1.0) / (factors + 1.0)
    # The median of the correlation is that of the series: without the correction it lies 0.1 to 0.25 lower.
    assert float(np.median(told)) == pytest.approx(rho, abs=0.07)


def test_blocks_that_do_not_hang_together_carry_all_their_information() -> None:
    factors = correlation_factors(0.0, 40)
    assert float(np.median(factors)) == pytest.approx(1.0, abs=0.08)
    assert float(np.median(correlation_factors(0.0, 6))) == 1.0


STEP_S = 0.05
NEW_S = 0.45


def blocks_of(flags: Sequence[bool], *, epoch_index: int = 0) -> list[BlockRecord]:
    """One step each, new shapes slow."""
    return [
        BlockRecord(
            epoch_index=epoch_index,
            phase="timed",
            start_s=0.0,
            step_count=1,
            duration_s=NEW_S if flag else STEP_S,
            is_first_use=flag,
        )
        for flag in flags
    ]


def a_block(epoch_index: int, number: int, duration_s: float) -> BlockRecord:
    return BlockRecord(
        epoch_index=epoch_index, phase="timed", start_s=float(number), step_count=10, duration_s=duration_s
    )


def test_a_short_pass_is_one_unit_and_a_long_ones_first_block_is_none() -> None:
    short = [an_epoch(epoch_index=index, step_count=10, duration_s=0.5, begins_fresh=True) for index in range(3)]
    found = noise_of_blocks(short, [a_block(index, 0, 0.5) for index in range(3)])
    assert (found.block_count, found.costs_s) == (3, (0.05, 0.05, 0.05))
    long = an_epoch(epoch_index=0, step_count=30, duration_s=2.0, begins_fresh=True)
    found = noise_of_blocks([long], [a_block(0, number, 1.0 - 0.25 * number) for number in range(3)])
    assert found.costs_s == (0.075, 0.05)


def test_training_of_one_shape_pays_nothing() -> None:
    assert first_use_cost(blocks_of([False] * 40), STEP_S).total_s == 0.0


def test_shapes_that_have_run_out_are_paid_once_as_they_were_seen() -> None:
    cost = first_use_cost(blocks_of([True] * 3 + [False] * 40), STEP_S)

    assert cost.seen_s == pytest.approx(3 * (NEW_S - STEP_S))
    assert cost.expected_s == 0.0


def test_shapes_that_get_rarer_leave_as_many_as_follow_from_how_fast() -> None:
    # Eight in the first half, four in the second: two more, one more, ... make four.
    flags = [True, False] * 8 + [False] * 4 + [True, False, False, False, False] * 4
    cost = first_use_cost(blocks_of(flags), STEP_S)

    assert cost.expected_s == pytest.approx(4 * (NEW_S - STEP_S))


def test_shapes_that_never_repeat_do_not_run_to_infinity() -> None:
    cost = first_use_cost(blocks_of([True] * 20), STEP_S)

    assert cost.expected_s == pytest.approx(10 * 9.0 * (NEW_S - STEP_S))


def test_each_epoch_has_its_own_excess() -> None:
    blocks = [*blocks_of([True, False]), *blocks_of([False, False], epoch_index=1)]

    assert excess_s(blocks, 0, STEP_S) == pytest.approx(NEW_S - STEP_S)
    assert excess_s(blocks, 1, STEP_S) == 0.0
