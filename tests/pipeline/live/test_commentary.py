"""What a tracked training says on a terminal, seen through a pseudo-terminal, and that it says nothing elsewhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from greenlove_mlflow.pipeline.live.commentary import Commentary, LiveLine
from tests.conftest import new_store
from tests.support.terminal import Screen, run_on_terminal
from tests.support.tracking import SMALL_TRAINING
from tests.support.warm import warm_python

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")]

TRAINING = (
    SMALL_TRAINING
    + """
import time

logging.getLogger("mlflow").setLevel(logging.ERROR)


def tracked(**options):
    return greenlove.track(
        model, optimizer, criterion, data, batch_size=32, country="DE", budget_s=1.0, log_model=False, saved_view=False,
        **{"epochs": 4, **options}
    )


def train(run, sleep_s=0.0):
    for epoch in run.epochs():
        one_epoch()
        time.sleep(sleep_s)
        print("loss of", epoch)


"""
)
CASES = """
with tracked() as run:
    train(run)
print(run)
print("END OF RUN:", run.estimate)
print("END")

with tracked(limits=greenlove.Limits(usd=1e-12)) as refused:
    train(refused)
print(refused)
print("END")

limit_s = 20.0 * run.estimate.time_s.high
with tracked(limits=greenlove.Limits(hours=limit_s / 3600.0), history=False) as stopped:
    train(stopped, sleep_s=1.2 * limit_s)
print(stopped)
print("END")

with tracked(epochs=None, steps=200, benchmark="within", lap_steps=20) as within:
    for step in within.steps():
        optimizer.step()
print(within)
"""
SUMMARY_LINES, WIDTH = 14, 80


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that tracks into a store of its own."""
    folder = tmp_path_factory.mktemp("store")
    uri = new_store(folder / "mlflow.db")
    return {**os.environ, "TERM": "xterm", "XDG_STATE_HOME": str(folder), "MLFLOW_TRACKING_URI": uri}


@pytest.fixture(scope="module")
def screen(store: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Screen:
    shown = run_on_terminal(["-c", TRAINING + CASES], cwd=tmp_path_factory.mktemp("work"), environ=store, columns=WIDTH)
    assert shown.exit_code == 0, shown.raw
    return shown


def parts(screen: Screen) -> list[list[str]]:
    """The lines of each training, of which there are four."""
    text = "\n".join(screen.lines).split("\nEND\n")
    assert len(text) == 4, screen.raw
    return [part.split("\n") for part in text]


def summaries(lines: list[str]) -> list[list[str]]:
    """The two summaries of a training: that of the estimate, and what ``print(run)`` shows after it."""
    starts = [index for index, line in enumerate(lines) if line.startswith("Training on ")]
    assert len(starts) == 2, lines
    others = ("loss of", "greenlove:", "Kept in", "Finished in", "END OF RUN")
    ends = [
        next((at for at in range(start, len(lines)) if lines[at].startswith(others)), len(lines)) for start in starts
    ]
    return [lines[start:end] for start, end in zip(starts, ends, strict=True)]


def test_a_terminal_shows_summary_and_end_in_fourteen_lines_of_eighty_columns(screen: Screen) -> None:
    finished, refused, stopped, within = parts(screen)
    for part in (finished, refused, stopped, within):
        for block in summaries(part):
            assert len(block) <= SUMMARY_LINES
            assert max(len(line) for line in block) <= WIDTH
    assert [line for line in finished if line.startswith("loss of")] == [f"loss of {epoch}" for epoch in range(4)]
    assert any(line.startswith("Finished in ") for line in finished)
    assert finished[-1].startswith("END OF RUN: ")
    assert not any(line.startswith(("loss of", "Finished", "Ended")) for line in refused)
    assert sum(line.startswith("greenlove: training refused: the estimate breaks") for line in refused) == 1
    assert any(line.startswith("NOT RUN: the estimate breaks the limit of $0.000000000001 ") for line in refused)
    assert any(line.startswith("Ended after 1 of 4 epochs, stopped: reached the limit of") for line in stopped)
    assert sum(line.startswith("greenlove: training stopped") for line in stopped) == 1
    assert within[0].endswith(", 200 steps")
    assert any(line.startswith("Finished in ") for line in within)


def test_nothing_of_live_line_or_progress_bars_is_left_on_the_screen(screen: Screen) -> None:
    assert "epoch 1 of 4 [----" in screen.raw
    assert "step 1 of 200 [----" in screen.raw
    assert [line for line in screen.lines if "[#" in line or "[-" in line] == []
    assert "artifacts:" not in screen.raw


def test_nothing_is_said_where_stderr_is_no_terminal_unless_asked_for(store: dict[str, str], tmp_path: Path) -> None:
    tracked = "".join(
        f"with tracked({option}) as run:\n    train(run)\nfor stream in (sys.stdout, sys.stderr):\n"
        "    print('END', file=stream)\n"
        for option in ("", "summary=True")
    )
    done = warm_python().run(["-c", f"{TRAINING}import sys\n{tracked}"], folder=tmp_path, environment=store)
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr
    outs, errs = (text.split("END\n")[:2] for text in (done.stdout, done.stderr))
    for says, out, err in zip((False, True), outs, errs, strict=True):
        assert ("Training on " in err, "Finished in " in err) == (says, says)
        assert "loss of 3" in out
        assert "Training on " not in out


def test_a_caller_can_have_silence_on_a_terminal(tmp_path: Path) -> None:
    script = (
        "from greenlove_mlflow.pipeline.live.commentary import Commentary\n"
        "quiet, loud = Commentary(False), Commentary()\n"
        "quiet.open_line(); quiet.say('quiet'); quiet.redraw('quiet')\n"
        "loud.say('loud')\n"
    )
    assert run_on_terminal(["-c", script], cwd=tmp_path).lines == ["loud"]


def test_the_live_line_leaves_room_for_prints_and_bars(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from tqdm import tqdm\n"
        "from greenlove_mlflow.pipeline.live.commentary import LiveLine\n"
        "before = sys.stdout, sys.stderr\n"
        "with LiveLine() as line:\n"
        "    line.show('live 1' * 40)\n"
        "    print('one')\n"
        "    print('two ', end='')\n"
        "    line.show('live 2')\n"
        "    print('halves')\n"
        "    line.show('live 3')\n"
        "    for _ in tqdm(range(3), desc='bar', mininterval=0):\n"
        "        line.show('live 4')\n"
        "    line.show('live 5')\n"
        "assert (sys.stdout, sys.stderr) == before\n"
        "for _ in tqdm(range(2), desc='own', mininterval=0):\n"
        "    with LiveLine() as line:\n"
        "        line.show('live 6')\n"
    )
    screen = run_on_terminal(["-c", script], cwd=tmp_path)
    assert screen.exit_code == 0, screen.raw
    assert screen.lines[:2] == ["one", "two halves"]
    assert [line.split(":")[0] for line in screen.lines[2:]] == ["bar", "own"]
    assert all("100%" in line for line in screen.lines[2:])
    assert ("live 1" in screen.raw, "live 3" in screen.raw, "live 5" in screen.raw) == (True, True, True)
    assert not any(f"live {number}" in screen.raw for number in (2, 4, 6))


def test_where_there_is_no_terminal_nothing_is_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with LiveLine() as line:
        line.show("live")
        assert (sys.stdout, sys.stderr) == before
        assert not line.is_open
    Commentary(True).open_line()
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("", "")
