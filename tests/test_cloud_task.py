"""The task file for a rented GPU: what stands in it, what never does, and that dstack can read it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from greenlove_mlflow.cli import main
from greenlove_mlflow.cli.cloud_task import parse_duration_s
from greenlove_mlflow.cloud_task import CloudTask, dstack_gpu, format_cloud_task, instance_size
from greenlove_mlflow.core.offers.offer import Offer
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.tables import read_price_sheet

SERVER = "https://mlflow.example.org"


def an_offer(**over: Any) -> Offer:
    fields = {"provider": "Crusoe Cloud", "gpu": "L40S 48GB", "gpu_id": "nvidia-l40s", "memory_gib": 48.0}
    return Offer(**{**fields, "price_usd_per_hour": 1.5, "gpu_counts": (1, 2, 4, 8), **over})


def a_task(**over: Any) -> CloudTask:
    fields = {
        "offer": an_offer(),
        "command": "python train.py --note 'it: \"works\"'",
        "tracking_uri": SERVER,
        "experiment": "my: experiment",
        "max_price_usd_per_hour": 1.5,
        "max_duration_s": 1800.0,
        "instance_type": "l40s-48gb.1x",
    }
    return CloudTask(**{**fields, **over})


def write(folder: Path, *arguments: str, **environment: str) -> Any:
    runner = CliRunner(env={"MLFLOW_TRACKING_URI": "", "MLFLOW_TRACKING_TOKEN": "", **environment})
    output = str(folder / "task.dstack.yml")
    return runner.invoke(main, ["cloud-task", "--output", output, *arguments, "--", "python", "train.py"])


def test_the_file_names_gpu_server_price_and_duration() -> None:
    text = format_cloud_task(a_task())
    for part in (
        "type: task",
        '"L40S:48GB:1"',
        f"MLFLOW_TRACKING_URI={SERVER}",
        "max_price: 1.5",
        "max_duration: 1800s",
    ):
        assert part in text
    assert "GREENLOVE_BENCHMARK_ONLY=1" in text
    assert "CUDA_VISIBLE_DEVICES" not in text


def test_what_it_can_cost_at_most_is_said() -> None:
    assert a_task().most_usd == pytest.approx(0.75)
    assert "0.75" in format_cloud_task(a_task())


def test_one_gpu_is_benchmarked_where_only_eight_are_sold() -> None:
    offer = an_offer(gpu="H100 HGX 80GB", memory_gib=80.0, gpu_counts=(8,))
    size = instance_size(offer, 1)
    text = format_cloud_task(a_task(offer=offer, gpu_count=size))
    assert size == 8
    assert '"H100:80GB:8"' in text
    assert "CUDA_VISIBLE_DEVICES=0" in text
    with pytest.raises(InvalidInputError, match="at most 8"):
        instance_size(offer, 16)


@pytest.mark.parametrize(
    "uri",
    ["sqlite:///mlflow.db", "./mlruns", "file:///tmp/mlruns", "http://localhost:5000", "http://127.0.0.1:5000", "https://me:secret@host"],
)  # fmt: skip
def test_a_server_out_of_reach_or_with_a_password_is_refused(uri: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        a_task(tracking_uri=uri)
    assert "secret" not in str(caught.value)


def test_every_offer_of_the_newest_sheet_has_a_name_for_dstack() -> None:
    for offer in read_price_sheet().offers:
        name = dstack_gpu(offer, 1).split(":", maxsplit=1)[0]
        assert name in offer.gpu
        assert name in {"A40", "A100", "H100", "H200", "B200", "B300", "GB200", "L40S", "MI300X", "MI355X"}


def test_the_command_writes_the_file_and_submits_nothing(tmp_path: Path) -> None:
    result = write(tmp_path, "--gpu", "L40S 48GB", "--tracking-uri", SERVER)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "task.dstack.yml").read_text(encoding="utf-8")
    assert "l40s-48gb.1x" in text
    assert "python train.py" in text
    assert "Nothing was submitted" in result.output


def test_credentials_are_handed_over_by_name_alone(tmp_path: Path) -> None:
    write(tmp_path, "--gpu", "L40S 48GB", "--tracking-uri", SERVER, MLFLOW_TRACKING_TOKEN="s3cret")
    text = (tmp_path / "task.dstack.yml").read_text(encoding="utf-8")
    assert "  - MLFLOW_TRACKING_TOKEN\n" in text
    assert "s3cret" not in text


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "task.dstack.yml"
    path.write_text("mine", encoding="utf-8")
    refused = write(tmp_path, "--gpu", "L40S 48GB", "--tracking-uri", SERVER)
    assert refused.exit_code == 1
    assert path.read_text(encoding="utf-8") == "mine"
    assert write(tmp_path, "--force", "--gpu", "L40S 48GB", "--tracking-uri", SERVER).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--gpu", "L40S 48GB"), "MLFLOW_TRACKING_URI"),
        (("--gpu", "L40", "--tracking-uri", SERVER), "does not offer"),
        (("--gpu", "H10", "--tracking-uri", SERVER), "did you mean"),
        (("--gpu", "B200 HGX 180GB", "--tracking-uri", SERVER), "--max-price"),
        (("--gpu", "L40S 48GB", "--tracking-uri", SERVER, "--max-duration", "soon"), "30m"),
    ],
)
def test_what_cannot_be_written_says_why(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    result = write(tmp_path, *arguments)
    assert result.exit_code == 1
    assert says in result.output
    assert list(tmp_path.iterdir()) == []


def test_durations_are_read_in_seconds() -> None:
    assert [parse_duration_s(text) for text in ("900s", "30m", "1.5h")] == [900.0, 1800.0, 5400.0]


PARSE = """
import json, sys, yaml
from dstack._internal.core.models.configurations import parse_apply_configuration
task = parse_apply_configuration(yaml.safe_load(sys.stdin.read()))
print(json.dumps({
    "type": task.type, "commands": task.commands, "max_price": task.max_price, "max_duration": task.max_duration,
    "backends": [backend.value for backend in task.backends], "gpu": task.resources.gpu.name,
    "count": task.resources.gpu.count.min, "env": sorted(str(name) for name in task.env), "types": task.instance_types,
}))
"""


def dstack_python() -> str | None:
    """A Python that has dstack: its own environment, or this one."""
    named = os.environ.get("GREENLOVE_TEST_DSTACK_PYTHON")
    return named or (sys.executable if importlib.util.find_spec("dstack") else None)


@pytest.mark.skipif(
    dstack_python() is None, reason="dstack is not installed; GREENLOVE_TEST_DSTACK_PYTHON names a Python"
)
def test_dstacks_own_parser_reads_the_file() -> None:
    python = dstack_python()
    assert python is not None
    text = format_cloud_task(a_task(credentials=("MLFLOW_TRACKING_TOKEN",), region="us-east1-a"))
    run = subprocess.run([python, "-c", PARSE], input=text, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    task = json.loads(run.stdout)
    assert (task["type"], task["max_price"], task["max_duration"]) == ("task", 1.5, 1800)
    assert (task["backends"], task["gpu"], task["count"]) == (["crusoe"], ["L40S"], 1)
    assert task["commands"] == ["pip install greenlove-mlflow", "python train.py --note 'it: \"works\"'"]
    assert {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "GREENLOVE_BENCHMARK_ONLY"} <= set(task["env"])
    assert task["types"] == ["l40s-48gb.1x"]
