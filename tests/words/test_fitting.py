"""Text and tables within so many columns."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from greenlove_mlflow.words.fitting import fitted, fitted_table, shortened

ROWS = [
    ("run", "status", "took", "option"),
    ("a name that nobody reads to its end (8ffb1f)", "finished", "12 min 30 s", "A100 PCIe 80GB x8"),
    ("\u8a13\u7df4" * 9, "refused", "-", "here"),
]


def shown(width: int | None) -> list[str]:
    return fitted_table(ROWS, width, spared=(2,), short={0: 8, 3: 0})


@pytest.mark.parametrize("width", [25, 40, 53, 60, 80, 200])
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(cell_len, shown(width))) <= width


def test_names_are_shortened_before_a_column_is_left_out() -> None:
    assert "nobody reads to its end (8ffb1f)  finished  12 min 30 s  A100 PCIe 80GB x8" in shown(200)[1]
    assert shown(None) == shown(200)
    assert shown(60)[1].startswith("a name")
    assert "(8ffb1f) finished 12 min 30 s A100" in " ".join(shown(60)[1].split())
    assert "took" not in shown(46)[0]
    assert "(8ffb1f) finished A100" in " ".join(shown(46)[1].split())


@pytest.mark.parametrize("width", range(8, 60, 3))
def test_text_loses_no_word_where_it_is_broken(width: int) -> None:
    text = (
        "  It is kept in http://a-server.example.org:5000/#/experiments/1 for 12 min 30 s, at 3 kWh and under 1 cent."
    )
    lines = fitted(text, width).split("\n")
    assert " ".join(lines).split() == text.split()
    assert all(cell_len(line) <= width or len(line.split()) <= 4 for line in lines)
    assert not any(line.endswith((" 12", " 30", " 3", " 1")) for line in lines)
    assert all(line.startswith("  ") for line in lines)


def test_a_pipe_gets_its_text_as_it_is() -> None:
    assert fitted("a  b " * 99, None) == "a  b " * 99


def test_wide_characters_count_twice() -> None:
    assert cell_len("\u8a13\u7df4 e\u0301") == 6
    assert shortened("\u8a13" * 10, 9) == "\u8a13" * 3 + "..."
