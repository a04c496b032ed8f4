"""Kinds of model, optimizer, loader and step whose state a benchmark could change: each a small training."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

X = torch.randn(96, 10, generator=torch.Generator().manual_seed(1))
Y = torch.randn(96, 1, generator=torch.Generator().manual_seed(2))
STEPS_SEEN = 0


@dataclass(kw_only=True)
class Kind:
    """One training.

    Args:
        model: The model, a plain one when None.
        optimizer: SGD over the model when None.
        criterion: Mean squared error unless given.
        data: A shuffling loader over 96 rows unless given.
        step: The plain step unless given.
        extra: Objects named as ``extra_state``.
        watch: What else must be as it was, read anew each time.
        steps_per_epoch: For streams.
    """

    model: Any = None
    optimizer: Any = None
    criterion: Any = field(default_factory=nn.MSELoss)
    data: Any = None
    step: Any = None
    extra: tuple[Any, ...] = ()
    watch: Callable[[], Any] = lambda: None
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        self.model = mlp() if self.model is None else self.model
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05) if self.optimizer is None else self.optimizer
        self.data = loader() if self.data is None else self.data
        self.step = plain_step if self.step is None else self.step


KINDS: dict[str, Callable[[], Kind]] = {}
REFUSED: set[str] = set()


def kind(*, refused: bool = False) -> Callable[[Callable[[], Kind]], Callable[[], Kind]]:
    """Register a kind; one that cannot be kept is to be refused."""

    def register(make: Callable[[], Kind]) -> Callable[[], Kind]:
        KINDS[make.__name__] = make
        if refused:
            REFUSED.add(make.__name__)
        return make

    return register


def mlp() -> nn.Sequential:
    """A small net."""
    return nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1))


def loader(**more: Any) -> DataLoader[Any]:
    """A loader over all rows."""
    return DataLoader(TensorDataset(X, Y), **{"batch_size": 8, "shuffle": True, **more})


def plain_step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
    """Zero, forward, backward, step."""
    optimizer.zero_grad()
    loss = criterion(model(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss


# --- models --------------------------------------------------------------------------------------------------------


@kind()
def plain_model() -> Kind:
    return Kind()


@kind()
def normalisation_and_dropout() -> Kind:
    return Kind(model=nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)))


@kind()
def buffers_replaced_and_not_saved() -> Kind:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()
            self.register_buffer("mean", torch.zeros(10))
            self.register_buffer("count", torch.zeros(()), persistent=False)

        def forward(self, x: Any) -> Any:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            self.count += 1
            return self.net(x - self.mean)

    net = Net()
    return Kind(model=net, watch=lambda: (net.mean.tolist(), float(net.count)))


@kind()
def counter_list_and_dictionary_in_attributes() -> Kind:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.seen, self.losses, self.by_size = mlp(), 0, [], collections.Counter()

        def forward(self, x: Any) -> Any:
            self.seen += 1
            self.losses.append(float(x.sum()))
            self.by_size[len(x)] += 1
            return self.net(x) * min(1.0, self.seen / 20)

    net = Net()
    return Kind(model=net, watch=lambda: (net.seen, list(net.losses), dict(net.by_size)))


@kind()
def hidden_state_from_batch_to_batch() -> Kind:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out, self.hidden = nn.GRUCell(10, 6), nn.Linear(6, 1), None

        def forward(self, x: Any) -> Any:
            self.hidden = self.cell(x, None if self.hidden is None else self.hidden.detach()[: len(x)])
            return self.out(self.hidden)

    return Kind(model=Net())


@kind()
def generators_of_a_model() -> Kind:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()
            self.torch, self.numpy = torch.Generator().manual_seed(3), np.random.default_rng(3)
            self.legacy, self.python = np.random.RandomState(3), random.Random(3)

        def forward(self, x: Any) -> Any:
            scale = self.numpy.random() + self.legacy.rand() + self.python.random()
            return self.net(x + scale * torch.randn(x.shape, generator=self.torch))

    return Kind(model=Net())


@kind()
def lazy_modules() -> Kind:
    model = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(1))
    return Kind(model=model, watch=lambda: [type(each).__name__ for each in model])


@kind()
def shared_and_frozen_parameters() -> Kind:
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10), nn.Linear(10, 1))
    model[1].weight = model[0].weight
    model[2].bias.requires_grad_(False)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=0.01)
    return Kind(model=model, optimizer=optimizer)


@kind()
def layers_unfrozen_by_the_step() -> Kind:
    model = mlp()
    model[0].requires_grad_(False)

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        model[0].requires_grad_(True)
        return plain_step(model, batch, optimizer, criterion, device)

    return Kind(model=model, step=step, watch=lambda: [each.requires_grad for each in model.parameters()])


@kind()
def weight_norm_old_and_new() -> Kind:
    old, new = nn.utils.weight_norm(nn.Linear(10, 8)), nn.utils.parametrizations.weight_norm(nn.Linear(8, 1))
    return Kind(model=nn.Sequential(old, nn.ReLU(), new))


@kind()
def spectral_norm() -> Kind:
    return Kind(model=nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(10, 8)), nn.Linear(8, 1)))


@kind()
def expanded_buffer() -> Kind:
    net = mlp()
    net.register_buffer("mask", torch.ones(1, 8).expand(4, 8))
    return Kind(model=net)


@kind()
def memory_mapped_weights() -> Kind:
    path = Path(tempfile.mkdtemp()) / "vectors.npy"
    np.save(path, np.random.default_rng(0).random((50, 4), dtype=np.float32))
    frozen = nn.Embedding.from_pretrained(torch.from_numpy(np.load(path, mmap_mode="r")), freeze=True)
    model = nn.Sequential(frozen, nn.Flatten(), nn.Linear(20, 1))
    data = DataLoader(TensorDataset(torch.arange(480).reshape(96, 5) % 50, Y), batch_size=8, shuffle=True)
    return Kind(model=model, optimizer=torch.optim.SGD(model[2].parameters(), lr=0.05), data=data)


@kind()
def modules_in_plain_containers() -> Kind:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(10, 10), nn.BatchNorm1d(10)]
            self.named = {"head": nn.Linear(10, 1)}

        def forward(self, x: Any) -> Any:
            return self.named["head"](self.layers[1](self.layers[0](x)))

    net = Net()
    trained = [*net.layers[0].parameters(), *net.layers[1].parameters(), *net.named["head"].parameters()]
    watch = lambda: [each.tolist() for each in (*trained, net.layers[1].running_mean)]  # noqa: E731
    return Kind(model=net, optimizer=torch.optim.SGD(trained, lr=0.05), watch=watch)


@kind()
def hooks_that_note() -> Kind:
    model, noted = mlp(), {"forward": [], "count": 0}

    def note(module: Any, inputs: Any, output: Any) -> None:
        noted["forward"].append(float(output.detach().sum()))
        noted["count"] += 1

    model[0].register_forward_hook(note)
    return Kind(model=model, watch=lambda: (list(noted["forward"]), noted["count"]))


@kind()
def metric_with_its_own_state() -> Kind:
    class Metric(nn.Module):  # as torchmetrics keep theirs
        def __init__(self) -> None:
            super().__init__()
            self.total, self.update_count, self.values = torch.zeros(()), 0, []

        def update(self, value: Any) -> None:
            self.total = self.total + value
            self.update_count += 1
            self.values.append(value)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.metric = mlp(), Metric()

        def forward(self, x: Any) -> Any:
            output = self.net(x)
            self.metric.update(output.detach().sum())
            return output

    net = Net()
    return Kind(model=net, watch=lambda: (float(net.metric.total), net.metric.update_count, len(net.metric.values)))


@kind()
def counter_of_a_class_and_of_a_module() -> Kind:
    globals()["STEPS_SEEN"] = 0

    class Net(nn.Module):
        forwards = 0

        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def forward(self, x: Any) -> Any:
            global STEPS_SEEN  # noqa: PLW0603 - as people write it
            STEPS_SEEN += 1
            type(self).forwards += 1
            return self.net(x)

    return Kind(model=Net(), watch=lambda: (Net.forwards, STEPS_SEEN))


@kind()
def attributes_in_slots() -> Kind:
    class Pace:
        __slots__ = ("count", "mean")

        def __init__(self) -> None:
            self.count, self.mean = 0, torch.zeros(())

    pace = Pace()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.pace = mlp(), pace

        def forward(self, x: Any) -> Any:
            self.pace.count += 1
            self.pace.mean.add_(x.mean())
            return self.net(x)

    return Kind(model=Net(), watch=lambda: (pace.count, float(pace.mean)))


@kind()
def model_that_is_a_function() -> Kind:
    net = mlp()
    return Kind(model=lambda x: net(x) + 0.0, optimizer=torch.optim.Adam(net.parameters()), watch=lambda: weights(net))


@kind()
def model_that_is_a_bound_method() -> Kind:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def compute(self, x: Any) -> Any:
            return self.net(x)

    net = Net()
    return Kind(model=net.compute, optimizer=torch.optim.Adam(net.parameters()), watch=lambda: weights(net))


@kind()
def two_nets_and_two_optimizers() -> Kind:
    nets = {"one": mlp(), "two": mlp()}
    optimizers = {name: torch.optim.Adam(net.parameters(), lr=0.01) for name, net in nets.items()}

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        total = 0.0
        for name, net in model.items():
            total = total + plain_step(net, batch, optimizer[name], criterion, device).detach()
        return total

    return Kind(model=nets, optimizer=optimizers, step=step, watch=lambda: [weights(net) for net in nets.values()])


@kind()
def half_precision_with_not_a_number() -> Kind:
    model = mlp().to(torch.bfloat16)
    model.register_buffer("gap", torch.tensor([float("nan"), -0.0], dtype=torch.bfloat16))
    data = DataLoader(TensorDataset(X.to(torch.bfloat16), Y.to(torch.bfloat16)), batch_size=8, shuffle=True)
    return Kind(model=model, data=data)


@kind()
def sparse_gradients() -> Kind:
    model = nn.Sequential(nn.Embedding(50, 4, sparse=True), nn.Flatten(), nn.Linear(20, 1))
    model(torch.zeros(2, 5, dtype=torch.long)).sum().backward()
    data = DataLoader(TensorDataset(torch.arange(480).reshape(96, 5) % 50, Y), batch_size=8, shuffle=True)
    return Kind(model=model, data=data, watch=lambda: model[0].weight.grad.to_dense().tolist())


# --- what only optimizer, criterion or step reach ------------------------------------------------------------------


@kind()
def parameter_that_only_the_optimizer_knows() -> Kind:
    model, log_sigma = mlp(), nn.Parameter(torch.zeros(()))

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        optimizer.zero_grad()
        loss = criterion(model(batch[0]), batch[1]) * torch.exp(-log_sigma) + log_sigma
        loss.backward()
        optimizer.step()
        return loss

    optimizer = torch.optim.Adam([*model.parameters(), log_sigma], lr=0.01)
    return Kind(model=model, optimizer=optimizer, step=step, watch=lambda: float(log_sigma.detach()))


@kind()
def criterion_with_parameters() -> Kind:
    model, centers = nn.Linear(10, 4), nn.Parameter(torch.randn(4))
    optimizer = torch.optim.SGD([*model.parameters(), centers], lr=0.05)
    criterion = lambda output, target: ((output - centers) ** 2).mean()  # noqa: E731
    return Kind(model=model, optimizer=optimizer, criterion=criterion, watch=centers.tolist)


@kind()
def optimizer_in_full_swing() -> Kind:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, amsgrad=True)
    for _ in range(3):
        plain_step(model, (X[:8], Y[:8]), optimizer, nn.MSELoss(), "cpu")
    return Kind(model=model, optimizer=optimizer)


@kind()
def optimizer_that_needs_a_closure() -> Kind:
    model = mlp()

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        def closure() -> Any:
            optimizer.zero_grad()
            loss = criterion(model(batch[0]), batch[1])
            loss.backward()
            return loss

        return optimizer.step(closure)

    return Kind(model=model, optimizer=torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2), step=step)


class Sam(torch.optim.Optimizer):
    """Sharpness-aware minimisation: an optimizer around another."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.01})
        self.base_optimizer = torch.optim.Adam(self.param_groups, lr=0.01)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def climb(self) -> None:
        """To the worst weights nearby."""
        for p in self.param_groups[0]["params"]:
            self.state[p]["e"] = 0.05 * p.grad / (p.grad.norm() + 1e-12)
            p.add_(self.state[p]["e"])
        self.zero_grad()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Back from there, and down."""
        for p in self.param_groups[0]["params"]:
            p.sub_(self.state[p]["e"])
        self.base_optimizer.step()
        self.zero_grad()


@kind()
def optimizer_inside_an_optimizer() -> Kind:
    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        loss = criterion(model(batch[0]), batch[1])
        loss.backward()
        optimizer.climb()
        criterion(model(batch[0]), batch[1]).backward()
        optimizer.step()
        return loss

    model = mlp()
    return Kind(model=model, optimizer=Sam(model.parameters()), step=step)


class Lookahead:
    """A wrapper with slow weights and a counter; no optimizer by its type."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner, self.count = inner, 0
        self.slow = [[p.detach().clone() for p in group["params"]] for group in inner.param_groups]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    @torch.no_grad()
    def step(self) -> None:
        """Of the inner optimizer; every third time half way back to the slow weights."""
        self.inner.step()
        self.count += 1
        if self.count % 3 == 0:
            for group, slow in zip(self.inner.param_groups, self.slow, strict=True):
                for p, kept in zip(group["params"], slow, strict=True):
                    p.copy_(kept.lerp_(p, 0.5))


@kind()
def wrapper_with_slow_weights() -> Kind:
    model = mlp()
    wrapper = Lookahead(torch.optim.Adam(model.parameters(), lr=0.01))
    return Kind(model=model, optimizer=wrapper, watch=lambda: (wrapper.count, [p.tolist() for p in wrapper.slow[0]]))


@kind()
def schedule_free_optimizer() -> Kind:
    class ScheduleFree(torch.optim.SGD):  # its counters live in the groups
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                group["k"] = group.get("k", 0) + 1
                group["weight_sum"] = group.get("weight_sum", 0.0) + group["k"] ** 2
                for p in group["params"]:
                    z = self.state[p].setdefault("z", p.clone())
                    z.sub_(p.grad, alpha=group["lr"])
                    p.lerp_(z, group["k"] ** 2 / group["weight_sum"])

    model = mlp()
    return Kind(model=model, optimizer=ScheduleFree(model.parameters(), lr=0.05))


@kind()
def optimizer_that_counts_for_itself() -> Kind:
    class Decaying(torch.optim.SGD):
        count = 0

        def step(self, closure: Any = None) -> Any:
            self.count += 1
            for group in self.param_groups:
                group["lr"] = 0.1 / self.count
            return super().step(closure)

    model = mlp()
    return Kind(model=model, optimizer=Decaying(model.parameters(), lr=0.1))


@kind()
def schedulers_in_a_closure() -> Kind:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=200)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        loss = plain_step(model, batch, optimizer, criterion, device)
        if cycle.last_epoch < 150:
            cycle.step()
        plateau.step(float(loss.detach()))
        return loss

    return Kind(model=model, optimizer=optimizer, step=step, watch=lambda: (cycle.last_epoch, plateau.num_bad_epochs))


@kind()
def averaged_models_in_a_closure() -> Kind:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    swa, ema = AveragedModel(model), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    annealing = SWALR(optimizer, swa_lr=0.01)

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        loss = plain_step(model, batch, optimizer, criterion, device)
        swa.update_parameters(model)
        ema.update_parameters(model)
        annealing.step()
        return loss

    watch = lambda: (int(swa.n_averaged), weights(swa), weights(ema))  # noqa: E731
    return Kind(model=model, optimizer=optimizer, step=step, watch=watch)


@kind()
def gradient_scaler() -> Kind:
    scaler = torch.amp.GradScaler("cpu", growth_interval=3)

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = criterion(model(batch[0]), batch[1])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    return Kind(step=step, extra=(scaler,), watch=scaler.state_dict)


@kind()
def accumulation_counted_in_a_closure() -> Kind:
    count = 0

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        nonlocal count
        count += 1
        loss = criterion(model(batch[0]), batch[1])
        loss.backward()
        if count % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    return Kind(step=step, watch=lambda: count)


@kind()
def step_that_is_a_bound_method() -> Kind:
    class Trainer:
        def __init__(self) -> None:
            self.count, self.losses, self.best = 0, [], {"loss": 1e9}

        def step(self, model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
            loss = plain_step(model, batch, optimizer, criterion, device)
            self.count += 1
            self.losses.append(float(loss.detach()))
            self.best["loss"] = min(self.best["loss"], self.losses[-1])
            return loss

    trainer = Trainer()
    return Kind(step=trainer.step, watch=lambda: (trainer.count, list(trainer.losses), dict(trainer.best)))


@kind()
def step_that_is_a_partial() -> Kind:
    state: dict[str, Any] = {"count": 0, "recent": collections.deque(maxlen=5), "ids": set()}

    def step(state: Any, model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        state["count"] += 1
        state["recent"].append(state["count"])
        state["ids"].add(state["count"])
        return plain_step(model, batch, optimizer, criterion, device)

    watch = lambda: (state["count"], list(state["recent"]), sorted(state["ids"]))  # noqa: E731
    return Kind(step=functools.partial(step, state), watch=watch)


@kind()
def step_with_attributes_of_its_own() -> Kind:
    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        step.count += 1  # type: ignore[attr-defined]
        return plain_step(model, batch, optimizer, criterion, device)

    step.count = 0  # type: ignore[attr-defined]
    return Kind(step=step, watch=lambda: step.count)  # type: ignore[attr-defined]


@kind()
def settings_of_torch() -> Kind:
    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        torch.set_float32_matmul_precision("high")
        return plain_step(model, batch, optimizer, criterion, device)

    return Kind(step=step, watch=torch.get_float32_matmul_precision)


# --- data ----------------------------------------------------------------------------------------------------------


class Noisy(Dataset[Any]):
    """Rows with noise from a generator of its own."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, at: int) -> Any:
        generator = self.generator
        noise = torch.rand((), generator=generator) if isinstance(generator, torch.Generator) else generator.random()
        return X[at] * (1 + noise), Y[at]


@kind()
def generator_of_the_loader() -> Kind:
    return Kind(data=loader(generator=torch.Generator().manual_seed(4)))


@kind()
def generators_below_split_subset_and_concatenation() -> Kind:
    one = random_split(Noisy(np.random.default_rng(5)), [48, 48], torch.Generator().manual_seed(0))[0]
    two = Subset(Noisy(random.Random(6)), range(24))
    return Kind(data=DataLoader(ConcatDataset([one, two]), batch_size=8, shuffle=True))


@kind()
def generators_of_transform_and_collation() -> Kind:
    class Jitter:
        def __init__(self) -> None:
            self.generator = torch.Generator().manual_seed(7)

        def __call__(self, x: Any) -> Any:
            return x + torch.randn(x.shape, generator=self.generator)

    class Transformed(Dataset[Any]):
        def __init__(self) -> None:
            self.transforms = [Jitter()]

        def __len__(self) -> int:
            return len(X)

        def __getitem__(self, at: int) -> Any:
            return self.transforms[0](X[at]), Y[at]

    mix = np.random.default_rng(8)

    def mixup(rows: list[Any]) -> Any:
        share = mix.random()
        x = torch.stack([x for x, _ in rows])
        return share * x + (1 - share) * x.flip(0), torch.stack([y for _, y in rows])

    return Kind(data=DataLoader(Transformed(), batch_size=8, shuffle=True, collate_fn=mixup))


@kind()
def sampler_that_counts_epochs() -> Kind:
    class ByEpoch(Sampler[int]):
        def __init__(self) -> None:
            self.epoch = 0

        def __len__(self) -> int:
            return len(X)

        def __iter__(self) -> Iterator[int]:
            self.epoch += 1
            return iter(torch.randperm(len(X), generator=torch.Generator().manual_seed(self.epoch)).tolist())

    sampler = ByEpoch()
    return Kind(data=DataLoader(TensorDataset(X, Y), 8, sampler=sampler), watch=lambda: sampler.epoch)


@kind()
def sampler_that_shuffles_in_place() -> Kind:
    class Shuffled(Sampler[int]):
        def __init__(self) -> None:
            self.order, self.rows = list(range(len(X))), np.arange(len(X))

        def __len__(self) -> int:
            return len(X)

        def __iter__(self) -> Iterator[int]:
            random.shuffle(self.order)
            np.random.shuffle(self.rows)
            return iter([self.order[at] for at in self.rows.tolist()])

    sampler = Shuffled()
    watch = lambda: (list(sampler.order), sampler.rows.tolist())  # noqa: E731
    return Kind(data=DataLoader(TensorDataset(X, Y), 8, sampler=sampler), watch=watch)


@kind()
def batch_sampler_with_a_memory() -> Kind:
    class Buckets:
        def __init__(self) -> None:
            self.buckets = {size: list(range(size, size + 32)) for size in (0, 32, 64)}
            self.turn = 0

        def __len__(self) -> int:
            return 12

        def __iter__(self) -> Iterator[list[int]]:
            self.turn += 1
            for bucket in self.buckets.values():
                bucket.append(bucket.pop(self.turn % 7))
            return iter([bucket[at : at + 8] for bucket in self.buckets.values() for at in range(0, 32, 8)])

    batches = Buckets()
    data = DataLoader(TensorDataset(X, Y), batch_sampler=batches)  # type: ignore[arg-type]
    return Kind(data=data, watch=lambda: (batches.turn, [list(each) for each in batches.buckets.values()]))


@kind()
def weighted_sampler() -> Kind:
    sampler = WeightedRandomSampler([1.0] * 48 + [3.0] * 48, 96, generator=torch.Generator().manual_seed(9))
    return Kind(data=DataLoader(TensorDataset(X, Y), 8, sampler=sampler))


@kind()
def stream_with_a_position() -> Kind:
    class Stream(IterableDataset[Any]):
        def __init__(self) -> None:
            self.at = 0

        def __iter__(self) -> Iterator[Any]:
            while True:
                self.at += 1
                yield X[self.at % 96], Y[self.at % 96]

    stream = Stream()
    return Kind(data=DataLoader(stream, 8), steps_per_epoch=6, watch=lambda: stream.at)


@kind()
def stream_read_from_a_file() -> Kind:
    path = Path(tempfile.mkdtemp()) / "rows.txt"
    path.write_text("\n".join(str(at) for at in range(100_000)), encoding="utf-8")

    class Lines(IterableDataset[Any]):
        def __init__(self) -> None:
            self.file = path.open(encoding="utf-8")

        def __iter__(self) -> Iterator[Any]:
            while line := self.file.readline():
                yield X[int(line) % 96], Y[int(line) % 96]

    lines = Lines()
    return Kind(data=DataLoader(lines, 8), steps_per_epoch=6, watch=lines.file.tell)


@kind()
def data_set_with_a_cache_and_counts() -> Kind:
    class Cached(Dataset[Any]):
        def __init__(self) -> None:
            self.cache: dict[int, Any] = {}
            self.visits, self.scores = [0] * 96, torch.zeros(96)

        def __len__(self) -> int:
            return 96

        def __getitem__(self, at: int) -> Any:
            self.visits[at] += 1
            self.scores[at] += 1
            return self.cache.setdefault(at, (X[at], Y[at]))

    data = Cached()
    watch = lambda: (len(data.cache), list(data.visits), data.scores.tolist())  # noqa: E731
    return Kind(data=DataLoader(data, 8, shuffle=True), watch=watch)


class FastTensors:
    """A loader that shuffles its own tensors and returns itself."""

    def __init__(self) -> None:
        self.tensors, self.batch_size, self.at = [X, Y], 8, 0

    def __len__(self) -> int:
        return 12

    def __iter__(self) -> FastTensors:
        order = torch.randperm(len(X))
        self.tensors, self.at = [each[order] for each in self.tensors], 0
        return self

    def __next__(self) -> Any:
        if self.at >= len(X):
            raise StopIteration
        self.at += 8
        return tuple(each[self.at - 8 : self.at] for each in self.tensors)


@kind()
def loader_that_returns_itself() -> Kind:
    return Kind(data=FastTensors())


@kind()
def loader_that_shuffles_its_arrays_in_place() -> Kind:
    class Rows:
        batch_size = 8

        def __init__(self) -> None:
            self.rows, self.generator = np.concatenate([X.numpy(), Y.numpy()], 1), np.random.default_rng(10)

        def __len__(self) -> int:
            return 12

        def __iter__(self) -> Iterator[Any]:
            self.generator.shuffle(self.rows)
            for at in range(0, 96, 8):
                part = torch.from_numpy(self.rows[at : at + 8].copy())
                yield part[:, :10], part[:, 10:]

    data = Rows()
    return Kind(data=data, watch=data.rows.tolist)


@kind()
def workers_that_persist() -> Kind:
    return Kind(data=loader(num_workers=1, persistent_workers=True))


@kind()
def subclass_of_a_loader() -> Kind:
    class Named(DataLoader[Any]):
        served = 0

        def __iter__(self) -> Any:
            for x, y in super().__iter__():
                self.served += 1
                yield x * 2, y

    data = Named(TensorDataset(X, Y), batch_size=8, shuffle=True)
    return Kind(data=data, watch=lambda: data.served)


# --- what cannot be kept -------------------------------------------------------------------------------------------


@kind(refused=True)
def stream_that_can_be_read_once() -> Kind:
    class Stream(IterableDataset[Any]):
        def __init__(self) -> None:
            self.rows = ((X[at % 96], Y[at % 96]) for at in range(1_000_000))

        def __iter__(self) -> Iterator[Any]:
            return self.rows

    return Kind(data=DataLoader(Stream(), 8), steps_per_epoch=6)


@kind(refused=True)
def loader_with_one_iterator_for_all_epochs() -> Kind:
    class Infinite(DataLoader[Any]):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.iterator = super().__iter__()

        def __iter__(self) -> Any:
            return itertools.islice(self.iterator, 6)

    return Kind(data=Infinite(TensorDataset(X, Y), batch_size=8, shuffle=True))


@kind(refused=True)
def iterator_over_a_second_loader() -> Kind:
    unlabelled = itertools.cycle(loader())

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        model(next(unlabelled)[0])
        return plain_step(model, batch, optimizer, criterion, device)

    return Kind(step=step)


@kind(refused=True)
def pipe_as_data() -> Kind:
    import subprocess

    class Piped(IterableDataset[Any]):
        def __init__(self) -> None:
            self.process = subprocess.Popen(["yes", "1"], stdout=subprocess.PIPE)
            self.lines = self.process.stdout

        def __iter__(self) -> Iterator[Any]:
            for at, _ in enumerate(self.lines):
                yield X[at % 96], Y[at % 96]

        def __del__(self) -> None:
            with contextlib.suppress(OSError):
                self.process.kill()

    return Kind(data=DataLoader(Piped(), 8), steps_per_epoch=6)


@kind(refused=True)
def queue_as_data() -> Kind:
    import queue

    rows: queue.Queue[int] = queue.Queue()
    for at in range(1000):
        rows.put(at)

    class Queued(IterableDataset[Any]):
        def __init__(self) -> None:
            self.rows = rows

        def __iter__(self) -> Iterator[Any]:
            while True:
                at = self.rows.get() % 96
                yield X[at], Y[at]

    return Kind(data=DataLoader(Queued(), 8), steps_per_epoch=6)


def weights(module: nn.Module) -> list[Any]:
    """All of a module's parameters as numbers."""
    return [each.tolist() for each in module.parameters()]
