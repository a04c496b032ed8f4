"""Cache of everything read from tables, until the user adds or removes one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
_KEPT: list[Any] = []


def kept(function: _Function) -> _Function:
    """The function with its results cached until ``forget`` is called."""
    cached = functools.lru_cache(maxsize=64)(function)
    _KEPT.append(cached)
    return cached  # type: ignore[return-value]


def forget() -> None:
    """Clear the cache, so that everything is read again."""
    for function in _KEPT:
        function.cache_clear()
