"""Text and tables within the columns of a terminal: wrapped at blanks, spared columns, shortened cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len

ELLIPSIS = "..."
# Names are shortened to this many columns before a column is left out, and below it only when none can be.
LEAST_NAME = 18
_NARROWEST = 6
_GAP = 2
# The space between a number and its unit, where no line may end.
_UNIT_SPACE = re.compile(r"(?<=\d) (?=(?:d|h|min|s|ms|cents?|m?g|kg|t|[mkM]?Wh)\b)")
_HANGING = "  "


def fitted(text: str, width: int | None, *, hanging: str | None = None) -> str:
    """The text with each line broken at blanks where it is longer than ``width``.

    A word longer than a line, such as a URL or a path, stands uncut on a line of its own; a number stays with its unit.

    Args:
        text: One or more lines.
        width: Columns; None leaves the text as it is.
        hanging: What the further lines of a broken line begin with; its own indent and two blanks by default.

    >>> print(fitted("Kept in MLflow: http://host/a/very/long/address", 24))
    Kept in MLflow:
      http://host/a/very/long/address
    """
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _broken(line, width, hanging))


def shortened(text: str, length: int, *, kept_end: int = 0) -> str:
    """The text cut to ``length`` columns with an ellipsis, before which ``kept_end`` characters of its end may stay.

    >>> shortened("a long name", 8), shortened("name of run 8ffb1f4b", 15, kept_end=8)
    ('a lon...', 'name...8ffb1f4b')
    """
    if cell_len(text) <= length:
        return text
    end = text[-kept_end:] if kept_end else ""
    if cell_len(end) + len(ELLIPSIS) > length:
        end = ""
    room = length - len(ELLIPSIS) - cell_len(end)
    head = text[: max(0, room)]
    while cell_len(head) > max(0, room):
        head = head[:-1]
    return f"{head.rstrip()}{ELLIPSIS}{end}"


def text_table(rows: Iterable[Sequence[str]], *, gap: int = _GAP) -> list[str]:
    """Rows of cells as lines with aligned columns.

    >>> text_table([("a", "1"), ("bcd", "22")])
    ['a    1', 'bcd  22']
    """
    table = [tuple(row) for row in rows]
    widths = _widths(table)
    return [
        (" " * gap)
        .join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        .rstrip()
        for row in table
    ]


def fitted_table(
    rows: Iterable[Sequence[str]],
    width: int | None,
    *,
    spared: Sequence[int] = (),
    short: Mapping[int, int] | None = None,
    least: int = LEAST_NAME,
) -> list[str]:
    """Rows of cells as lines of at most ``width`` columns.

    Names are shortened first, down to ``least`` columns; then columns are left out, then names are shortened further.

    Args:
        rows: The rows, headings first.
        width: Columns; None leaves every cell whole.
        spared: Columns that may be left out, in this order.
        short: Columns whose cells may be shortened, with how many characters of their end stay.
        least: To how many columns names are shortened before a column is left out.
    """
    table = [tuple(row) for row in rows]
    if width is None:
        return text_table(table)
    shown = list(range(len(table[0])))
    ends = short or {}
    for index in (None, *spared):
        if index is not None:
            shown.remove(index)
        excess = sum(_widths(table)[at] for at in shown) + _GAP * (len(shown) - 1) - width
        if excess <= sum(max(0, _widths(table)[at] - least) for at in ends if at in shown):
            break
    table = [tuple(row[at] for at in shown) for row in table]
    keeps = {shown.index(at): end for at, end in ends.items() if at in shown}
    return [shortened(line, width) for line in text_table(_with_short_cells(table, width, keeps))]


def _with_short_cells(
    table: Sequence[tuple[str, ...]], width: int, ends: Mapping[int, int]
) -> Sequence[tuple[str, ...]]:
    """The table, the widest of the columns in ``ends`` shortened as far as needed."""
    widths = _widths(table)
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0 and ends:
        widest = max(ends, key=lambda at: widths[at])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
        excess -= 1
    return [
        tuple(shortened(cell, widths[at], kept_end=ends[at]) if at in ends else cell for at, cell in enumerate(row))
        for row in table
    ]


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    return [max(cell_len(cell) for cell in column) for column in zip(*table, strict=True)]


def _broken(line: str, width: int, hanging: str | None) -> list[str]:
    if cell_len(line) <= width:
        return [line]
    indent = line[: len(line) - len(line.lstrip(" "))]
    further = indent + _HANGING if hanging is None else hanging
    words = [word for word in re.split(r"( +)", _UNIT_SPACE.sub("\N{NO-BREAK SPACE}", line[len(indent) :])) if word]
    lines, current = [], indent
    for word in words:
        is_blank = not word.strip(" ")
        if not is_blank and current.strip() and cell_len(current + word) > width:
            lines.append(current.rstrip(" "))
            current = further
        if not (is_blank and not current.strip()):
            current += word
    return [each.replace("\N{NO-BREAK SPACE}", " ") for each in (*lines, current.rstrip(" "))]
