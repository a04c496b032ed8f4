"""Several GPUs: no more times as fast as one than there are of them, whatever the published runs say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlove_mlflow.core.speed.gpus import GpuSpec, ThroughputRow
from greenlove_mlflow.core.speed.published import RatioEvidence
from greenlove_mlflow.core.speed.several_gpus import gpu_scaling
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.tables import read_gpu_specs
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence

BOARD = GpuSpec(gpu_id="a", name="A", vendor="NVIDIA", form_factor="SXM", tf32_tflops=80.0, fp16_tflops=160.0)


def runs_on(count: int, *efficiencies: float) -> RatioEvidence:
    """Published runs on one GPU and on several, one task for each efficiency."""
    rows = [
        ThroughputRow(
            suite="v2",
            task=f"task{number}",
            precision="fp16",
            gpu_id="a",
            gpu_count=gpus,
            throughput=throughput,
        )
        for number, efficiency in enumerate(efficiencies)
        for gpus, throughput in ((1, 100.0), (count, 100.0 * count * efficiency))
    ]
    return RatioEvidence(throughput=tuple(rows), specs=(BOARD,))


@settings(max_examples=60)
@given(
    count=st.sampled_from([2, 4, 8]),
    efficiencies=st.lists(st.floats(min_value=0.3, max_value=1.5), min_size=1, max_size=9),
)
def test_a_scaling_lies_between_nothing_and_the_number_of_gpus(count: int, efficiencies: list[float]) -> None:
    scaling, _ = gpu_scaling(BOARD, count, runs_on(count, *efficiencies), "fp16")
    assert 0.0 < scaling.low <= scaling.point <= scaling.high <= count


@pytest.mark.parametrize(
    ("efficiencies", "point", "low", "high"),
    [
        ((0.8, 0.9, 0.95), 3.6, 3.22, 3.79),
        ((1.03, 1.03, 1.03), 4.0, 4.0, 4.0),
        ((0.9, 1.02, 1.04), 4.0, 3.624, 4.0),
        ((0.9, 0.95, 1.5), 3.8, 3.61, 4.0),
    ],
)
def test_an_efficiency_above_one_counts_as_one(
    efficiencies: tuple[float, ...], point: float, low: float, high: float
) -> None:
    scaling, _ = gpu_scaling(BOARD, 4, runs_on(4, *efficiencies), "fp16")
    assert (scaling.point, scaling.low, scaling.high) == (
        pytest.approx(point),
        pytest.approx(low),
        pytest.approx(high),
    )


def test_no_board_of_the_tables_scales_beyond_its_number() -> None:
    known = read_ratio_evidence()
    seen = 0
    for spec in read_gpu_specs():
        for count in (2, 4, 8):
            try:
                scaling, _ = gpu_scaling(spec, count, known, "fp16")
            except InvalidInputError:
                continue
            seen += 1
            assert 0.3 * count < scaling.low <= scaling.high <= count
    assert seen > 50


def test_a_number_between_two_published_ones_has_the_efficiency_between_theirs() -> None:
    two, four = runs_on(2, 0.9, 0.92, 0.94), runs_on(4, 0.7, 0.72, 0.74)
    both = RatioEvidence(throughput=(*two.throughput, *four.throughput), specs=(BOARD,))
    scaling, how = gpu_scaling(BOARD, 3, both, "fp16")
    # Of the way from 2 to 4, three GPUs have gone log2(3 / 2) = 0.58496.
    assert scaling.point == pytest.approx(3.0 * 0.92 * (0.72 / 0.92) ** 0.5849625)
    assert scaling.low == pytest.approx(3.0 * (0.7 + 0.05 * 0.02))
    assert scaling.high == pytest.approx(3.0 * (0.94 - 0.05 * 0.02))
    assert how == "3 GPUs are 2.39 times as fast as one by its own runs on 2 and 4"
    for count in (5, 8):
        with pytest.raises(InvalidInputError, match="choose 1 or 2 or 4"):
            gpu_scaling(BOARD, count, both, "fp16")
    with pytest.raises(InvalidInputError, match="choose 1 or 4"):
        gpu_scaling(BOARD, 3, four, "fp16")
