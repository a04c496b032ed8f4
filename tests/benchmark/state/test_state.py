"""The training is the same after the benchmark as before, bit by bit."""

from __future__ import annotations

import contextvars
import copy
import decimal
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from greenlove_mlflow.benchmark import BenchmarkPlan, Training, run_benchmark
from greenlove_mlflow.benchmark.state import state
from greenlove_mlflow.benchmark.state.state import check_state, count_state_bytes, preserved
from greenlove_mlflow.errors import StateNotKeepableError, StateNotRestoredError
from tests.support.spy import Spy

SHORT = BenchmarkPlan(epoch_count=3, batch_size=8, budget_s=0.3)


class Counting(nn.Module):
    """A model with every kind of state: normalisation, a buffer that is not saved, dropout, a replaced buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop, self.last = (
            nn.Linear(4, 8),
            nn.BatchNorm1d(8),
            nn.Dropout(0.5),
            nn.Linear(8, 2),
        )
        self.register_buffer("calls", torch.zeros(1), persistent=False)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.last(self.drop(self.norm(self.first(x)).relu()))


def a_training(**over: Any) -> Training:
    torch.manual_seed(0)
    model = over.pop("model", None) or Counting()
    data = TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))
    fields = {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters()),
        "criterion": nn.CrossEntropyLoss(),
        "data": data,
    }
    return Training(**{**fields, **over})


def everything(training: Training) -> dict[str, Any]:
    """A picture of all that steps could change."""
    model, optimizer = training.model, training.optimizer
    return {
        "parameters": {n: p.detach().clone() for n, p in model.named_parameters()},
        "buffers": {n: b.detach().clone() for n, b in model.named_buffers()},
        "grads": {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "modes": [m.training for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),
        "python": random.getstate(),
        "extra": [copy.deepcopy(item.state_dict()) for item in training.extra_state],
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return bool((one == other).all())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("method", ["adaptive", "original"])
def test_a_fresh_training_is_left_as_it_was(method: str) -> None:
    training = a_training()
    before = everything(training)
    plan = BenchmarkPlan(method=method, epoch_count=3, batch_size=8, budget_s=0.3, cap_s=0.5)
    run_benchmark(training, plan)
    assert same(before, everything(training))


def test_a_training_in_full_swing_is_left_as_it_was() -> None:
    training = a_training()
    model, optimizer = training.model, training.optimizer
    model(torch.randn(8, 4)).sum().backward()
    optimizer.step()
    model.norm.eval()  # frozen statistics, as in fine-tuning
    before, gradient = everything(training), model.first.weight.grad
    run_benchmark(training, SHORT)
    assert same(before, everything(training))
    assert model.first.weight.grad is gradient


def test_frozen_statistics_stay_frozen_while_it_runs_and_an_evaluating_model_trains() -> None:
    seen = Spy()
    training = a_training(train_step=lambda model, *_: seen.put((model.training, model.norm.training)))
    training.model.eval()
    run_benchmark(training, SHORT)
    assert set(seen.noted()) == {(True, True)}
    assert not training.model.training
    training.model.train()
    training.model.norm.eval()
    run_benchmark(training, SHORT)
    assert set(seen.noted()) == {(True, False)}


def test_a_step_that_raises_lets_its_error_out_and_the_state_is_back() -> None:
    calls = []

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        loss = criterion(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of luck")
        return loss

    training = a_training(train_step=step)
    before = everything(training)
    with pytest.raises(RuntimeError, match="out of luck"):
        run_benchmark(training, SHORT)
    assert same(before, everything(training))


def test_weights_are_never_initialised_anew() -> None:
    training = a_training(train_step=lambda model, *_: first.put(model.first.weight.detach().clone()))
    first = Spy()
    pretrained = training.model.first.weight.detach().clone()
    run_benchmark(training, SHORT)
    assert all(torch.equal(pretrained, weight) for weight in first.noted())


class Remembering(Counting):
    """A model that counts in plain attributes, which are neither parameters nor buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.losses, self.total = 0, [0.5], torch.zeros(2)
        self.by_name: dict[str, int] = {"steps": 3}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        self.losses.append(float(x.mean()))
        self.total += x.sum()
        self.by_name["steps"] += 1
        return super().forward(x)


def test_what_a_model_keeps_in_plain_attributes_is_put_back() -> None:
    training = a_training(model=Remembering())
    run_benchmark(training, SHORT)
    model = training.model
    assert (model.seen, model.losses, model.by_name) == (0, [0.5], {"steps": 3})
    assert torch.equal(model.total, torch.zeros(2))


def test_the_state_of_torchmetrics_is_put_back() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    model = Counting()
    model.accuracy = torchmetrics.classification.MulticlassAccuracy(2)

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> None:
        logits = model(batch[0])
        model.accuracy.update(logits, batch[1])
        criterion(logits, batch[1]).backward()
        optimizer.step()
        optimizer.zero_grad()

    run_benchmark(a_training(model=model, train_step=step), SHORT)
    assert model.accuracy.update_count == 0
    assert not model.accuracy.tp.any()


def test_scheduler_scaler_and_averaged_model_are_put_back() -> None:
    training = a_training()
    scheduler = torch.optim.lr_scheduler.StepLR(training.optimizer, 1, gamma=0.5)
    scaler = torch.amp.GradScaler("cpu", growth_interval=2)
    averaged = torch.optim.swa_utils.AveragedModel(training.model)

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        optimizer.zero_grad()
        loss = criterion(model(batch[0]), batch[1])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        averaged.update_parameters(model)
        return loss

    training = Training(
        model=training.model,
        optimizer=training.optimizer,
        criterion=training.criterion,
        data=training.data,
        train_step=step,
        extra_state=(scheduler, scaler, averaged),
    )
    before = everything(training)
    run_benchmark(training, SHORT)
    assert same(before, everything(training))
    assert training.optimizer.param_groups[0]["lr"] == 1e-3


def test_the_training_after_a_benchmark_is_the_training_without_one() -> None:
    def train(benchmarked: bool) -> torch.Tensor:
        training = a_training()
        generator = torch.Generator().manual_seed(7)
        loader = DataLoader(training.data, batch_size=8, shuffle=True, generator=generator)
        training = a_training(model=training.model, optimizer=training.optimizer, data=loader)
        torch.manual_seed(1)
        if benchmarked:
            run_benchmark(training, BenchmarkPlan(epoch_count=2, budget_s=0.3))
        for x, y in loader:
            training.optimizer.zero_grad()
            training.criterion(training.model(x), y).backward()
            training.optimizer.step()
        return training.model.first.weight.detach().clone()

    assert torch.equal(train(benchmarked=False), train(benchmarked=True))


def test_a_generator_inside_the_data_set_is_put_back() -> None:
    class Augmented(TensorDataset):
        rng = None

        def __getitem__(self, index: int) -> Any:
            x, y = super().__getitem__(index)
            return x + float(self.rng.normal()), y

    data = Augmented(torch.randn(64, 4), torch.randint(0, 2, (64,)))
    data.rng = np.random.default_rng(3)
    state = copy.deepcopy(data.rng.bit_generator.state)
    run_benchmark(a_training(data=data), SHORT)
    assert data.rng.bit_generator.state == state


def test_lazy_state_of_optimizers_is_gone_again() -> None:
    model = nn.Linear(4, 2)
    for optimizer in (
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        torch.optim.AdamW(model.parameters(), amsgrad=True),
        torch.optim.LBFGS(model.parameters(), max_iter=2),
    ):
        run_benchmark(a_training(model=model, optimizer=optimizer), SHORT)
        assert not optimizer.state


def test_what_no_smaller_batch_saves_is_counted_as_it_grows() -> None:
    model = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters())
    training = a_training(model=model, optimizer=optimizer)
    weights = (4 * 2 + 2) * 4
    assert count_state_bytes(training) == weights
    model(torch.randn(3, 4)).sum().backward()
    assert count_state_bytes(training) == 2 * weights
    optimizer.step()
    # Two moments of each weight, and a step count of four bytes for each of the two parameters.
    assert count_state_bytes(training) == 4 * weights + 2 * 4


def test_an_iterator_that_only_the_code_of_a_class_names_is_no_reason_to_refuse() -> None:
    stream = iter(range(3))

    class Net(Counting):
        def export(self) -> int:
            return next(stream)

    def step(*args: Any) -> int:
        return next(stream)

    check_state(a_training(model=Net()))
    with pytest.raises(StateNotKeepableError, match="stream"):
        check_state(a_training(model=Net(), train_step=step))
    assert list(stream) == [0, 1, 2]


def test_an_iterator_that_a_method_called_by_the_forward_pass_names_is_refused() -> None:
    stream = iter(range(3))

    class Net(Counting):
        def noise(self) -> int:
            return next(stream)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + self.noise()

    with pytest.raises(StateNotKeepableError, match="stream"):
        check_state(a_training(model=Net()))
    assert list(stream) == [0, 1, 2]


def test_averaged_weights_in_a_closure_are_put_back_however_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LARGEST_COPY_OF_DATA_BYTES", 0)
    average: dict[str, torch.Tensor] = {}

    def step(model: Any, batch: Any, *rest: Any) -> None:
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value + 1.0, 0.1)

    training = a_training(train_step=step)
    average.update({name: value.clone() for name, value in training.model.state_dict().items()})
    before = {name: value.clone() for name, value in average.items()}
    with preserved(training):
        step(training.model, None)
        assert not same(before, average)
    assert same(before, average)


def test_data_too_large_to_be_copied_is_watched_and_said_when_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LARGEST_COPY_OF_DATA_BYTES", 0)
    training = a_training()
    rows = training.data.tensors[0]
    with preserved(training):
        pass
    with pytest.raises(StateNotRestoredError, match=r"data\.tensors\[0\]"), preserved(training):
        rows.add_(1.0)


def test_what_cannot_be_put_back_is_named_and_everything_else_is_back() -> None:
    training = a_training()
    training.model.locked = np.zeros(3)
    before = everything(training)
    locked = training.model.locked

    def train() -> None:
        with preserved(training):
            training.model.first.weight.data.add_(1.0)
            torch.rand(1)
            locked[0] = 1.0
            locked.flags.writeable = False

    with pytest.raises(StateNotRestoredError, match=r"model\.locked"):
        train()
    assert same(before, everything(training))


def test_a_model_whose_weights_are_views_that_autograd_refuses_is_refused_by_name() -> None:
    """FSDP 1 leaves its modules' weights so: any look at their place in the graph is an error."""
    net = Counting()
    flat = torch.zeros(6, requires_grad=True) * 1.0
    net.part, _ = flat.split(3)  # type: ignore[assignment]
    flat.mul_(2.0)
    with pytest.raises(StateNotKeepableError, match="part is a view that autograd refuses, as FSDP 1 leaves them"):
        check_state(a_training(model=net))


@pytest.mark.parametrize(
    ("rank_count", "options", "is_refused"),
    [(3, {}, True), (2, {}, False), (3, {"find_unused_parameters": True}, False)],
)
def test_gradients_that_are_arranged_anew_after_the_first_step_are_not_put_back(
    rank_count: int, options: dict[str, Any], is_refused: bool
) -> None:
    """Sums of two are the same in any order; of three they round differently."""
    with ranks_that_are_not_there(rank_count):
        net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 2), **options)
        with pytest.raises(StateNotKeepableError, match="arranges its gradients anew") if is_refused else nullcontext():
            check_state(a_training(model=net))


@contextmanager
def ranks_that_are_not_there(count: int) -> Iterator[None]:
    """A process group whose other ranks answer at once, with nothing; PyTorch's own for tests."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=count)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def test_a_refusal_names_what_it_found_and_what_to_do() -> None:
    training = a_training(data=Once())
    with pytest.raises(
        StateNotKeepableError, match=r'an iterator, which can be read only once.*benchmark="within"'
    ) as told:
        check_state(training)
    assert told.value.found.startswith("data.rows is")


def test_variables_of_a_context_that_had_no_value_have_none_again() -> None:
    seen: contextvars.ContextVar[int] = contextvars.ContextVar("seen")
    digits, errors = decimal.getcontext().prec, np.geterr()

    class Net(Counting):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.set(seen.get(0) + 1)
            decimal.getcontext().prec += 1
            np.seterr(all="ignore")
            return super().forward(x)

    run_benchmark(a_training(model=Net()), SHORT)
    assert seen.get(None) is None
    assert (decimal.getcontext().prec, np.geterr()) == (digits, errors)


class Once(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """A stream that can be read once."""

    def __init__(self) -> None:
        self.rows = (row for row in [1, 2, 3])

    def __iter__(self) -> Any:
        return self.rows
