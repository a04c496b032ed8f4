"""Every error this package raises on purpose, as one tree.

A message says what was asked, what was found and what to do next.

    GreenloveError
    ├── InvalidInputError       an argument cannot be used (also a ValueError)
    │   ├── UnknownPlaceError   no grid or price for a place
    │   └── UnknownGpuError     a GPU name that no table knows
    ├── TableError              a data table is missing, torn or out of range
    ├── BenchmarkError          the training step could not be timed
    ├── TrackingError           MLflow could not be used before the training began
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


class TableError(GreenloveError):
    """A data table is missing, was edited after publication, or holds a value out of range."""


class BenchmarkError(GreenloveError):
    """The training step could not be timed."""


class TrackingError(GreenloveError):
    """MLflow could not be used before the training began."""


class RunDataError(GreenloveError):
    """An MLflow run does not hold what was asked of it, or holds it broken."""


class ElectricityMapsError(GreenloveError):
    """The live grid could not be read from Electricity Maps."""
