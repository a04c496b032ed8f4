"""A training on two ranks as a program: ``run_ranks`` starts it and reads what each rank says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import greenlove_mlflow as greenlove
from tests.support.warm import warm_python

ROOT = Path(__file__).resolve().parents[2]
Done = subprocess.CompletedProcess[str]
EPOCH_COUNT = 5
# The window of the estimate is at most a quarter of all steps, which are 200.
LATER_STEP = 60
FILE = "rank_{rank}.json"


def run_ranks(
    folder: Path, *, module: str = "tests.support.two_ranks", timeout_s: float = 240.0, **settings: Any
) -> dict[int, dict[str, Any]]:
    """What each of two ranks said, by rank; a rank that died said nothing.

    Args:
        folder: For the store and everything else that is kept.
        module: The program.
        timeout_s: Seconds after which it counts as hung.
        **settings: Settings of the program; ``environment`` sets variables, ``launcher`` is ``torchrun``, ``own`` (the
            program starts its ranks itself) or ``fork``, much faster, for programs of which no rank dies.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(folder / "state"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "SETTINGS": json.dumps(settings),
    } | {name: str(value) for name, value in settings.get("environment", {}).items()}
    launcher = settings.get("launcher", "fork")
    if launcher == "fork":
        all_done = _fork(folder, module, environment, timeout_s)
    else:
        all_done = [_call(folder, module, environment, timeout_s, by_torchrun=launcher == "torchrun")]
    has_failed = any(done.returncode != 0 for done in all_done)
    assert has_failed is settings.get("fails", False), "\n".join(done.stderr[-4000:] for done in all_done)
    files = [folder / FILE.format(rank=rank) for rank in (0, 1)]
    said = {rank: json.loads(file.read_text(encoding="utf-8")) for rank, file in enumerate(files) if file.exists()}
    for file in files:
        file.unlink(missing_ok=True)
    return said


def _call(folder: Path, module: str, environment: Mapping[str, str], timeout_s: float, *, by_torchrun: bool) -> Done:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    return subprocess.run(
        [sys.executable, *(torchrun if by_torchrun else []), "-m", module],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _fork(folder: Path, module: str, environment: Mapping[str, str], timeout_s: float) -> list[Done]:
    """Run both ranks in the environment that torchrun gives them, with a store that outlives them."""
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    launched = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }

    def run(rank: int) -> Done:
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        return warm_python().run(
            ["-m", module], folder=folder, environment={**environment, **launched, **own}, timeout_s=timeout_s
        )

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(run, (0, 1)))


def say(rank: int, content: Mapping[str, Any]) -> None:
    """Leave what a rank has to say for ``run_ranks``."""
    Path(FILE.format(rank=rank)).write_text(json.dumps(content), encoding="utf-8")


class Loop:
    """The training: its model, optimizer, loss and loader, the same on each rank but for the data.

    Args:
        settings: ``form`` of the loop (``epochs``, ``steps``, ``plain``), ``step_s``, how long a step takes ``later_s``
            when the estimate has been made, which rank is how much ``slower``, whether the data is ``uneven``, which
            rank ``dies`` or is ``killed``, how many epochs are ``done``, after which one the loop is
            ``left``.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.rank = distributed.get_rank()
        torch.manual_seed(0)
        self.model = DistributedDataParallel(nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 2)))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9)
        self.criterion = nn.CrossEntropyLoss()
        generator = torch.Generator().manual_seed(1)
        x, y = torch.randn(1280, 20, generator=generator), torch.randint(0, 2, (1280,), generator=generator)
        data = TensorDataset(x, y)
        if settings.get("uneven"):
            own = slice(480, 1120) if self.rank else slice(480)
            self.loader = DataLoader(TensorDataset(x[own], y[own]), 16)
        else:
            self.loader = DataLoader(data, 16, sampler=DistributedSampler(data, 2, self.rank, seed=3))
        self.step_count = 0

    def step(self, batch: Any) -> None:
        """One optimizer step."""
        slower = 1.0 + float(self.settings.get("slower", 0.0)) * (self.rank == self.settings.get("slow_rank", 1))
        is_later = "later_s" in self.settings and self.step_count > LATER_STEP
        time.sleep(float(self.settings["later_s"] if is_later else self.settings.get("step_s", 0.004)) * slower)
        self.optimizer.zero_grad()
        self.criterion(self.model(batch[0]), batch[1]).backward()
        self.optimizer.step()
        self.step_count += 1

    def train_step(self, model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> None:
        """One optimizer step, for a benchmark before the training."""
        self.step(batch)

    def train(self, run: Any = None) -> None:
        """Train to the end, with ``run.epochs()`` or ``run.steps()`` where the settings say so."""
        form = self.settings.get("form", "epochs") if run is not None else "plain"
        if form == "steps":
            batches = self._endless()
            for _ in run.steps():
                self.step(next(batches))
            return
        uneven: Any = self.model.join if self.settings.get("uneven") else contextlib.nullcontext
        with uneven():
            for epoch in run.epochs() if form == "epochs" else range(int(self.settings.get("done", 0)), EPOCH_COUNT):
                for batch in self.loader:
                    self.step(batch)
                    if form == "plain" and run is not None and run.must_stop:
                        return
                if epoch == 1 and self.settings.get("dies") == self.rank:
                    raise ValueError(f"rank {self.rank} has had enough")
                if epoch == 1 and self.settings.get("killed") == self.rank:
                    os.kill(os.getpid(), signal.SIGKILL)
                if epoch == self.settings.get("left"):
                    return

    def _endless(self) -> Iterator[Any]:
        while True:
            yield from self.loader

    @property
    def weights(self) -> str:
        """All weights, bit for bit."""
        return b"".join(each.detach().numpy().tobytes() for each in self.model.parameters()).hex()


def hold_up_the_store(seconds: float) -> None:
    """Make each request to the store slow, as a busy server is."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    log_batch: Any = SqlAlchemyStore.log_batch

    def slowly(self: Any, *given: Any, **named: Any) -> Any:
        time.sleep(seconds)
        return log_batch(self, *given, **named)

    setattr(SqlAlchemyStore, log_batch.__name__, slowly)


def followed(loop: Loop) -> contextlib.AbstractContextManager[Any]:
    """The training as the settings have it followed: ``track`` or ``watch``."""
    settings = loop.settings
    options = dict(settings.get("options", {}))
    if "limits" in settings and loop.rank in settings.get("limited", (0, 1)):
        options["limits"] = greenlove.Limits(**settings["limits"])
    if settings.get("confirms") and loop.rank == 0:
        options["confirm"] = lambda estimate: False
    step_count = EPOCH_COUNT * len(loop.loader)
    if settings.get("kind") == "watch":
        done = int(settings.get("done", 0)) * len(loop.loader)
        return greenlove.watch(loop.model, loop.optimizer, steps=step_count, done=done, batch_size=16, **options)
    options["done"] = settings.get("done", 0)
    parts = (loop.model, loop.optimizer, loop.criterion, loop.loader)
    if settings.get("form") == "steps":
        options["done"] *= len(loop.loader)
        return greenlove.track(*parts, steps=step_count, **options)
    return greenlove.track(*parts, epochs=EPOCH_COUNT, **options)


def outcome_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What happened on this rank."""
    if isinstance(settings.get("done"), list):
        settings = {**settings, "done": settings["done"][distributed.get_rank()]}
    loop = Loop(settings)
    said: dict[str, Any] = {"error": "", "initial": loop.weights}
    mlflow.set_tracking_uri(settings.get("uri") or os.environ["MLFLOW_TRACKING_URI"])
    if settings.get("store_s") and loop.rank == 0:
        hold_up_the_store(float(settings["store_s"]))
    begun_s = time.perf_counter()
    try:
        if settings.get("kind") == "bare":
            loop.train()
        elif settings.get("kind") == "estimate":
            given = (loop.model, loop.optimizer, loop.criterion, loop.loader, EPOCH_COUNT)
            options = {"train_step": loop.train_step, **settings.get("options", {})}
            said["estimate_s"] = greenlove.estimate(*given, **options).time_s.point
        else:
            with followed(loop) as run:
                loop.train(run)
                said["trained_s"] = time.perf_counter() - begun_s
            said |= {"must_stop": run.must_stop, "refusal": run.refusal, "run_id": run.run_id, "laps": run.lap_count}
            said["estimate_s"] = None if run.estimate is None else run.estimate.time_s.point
    except greenlove.GreenloveError as error:
        said["error"] = f"{type(error).__name__}: {error}"
    return {**said, "step_count": loop.step_count, "weights": loop.weights}


def outcomes_of(trainings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What happened in several trainings, one after the other; each ``resumes`` an earlier one, or none."""
    said: list[dict[str, Any]] = []
    for settings in trainings:
        options = dict(settings.get("options", {}))
        if "resumes" in settings:
            run_id = [said[settings["resumes"]].get("run_id")]
            distributed.broadcast_object_list(run_id)
            options["run_id"] = run_id[0]
        said.append(outcome_of({**settings, "options": options}))
    return said


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    settings = json.loads(os.environ["SETTINGS"])
    trainings = settings.get("trainings")
    said = outcome_of(settings) if trainings is None else {"trainings": outcomes_of(trainings)}
    say(distributed.get_rank(), said)
    distributed.destroy_process_group()
