"""Price sheets of the user's own that were added for good, kept by version in the user's data folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def own_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of added price sheets: ``greenlove/prices`` below the user's data folder."""
    if given := environ.get("XDG_DATA_HOME"):
        root = Path(given)
    elif sys.platform == "win32":
        root = Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Application Support"
    else:
        root = Path.home() / ".local" / "share"
    return root / "greenlove" / "prices"


def own_versions(folder: Path | None = None) -> tuple[str, ...]:
    """The versions of the price sheets that were added, sorted; none where the folder cannot be read."""
    return tuple(sorted(path.stem for path in (folder or own_folder()).glob("*.csv")))
