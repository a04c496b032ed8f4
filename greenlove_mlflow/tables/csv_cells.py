"""CSV that is safe to open in a spreadsheet: no text cell is evaluated as a formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from greenlove_mlflow.untrusted import spreadsheet_cell


def write_csv(frame: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    """Write a table as CSV, with text cells that a spreadsheet does not evaluate.

    Args:
        frame: Any table; its text may be untrusted.
        path: Output path.
        index: Whether to write the index as a column.
    """
    safe_cells(frame).to_csv(path, index=index)


def safe_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before every text that a spreadsheet would evaluate as a formula."""
    texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.assign(**{name: frame[name].map(_safe, na_action="ignore") for name in texts})


def _safe(value: Any) -> Any:
    return spreadsheet_cell(value) if isinstance(value, str) else value
