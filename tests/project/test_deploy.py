"""The container file, the action and the MLflow project: what they name is there, and what they start starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import yaml
from mlflow import MlflowClient

import greenlove_mlflow
from greenlove_mlflow.cli import main
from greenlove_mlflow.environment import BENCHMARK_ONLY_VARIABLE
from tests.support.reestimation import log_tracked_run
from tests.support.server import START_DEADLINE_S, free_port
from tests.support.warm import WarmPython

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
ENTRYPOINT = ROOT / "deploy" / "entrypoint.sh"
ACTION = ROOT / "deploy" / "action"


def said_by(*arguments: str, folder: Path) -> str:
    """What the entry point would start, by an ``mlflow`` that only prints its arguments."""
    stub = folder / "mlflow"
    stub.write_text('#!/bin/sh\necho mlflow "$@"\n', encoding="utf-8")
    stub.chmod(0o755)
    environ = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", str(ENTRYPOINT), *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_container_copies_files_that_are_there() -> None:
    sources = [word for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()]
    assert {"greenlove_mlflow", "data", "pyproject.toml"} <= set(sources)
    assert [name for name in sources if not (ROOT / name).exists()] == []


def test_the_container_installs_the_versions_that_are_tested() -> None:
    pin = re.search(r"torch==[\d.]+", DOCKERFILE)
    assert pin is not None
    assert pin[0] in (ROOT / "constraints.txt").read_text("utf-8").split()


def test_a_container_is_a_tracking_server_unless_told_otherwise(tmp_path: Path) -> None:
    said = said_by(folder=tmp_path)
    assert said == said_by("server", folder=tmp_path)
    assert said.startswith("mlflow server --host 0.0.0.0 --port 5000")
    assert f"sqlite:///{tmp_path}/mlflow.db" in said
    assert said_by("server", "--workers", "2", folder=tmp_path).endswith("--workers 2")


def test_a_container_serves_the_estimator_of_a_run(tmp_path: Path) -> None:
    said = said_by("serve", "0123abcd", folder=tmp_path)
    assert said.startswith("mlflow models serve")
    assert "-m runs:/0123abcd/greenlove-estimator --env-manager local" in said


def test_a_container_runs_any_command(tmp_path: Path) -> None:
    assert said_by("echo", "two words", folder=tmp_path) == "two words"


def test_the_project_calls_commands_and_options_that_exist() -> None:
    points = yaml.safe_load((ROOT / "MLproject").read_text("utf-8"))["entry_points"]
    for point in points.values():
        program, name, *rest = point["command"].split()
        command = main.get_command(None, name)  # type: ignore[arg-type]
        assert program == "greenlove"
        assert command is not None
        known = {flag for each in command.params for flag in each.opts}
        assert {word for word in rest if word.startswith("--")} <= known
        assert set(re.findall(r"{(\w+)}", point["command"])) == set(point.get("parameters", {}))


def test_the_conda_recipe_asks_for_what_the_package_asks_for() -> None:
    recipe = (ROOT / "deploy" / "conda" / "meta.yaml").read_text("utf-8")
    run = recipe.split("  run:\n", 1)[1].split("\n\n", 1)[0]
    other_name = {"pytorch": "torch", "matplotlib-base": "matplotlib", "python-tzdata": "tzdata"}
    asked = {other_name.get(name, name): bound for name, bound in re.findall(r"- ([\w-]+) >=([\d.]+)", run)}
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    block = pyproject.split("dependencies = [", 1)[1].split("\n]", 1)[0]
    stated = dict(re.findall(r'"([\w-]+)>=([\d.]+)', block))
    assert asked.pop("python") in pyproject.split("requires-python = ", 1)[1].split("\n")[0]
    assert asked == stated
    assert f'version = "{greenlove_mlflow.__version__}"' in recipe
    script = re.search(r'^greenlove = "(.+)"$', pyproject, re.MULTILINE)
    assert script is not None
    assert f"    - greenlove = {script[1]}\n" in recipe
    assert re.findall(r"^license = \"(.+)\"$", pyproject, re.MULTILINE) == re.findall(
        r"^  license: (.+)$", recipe, re.MULTILINE
    )


def test_the_action_gives_its_script_what_it_reads_and_no_input_becomes_code() -> None:
    action = yaml.safe_load((ACTION / "action.yml").read_text("utf-8"))
    steps = action["runs"]["steps"]
    assert action["runs"]["using"] == "composite"
    assert all(step["shell"] == "bash" for step in steps)
    assert not any("${{" in step["run"] for step in steps)
    given = set(steps[-1]["env"])
    assert {"COMMAND", "COMMENT", "PULL_REQUEST", "MLFLOW_EXPERIMENT_NAME", BENCHMARK_ONLY_VARIABLE} <= given
    asked = {name for text in steps for name in re.findall(r"inputs\.(\w+)", str(text))}
    assert asked == set(action["inputs"])


@pytest.mark.slow
def test_the_action_comments_with_the_estimates_of_what_its_command_tracked(
    store: str, tmp_path: Path, python: WarmPython
) -> None:
    stub = tmp_path / "gh"
    stub.write_text('#!/bin/sh\necho "$@" > said\ncat "$7" > comment\n', encoding="utf-8")
    stub.chmod(0o755)
    python.put_in_place_of("greenlove", tmp_path)
    client = MlflowClient(store)
    log_tracked_run(client, client.create_experiment("pull-request"), has_trained=False)
    environ = {
        **os.environ,
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COMMAND": "echo trained > trained",
        "COMMENT": "true",
        "PULL_REQUEST": "17",
        "MLFLOW_EXPERIMENT_NAME": "pull-request",
        "MLFLOW_TRACKING_URI": store,
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    script = ["bash", str(ACTION / "estimate.sh")]
    subprocess.run(script, cwd=tmp_path, env=environ, check=True)
    comment = (tmp_path / "comment").read_text("utf-8")
    assert (tmp_path / "trained").exists()
    assert "| Run | Status | Estimated time |" in comment
    assert "**1 not run**, estimated at" in comment
    assert comment == (tmp_path / "summary").read_text("utf-8")
    assert (tmp_path / "said").read_text("utf-8").startswith("pr comment 17 --edit-last --create-if-none --body-file")
    failed = subprocess.run(script, cwd=tmp_path, env={**environ, "COMMAND": "false"}, check=False)
    assert failed.returncode != 0


@pytest.mark.slow
@pytest.mark.server
def test_what_a_container_starts_answers(tmp_path: Path) -> None:
    port = free_port()
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PORT": str(port),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            ["sh", str(ENTRYPOINT), "server", "--workers", "1"],
            cwd=tmp_path, env=environ, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        deadline, answer = time.monotonic() + START_DEADLINE_S, ""
        while not answer and time.monotonic() < deadline:
            assert server.poll() is None, (tmp_path / "log").read_text()[-2000:]
            try:
                answer = requests.get(f"http://127.0.0.1:{port}/health", timeout=2).text
            except requests.RequestException:
                time.sleep(0.25)
        assert answer == "OK"
    finally:
        os.killpg(server.pid, 9)
        server.wait()
