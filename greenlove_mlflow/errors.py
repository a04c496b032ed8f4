"""Every error this package raises on purpose, as one tree.

A message says what was asked, what was found and what to do next.

    GreenloveError
    ├── InvalidInputError       an argument cannot be used (also a ValueError)
    │   ├── UnknownPlaceError   no grid or price for a place
    │   ├── UnknownGpuError     a GPU name that no table knows
    │   └── StateNotKeepableError   a training holds what a benchmark could not put back
    ├── TableError              a data table is missing, torn or out of range
    ├── BenchmarkError          the training step could not be timed
    │   └── StateNotRestoredError   the benchmark has changed what could not be put back
    ├── TrackingError           MLflow could not be used before the training began
    ├── TrainingRefused         a limit or a "no" forbids the training, and on_refusal="raise" asked for this
    ├── LimitReached            a training has spent a limit, and on_limit="raise" asked for this
    ├── RunDataError            an MLflow run lacks what was asked of it, or holds it broken
    └── ElectricityMapsError    the live grid could not be read
"""

from __future__ import annotations


class GreenloveError(Exception):
    """The root of all errors of this package."""


class InvalidInputError(GreenloveError, ValueError):
    """An argument cannot be used as given."""


class UnknownPlaceError(InvalidInputError):
    """No carbon intensity or electricity price is known for the place that was named."""


class UnknownGpuError(InvalidInputError):
    """No table knows the GPU that was named."""


class StateNotKeepableError(InvalidInputError):
    """A training holds something that a benchmark before it could not put back; nothing has run.

    A benchmark within the training needs nothing to be put back.

    Args:
        message: What is asked, found and to be done.
        found: By name what cannot be kept.
    """

    def __init__(self, message: str, *, found: str = "") -> None:
        super().__init__(message)
        self.found = found


class TableError(GreenloveError):
    """A data table is missing, was edited after publication, or holds a value out of range."""


class BenchmarkError(GreenloveError):
    """The training step could not be timed."""


class StateNotRestoredError(BenchmarkError):
    """The benchmark has changed something that could not be put back; everything else is as it was."""


class TrackingError(GreenloveError):
    """MLflow could not be used before the training began."""


class TrainingRefused(GreenloveError):  # noqa: N818 - what happened, and no fault of anybody
    """The estimate breaks a limit, or ``confirm`` said no; the training has not run."""


class LimitReached(GreenloveError):  # noqa: N818 - what happened, and no fault of anybody
    """The training has spent a limit; what it did until then is recorded."""


class RunDataError(GreenloveError):
    """An MLflow run does not hold what was asked of it, or holds it broken."""


class ElectricityMapsError(GreenloveError):
    """The live grid could not be read from Electricity Maps."""
