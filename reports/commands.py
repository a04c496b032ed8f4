"""How long the command takes by itself: CPU seconds of fresh processes, and how much of them is MLflow's.

    python reports/commands.py [--repeats 7]

Writes commands.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))
GREENLOVE = str(Path(sys.executable).parent / "greenlove")
HELP_AIM_S, REPORT_AIM_S = 0.3, 0.5
OPEN = "import os, mlflow; mlflow.MlflowClient().get_run(os.environ['RUN_ID'])"
RECORD = """
import torch
import greenlove_mlflow as greenlove
from greenlove_mlflow.cli.demo import load_digits_dataset, make_network

model = make_network()
optimizer, criterion = torch.optim.Adam(model.parameters()), torch.nn.CrossEntropyLoss()
options = {"epochs": 2, "batch_size": 64, "country": "DE", "budget_s": 2.0, "summary": False, "log_model": False}
with greenlove.track(model, optimizer, criterion, load_digits_dataset(), **options) as run:
    for _ in run.epochs():
        pass
print(run.run_id)
"""
TEMPLATE = """# How long the command takes

Made by `reports/commands.py` on {where}: CPU seconds of a fresh process, medians of {repeats}, imports compiled before.
CPU time is told rather than the clock, as other programs may run beside; on a quiet machine the two are alike.

| what | CPU s | aim |
|---|---|---|
{rows}

`greenlove report RUN_ID` has to import MLflow and open its store, whatever it does then. A SQLite store brings
SQLAlchemy's and Alembic's imports and MLflow's check of the tables into the process; with a server, they are in the
server's.
"""


def cpu_s(command: list[str], environment: Mapping[str, str], folder: Path, repeats: int) -> float:
    """Median CPU seconds of a command in processes of their own, the first of which is not counted."""
    durations = []
    for _ in range(repeats + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=dict(environment), cwd=folder, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        durations.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(durations[1:])


def measure_store(uri: str, folder: Path, repeats: int) -> tuple[float, float, float]:
    """CPU seconds of importing MLflow, of that and opening one run of a store, and of the run's report."""
    environment = environment_of(folder, uri)
    done = subprocess.run(
        [sys.executable, "-c", RECORD], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    run_id = done.stdout.split()[-1]
    environment["RUN_ID"] = run_id
    command = [GREENLOVE, "report", run_id, "--output", "page.html"]
    return (
        cpu_s([sys.executable, "-c", "import mlflow"], environment, folder, repeats),
        cpu_s([sys.executable, "-c", OPEN], environment, folder, repeats),
        cpu_s(command, environment, folder, repeats),
    )


def environment_of(folder: Path, uri: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTHONDONT"))}
    own = {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state"), "MLFLOW_TRACKING_URI": uri}
    return kept | own | {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}


def rows_of(where: str, figures: tuple[float, float, float]) -> list[str]:
    mlflow_s, open_s, report_s = figures
    beyond_s = report_s - mlflow_s
    aim = f"at most {REPORT_AIM_S:g} s beyond the import: {'met' if beyond_s <= REPORT_AIM_S else 'missed'}"
    return [
        f"| `import mlflow` | {mlflow_s:.2f} | |",
        f"| the same, and one run read from {where} | {open_s:.2f} | |",
        f"| `greenlove report RUN_ID`, {where} | {report_s:.2f} | {aim} ({beyond_s:.2f} s) |",
        f"| of it neither the import nor the opening of the store | {report_s - open_s:.2f} | |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from tests.support.server import running_server

        help_s = cpu_s([GREENLOVE, "--help"], environment_of(folder, ""), folder, repeats)
        kept = "met" if help_s <= HELP_AIM_S else "missed"
        rows = [f"| `greenlove --help` | {help_s:.2f} | at most {HELP_AIM_S:g} s: {kept} |"]
        rows += rows_of("a SQLite store", measure_store(f"sqlite:///{folder}/mlflow.db", folder, repeats))
        with running_server(folder / "server") as server:
            rows += rows_of("a server", measure_store(server.uri, folder, repeats))
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    text = TEMPLATE.format(where=where, repeats=repeats, rows="\n".join(rows))
    (HERE / "commands.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
