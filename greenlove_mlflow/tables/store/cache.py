"""What was read from tables is kept, until the user adds or removes one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
_KEPT: list[Any] = []


def kept(function: _Function) -> _Function:
    """A function that answers the same question once, until ``forget`` is called."""
    cached = functools.lru_cache(maxsize=64)(function)
    _KEPT.append(cached)
    return cached  # type: ignore[return-value]


def forget() -> None:
    """Read everything again from now on."""
    for function in _KEPT:
        function.cache_clear()
