"""CSV that a spreadsheet shows as it is: no cell of text is taken for a formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from greenlove_mlflow.untrusted import spreadsheet_cell


def write_csv(frame: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    """Write a table as CSV, its texts such that a spreadsheet calculates nothing.

    Args:
        frame: Any table; its texts may be anybody's.
        path: Where to.
        index: Whether the index is a column too.
    """
    safe_cells(frame).to_csv(path, index=index)


def safe_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before every text that a spreadsheet would take for a formula."""
    texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.assign(**{name: frame[name].map(_safe, na_action="ignore") for name in texts})


def _safe(value: Any) -> Any:
    return spreadsheet_cell(value) if isinstance(value, str) else value
