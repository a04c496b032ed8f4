"""Every command on a terminal of 80 columns, and of others: no line is wider, whatever the store holds."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from rich.cells import cell_len

from greenlove_mlflow.cli import main
from greenlove_mlflow.words.summary import MOST_LINES
from tests.conftest import new_store
from tests.support.terminal import Screen, run_on_terminal

# One process makes the store and runs all commands; both of two processes would run it.
pytestmark = [pytest.mark.xdist_group("widths"), pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = "experiments may have long names"
OF_RUNS = ("finished", "refused", "stopped", "failed", "planned", "running", "trial")
# Leaf command -> the calls of it; {names} are ids of runs and files.
CALLS: Mapping[str, tuple[str, ...]] = {
    "calibration": ("", "--experiment {experiment}", "--forget {failed}", "--experiment nowhere"),
    "cloud-task": (
        "--gpu L40S --tracking-uri http://a-server.example.org:5000 --force -- python train.py --epochs 100",
        "--gpu NoSuchBoard --tracking-uri http://a-server.example.org:5000 -- python train.py",
    ),
    "compare": (
        *(f"{{{name}}} {option}" for name in ("large", "finished", "refused") for option in ("", "--all", "--why")),
        "nobody",
    ),
    "demo": ("--epochs 1",),
    "doctor": ("", "--all"),
    "recover": ("",),
    "reestimate": (
        "--experiment {experiment} --prices all --dry-run",
        "--experiment {experiment} --planned",
        "--experiment {experiment} --write-back",
        "--experiment nowhere",
        "--experiment {experiment} --prices 1999-01-01",
    ),
    "report": ("{stopped}", "--experiment {experiment}", "nobody", "--refresh"),
    "runs": (
        "--experiment {experiment}",
        "--experiment {experiment} --group-by status --sort cost",
        *(f"{{{name}}}" for name in OF_RUNS),
        "{large} {finished}",
        "--experiment nowhere",
        "--no-such-option",
    ),
    "tables list": ("",),
    "tables show": ("gpu_specs --gpu H100", "electricity_prices", "gpu_specs --gpu NoSuchBoard", "no_such_table"),
    "tables validate": ("", "{sheet}", "{broken}"),
    "tables add": ("{sheet} --version mine --source my-own-contract-with-a-cloud",),
    "tables remove": ("crusoe_prices mine",),
    "tables diff": ("2024-05-18 newest", "newest {sheet}"),
}
# Those whose tables grow with the terminal.
WIDE = ("calibration", "compare", "reestimate", "runs", "tables list", "doctor")
MARK = "\x1e"
PROGRAM = r"""
import fcntl, json, os, struct, sys, termios, time
import torch, mlflow
import greenlove_mlflow as greenlove
from greenlove_mlflow.cli import main

experiment, calls, wide, mark = json.loads(sys.argv[1])
ids = {"experiment": experiment, "sheet": "sheet.csv", "broken": "broken.csv"}


def begin(what, width):
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    sys.stdout.flush()
    sys.stderr.flush()
    print(f"{mark}{width} {what}", flush=True)


def train(name, epochs=3, wait_s=0.0, error=None, **options):
    begin(f"track {name}", 80)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    data = torch.utils.data.TensorDataset(torch.randn(400, 16), torch.randint(0, 2, (400,)))
    optimizer, criterion = torch.optim.SGD(model.parameters(), lr=0.1), torch.nn.CrossEntropyLoss()
    options = {"batch_size": 20, "country": "CW", "budget_s": 0.5, "run_name": name, **options}
    try:
        with greenlove.track(
            model, optimizer, criterion, data, epochs=epochs, experiment=experiment, log_model=False, **options
        ) as run:
            for epoch in run.epochs():
                for x, y in torch.utils.data.DataLoader(data, batch_size=20):
                    optimizer.zero_grad()
                    criterion(model(x), y).backward()
                    optimizer.step()
                time.sleep(wait_s)
                if error and epoch:
                    raise RuntimeError(error)
        print(run)
    except RuntimeError:
        pass
    ids[name] = run.run_id


train("finished", run_name="a-name-that-goes-on-and-on-as-those-of-sweeps-do-with-lr-0.003")
train("second")
train("refused", limits=greenlove.Limits(usd=1e-12))
train("large", epochs=10_000_000, limits=greenlove.Limits(hours=1.0))
train("stopped", epochs=40, wait_s=0.4, limits=greenlove.Limits(hours=5.0 / 3600.0))
train("failed", error="boom " * 50)
os.environ["GREENLOVE_BENCHMARK_ONLY"] = "1"
train("planned")
del os.environ["GREENLOVE_BENCHMARK_ONLY"]
with greenlove.study("learning rates", trials=2, experiment=experiment):
    train("trial")
train("running")
client = mlflow.MlflowClient()
client.update_run(ids["running"], status="RUNNING")
client.set_tag(ids["running"], "greenlove.status", "running")
for width in (80, 100, 120, 40):
    for command, each in calls.items():
        if width == 80 or command in wide:
            for call in each:
                begin(f"{command} {call}", width)
                words = [*command.split(), *(word.format(**ids) for word in call.split(" ") if word)]
                words = [experiment if word in ("experiments", experiment.split()[0]) else word for word in words]
                words = [word for word in words if word not in experiment.split()[1:]]
                try:
                    main(words)
                except SystemExit:
                    pass
begin("end", 80)
"""


@dataclass(frozen=True)
class Shown:
    """What commands showed, by width and call."""

    by_call: Mapping[tuple[int, str], Screen]

    def lines(self, width: int, call: str) -> list[str]:
        return self.by_call[width, call].lines


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("widths")
    head = "gpu,price_usd_per_hour,source,as_of\n"
    (folder / "sheet.csv").write_text(f"{head}H100 HGX 80GB,3.10,a contract,2026-09-28\n")
    (folder / "broken.csv").write_text(f"{head}H100 HGX 80GB,-3.10,a contract,2026-09-28\n")
    environ = {
        **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")},
        "TERM": "xterm",
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": new_store(folder / "mlflow.db"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "XDG_STATE_HOME": str(folder / "state"),
        "TZ": "UTC",
        "XDG_DATA_HOME": str(folder / "data"),
    }
    order = json.dumps([EXPERIMENT, CALLS, WIDE, MARK])
    screen = run_on_terminal(["-c", PROGRAM, order], cwd=folder, environ=environ, columns=80)
    assert screen.exit_code == 0, screen.raw[-3000:]
    parts = screen.raw.split(MARK)[1:]
    found: dict[tuple[int, str], Screen] = {}
    for part in parts:
        title, _, text = part.partition("\n")
        width, call = title.split(" ", 1)
        found[int(width), call] = Screen(raw=re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text), exit_code=0)
    assert found.pop((80, "end")) is not None
    return Shown(by_call=found)


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[str]:
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        if isinstance(found, click.Group):
            yield from leaves(found, (*path, name))
        else:
            yield " ".join((*path, name))


def too_wide(lines: list[str], width: int) -> list[str]:
    """The lines that are wider, but for those that hold nothing but one word, such as a URL or a path."""
    return [line for line in lines if cell_len(line) > width and len(line.split()) > 1]


def test_every_command_is_called() -> None:
    assert set(leaves(main)) == set(CALLS)


@pytest.mark.parametrize("command", CALLS)
def test_no_line_is_wider_than_the_terminal(shown: Shown, command: str) -> None:
    for width in (80, 100, 120) if command in WIDE else (80,):
        for call in CALLS[command]:
            lines = shown.lines(width, f"{command} {call}")
            assert lines, call
            assert too_wide(lines, width) == [], (width, call)
            assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize("command", WIDE)
def test_a_terminal_of_forty_columns_gets_an_answer_too(shown: Shown, command: str) -> None:
    for call in CALLS[command]:
        lines = shown.lines(40, f"{command} {call}")
        assert lines, call
        assert not any("Traceback" in line for line in lines), call


@pytest.mark.parametrize("name", ["second", *OF_RUNS, "large"])
def test_a_tracked_training_keeps_within_eighty_columns(shown: Shown, name: str) -> None:
    lines = shown.lines(80, f"track {name}")
    assert lines
    assert too_wide(lines, 80) == []


@pytest.mark.parametrize("name", ["large", "finished", "refused"])
def test_the_summary_is_at_most_fourteen_lines(shown: Shown, name: str) -> None:
    assert 3 < len(shown.lines(80, f"compare {{{name}}} ")) <= MOST_LINES


def test_only_a_training_worth_renting_for_is_shown_offers(shown: Shown) -> None:
    def text(name: str, option: str = "") -> str:
        return " ".join(" ".join(shown.lines(80, f"compare {{{name}}} {option}")).split())

    assert "too small to rent" in text("finished")
    assert "L40S" not in text("finished")
    assert "L40S" in text("finished", "--all")
    assert "A100" in text("large")


def test_the_fates_of_runs_are_told_apart(shown: Shown) -> None:
    text = "\n".join(shown.lines(80, "runs --experiment {experiment}"))
    for status in ("finished", "refused", "stopped", "failed", "planned", "running"):
        assert re.search(rf"\) +{status} ", text), status


def test_an_error_is_told_without_the_names_of_others_classes(shown: Shown) -> None:
    for call in ("report nobody", "compare nobody"):
        (line,) = shown.lines(80, call)
        assert line == "Error: there is no run 'nobody' in this store"
