"""Turns MLflow's autologging off while a benchmark runs, since its fits are not training runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MODULE = "mlflow.utils.autologging_utils"
_SWITCH = "_AUTOLOGGING_GLOBALLY_DISABLED"


@contextmanager
def autologging_off() -> Iterator[None]:
    """A block without autologging; the previous setting is restored afterwards.

    MLflow's own ``disable_autologging`` leaves it on, whatever it was before.
    """
    module: Any = sys.modules.get(_MODULE)
    if module is None or not hasattr(module, _SWITCH):
        yield  # no library that could autolog is loaded
        return
    was_off = getattr(module, _SWITCH)
    setattr(module, _SWITCH, True)
    try:
        yield
    finally:
        setattr(module, _SWITCH, was_off)
