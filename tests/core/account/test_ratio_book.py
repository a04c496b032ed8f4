"""Ratios from the tables, the same whichever run asked for them first."""

from __future__ import annotations

import pytest

from greenlove_mlflow.core.account.ratio_book import RatioBook
from greenlove_mlflow.tables import read_gpu_specs
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence
from tests.support.factories import a_fit, an_original_fit, some_statistics

SPECS = {spec.gpu_id: spec for spec in read_gpu_specs()}
H100 = "nvidia-h100-sxm5-80gb"


@pytest.mark.parametrize("methods", [("adaptive", "original"), ("original", "adaptive")])
def test_runs_of_either_method_have_their_own_ratio_whichever_asks_first(methods: tuple[str, str]) -> None:
    home = SPECS["nvidia-geforce-rtx-3060-12-gb"]
    fits = {"adaptive": a_fit(), "original": an_original_fit()}
    book = RatioBook(SPECS, read_ratio_evidence)
    found = {
        method: book.ratio_of(some_statistics(home=home, fit=fits[method], precision="fp16"), H100)
        for method in methods
    }
    # The original's blend of specs: 989.4 and 25.5 TFLOPS, 3,350 and 360 GB/s.
    assert found["original"] is not None
    assert found["original"].ratio.point == pytest.approx(0.7 * 989.4 / 25.5 + 0.3 * 3350.0 / 360.0, rel=0.01)
    assert found["adaptive"] is not None
    assert found["adaptive"].ratio.point != pytest.approx(found["original"].ratio.point, rel=0.05)


def test_a_gpu_in_no_table_has_no_ratio() -> None:
    assert RatioBook(SPECS, read_ratio_evidence).ratio_of(some_statistics(), "unheard-of") is None
