"""``greenlove demo``: estimate, train and compare a small convolutional network on real handwritten digits."""

from __future__ import annotations

import contextlib
import copy
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenlove_mlflow.cli import echo_whole

if TYPE_CHECKING:
    from rich.console import Console

    from greenlove_mlflow.pipeline.tracked_training import TrackedTraining

BATCH_SIZE = 32
SEED = 0
# Epochs are as many as fit into this time, so that the demo takes about a minute on any machine.
TRAINING_S = 12.0
FEWEST_EPOCHS, MOST_EPOCHS = 3, 40
WARM_STEPS, TIMED_STEPS = 3, 10
SAMPLE = Path(__file__).with_name("recorded_sample.json")
RULE = "-" * 80


@click.command()
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs to train; about 12 s of them when not given.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; progress and tables go to stderr.")
def command(epochs: int | None, as_json: bool) -> None:
    """Estimate, track and then really train a small CNN on scikit-learn's handwritten digits.

    It takes about a minute, and ends with a recorded sample: how a training on a GPU compares with rented ones. Exit
    code 0 when it was trained and recorded, 1 when MLflow's store cannot be used, 2 for wrong usage.
    """
    from greenlove_mlflow.terminal import make_console, print_fitted, print_outcome

    console = make_console(stderr=as_json)
    # MLflow prints its links to stdout, which must hold nothing but the JSON.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        run = _promise_and_train(console, epochs)
    if run.estimate is not None:
        print_outcome(console, run.estimate, run.outcome)
    again = f"greenlove compare {str(run.run_id)[:8]} --all"
    print_fitted(console, f"Recorded as run {run.run_id}. All of it: {again}\nTo look at it: {run.how_to_open}")
    print_fitted(console, "\n".join(["", *recorded_sample()]))
    if as_json:
        echo_whole(json.dumps(_plain(run), allow_nan=False))


def recorded_sample() -> list[str]:
    """The lines of a comparison whose step was timed on a GPU elsewhere; they say so, and when."""
    from greenlove_mlflow.core.account.estimate import estimate_training
    from greenlove_mlflow.core.account.run_facts import RunFacts
    from greenlove_mlflow.pipeline import compare
    from greenlove_mlflow.words.summary import summary

    sample = json.loads(SAMPLE.read_text(encoding="utf-8"))
    estimate = estimate_training(RunFacts.from_json(json.dumps(sample["facts"])))
    comparison = compare(estimate)
    title, *rest = summary(estimate, comparison).splitlines()
    plan = estimate.workload
    return [
        "RECORDED SAMPLE, NOT THIS MACHINE: a training on a GPU beside rented ones.",
        f"{sample['workload']}: a step timed on an {sample['board']},",
        f"{sample['measured_at']}; a plan of {plan.epoch_count:g} epochs of {plan.sample_count:,} samples in Germany;",
        f"prices of {comparison.prices.as_of}.",
        RULE,
        title.replace("Training on", "Recorded on", 1),
        *rest,
        RULE,
    ]


def _epochs_in_time(model: Any, loader: Any, criterion: Any) -> int:
    """How many epochs take about ``TRAINING_S`` seconds, by a few steps of a copy of the model."""
    import torch

    tried = copy.deepcopy(model)
    optimizer = torch.optim.Adam(tried.parameters(), lr=1e-3)
    batches = [next(iter(loader))]
    train_one_epoch(tried, batches * WARM_STEPS, optimizer, criterion)
    began_s = time.perf_counter()
    train_one_epoch(tried, batches * TIMED_STEPS, optimizer, criterion)
    epoch_s = (time.perf_counter() - began_s) / TIMED_STEPS * len(loader)
    return round(min(max(TRAINING_S / max(epoch_s, 1e-9), FEWEST_EPOCHS), MOST_EPOCHS))


def _promise_and_train(console: Console, epochs: int | None) -> TrackedTraining:
    import torch

    from greenlove_mlflow.numbers import format_epochs
    from greenlove_mlflow.pipeline import track
    from greenlove_mlflow.terminal import TerminalProgress, print_fitted, print_summary

    torch.manual_seed(SEED)
    dataset, model = load_digits_dataset(), make_network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = torch.nn.CrossEntropyLoss()
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)
    epochs = epochs or _epochs_in_time(model, loader, criterion)
    count = format_epochs(epochs)
    print_fitted(console, f"A CNN on {len(dataset):,} handwritten digits, {count}. First a short benchmark.")
    with (
        TerminalProgress(console) as progress,
        track(
            model,
            optimizer,
            criterion,
            loader,
            epochs=epochs,
            run_name="greenlove-demo",
            summary=False,
            progress=progress,
            on_epoch=progress.epoch,
        ) as run,
    ):
        progress.pause()
        if run.estimate is not None:
            print_summary(console, run.estimate, run.comparison, run.url)
        for _ in run.epochs():
            train_one_epoch(model, loader, optimizer, criterion)
    return run


def load_digits_dataset() -> Any:
    """The 1,797 digits of 8 x 8 pixels that scikit-learn ships, as a tensor dataset."""
    import torch
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0
    return torch.utils.data.TensorDataset(images, torch.tensor(digits.target))


def make_network() -> Any:
    """A three-layer convolutional network for those digits."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip


def train_one_epoch(model: Any, loader: Any, optimizer: Any, criterion: Any) -> None:
    """A plain training loop over one epoch."""
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()


def _plain(run: TrackedTraining) -> dict[str, Any]:
    from greenlove_mlflow.core.codec import to_plain

    return {
        "run_id": run.run_id,
        "how_to_open": run.how_to_open,
        "estimate": to_plain(run.estimate),
        "comparison": to_plain(run.comparison),
        "outcome": to_plain(run.outcome),
    }
