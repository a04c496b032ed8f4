"""Plain text on what ranges mean."""

from __future__ import annotations

import pytest

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.timing.fit import Fit
from greenlove_mlflow.words.plain_text import RANGE_SENTENCE, range_sentences
from tests.support.factories import a_fit, an_original_fit, some_statistics
from tests.support.report import an_estimate


@pytest.mark.parametrize(
    ("fit", "more"),
    [
        (an_original_fit(), []),
        (a_fit(), ["That of the time rests on the benchmark alone: no finished run to learn from yet."]),
        (a_fit(calibrated_on="7 runs"), ["That of the time was learned from 7 runs."]),
    ],
)
def test_a_range_says_what_it_was_learned_from(fit: Fit, more: list[str]) -> None:
    estimate = an_estimate(time_s=Interval.from_log_width(60.0, 0.2), statistics=some_statistics(fit=fit))
    assert range_sentences(estimate) == [RANGE_SENTENCE, *more]


def test_an_exact_time_has_no_range_to_explain() -> None:
    assert range_sentences(an_estimate(time_s=Interval.exactly(60.0))) == []
