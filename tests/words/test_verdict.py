"""Sentences on what happened beside what was estimated."""

from __future__ import annotations

import pytest

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.words.verdict import difference_words

ESTIMATED = Interval(point=10.0, low=8.0, high=12.0)


@pytest.mark.parametrize(
    ("estimated", "actual", "words"),
    [
        (ESTIMATED, 11.0, "10% more, in range"),
        (ESTIMATED, 8.8, "12% less, in range"),
        (ESTIMATED, 10.003, "under 1% more, in range"),
        (ESTIMATED, 13.0, "30% more, out of range"),
        (ESTIMATED, 5.0, "50% less, out of range"),
        (Interval.exactly(0.0), 1.0, ""),
        (None, 1.0, ""),
        (ESTIMATED, None, ""),
    ],
)
def test_a_difference_says_how_far_off_and_whether_the_range_held(
    estimated: Interval | None, actual: float | None, words: str
) -> None:
    assert difference_words(estimated, actual) == words
