"""Timing of the user's validation pass, which is part of each epoch that ends with validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from greenlove_mlflow.benchmark.feed import make_feed
from greenlove_mlflow.benchmark.passes import Limit
from greenlove_mlflow.benchmark.session import Session
from greenlove_mlflow.benchmark.subject.training import Training, compute_loss, to_device
from greenlove_mlflow.errors import BenchmarkError, InvalidInputError

# A short pass is timed to its end, a longer one for this many seconds.
LONGEST_VALIDATION_S = 2.0


def check_validation(subject: Training) -> None:
    """Refuse what cannot be passed over for validation; nothing is run.

    Raises:
        InvalidInputError: If ``validation`` is no data, or data without a length.
    """
    if subject.validation is None:
        return
    loader, _ = validation_step(subject)
    try:
        make_feed(loader).close()
    except InvalidInputError as error:
        raise InvalidInputError(f"validation: {error}") from error


def time_validation(session: Session, subject: Training) -> None:
    """Time one validation pass, or its beginning, and store the duration of a whole pass in the session."""
    if subject.validation is None:
        return
    loader, step = validation_step(subject)
    feed = make_feed(loader)
    with in_evaluation(subject):
        done = session.run(
            "validation",
            Limit(
                until_s=time.perf_counter() + LONGEST_VALIDATION_S,
                beyond_first_s=LONGEST_VALIDATION_S,
                whole_step_count=None if session.agree is None else session.least_of_all(feed.steps_per_epoch),
            ),
            batches=feed.loader,
            sample_count=feed.sample_count,
            step=step,
        )
    feed.close()
    later = feed.steps_per_epoch - done.step_count
    session.validation_s = done.duration_s + (0.0 if done.whole else max(0, later) * done.steady_step_s)


def validation_step(subject: Training) -> tuple[Any, Callable[[Any], Any]]:
    """The validation loader, and the validation step as a function of the batch."""
    loader, given = subject.validation if isinstance(subject.validation, tuple) else (subject.validation, None)
    return loader, _make_step(subject, given)


@contextmanager
def in_evaluation(subject: Training) -> Iterator[None]:
    """Put the model in evaluation mode inside the block, and restore its mode afterwards."""
    modes = [(module, module.training) for module in getattr(subject.model, "modules", list)()]
    if hasattr(subject.model, "eval"):
        subject.model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _make_step(subject: Training, given: Callable[..., Any] | None) -> Callable[[Any], Any]:
    model, criterion, device = subject.model, subject.criterion, subject.torch_device

    def evaluate(batch: Any) -> Any:
        if given is not None:
            return given(model, batch, subject.optimizer, criterion, device)
        with torch.no_grad():
            batch = to_device(batch, device)
            try:
                return compute_loss(model, batch, criterion)
            except BenchmarkError:  # a model in evaluation mode may return no loss; its output was timed
                return None

    return evaluate
