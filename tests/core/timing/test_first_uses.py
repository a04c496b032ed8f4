"""First uses of shapes: told from steady steps, paid once, those to come expected by how fast they run out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from greenlove_mlflow.core.records import BlockRecord
from greenlove_mlflow.core.timing.first_uses import excess_s, first_use_cost

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
