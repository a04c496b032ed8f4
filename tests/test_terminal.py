from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from rich.console import Console

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.terminal import (
    TerminalProgress,
    ask_in_terminal,
    print_everything,
    print_outcome,
    print_summary,
    say_on_stderr,
)
from tests.support.report import a_comparison, an_estimate, an_outcome


def a_console(*, terminal: bool, width: int = 160) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None, legacy_windows=False)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("default", [True, False])
def test_nobody_is_asked_where_there_is_no_terminal_which_is_said(
    default: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask_in_terminal(an_estimate(), default=default) is default
    assert ask_in_terminal(default=default)(an_estimate()) is default
    said = f"there is no terminal to ask on: {'yes' if default else 'no'}, by ask_in_terminal's default"
    assert capsys.readouterr().err.count(said) == 2


@pytest.mark.parametrize(("answer", "expected"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_is_asked_and_shown_the_estimate(monkeypatch: pytest.MonkeyPatch, answer: str, expected: bool) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: shown.write(prompt) and answer.strip())
    assert ask_in_terminal(an_estimate()) is expected
    assert "5 h 10 min" in shown.getvalue()
    assert "Continue training locally? [y/N]" in shown.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_summary_shows_every_figure_with_its_range_and_every_caveat(terminal: bool) -> None:
    console = a_console(terminal=terminal)
    comparison = a_comparison(caveats=(Caveat(code="old-prices", text="of last year"),))
    print_everything(console, comparison.home, comparison)
    text = text_of(console)
    for expected in (
        *("4 h 50 min to 5 h 35 min", "1.9 to 2.4 kWh", "$0.52 to $0.76", "0.66 to 0.98 kg"),
        *("H100 HGX 80GB", "no public price", "old-prices", "warm-up-share"),
        "Cheapest: here, over 99% sure",
    ):
        assert expected in text
    assert "\x1b" not in text


@pytest.mark.parametrize("terminal", [True, False])
def test_the_summary_is_short_and_names_where_the_run_is_kept(terminal: bool) -> None:
    console = a_console(terminal=terminal, width=80)
    comparison = a_comparison()
    print_summary(console, comparison.home, comparison, "http://host/#/runs/1")
    lines = text_of(console).strip().splitlines()
    assert lines[-1] == "Kept in MLflow: http://host/#/runs/1"
    assert len(lines) <= 15
    assert max(len(line) for line in lines) <= 80


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_table_keeps_time_and_cost_whole_however_narrow_the_terminal(width: int) -> None:
    console = a_console(terminal=True, width=width)
    comparison = a_comparison()
    print_everything(console, comparison.home, comparison)
    if width >= 80:
        assert "0.44 to 0.75" in text_of(console)
        assert "$1.73 to $2.91" in text_of(console)
    assert max(len(line) for line in text_of(console).splitlines()) <= width


def test_plain_lines_are_not_wrapped() -> None:
    console = a_console(terminal=False, width=40)
    comparison = a_comparison()
    print_everything(console, comparison.home, comparison)
    assert any(len(line) > 100 for line in text_of(console).splitlines())


def test_markup_in_names_is_shown_as_it_is() -> None:
    console = a_console(terminal=True)
    comparison = a_comparison(home_name="[bold red]box[/bold red]")
    print_everything(console, comparison.home, comparison)
    assert "[bold red]box[/bold red]" in text_of(console)


def test_outcome_puts_promise_and_fact_side_by_side() -> None:
    console = a_console(terminal=False)
    print_outcome(console, an_estimate(), an_outcome())
    text = text_of(console)
    assert "5 h 15 min" in text
    assert "1.6% more, in range" in text
    assert "energy (measured)" in text


def test_an_outcome_cut_short_is_not_judged() -> None:
    console = a_console(terminal=False)
    print_outcome(console, an_estimate(), an_outcome(completed=False, epoch_durations_s=(186.0,) * 40))
    assert "40 of 100 epochs" in text_of(console)
    assert "within" not in text_of(console)


def test_no_epoch_no_outcome() -> None:
    console = a_console(terminal=False)
    print_outcome(console, an_estimate(), None)
    assert "no outcome to compare with the estimate" in text_of(console)


def test_progress_is_a_few_plain_lines_without_a_terminal() -> None:
    console = a_console(terminal=False)
    with TerminalProgress(console) as progress:
        for done_s in range(12):
            progress("timed", float(done_s), 12.0)
        progress.pause()
        for epoch in range(1000):
            progress.epoch(epoch + 1, 1000, an_estimate(), "loss 0.1")
    lines = text_of(console).splitlines()
    assert lines[0] == "benchmark: timed, at most 12.0 s left"
    assert 3 <= len(lines) <= 15
    assert lines[-1].startswith("epoch 1000 of 1000: whole training 5 h 10 min (4 h 50 min to 5 h 35 min), loss 0.1")


def test_bar_is_gone_after_a_pause_and_after_an_error() -> None:
    console = a_console(terminal=True)
    progress = TerminalProgress(console)

    def fail_while_shown() -> None:
        with progress:
            progress("timed", 1.0, 12.0)
            assert console._live_stack
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail_while_shown()
    assert not console._live_stack


def test_bar_tells_what_is_left_and_what_the_whole_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, Any] = {}
    monkeypatch.setattr("rich.progress.Progress.update", lambda self, task, **fields: shown.update(fields))
    with TerminalProgress(a_console(terminal=True)) as progress:
        progress("timed", 3.0, 12.0)
        assert shown["note"] == "at most 9.0 s left"
        assert shown["completed"] == 3.0
        progress.epoch(3, 20, an_estimate(), "[loss]")
        assert "whole training 5 h 10 min" in shown["note"]
        assert shown["note"].endswith("\\[loss]")


def test_a_phase_without_a_planned_end_promises_none() -> None:
    console = Console(file=io.StringIO(), width=100)
    with TerminalProgress(console) as progress:
        progress("first-contact", 0.1, float("inf"))
        progress("timed", 1.0, 12.0)
    first, second = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first == "benchmark: first-contact"
    assert second.startswith("benchmark: timed, at most ")


def _closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, _closed()], ids=["none", "closed"])
def test_a_process_without_a_console_goes_on(monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    say_on_stderr("the training was refused")
    assert not ask_in_terminal(an_estimate())
