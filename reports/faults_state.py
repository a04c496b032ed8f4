"""State: a training is the same after a benchmark, and trains on as one that was never benchmarked.

    python reports/faults_state.py [--quick]

Each kind of model, optimizer, step and loader (``faults_state_kinds.py``) is built twice from the same seed. One is
trained at once; the other is benchmarked first. Every bit of what it holds must be as it was, and the losses, the
random numbers and the end of the training must be those of the other. What cannot be kept must be refused, by name and
with nothing changed. ``--quick`` runs a few steps in place of the whole benchmark.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "reports")]

import faults_state_more  # noqa: E402, F401 - registers its kinds
import faults_state_outside  # noqa: E402, F401 - registers its kinds
import numpy as np  # noqa: E402
import torch  # noqa: E402
from faults_count import Count  # noqa: E402
from faults_state_kinds import KINDS, REFUSED, Kind  # noqa: E402

from greenlove_mlflow.benchmark import BenchmarkPlan, Training, run_benchmark  # noqa: E402
from greenlove_mlflow.benchmark.feed import make_feed  # noqa: E402
from greenlove_mlflow.benchmark.state.state import check_state, preserved  # noqa: E402
from greenlove_mlflow.core.records import Machine  # noqa: E402
from greenlove_mlflow.errors import StateNotKeepableError  # noqa: E402

REAL_STEPS, QUICK_STEPS, BUDGET_S = 14, 5, 0.2


def count_state(*, quick: bool = False, names: Iterable[str] = tuple(KINDS)) -> Count:
    """How many kinds were left as they were.

    Args:
        quick: Whether a few steps stand for the benchmark.
        names: The kinds to try.
    """
    count = Count(part="kinds of model, optimizer, step and loader")
    for name in names:
        try:
            problem = _try_refused(name) if name in REFUSED else _try_kept(name, quick=quick)
        except Exception as error:  # noqa: BLE001 - one kind must not keep the others from being tried
            problem = f"{type(error).__name__}: {error}"
        count.add(name, problem, "refused" if name in REFUSED else "as it was")
    return count


def _try_kept(name: str, *, quick: bool) -> str:
    untouched = _made(name)
    expected = _trained(untouched)
    kind = _made(name)
    before = _picture(kind)
    _benchmark(kind, quick=quick)
    if _picture(kind) != before:
        return "not as it was before the benchmark"
    return "" if _trained(kind) == expected else "trains otherwise after the benchmark"


def _try_refused(name: str) -> str:
    kind = _made(name)
    before = _picture(kind)
    training = _training_of(kind)
    try:
        make_feed(kind.data, steps_per_epoch=kind.steps_per_epoch)
        check_state(training)
    except StateNotKeepableError as error:
        if not error.found:
            return "refused without a name"
        return "" if _picture(kind) == before else "changed by its refusal"
    return "not refused"


def _benchmark(kind: Kind, *, quick: bool) -> None:
    training = _training_of(kind)
    plan = BenchmarkPlan(epoch_count=3, steps_per_epoch=kind.steps_per_epoch, budget_s=BUDGET_S)
    if not quick:
        run_benchmark(training, plan, machine=Machine(device="cpu"))
        return
    feed, step = make_feed(kind.data, steps_per_epoch=kind.steps_per_epoch), training.make_step()
    check_state(training)
    with preserved(training):
        for _ in range(2):
            for number, batch in enumerate(feed.loader):
                if number == QUICK_STEPS:
                    break
                step(batch)
        feed.close()


def _made(name: str) -> Kind:
    _seed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KINDS[name]()


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def _training_of(kind: Kind) -> Training:
    return Training(
        model=kind.model,
        optimizer=kind.optimizer,
        criterion=kind.criterion,
        data=kind.data,
        train_step=kind.step,
        extra_state=kind.extra,
    )


def _trained(kind: Kind) -> Any:
    """What the first steps of a training come to."""
    losses, step = [], _training_of(kind).make_step()
    for number, batch in enumerate(kind.data):
        if number == REAL_STEPS:
            break
        losses.append(_bits(step(batch)))
    return losses, _picture(kind)


def _picture(kind: Kind) -> Any:
    """All that a training holds, as values, read in another way than the package does."""
    models = kind.model.values() if isinstance(kind.model, dict) else [kind.model]
    modules = [each for each in models if isinstance(each, torch.nn.Module)]
    optimizers = list(kind.optimizer.values()) if isinstance(kind.optimizer, dict) else [kind.optimizer]
    return repr(
        (
            [{name: _bits(value) for name, value in module.state_dict().items()} for module in modules],
            [[_bits(each.grad) for each in module.parameters() if not _is_lazy(each)] for module in modules],
            [[(each.training, each.__class__) for each in module.modules()] for module in modules],
            [_plain(each.state_dict()) for each in optimizers],
            [_plain(each.state_dict()) for each in kind.extra],
            _plain(kind.watch()),
            _bits(torch.get_rng_state()),
            np.random.get_state()[1].tobytes(),
            random.getstate(),
        )
    )


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _bits(value)
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return repr(value) if not callable(value) else "function"


def _bits(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or _is_lazy(value):
        return None if value is None else type(value).__name__
    dense = value.detach().to_dense() if value.is_sparse else value.detach()
    return dense.dtype, tuple(dense.shape), dense.contiguous().clone().reshape(-1).view(torch.uint8).numpy().tobytes()


def _is_lazy(value: torch.Tensor) -> bool:
    return torch.nn.parameter.is_lazy(value)


def main() -> None:
    """Print the count; exit 1 when a kind went wrong."""
    torch.set_num_threads(1)
    count = count_state(quick="--quick" in sys.argv)
    print(f"{count.part}: {count.tried} tried, {count.right} right, {len(count.wrong)} wrong; {count.outcomes}")
    for each in count.wrong:
        print("  wrong:", each)
    sys.exit(bool(count.wrong))


if __name__ == "__main__":
    main()
