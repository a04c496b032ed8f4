"""Price sheets of the user's own that were added for good, kept by version in the user's data folder."""

from __future__ import annotations

from pathlib import Path

from greenlove_mlflow.environment import data_folder


def own_folder() -> Path:
    """The folder of added price sheets, below our folder for data of the user."""
    return data_folder() / "prices"


def own_versions(folder: Path | None = None) -> tuple[str, ...]:
    """The versions of the price sheets that were added, sorted; none where the folder cannot be read."""
    return tuple(sorted(path.stem for path in (folder or own_folder()).glob("*.csv")))
