"""Terminal output: progress of benchmark and epochs, the summary, and the question before a long run.

Prints plain lines where there is no terminal.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, overload

from greenlove_mlflow.numbers import format_duration_s
from greenlove_mlflow.untrusted import printable
from greenlove_mlflow.words.fitting import fitted, text_table
from greenlove_mlflow.words.plain_text import (
    RANGE_SENTENCE,
    comparison_header,
    estimate_lines,
    format_comparison,
    format_estimate,
    home_cells,
    offer_cells,
    range_sentences,
    rows_by_price,
)
from greenlove_mlflow.words.summary import summary
from greenlove_mlflow.words.verdict import choices_in_words, outcome_table, verdict_sentences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table
    from rich.text import Text

    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.offers.compare import Comparison
    from greenlove_mlflow.core.provenance import Caveat

# Columns that a narrow terminal drops, in this order: memory, chance to be cheaper, speed, basis.
_SPARED_COLUMNS = (6, 5, 4, 7)
_COLUMN_GAP = 2
_USUAL_WIDTH = 80
# Without a terminal: a line after the first epoch, the last one, and about ten in between.
_PLAIN_EPOCH_LINES = 10


def say_on_stderr(sentence: str) -> None:
    """Print one line on stderr that the user must see whether or not logging is configured."""
    write_on_stderr(f"greenlove: {printable(' '.join(sentence.split()))}")


def write_on_stderr(text: str) -> None:
    """Print lines on stderr, above a tqdm bar if one is shown; a terminal gets them within its columns."""
    if sys.stderr is None:  # a process without a console
        return
    with contextlib.suppress(OSError, ValueError):  # stderr may be closed
        shown = encodable(fitted(text, width_of(sys.stderr)), sys.stderr)
        bars = bars_shown()
        if bars:
            bars[0].write(shown, file=sys.stderr)
        else:
            sys.stderr.write(f"{shown}\n")
        sys.stderr.flush()


def width_of(stream: object) -> int | None:
    """The columns of the terminal that the stream is; None where it is none, which takes lines of any length."""
    if not is_terminal(stream):
        return None
    if os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return _USUAL_WIDTH


def can_redraw(stream: object) -> bool:
    """Whether the stream is a terminal on which a line can be written anew."""
    return is_terminal(stream) and os.environ.get("TERM", "") not in ("dumb", "unknown")


def encodable(text: str, stream: object) -> str:
    r"""The text with escapes in place of what the stream's encoding lacks.

    >>> encodable("Cura\u00e7ao", type("Ascii", (), {"encoding": "ascii"}))
    'Cura\\xe7ao'
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        return text


def make_console(*, stderr: bool = False) -> Console:
    """A console that writes no escape sequences where ``NO_COLOR`` is set or the terminal knows none."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    plain = bool(os.environ.get("NO_COLOR")) or not can_redraw(stream)
    return Console(stderr=stderr, color_system=None if plain else "auto", width=width_of(stream))


def bars_shown() -> list[Any]:
    """The tqdm bars on the screen; tqdm is looked for, never imported."""
    tqdm = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    return [bar for bar in list(getattr(tqdm, "_instances", ())) if not getattr(bar, "disable", True)]


@overload
def ask_in_terminal(estimate: Estimate, *, default: bool = False) -> bool: ...
@overload
def ask_in_terminal(estimate: None = None, *, default: bool = False) -> Callable[[Estimate], bool]: ...
def ask_in_terminal(estimate: Estimate | None = None, *, default: bool = False) -> bool | Callable[[Estimate], bool]:
    """Whether to continue, asked on the terminal as ``Continue training locally? [y/N]``.

    Args:
        estimate: The estimate to confirm; without it, a callable that asks with this default is returned, so that both
            ``confirm=ask_in_terminal`` and ``confirm=ask_in_terminal(default=True)`` work.
        default: The answer without a terminal, and for a bare Enter.
    """
    if estimate is None:
        return functools.partial(ask_in_terminal, default=default)
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        say_on_stderr(f"there is no terminal to ask on: {'yes' if default else 'no'}, by ask_in_terminal's default")
        return default
    import click

    write_on_stderr(format_estimate(estimate))
    return click.confirm("Continue training locally?", default=default, err=True)


class TerminalProgress:
    """Progress of the benchmark and then of the epochs: a bar on a terminal, elsewhere a few plain lines.

    Call it as the benchmark's ``progress(phase, done_s, budget_s)``; ``epoch`` shows the training itself. A context
    manager: leaving it always restores the terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._phase = ""
        self._has_bar = console.is_terminal and not console.is_dumb_terminal

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def __call__(self, phase: str, done_s: float, budget_s: float) -> None:
        """Show that the benchmark is in ``phase``, ``done_s`` seconds into at most ``budget_s``."""
        # First contact has no planned end: it is what measures how long a step takes.
        is_planned = math.isfinite(budget_s)
        left = f"at most {format_duration_s(max(budget_s - done_s, 0.0))} left" if is_planned else ""
        if self._has_bar:
            total_s = max(budget_s, 1e-9) if is_planned else max(done_s, 1.0) * 2.0
            self._show(f"benchmark: {phase}", min(done_s, total_s), total_s, left)
        elif phase != self._phase:
            words = ", ".join(filter(None, (f"benchmark: {phase}", left)))
            self._console.print(words, markup=False, highlight=False)
        self._phase = phase

    def epoch(self, done: int, total: int, forecast: Estimate, note: str = "") -> None:
        """Show that ``done`` of ``total`` epochs have ended, with the current forecast of the total."""
        words = f"whole training {format_duration_s(forecast.time_s)}" + (f", {note}" if note else "")
        if self._has_bar:
            self._show(f"epoch {done} of {total}", float(done), float(total), words)
        elif done in (1, total) or done % max(1, total // _PLAIN_EPOCH_LINES) == 0:
            self._console.print(f"epoch {done} of {total}: {words}", markup=False, highlight=False)
        if done >= total:
            self.pause()

    def pause(self) -> None:
        """Hide the bar, so that other text can be printed; the next call shows it again."""
        if self._live is not None:
            self._live.stop()
        self._live, self._task = None, None

    def _show(self, description: str, done: float, total: float | None, note: str) -> None:
        from rich.markup import escape

        if self._live is None:
            self._live, self._task = _open_bar(self._console)
        if self._task is not None:
            self._live.update(
                self._task, description=escape(description), completed=done, total=total, note=escape(note)
            )


def print_summary(
    console: Console, estimate: Estimate, comparison: Comparison | None = None, url: str | None = None
) -> None:
    """Print the summary, 14 lines at most, and where the run is stored."""
    console.print()
    print_fitted(console, summary(estimate, comparison))
    if url:
        print_fitted(console, f"Kept in MLflow: {url}")


def print_everything(console: Console, estimate: Estimate, comparison: Comparison | None = None) -> None:
    """Print the verdict, the four figures with their ranges, every offer and every caveat."""
    console.print()
    for sentence in verdict_sentences(estimate, comparison):
        print_fitted(console, sentence, style="bold")
    console.print()
    if console.is_terminal:
        console.print(_figures_table(estimate))
        if comparison is not None:
            console.print(_offers_table(comparison, console.width))
        print_fitted(console, " ".join(range_sentences(estimate) or [RANGE_SENTENCE]), style="dim")
    else:
        print_fitted(console, _without_caveats(format_estimate(estimate)))
        if comparison is not None:
            print_fitted(console, "\n" + _without_caveats(format_comparison(comparison)))
    if comparison is not None:
        console.print()
        for name, words in choices_in_words(comparison):
            print_fitted(console, f"{name}: {words}")
    print_caveats(console, [*estimate.caveats, *(comparison.caveats if comparison is not None else ())])


def print_outcome(console: Console, estimate: Estimate, outcome: Outcome | None) -> None:
    """Print the estimate against the outcome; says so when nothing was run."""
    if outcome is None:
        print_fitted(console, "No epoch was run, so there is no outcome to compare with the estimate.")
        return
    from rich.table import Table

    header, *rows = outcome_table(estimate, outcome)
    if not console.is_terminal:
        print_fitted(console, "\n".join(text_table([header, *rows])))
        return
    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_plain_cell(cell) for cell in row))
    console.print(table)


def _figures_table(estimate: Estimate) -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value, note in estimate_lines(estimate):
        table.add_row(_plain_cell(name), _plain_cell(value, "bold"), _plain_cell(note, "dim"))
    return table


def _offers_table(comparison: Comparison, width: int) -> Table:
    from rich import box
    from rich.table import Table

    rows = [comparison_header(comparison), home_cells(comparison)]
    rows += [offer_cells(comparison, row) for row in rows_by_price(comparison)]
    chosen = _columns_that_fit(rows, width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _COLUMN_GAP, 0, 0))
    for index in chosen:
        table.add_column(rows[0][index], no_wrap=index != 0)
    for number, cells in enumerate(rows[1:]):
        table.add_row(*(_plain_cell(cells[index], "" if number else "bold") for index in chosen))
    return table


def _columns_that_fit(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The columns that fit, the most decisive ones kept longest."""
    widths = [max(len(row[index]) for row in rows) + _COLUMN_GAP + 1 for index in range(len(rows[0]))]
    shown = list(range(len(widths)))
    for spared in _SPARED_COLUMNS:
        if sum(widths[index] for index in shown) <= width:
            break
        shown.remove(spared)
    return shown


def _open_bar(console: Console) -> tuple[Progress, TaskID]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    live = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    live.start()
    return live, live.add_task("", total=1.0, note="")


def print_caveats(console: Console, caveats: Iterable[Caveat]) -> None:
    """Print each caveat once."""
    for caveat in dict.fromkeys(caveats):
        print_fitted(console, f"! {caveat}", style="yellow")


def print_fitted(console: Console, text: str, *, style: str = "") -> None:
    """Print text within the columns of a terminal; a file or a pipe gets whole lines."""
    shown = fitted(printable(text, lines=True), console.width if console.is_terminal else None)
    console.print(encodable(shown, console.file), markup=False, highlight=False, style=style or None, soft_wrap=True)


def _without_caveats(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("! "))


def _plain_cell(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style)


def is_terminal(stream: object) -> bool:
    """Whether the stream is a terminal; False where there is no stream at all, or a closed one."""
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False
