"""Training and EpochRunner: what is benchmarked, with the default training step and the validation step."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from greenlove_mlflow.errors import BenchmarkError, InvalidInputError

TrainStep = Callable[..., Any]
_LABEL_KEYS = ("labels", "label", "targets", "target")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A model with everything that its training step needs.

    Args:
        model: The model on its device; with ``train_step`` also a dictionary of models, or an estimator.
        optimizer: Optimizer of the model's parameters.
        criterion: ``criterion(output, target)``; None if the model returns its loss.
        data: A ``Dataset``, a ``DataLoader`` or a loader that can be iterated anew each epoch.
        train_step: ``train_step(model, batch, optimizer, criterion, device)``, replacing the default step.
        device: Device that batches are moved to; the model's device when None.
        validation: A loader, or a pair of a loader and a step of the same signature, timed once.
        extra_state: Other objects that a step changes: gradient scaler, scheduler, averaged model.
    """

    model: Any
    optimizer: Any
    criterion: Any
    data: Any
    train_step: TrainStep | None = None
    device: Any = None
    validation: Any = None
    extra_state: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.train_step is not None and not callable(self.train_step):
            raise InvalidInputError(
                "train_step must be a function train_step(model, batch, optimizer, criterion, device), "
                f"got {type(self.train_step).__name__}"
            )
        if self.train_step is None:
            _refuse_classes(model=self.model, optimizer=self.optimizer, criterion=self.criterion)
        if not callable(self.model) and self.train_step is None:
            raise InvalidInputError(
                f"model must be callable, got {type(self.model).__name__}; or pass train_step= that needs no such model"
            )
        if self.train_step is None and not hasattr(self.optimizer, "step"):
            raise InvalidInputError(
                f"optimizer must have step(), got {type(self.optimizer).__name__}; or pass train_step= that needs none"
            )
        for item in self.extra_state:
            if not (hasattr(item, "state_dict") and hasattr(item, "load_state_dict")):
                raise InvalidInputError(
                    f"extra_state needs objects with state_dict and load_state_dict, got {type(item).__name__}"
                )
        _check_validation(self.validation)
        own, given = _device_of(self.model), _parse_device(self.device)
        if given is not None and own is not None and given.type != own.type:
            raise InvalidInputError(f"device={str(given)!r}, but the model is on {own}; move it there with model.to()")
        if "meta" in (own and own.type, given and given.type):
            raise InvalidInputError("the model is on the meta device, which holds no values; give it a real one first")

    @property
    def torch_device(self) -> torch.device:
        """The device that training runs on."""
        if self.device is not None:
            return torch.device(self.device)
        return _device_of(self.model) or _device_of_optimizer(self.optimizer) or torch.device("cpu")

    @property
    def validation_loader(self) -> Any:
        """The loader of the validation; None without one."""
        return self.validation[0] if isinstance(self.validation, tuple) else self.validation

    @property
    def is_compiled(self) -> bool:
        """Whether the first step compiles the model."""
        compiled = getattr(torch._dynamo, "OptimizedModule", ()) if "torch._dynamo" in sys.modules else ()
        modules = self.model.modules() if isinstance(self.model, torch.nn.Module) else ()
        return any(isinstance(each, compiled) or each._compiled_call_impl is not None for each in modules)

    def make_step(self) -> Callable[[Any], Any]:
        """The training step as a function of the batch alone; it returns the loss, or None if the step does not."""
        model, optimizer, criterion = self.model, self.optimizer, self.criterion
        device, step = self.torch_device, self.train_step
        if step is None:
            return _DefaultStep(self)

        def run_step(batch: Any) -> Any:
            return step(model, batch, optimizer, criterion, device)

        return run_step

    def make_validation_step(self) -> Callable[[Any], Any]:
        """The validation step as a function of the batch alone."""
        model, criterion, device = self.model, self.criterion, self.torch_device
        given = self.validation[1] if isinstance(self.validation, tuple) else None

        def evaluate(batch: Any) -> Any:
            if given is not None:
                return given(model, batch, self.optimizer, criterion, device)
            with torch.no_grad():
                batch = to_device(batch, device)
                try:
                    return compute_loss(model, batch, criterion)
                except BenchmarkError:  # a model in evaluation mode may return no loss; its output was timed
                    return None

        return evaluate

    @contextmanager
    def in_evaluation(self) -> Iterator[None]:
        """Put the model in evaluation mode inside the block, and restore its mode afterwards."""
        modes = [(module, module.training) for module in getattr(self.model, "modules", list)()]
        if hasattr(self.model, "eval"):
            self.model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    def synchronize(self) -> None:
        """Wait until the device is idle."""
        synchronize(self.torch_device)


@runtime_checkable
class EpochRunner(Protocol):
    """Training that can run an epoch over part of its data, in any framework.

    Attributes:
        sample_count: Samples of a whole epoch.
        batch_size: Samples of one step; 1 where there are no batches.
    """

    sample_count: int
    batch_size: int

    def run_epoch(self, sample_count: int) -> object:
        """Train for one epoch over ``sample_count`` samples; return when it is done."""


@dataclass(slots=True, kw_only=True)
class CallableRunner:
    """A function as an ``EpochRunner``.

    Args:
        run: ``run(sample_count)`` trains for one epoch over that many samples.
        sample_count: Samples of a whole epoch.
        batch_size: Samples of one step; 1 where there are no batches.
    """

    run: Callable[[int], Any]
    sample_count: int
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.sample_count < 1 or self.batch_size < 1:
            raise InvalidInputError(
                f"a runner needs samples and a batch size of at least 1, got {self.sample_count} and {self.batch_size}"
            )

    def run_epoch(self, sample_count: int) -> Any:
        """Run the function and return its result."""
        return self.run(sample_count)


def synchronize(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class _DefaultStep:
    """The default step; if it fails on the first batch, the error says what it tried and what to pass instead."""

    def __init__(self, training: Training) -> None:
        self._training, self._fits = training, False

    def __call__(self, batch: Any) -> Any:
        training = self._training
        try:
            loss = default_train_step(
                training.model, batch, training.optimizer, training.criterion, training.torch_device
            )
        except (BenchmarkError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the user's model or criterion may not support this call
            if self._fits:
                raise
            raise BenchmarkError(
                f"the default step does not fit this training: it called {_call_in_words(batch)} and failed with "
                f"{type(error).__name__}: {error}; pass train_step(model, batch, optimizer, criterion, device)"
            ) from error
        self._fits = True
        return loss


def _call_in_words(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"model(**batch) with {', '.join(map(str, batch))}"
    if isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) >= 2:
        return f"model(*batch[:-1]) and criterion(output, batch[-1]) on a batch of {len(batch)} parts"
    return f"model(batch) and criterion(output, batch) on a batch that is {type(batch).__name__}"


def default_train_step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
    """Run one plain training step (zero the gradients, forward, backward, step) and return its loss.

    A batch is ``(x, y)``, ``(x1, x2, ..., y)``, a mapping with labels, or one tensor; a model may return its loss.

    Args:
        model: Called with the inputs of the batch.
        batch: The batch, on any device.
        optimizer: Optimizer of the model's parameters.
        criterion: ``criterion(output, target)``; None if the model returns its loss.
        device: Device that the batch is moved to.
    """
    batch = to_device(batch, device)
    if isinstance(optimizer, torch.optim.LBFGS):

        def closure() -> Any:
            optimizer.zero_grad()
            value = compute_loss(model, batch, criterion)
            value.backward()
            return value

        return optimizer.step(closure)  # type: ignore[no-untyped-call]
    optimizer.zero_grad()
    loss = compute_loss(model, batch, criterion)
    loss.backward()
    optimizer.step()
    return loss


def compute_loss(model: Any, batch: Any, criterion: Any) -> Any:
    """The loss of one batch that is already on the device.

    Args:
        model: Called with the inputs of the batch.
        batch: The batch, on the model's device.
        criterion: ``criterion(output, target)``; None if the model returns its loss.

    Raises:
        BenchmarkError: If neither the model nor the criterion returns a loss.
    """
    if isinstance(batch, Mapping):
        return _mapping_loss(model, batch, criterion)
    if isinstance(batch, Sequence) and len(batch) >= 2:
        output, target = model(*batch[:-1]), batch[-1]
    else:
        inputs = batch[0] if isinstance(batch, Sequence) else batch
        output, target = model(inputs), inputs
    return _loss_of(output, target, criterion)


def _mapping_loss(model: Any, batch: Mapping[str, Any], criterion: Any) -> Any:
    label = next((key for key in _LABEL_KEYS if key in batch), None)
    if label is not None and not _accepts(model, label):
        rest = {key: value for key, value in batch.items() if key != label}
        return _loss_of(model(**rest), batch[label], criterion)
    return _loss_of(model(**batch), None if label is None else batch[label], criterion)


def _loss_of(output: Any, target: Any, criterion: Any) -> Any:
    loss = _own_loss(output)
    if loss is not None:
        return loss
    if criterion is None or target is None:
        raise BenchmarkError(
            f"the model returned {type(output).__name__} without a loss and there is no criterion and target for it; "
            "pass criterion=, or train_step(model, batch, optimizer, criterion, device)"
        )
    return criterion(_prediction_of(output), target)


def _own_loss(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output if output.ndim == 0 and output.requires_grad else None
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is None and isinstance(output, Sequence) and output:
        first = output[0]
        return first if isinstance(first, torch.Tensor) and first.ndim == 0 and first.requires_grad else None
    return loss


def _prediction_of(output: Any) -> Any:
    if isinstance(output, Mapping):
        return output["logits"] if "logits" in output else next(iter(output.values()))
    logits = getattr(output, "logits", None)
    if logits is not None:
        return logits
    return output[0] if isinstance(output, tuple) else output


def _accepts(model: Any, name: str) -> bool:
    try:
        parameters = inspect.signature(getattr(model, "forward", model)).parameters
    except (TypeError, ValueError):  # a callable without a readable signature
        return True
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def to_device(batch: Any, device: Any) -> Any:
    """The batch with all its tensors on the device, keeping its structure of tuples, lists and mappings."""
    if isinstance(batch, torch.Tensor) or hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def _refuse_classes(**parts: Any) -> None:
    for name, part in parts.items():
        if isinstance(part, type):
            raise InvalidInputError(f"{name} is the class {part.__name__}; pass an object of it: {part.__name__}(...)")


def _check_validation(validation: Any) -> None:
    if isinstance(validation, tuple) and not (len(validation) == 2 and callable(validation[1])):
        kinds = ", ".join(type(each).__name__ for each in validation)
        raise InvalidInputError(
            "validation must be a loader, or a pair of one and a step(model, batch, optimizer, criterion, device), "
            f"got ({kinds}); for arrays pass a DataLoader over TensorDataset(*arrays)"
        )


def _parse_device(device: Any) -> torch.device | None:
    if device is None:
        return None
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidInputError(
            f"device={device!r} is not known to torch; pass 'cuda', 'cuda:1', 'mps' or 'cpu'"
        ) from error


def _device_of(model: Any) -> torch.device | None:
    """The device of a model's first parameter, also for a bound method or several models."""
    model = getattr(model, "__self__", model)
    if isinstance(model, (dict, list, tuple)):
        inner = model.values() if isinstance(model, dict) else model
        return next(filter(None, map(_device_of, inner)), None)
    parameters = getattr(model, "parameters", None)
    first = next(iter(parameters()), None) if callable(parameters) else None
    return first.device if first is not None else None


def _device_of_optimizer(optimizer: Any) -> torch.device | None:
    """The device of the first trained tensor: the only clue if the model is a function."""
    inner = optimizer.values() if isinstance(optimizer, dict) else [optimizer]
    for each in inner:
        for group in getattr(each, "param_groups", ()):
            for tensor in group.get("params", ()):
                return tensor.device  # type: ignore[no-any-return]
    return None
