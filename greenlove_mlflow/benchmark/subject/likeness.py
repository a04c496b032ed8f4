"""Likeness: whether two trainings are so much alike that one benchmark tells the pace of both."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from greenlove_mlflow.benchmark.subject.optimizer_steps import find_optimizers
from greenlove_mlflow.benchmark.subject.training import Training

# A learning rate or a seed moves no step's time, whether it is zero or not.
_OF_NO_WEIGHT = frozenset({"lr", "initial_lr", "max_lr", "min_lr", "params", "seed", "training"})
# Parts of the loader that decide what a batch costs.
_OF_LOADER = (
    "batch_size",
    "num_workers",
    "prefetch_factor",
    "persistent_workers",
    "pin_memory",
    "drop_last",
    "timeout",
)
_DEPTH = 3
# Of a long list the first ones stand for all.
MOST_MEMBERS = 16


def likeness(training: Training, more: Mapping[str, Any]) -> str:
    """A digest that is equal for trainings of the same cost: structure and shapes, never values of weights.

    It takes in the modules with their settings and the shapes of their parameters, the optimizer with which of its
    settings are in use, the loss, the loader, the data set's type, length and settings, the precision that torch is
    set to, and the device. Of a number it takes whole values, and of a fraction only whether it is zero: a dropout of
    0.1 costs as much as one of 0.2. The data itself is not looked at.

    Args:
        training: The training.
        more: What else must be equal, by name.
    """
    words = [
        *_of_model(training.model),
        *_of_optimizer(training.optimizer),
        *_of_value(training.criterion, _DEPTH),
        *_of_data(training.data),
        *_of_data(training.validation),
        *_of_value(training.train_step, _DEPTH),
        *(type(each).__name__ for each in training.extra_state),
        *_of_torch(training.torch_device),
        *(word for name in sorted(more) for word in (name, *_of_value(more[name], _DEPTH))),
    ]
    return hashlib.sha256("|".join(words).encode("utf-8", "replace")).hexdigest()


def likeness_of_parts(model: Any, optimizer: Any, batch_size: int) -> str:
    """The same of a training of which no more than its model and optimizer is known."""
    words = [*_of_model(model), *_of_optimizer(optimizer), str(batch_size)]
    return hashlib.sha256("|".join(words).encode("utf-8", "replace")).hexdigest()


def _of_model(model: Any) -> Iterator[str]:
    if isinstance(model, Mapping):
        for name, each in model.items():
            yield str(name)
            yield from _of_model(each)
    elif isinstance(model, torch.nn.Module):
        for name, module in model.named_modules():
            yield f"{name}:{type(module).__qualname__}:{module.training}"
            yield from _settings(module, 1)
        yield from (f"{name}:{_of_tensor(each)}:{each.requires_grad}" for name, each in model.named_parameters())
    else:
        yield from _of_value(model, _DEPTH)


def _of_optimizer(optimizer: Any) -> Iterator[str]:
    for each in find_optimizers(optimizer):
        yield type(each).__qualname__
        for group in each.param_groups:
            yield from (_of_tensor(parameter) for parameter in group["params"])
            for name, value in group.items():
                if name not in _OF_NO_WEIGHT:
                    yield f"{name}={'+'.join(_of_value(value, 2))}"
    if not find_optimizers(optimizer):
        yield from _of_value(optimizer, 1)


def _of_data(data: Any) -> Iterator[str]:
    yield type(data).__qualname__
    if isinstance(data, (list, tuple)):
        yield str(len(data))
        for each in data[:2]:
            yield from _of_value(each, 2)
        return
    for name in _OF_LOADER:
        yield f"{name}={getattr(data, name, None)}"
    for name in ("collate_fn", "worker_init_fn"):
        yield from _of_value(getattr(data, name, None), 1)
    for name in ("sampler", "batch_sampler"):
        yield type(getattr(data, name, None)).__qualname__
    dataset = getattr(data, "dataset", data)
    yield f"{type(dataset).__qualname__}:{_length(dataset)}:{_length(data)}"
    yield from _settings(dataset, _DEPTH)


def _of_torch(device: torch.device) -> Iterator[str]:
    """The settings of this process that decide how fast a step is."""
    yield f"{device}:{torch.get_num_threads()}:{torch.get_float32_matmul_precision()}:{torch.get_default_dtype()}"
    yield f"{torch.is_autocast_enabled(device.type)}:{torch.get_autocast_dtype(device.type)}"
    yield f"{torch.are_deterministic_algorithms_enabled()}:{torch.is_anomaly_enabled()}"
    yield f"{torch.backends.cudnn.allow_tf32}:{torch.backends.cudnn.benchmark}:{torch.backends.cudnn.deterministic}"


def _settings(owner: Any, depth: int) -> Iterator[str]:
    """The plain attributes of an object; its counters are among them, so an object that was used is another one."""
    try:
        attributes = vars(owner)
    except TypeError:
        return
    for name, value in sorted(attributes.items()):
        if not name.startswith("_") and name not in _OF_NO_WEIGHT:
            yield f"{name}={'+'.join(_of_value(value, depth))}"


def _of_value(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, float):
        yield "0" if value == 0.0 else "float"
    elif value is None or isinstance(value, (bool, int, str, bytes, torch.device, torch.dtype)):
        yield repr(value)
    elif isinstance(value, torch.Tensor):
        yield _of_tensor(value)
    elif hasattr(value, "__code__"):
        yield from _of_function(value)
    elif depth > 0 and isinstance(value, (list, tuple, Mapping)):
        yield f"{type(value).__qualname__}:{len(value)}"
        members = (part for pair in value.items() for part in pair) if isinstance(value, Mapping) else iter(value)
        for each in itertools.islice(members, MOST_MEMBERS):
            yield from _of_value(each, depth - 1)
    else:
        yield f"{type(value).__qualname__}:{getattr(value, 'shape', '')}"
        if depth > 0:
            yield from _settings(value, depth - 1)


def _of_function(function: Any) -> Iterator[str]:
    """A function that is defined anew in each trial is the same function."""
    code = function.__code__
    yield f"{function.__qualname__}:{code.co_names}:{hashlib.sha256(code.co_code).hexdigest()}"
    yield from (repr(each) for each in code.co_consts if isinstance(each, (int, float, str)))


def _of_tensor(tensor: torch.Tensor) -> str:
    shape = "lazy" if torch.nn.parameter.is_lazy(tensor) else tuple(tensor.shape)
    return f"{shape}:{tensor.dtype}:{tensor.device}"


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except Exception:  # noqa: BLE001 - __len__ is the user's code, and an unknown length is not an error
        return None
