"""The typed options are those that are checked."""

from __future__ import annotations

import dataclasses

from greenlove_mlflow.pipeline.options import Options, TrackOptions

# Parameters of track and estimate themselves.
PARAMETERS = {"epochs", "steps"}


def test_typed_options_are_the_checked_ones() -> None:
    checked = {field.name: field.type for field in dataclasses.fields(Options) if field.name not in PARAMETERS}
    # Both keep annotations as they are written.
    assert {
        name: getattr(hint, "__forward_arg__", hint) for name, hint in TrackOptions.__annotations__.items()
    } == checked
