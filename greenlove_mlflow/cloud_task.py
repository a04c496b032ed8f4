"""A dstack task file that runs your benchmark on a rented GPU; text only, nothing is submitted.

Source: dstack 0.22, reference of ``.dstack.yml``, type ``task``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from greenlove_mlflow.core.offers.offer import Offer, rented_gpu_count
from greenlove_mlflow.environment import BENCHMARK_ONLY_VARIABLE
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.units import S_PER_H

# Passed on from the environment in which the file is applied, so that it holds no secret.
CREDENTIAL_VARIABLES = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_GPU_NAME = re.compile(r"\b(MI\d+X|G?[ABHLTV]\d+S?|RTX ?\w+)\b")
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - refused, not bound to


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudTask:
    """A benchmark to run on one GPU of an offer.

    Args:
        offer: The offer to rent.
        command: Command line that starts the training, run in the file's folder.
        tracking_uri: MLflow server that both machines can reach.
        experiment: Name of the MLflow experiment.
        max_price_usd_per_hour: Most expensive instance to accept, US dollars per hour.
        max_duration_s: Seconds after which dstack ends the task.
        instance_type: The cloud's name for the instance; empty leaves the choice to dstack.
        gpu_count: GPUs of the instance.
        backend: dstack backend.
        region: Cloud region; None for any.
        install: Requirements that pip installs first.
        python: Python version.
        credentials: Names of environment variables to pass on.
    """

    offer: Offer
    command: str
    tracking_uri: str
    experiment: str
    max_price_usd_per_hour: float
    max_duration_s: float
    instance_type: str = ""
    gpu_count: int = 1
    backend: str = "crusoe"
    region: str | None = None
    install: tuple[str, ...] = ("greenlove-mlflow",)
    python: str = "3.12"
    credentials: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.command.strip():
            raise InvalidInputError("a cloud task needs the command that starts the training")
        if not self.max_price_usd_per_hour > 0.0 or not self.max_duration_s >= 60.0:
            raise InvalidInputError("a cloud task needs a price above 0 and a duration of at least a minute")
        _check_reachable(self.tracking_uri)

    @property
    def most_usd(self) -> float:
        """The most it can cost, US dollars: the maximum duration at the maximum price."""
        return self.max_price_usd_per_hour * self.max_duration_s / S_PER_H


def instance_size(offer: Offer, gpu_count: int) -> int:
    """GPUs of the offer's smallest instance with at least ``gpu_count`` GPUs.

    Raises:
        InvalidInputError: If no instance has that many.
    """
    rented = rented_gpu_count(offer.gpu_counts, gpu_count)
    if rented is None:
        raise InvalidInputError(f"{offer.gpu} is sold with at most {max(offer.gpu_counts)} GPUs, not {gpu_count}")
    return rented


def dstack_gpu(offer: Offer, gpu_count: int) -> str:
    """The offer's GPU as dstack's ``resources.gpu`` names it: name, memory, count.

    Raises:
        InvalidInputError: If the offer's name contains no GPU that dstack knows.

    >>> dstack_gpu(Offer(provider="", gpu="H100 HGX 80GB", gpu_id="", memory_gib=80.0, price_usd_per_hour=None), 8)
    'H100:80GB:8'
    """
    found = _GPU_NAME.search(offer.gpu)
    if found is None:
        raise InvalidInputError(f"no GPU that dstack could name in {offer.gpu!r}")
    return f"{found.group(1).replace(' ', '')}:{offer.memory_gib:g}GB:{gpu_count}"


def format_cloud_task(task: CloudTask) -> str:
    """The task as the text of a ``.dstack.yml`` file."""
    from greenlove_mlflow.numbers import format_usd

    lines = [
        "# Runs the benchmark of one's own training on a rented GPU and keeps it on the same MLflow server.",
        f"# At most {format_usd(task.most_usd)}. Nothing runs before: dstack apply -f THIS_FILE",
        "type: task",
        f"name: {_task_name(task.offer)}",
        f"python: {_quoted(task.python)}",
        "files:",
        "  - .",
        "env:",
        f"  - {_quoted(f'MLFLOW_TRACKING_URI={task.tracking_uri}')}",
        f"  - {_quoted(f'MLFLOW_EXPERIMENT_NAME={task.experiment}')}",
        f"  - {BENCHMARK_ONLY_VARIABLE}=1",
        *_environment_of_gpu(task),
        *(f"  - {name}" for name in task.credentials),
        "commands:",
        *(f"  - {_quoted(f'pip install {package}')}" for package in task.install),
        f"  - {_quoted(task.command)}",
        "resources:",
        f"  gpu: {_quoted(dstack_gpu(task.offer, task.gpu_count))}",
        f"backends: [{task.backend}]",
        *([f"regions: [{_quoted(task.region)}]"] if task.region else []),
        *([f"instance_types: [{_quoted(task.instance_type)}]"] if task.instance_type else []),
        "spot_policy: on-demand",
        f"max_price: {task.max_price_usd_per_hour:g}",
        f"max_duration: {round(task.max_duration_s)}s",
        # The instance is released as soon as the benchmark is done.
        "creation_policy: reuse-or-create",
        "idle_duration: 0s",
    ]
    return "\n".join(lines) + "\n"


def _environment_of_gpu(task: CloudTask) -> list[str]:
    """Environment lines that make one GPU visible, even where the smallest instance has eight."""
    return ["  - CUDA_VISIBLE_DEVICES=0"] if task.gpu_count > 1 else []


def _task_name(offer: Offer) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", offer.gpu.casefold()).strip("-")
    return f"greenlove-{words}"[:40].rstrip("-")


def _quoted(text: str) -> str:
    """The text as a YAML scalar; a JSON string is one."""
    return json.dumps(text)


def _check_reachable(tracking_uri: str) -> None:
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = parts.scheme or "a local folder"
        raise InvalidInputError(
            f"a rented GPU cannot reach {shown}; pass the http(s) address of an MLflow server that both machines reach"
        )
    if parts.hostname in _LOCAL_HOSTS:
        raise InvalidInputError(f"a rented GPU cannot reach {parts.hostname}; pass an address that it can reach")
    if parts.username or parts.password:
        raise InvalidInputError(
            "the address of the MLflow server holds a password, which would stand in the file; pass it without, and "
            f"set {' or '.join(CREDENTIAL_VARIABLES[:2])} when you apply the file"
        )
