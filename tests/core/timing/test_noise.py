"""Noise of the timed passes: what a few blocks tell of how they hang together."""

from __future__ import annotations

import numpy as np
import pytest

from greenlove_mlflow.core.records import BlockRecord
from greenlove_mlflow.core.timing.noise import noise_of_blocks
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
