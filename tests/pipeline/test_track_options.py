"""The typed options are those that are checked, and a type checker refuses what they do not hold."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from greenlove_mlflow.pipeline.options import Options
from greenlove_mlflow.pipeline.track_options import TrackOptions

ROOT = Path(__file__).resolve().parents[2]
# Parameters of track and estimate themselves.
PARAMETERS = {"epochs", "steps"}


def test_typed_options_are_the_checked_ones() -> None:
    checked = {field.name: field.type for field in dataclasses.fields(Options) if field.name not in PARAMETERS}
    # Both modules keep annotations as they are written.
    assert {
        name: getattr(hint, "__forward_arg__", hint) for name, hint in TrackOptions.__annotations__.items()
    } == checked


# With the project's own check, whose cache it shares.
@pytest.mark.slow
@pytest.mark.xdist_group("mypy")
def test_mypy_refuses_a_misspelt_option_and_a_wrong_type(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import greenlove_mlflow as greenlove\n"
        'greenlove.estimate(None, None, None, [], epochs=3, country="DE")\n'
        'greenlove.estimate(None, None, None, [], epochs=3, contry="DE")\n'
        'greenlove.estimate(None, None, None, [], epochs=3, batch_size="many")\n'
        'with greenlove.track(None, None, None, [], epochs=3, contry="DE"):\n'
        "    pass\n"
    )
    command = [str(Path(sys.executable).parent / "mypy"), str(script)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    errors = {line.split(":")[1] for line in said.splitlines() if "script.py:" in line and ": error:" in line}
    assert errors == {"3", "4", "5"}, said
