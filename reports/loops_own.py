"""Loops of one's own: ``track`` in its forms, ``watch``, ``autolog``, Accelerate, runners."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import mlflow
import numpy as np
from loops_common import BATCH, EPOCHS, KILLED_EPOCH, QUIET, STEPS, Left, Log, Part, digest, parts, take_step

import greenlove_mlflow as greenlove

PAST = (greenlove.TrainingRefused, greenlove.LimitReached)


def left(model: Any, log: Log, run: Any) -> Left:
    return Left(weights=digest(model.parameters()), metrics=log.losses, step_count=log.step_count, run=run)


def track(part: Part, *subject: Any, **options: Any) -> Any:
    """``track`` of all epochs, or nothing where the part runs bare."""
    if not part.is_tracked:
        return nullcontext()
    plan = {"epochs": EPOCHS, "done": part.first_epoch, "run_id": part.run_id, "budget_s": 2.0, **QUIET}
    return greenlove.track(*subject, **{**plan, **options}, limits=part.limits)


def epochs_of(part: Part, run: Any) -> Any:
    return range(EPOCHS) if run is None else run.epochs()


def train_epoch(part: Part, subject: Any, log: Log, run: Any, epoch: int, batches: Any) -> None:
    model, optimizer, criterion, _ = subject
    for step, batch in enumerate(batches):
        take_step(model, optimizer, criterion, batch, log)
        part.kill_if_due(run, epoch, step)


def run_epochs(part: Part) -> Left:
    subject, log = parts(), Log()
    with track(part, *subject) as run:
        part.say(run)
        for epoch in epochs_of(part, run):
            train_epoch(part, subject, log, run, epoch, subject[3])
    return left(subject[0], log, run)


def plain(part: Part) -> Left:
    subject, log, run = parts(), Log(), None
    try:
        with track(part, *subject, on_refusal="raise") as run:
            part.say(run)
            for epoch in range(part.first_epoch, EPOCHS):
                train_epoch(part, subject, log, run, epoch, subject[3])
    except PAST:
        pass
    return left(subject[0], log, run)


def within(part: Part) -> Left:
    subject, log = parts(), Log()
    with track(part, *subject, benchmark="within") as run:
        part.say(run)
        for epoch in epochs_of(part, run):
            train_epoch(part, subject, log, run, epoch, subject[3])
    return left(subject[0], log, run)


def by_steps(part: Part) -> Left:
    subject, log = parts(), Log()
    model, optimizer, criterion, loader = subject
    plan = {"epochs": None, "steps": EPOCHS * STEPS, "done": part.first_epoch * STEPS}
    with track(part, *subject, **plan) as run:
        part.say(run)
        batches = iter(())
        for step in range(EPOCHS * STEPS) if run is None else run.steps():
            if step % STEPS == 0:
                batches = iter(loader)
            take_step(model, optimizer, criterion, next(batches), log)
            part.kill_if_due(run, step // STEPS, step % STEPS)
    return left(model, log, run)


def watch(part: Part) -> Left:
    subject, log = parts(), Log()
    model, optimizer, _, loader = subject
    watched: Any = nullcontext()
    if part.is_tracked:
        watched = greenlove.watch(
            optimizer,
            model,
            steps=EPOCHS * STEPS,
            lap_steps=STEPS,
            done=part.first_epoch * STEPS,
            batch_size=BATCH,
            run_id=part.run_id,
            limits=part.limits,
            **QUIET,
        )
    with watched as run:
        part.say(run)
        for epoch in range(part.first_epoch, EPOCHS):
            train_epoch(part, subject, log, run, epoch, loader if run is None else run.over(loader))
            if run is not None and run.must_stop:
                break
    return left(model, log, run)


def autolog(part: Part) -> Left:
    """Nothing is known of the end: no estimate, nothing that could be stopped, and no part that could be continued."""
    subject, log = parts(), Log()
    if part.is_tracked:
        greenlove.autolog(country="DE")
    with mlflow.start_run() as active:
        for epoch in range(EPOCHS):
            train_epoch(part, subject, log, None, epoch, subject[3])
        if part.is_tracked:
            greenlove.autolog(disable=True)
    found = left(subject[0], log, None)
    found.run_id = active.info.run_id if part.is_tracked else None
    return found


def accelerate(part: Part) -> Left:
    from accelerate import Accelerator

    model, optimizer, criterion, loader = parts()
    accelerator = Accelerator(cpu=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    log = Log()

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        optimizer.zero_grad()
        loss = criterion(model(batch[0]), batch[1])
        accelerator.backward(loss)
        optimizer.step()
        return loss

    with track(part, model, optimizer, criterion, loader, train_step=step) as run:
        part.say(run)
        for epoch in epochs_of(part, run):
            for index, batch in enumerate(loader):
                log.losses.append(step(model, batch, optimizer, criterion, None).item())
                log.step_count += 1
                part.kill_if_due(run, epoch, index)
    return left(model, log, run)


def some_arrays() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    features = random.normal(size=(200_000, 64))
    return features, (features.sum(1) > 0).astype(int)


def train_runner(part: Part, runner: Any, log: Log) -> Any:
    with track(part, runner) as run:
        part.say(run)
        if run is None or part.is_killed:
            for epoch in epochs_of(part, run):
                runner.run_epoch(runner.sample_count)
                log.step_count += STEPS
                # A runner has no steps to be killed between: this is the end of an epoch that is not yet counted.
                part.kill_if_due(run, epoch, 5 if epoch == KILLED_EPOCH else STEPS - 1)
        else:
            before = run.lap_count
            run.train()
            log.step_count += (run.lap_count - before) * STEPS
    return run


def runner(part: Part) -> Left:
    weights, (features, targets) = np.zeros(64), some_arrays()

    def train_over(sample_count: int) -> None:
        for start in range(0, sample_count, 64):
            rows, wanted = features[start : start + 64], targets[start : start + 64]
            weights[:] += 1e-3 * (wanted - 1.0 / (1.0 + np.exp(-rows @ weights))) @ rows

    log = Log()
    run = train_runner(part, greenlove.CallableRunner(run=train_over, sample_count=len(features)), log)
    return Left(weights=digest([weights]), metrics=[float(weights.sum())], step_count=log.step_count, run=run)


def sklearn(part: Part) -> Left:
    from sklearn.linear_model import SGDClassifier

    classifier, (features, targets) = SGDClassifier(random_state=0), some_arrays()

    def train_over(sample_count: int) -> None:
        classifier.partial_fit(features[:sample_count], targets[:sample_count], classes=[0, 1])

    log = Log()
    run = train_runner(part, greenlove.CallableRunner(run=train_over, sample_count=len(features)), log)
    metrics = [float(classifier.t_), float(classifier.score(features, targets))] if hasattr(classifier, "t_") else []
    weights = [classifier.coef_, classifier.intercept_] if hasattr(classifier, "coef_") else []
    return Left(weights=digest(weights), metrics=metrics, step_count=log.step_count, run=run)
