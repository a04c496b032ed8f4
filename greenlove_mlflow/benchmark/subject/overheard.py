"""A method of one of PyTorch's classes whose calls are heard for a while, and which is left as it was."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Overheard:
    """A method that is wrapped while anybody listens, in whatever threads, and put back after the last.

    Args:
        owner: The class.
        name: The method's name.
        call: Called in the method's place, with the method, those who listen, and what it was called with.
    """

    def __init__(self, owner: type, name: str, call: Callable[..., Any]) -> None:
        self._owner = owner
        self._name = name
        self._call = call
        self._listeners: tuple[Callable[..., None], ...] = ()
        self._original: Any = None
        self._wrapper: Any = None
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            # In a forked process, a thread that held the lock does not exist.
            os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def heard_by(self, listener: Callable[..., None]) -> Iterator[None]:
        """Let ``listener`` hear the calls inside the block."""
        with self._lock:
            self._listeners = (*self._listeners, listener)
            if self._original is None:
                self._wrap()
        try:
            yield
        finally:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not listener)
                # Where somebody else has wrapped the wrapper, it stays, and tells nobody.
                if not self._listeners and getattr(self._owner, self._name) is self._wrapper:
                    setattr(self._owner, self._name, self._original)
                    self._original = None

    def _wrap(self) -> None:
        original = self._original = getattr(self._owner, self._name)

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return self._call(original, self._listeners, *args, **kwargs)

        self._wrapper = wrapper
        setattr(self._owner, self._name, wrapper)
