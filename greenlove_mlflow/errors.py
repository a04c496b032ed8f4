"""All errors that this package raises on purpose, as one tree.

A message says what was requested, what was found and what to do next.

    GreenloveError
    ├── InvalidInputError       an argument cannot be used (also a ValueError)
    │   ├── UnknownPlaceError   no grid or price for a place
    │   ├── UnknownGpuError     a GPU name that is in no table
    │   └── StateNotKeepableError   a benchmark could not restore the training state
    ├── TableError              a data table is missing, truncated or out of range
    ├── BenchmarkError          the training step could not be timed
    │   └── StateNotRestoredError   a change by the benchmark could not be undone
    ├── TrackingError           MLflow could not be used before the training began
    ├── TrainingRefused         a limit or a "no" forbids training, with on_refusal="raise"
    ├── LimitReached            training has spent a limit, with on_limit="raise"
    ├── RunDataError            an MLflow run lacks the requested data, or the data is corrupt
    └── ElectricityMapsError    the live grid could not be read
"""

from __future__ import annotations


class GreenloveError(Exception):
    """Base class of all errors of this package."""


class InvalidInputError(GreenloveError, ValueError):
    """An argument cannot be used as given."""


class UnknownPlaceError(InvalidInputError):
    """No carbon intensity or electricity price is known for the given place."""


class UnknownGpuError(InvalidInputError):
    """The given GPU is in no table."""


class StateNotKeepableError(InvalidInputError):
    """A benchmark before training could not restore some of its state, so nothing has run.

    A benchmark within training does not need to restore anything.

    Args:
        message: What was requested, what was found and what to do.
        found: Names of what cannot be saved.
    """

    def __init__(self, message: str, *, found: str = "") -> None:
        super().__init__(message)
        self.found = found


class TableError(GreenloveError):
    """A data table is missing, was edited after publication, or holds a value out of range."""


class BenchmarkError(GreenloveError):
    """The training step could not be timed."""


class StateNotRestoredError(BenchmarkError):
    """The benchmark changed something that could not be restored; everything else was restored."""


class TrackingError(GreenloveError):
    """MLflow could not be used before the training began."""


class TrainingRefused(GreenloveError):  # noqa: N818 - an event, not an error
    """The estimate exceeds a limit, or ``confirm`` returned no; training has not run."""


class LimitReached(GreenloveError):  # noqa: N818 - an event, not an error
    """Training has spent a limit; what it did until then is recorded."""


class RunDataError(GreenloveError):
    """An MLflow run lacks the requested data, or the data is corrupt."""


class ElectricityMapsError(GreenloveError):
    """The live grid could not be read from Electricity Maps."""
