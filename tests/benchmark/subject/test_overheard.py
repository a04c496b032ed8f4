"""Calls of a method are heard while somebody listens, and the method is left as it was."""

from __future__ import annotations

import threading
from typing import Any

from greenlove_mlflow.benchmark.subject.overheard import Overheard


class Bell:
    def ring(self, times: int) -> str:
        return "ding" * times


def heard_calls(original: Any, listeners: Any, bell: Bell, times: int) -> str:
    for each in listeners:
        each(times)
    return f"{original(bell, times)}!"


def test_a_method_is_put_back_when_the_last_of_those_who_listen_has_left_in_whatever_order() -> None:
    original, overheard = Bell.ring, Overheard(Bell, "ring", heard_calls)
    first: list[int] = []
    second: list[int] = []
    has_begun, may_end = threading.Event(), threading.Event()

    def listen() -> None:
        with overheard.heard_by(second.append):
            has_begun.set()
            may_end.wait(10.0)

    thread = threading.Thread(target=listen)
    with overheard.heard_by(first.append):
        thread.start()
        assert has_begun.wait(10.0)
        assert Bell().ring(2) == "dingding!"
    assert Bell().ring(1) == "ding!"
    may_end.set()
    thread.join()
    assert Bell.ring is original
    assert (first, second) == ([2], [2, 1])


def test_another_wrapper_above_it_stays_and_nobody_is_told_twice() -> None:
    original, overheard = Bell.ring, Overheard(Bell, "ring", heard_calls)
    told: list[int] = []
    try:
        with overheard.heard_by(told.append):
            inner = Bell.ring
            Bell.ring = lambda bell, times: inner(bell, times).upper()  # type: ignore[method-assign]
        assert Bell().ring(1) == "DING!"
        with overheard.heard_by(told.append):
            assert Bell().ring(3) == "DINGDINGDING!"
        assert told == [3]
    finally:
        Bell.ring = original  # type: ignore[method-assign]
