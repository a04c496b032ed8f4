"""The user's own price sheets that were added permanently, stored by version in the user's data folder."""

from __future__ import annotations

from pathlib import Path

from greenlove_mlflow.environment import data_folder


def own_folder() -> Path:
    """The folder of added price sheets, inside the data folder."""
    return data_folder() / "prices"


def own_versions(folder: Path | None = None) -> tuple[str, ...]:
    """The versions of added price sheets, sorted; empty if the folder cannot be read."""
    return tuple(sorted(path.stem for path in (folder or own_folder()).glob("*.csv")))
