"""Work beside a training, in a thread where there can be one."""

from __future__ import annotations

import threading

import pytest

from greenlove_mlflow.pipeline.live.running_estimate import Background


def test_work_is_done_in_a_thread_of_its_own() -> None:
    assert Background(threading.get_ident, name="beside").result() != threading.get_ident()


def test_work_is_done_here_where_no_thread_can_start_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    work = Background(threading.get_ident, name="at exit")
    assert work.is_done
    assert work.result() == threading.get_ident()


def test_an_error_of_the_work_is_raised_where_its_result_is_asked_for() -> None:
    work = Background(lambda: 1 // 0, name="broken")
    assert work.wait(30.0)
    with pytest.raises(ZeroDivisionError):
        work.result()


def test_work_that_waits_is_done_once_when_and_where_it_is_waited_for() -> None:
    done: list[int] = []
    work = Background(lambda: done.append(threading.get_ident()), name="at the end", waits=True)
    assert not work.is_done
    assert done == []
    assert work.wait()
    assert work.wait()
    assert done == [threading.get_ident()]
