"""The environment: what is read of it, and that it is set back."""

from __future__ import annotations

import os

import pytest

from greenlove_mlflow.environment import keep_variables, read_environment


@pytest.mark.parametrize(
    ("named", "zone"),
    [
        (":America/New_York", "America/New_York"),
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("/usr/share/zoneinfo/", None),
        ("\x1b[31mEurope/Berlin", "\ufffd[31mEurope/Berlin"),
    ],
)
def test_a_time_zone_is_a_name_that_can_be_shown(monkeypatch: pytest.MonkeyPatch, named: str, zone: str | None) -> None:
    monkeypatch.setenv("TZ", named)
    assert read_environment().time_zone == zone


def test_variables_are_set_back_and_new_ones_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLOVE_TEST_KEPT", "1")
    monkeypatch.setenv("GREENLOVE_TEST_GONE", "1")
    restore = keep_variables()
    monkeypatch.setenv("GREENLOVE_TEST_KEPT", "2")
    monkeypatch.setenv("GREENLOVE_TEST_NEW", "1")
    monkeypatch.delenv("GREENLOVE_TEST_GONE")
    restore()
    kept = [os.environ.get(f"GREENLOVE_TEST_{name}") for name in ("KEPT", "GONE", "NEW")]
    assert kept == ["1", "1", None]
