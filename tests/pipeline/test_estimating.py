"""MLflow's autologging rests while a benchmark runs, and is as it was afterwards."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from greenlove_mlflow.pipeline.estimating import autologging_off


@pytest.mark.parametrize("was_off", [False, True])
def test_it_is_off_inside_and_as_it_was_outside(was_off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.utils import autologging_utils

    monkeypatch.setattr(autologging_utils, "_AUTOLOGGING_GLOBALLY_DISABLED", was_off)

    def fail() -> None:
        with autologging_off():
            assert autologging_utils._AUTOLOGGING_GLOBALLY_DISABLED is True
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        fail()
    assert autologging_utils._AUTOLOGGING_GLOBALLY_DISABLED is was_off


def test_of_an_mlflow_without_that_switch_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "mlflow.utils.autologging_utils", other)
    with autologging_off():
        assert vars(other) == {}
    assert vars(other) == {}
