"""The page of aims is what the committed records make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

ROOT = Path(__file__).resolve().parents[2]


def test_page_of_aims_is_what_the_records_make(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "reports" / "aims.py"), "--output", str(tmp_path)], check=True)
    assert (tmp_path / "aims.md").read_text() == (ROOT / "reports" / "aims.md").read_text()
