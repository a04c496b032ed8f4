"""Subject: what is trained, with the feed of its data, checked whole before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from greenlove_mlflow.benchmark.feed import Feed, feed_of_runner, make_feed
from greenlove_mlflow.benchmark.state.state import check_state
from greenlove_mlflow.benchmark.subject.optimizer_steps import find_optimizers
from greenlove_mlflow.benchmark.subject.training import EpochRunner, Training, synchronize
from greenlove_mlflow.errors import InvalidInputError, StateNotKeepableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is trained, as far as it is known.

    Args:
        model: The model; None when only its optimizer is known.
        optimizer: The optimizer as given.
        device: Device of the training.
        feed: Steps and samples of an epoch (or another lap).
        optimizers: Optimizers whose steps are counted; empty if steps are reported by calls.
        training: The full training, if known.
        runner: The ``EpochRunner``, if it is one.
        unkept: Why a benchmark before the training could not put its state back; None if it could, or if not asked.
    """

    model: Any
    optimizer: Any
    device: torch.device
    feed: Feed
    optimizers: tuple[torch.optim.Optimizer, ...] = ()
    training: Training | None = None
    runner: EpochRunner | None = None
    unkept: StateNotKeepableError | None = None

    @property
    def to_run(self) -> Training | EpochRunner:
        """What a benchmark runs.

        Raises:
            InvalidInputError: If too little of the training is known to run it.
        """
        known = self.training or self.runner
        if known is None:
            raise InvalidInputError("a training of which only the optimizer is known cannot be run beforehand")
        return known

    def synchronize(self) -> None:
        """Wait until the device is idle."""
        synchronize(self.device)


def is_runner(model: Any) -> bool:
    """Whether the given model is an ``EpochRunner``, which runs its own epochs."""
    return hasattr(model, "run_epoch") and hasattr(model, "sample_count")


def make_subject(
    model: Any,
    optimizer: Any,
    criterion: Any,
    data: Any,
    *,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    puts_back: bool = False,
    **more: Any,
) -> Subject:
    """What is trained, checked before anything runs; nothing is changed or consumed.

    Args:
        model: The module to train; or an ``EpochRunner`` and nothing else.
        optimizer: Its optimizer.
        criterion: The loss; None when the model returns its own.
        data: A ``Dataset`` or a loader.
        batch_size: Samples in a batch of a dataset; a loader's own, or a runner's, must match.
        steps_per_epoch: Batches in an epoch, for data without a length.
        puts_back: Whether its state is to be put back after a benchmark, so that ``unkept`` says if it cannot be.
        **more: The other fields of a ``Training``.

    Raises:
        InvalidInputError: If an argument is missing or invalid.
    """
    if is_runner(model):
        if optimizer is not None or criterion is not None or data is not None:
            raise InvalidInputError("an EpochRunner holds its own data: pass it alone, with epochs=")
        feed: Feed = feed_of_runner(model, batch_size)
        return Subject(
            model=model,
            optimizer=None,
            device=torch.device("cpu"),
            feed=feed,
            runner=model,
            unkept=_why_unkept(model) if puts_back else None,
        )
    if data is None:
        raise InvalidInputError("data is missing: pass the Dataset or the DataLoader of the training")
    training = Training(model=model, optimizer=optimizer, criterion=criterion, data=data, **more)
    feed = make_feed(data, batch_size=batch_size, steps_per_epoch=steps_per_epoch)
    feed.close()
    _check_validation(training.validation_loader)
    return Subject(
        model=model,
        optimizer=optimizer,
        device=training.torch_device,
        feed=feed,
        optimizers=find_optimizers(optimizer),
        training=training,
        unkept=_why_unkept(training) if puts_back else None,
    )


def _check_validation(loader: Any) -> None:
    if loader is None:
        return
    try:
        make_feed(loader).close()
    except InvalidInputError as error:
        raise InvalidInputError(f"validation: {error}") from error


def _why_unkept(trained: Training | EpochRunner) -> StateNotKeepableError | None:
    try:
        check_state(trained)
    except StateNotKeepableError as error:
        return error.with_traceback(None)  # its frames hold all that was walked over
    return None
