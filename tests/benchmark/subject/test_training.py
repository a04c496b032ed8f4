"""What the default step understands, and which data is refused."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler, TensorDataset

from greenlove_mlflow.benchmark import BenchmarkPlan, Training, default_train_step, make_feed, run_benchmark
from greenlove_mlflow.errors import BenchmarkError, GreenloveError, InvalidInputError

X, Y = torch.randn(40, 4), torch.randint(0, 2, (40,))


def step(model: nn.Module, batch: Any, criterion: Any = None) -> torch.Tensor:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    loss = default_train_step(model, batch, optimizer, criterion, "cpu")
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    return loss


class Outputs(nn.Module):
    """A model in the manner of Hugging Face: mappings in, an object with loss and logits out."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.layer, self.form = nn.Linear(4, 2), form

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        logits = self.layer(inputs)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        if self.form == "object":
            return SimpleNamespace(loss=loss, logits=logits)
        return {"loss": loss, "logits": logits} if self.form == "mapping" else (loss, logits)


class WithoutLabels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.layer(inputs)}


def test_pairs_and_longer_tuples_end_in_the_target() -> None:
    model = nn.Linear(4, 2)
    assert step(model, (X, Y), nn.CrossEntropyLoss()).ndim == 0
    bilinear = nn.Bilinear(4, 4, 2)
    assert step(bilinear, [X, X, Y], nn.CrossEntropyLoss()).ndim == 0


@pytest.mark.parametrize("form", ["object", "mapping", "tuple"])
def test_a_model_that_returns_its_loss_needs_no_criterion(form: str) -> None:
    loss = step(Outputs(form), {"inputs": X, "labels": Y})
    assert loss.requires_grad


def test_labels_that_the_model_does_not_take_go_to_the_criterion() -> None:
    assert step(WithoutLabels(), {"inputs": X, "labels": Y}, nn.CrossEntropyLoss()).ndim == 0


def test_one_tensor_is_its_own_target() -> None:
    assert step(nn.Linear(4, 4), X, nn.MSELoss()).ndim == 0


def test_lbfgs_gets_its_closure() -> None:
    model = nn.Linear(4, 2)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
    assert default_train_step(model, (X, Y), optimizer, nn.CrossEntropyLoss(), "cpu") is not None


def test_no_loss_and_no_criterion_says_what_to_do() -> None:
    with pytest.raises(BenchmarkError, match="train_step"):
        default_train_step(nn.Linear(4, 2), (X, Y), torch.optim.SGD([torch.zeros(1)], lr=1), None, "cpu")


def a_training(data: Any, **over: Any) -> Training:
    model = nn.Linear(4, 2)
    fields = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "criterion": nn.CrossEntropyLoss(),
        "data": data,
    }
    return Training(**{**fields, **over})


class Stream(IterableDataset[Any]):
    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        return iter(zip(X[: self.count], Y[: self.count], strict=True))


class NoLength(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        return X[0], Y[0]


@pytest.mark.parametrize(
    ("data", "steps", "words"),
    [
        (TensorDataset(X[:0], Y[:0]), None, "empty"),
        ([], None, "empty"),
        (DataLoader(Stream(40), batch_size=4), None, "steps_per_epoch"),
        (NoLength(), None, "no length"),
        (DataLoader(TensorDataset(X[:3], Y[:3]), batch_size=8, drop_last=True), None, "drop_last"),
        (DataLoader(TensorDataset(X, Y), batch_size=8), 99, "one epoch of the data has 5 batches"),
        (iter([(X, Y)]), None, "iterated anew"),
        (7, None, "Dataset"),
    ],
)
def test_data_that_cannot_be_used_is_refused_before_anything_runs(data: Any, steps: int | None, words: str) -> None:
    ran = []
    training = a_training(data, train_step=lambda *_: ran.append(1))
    with pytest.raises(InvalidInputError, match=words) as refusal:
        run_benchmark(training, BenchmarkPlan(epoch_count=1, steps_per_epoch=steps))
    assert isinstance(refusal.value, GreenloveError)
    assert not ran


@pytest.mark.parametrize(
    "fields",
    [
        {"epoch_count": 0}, {"epoch_count": -3}, {"epoch_count": 2.5}, {"batch_size": 0}, {"steps_per_epoch": 0},
        {"budget_s": 0.0}, {"method": "guess"}, {"growth": 1.0}, {"cap_s": -1.0},
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        BenchmarkPlan(**fields)


def test_batch_size_beside_a_loader_must_be_its_own() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=8)
    assert make_feed(loader, batch_size=8).steps_per_epoch == 5
    with pytest.raises(InvalidInputError, match="the loader's own is 8"):
        make_feed(loader, batch_size=16)


def test_an_optimizer_without_step_and_a_state_without_state_dict_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="step"):
        a_training(TensorDataset(X, Y), optimizer=None)
    with pytest.raises(InvalidInputError, match="state_dict"):
        a_training(TensorDataset(X, Y), extra_state=(3,))
    with pytest.raises(InvalidInputError, match="move it there"):
        a_training(TensorDataset(X, Y), device="cuda")
    with pytest.raises(InvalidInputError, match="meta device"):
        a_training(TensorDataset(X, Y), model=nn.Linear(4, 2, device="meta"))


@pytest.mark.parametrize("part", [{"model": nn.Linear}, {"optimizer": torch.optim.SGD}, {"criterion": nn.MSELoss}])
def test_a_class_in_place_of_an_object_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"{next(iter(part))} is the class .*; pass an object of it"):
        a_training(TensorDataset(X, Y), **part)


def test_samples_that_make_no_batch_are_said_to_need_a_loader_of_their_own() -> None:
    ragged = [(torch.zeros(size), 0) for size in range(1, 9)]
    with pytest.raises(BenchmarkError, match=r"do not go into one batch .*; pass a DataLoader with your"):
        run_benchmark(a_training(ragged), BenchmarkPlan(epoch_count=1))


def test_what_a_length_raised_is_told() -> None:
    class NotYet(NoLength):
        def __len__(self) -> int:
            raise RuntimeError("call setup() first")

    with pytest.raises(InvalidInputError, match=r"NotYet has no length \(RuntimeError: call setup\(\) first\)"):
        make_feed(NotYet())


def test_sizes_are_those_that_the_loader_will_draw() -> None:
    data = TensorDataset(X, Y)
    plain = make_feed(data, batch_size=16)
    assert (plain.sample_count, plain.batch_size, plain.steps_per_epoch) == (40, 16, 3)
    dropped = make_feed(DataLoader(data, batch_size=16, drop_last=True))
    assert (dropped.sample_count, dropped.steps_per_epoch) == (32, 2)
    half = make_feed(DataLoader(data, batch_size=16, sampler=torch.utils.data.RandomSampler(data, num_samples=20)))
    assert (half.sample_count, half.steps_per_epoch) == (20, 2)
    grouped = make_feed(DataLoader(data, batch_sampler=[[0, 1], [2, 3, 4], [5]]))
    assert grouped.steps_per_epoch == 3
    stream = make_feed(DataLoader(Stream(40), batch_size=4), steps_per_epoch=6)
    assert (stream.sample_count, stream.steps_per_epoch) == (24, 6)
    stated = make_feed([(X, Y)] * 7, batch_size=4)
    assert (stated.sample_count, stated.batch_size, stated.steps_per_epoch) == (7, 4, 2)
    assert make_feed(data).batch_size == 64


def test_a_list_of_batches_that_are_ready_is_as_many_steps() -> None:
    batches = [(X[at : at + 16], Y[at : at + 16]) for at in range(0, 40, 16)]
    with pytest.warns(UserWarning, match="taken for batches that are ready"):
        feed = make_feed(batches)
    assert (feed.sample_count, feed.batch_size, feed.steps_per_epoch) == (40, 16, 3)
    loader = make_feed(DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    assert (loader.sample_count, loader.batch_size, loader.steps_per_epoch) == (40, 16, 3)


def test_items_that_could_be_samples_are_samples() -> None:
    ids = torch.arange(40)
    feed = make_feed([{"input_ids": ids, "labels": ids}] * 7)
    assert (feed.sample_count, feed.batch_size, feed.steps_per_epoch) == (7, 64, 1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((X, Y), "a tuple of 2 arrays of 40 rows"),
        ([X.numpy(), Y.numpy()], "a list of 2 arrays"),
        ({"x": X, "y": Y}, "with the keys 'x', 'y'"),
        ("train.csv", "got str"),
        (TensorDataset, "data is the class TensorDataset; pass an object of it"),
        ((TensorDataset(X, Y), TensorDataset(X, Y)), "a tuple of 2 loaders or data sets; pass the one to train on"),
        (DataLoader(TensorDataset(X, Y), sampler=SubsetRandomSampler([])), "its SubsetRandomSampler draws no sample"),
    ],
)
def test_what_is_no_data_set_is_refused_with_what_to_pass(data: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        make_feed(data)


@pytest.mark.parametrize("error", [NotImplementedError, AttributeError, OverflowError, RuntimeError])
def test_a_length_that_raises_is_a_length_that_is_not_known(error: type[Exception]) -> None:
    class Unsure(Stream):
        def __len__(self) -> int:
            raise error("unknown")

    loader = DataLoader(Unsure(40), batch_size=4)
    assert make_feed(loader, steps_per_epoch=6).steps_per_epoch == 6
    with pytest.raises(InvalidInputError, match="steps_per_epoch"):
        make_feed(loader)


def test_sizing_up_a_loader_changes_nothing_about_it() -> None:
    class Counted(Stream):
        def __len__(self) -> int:
            return 40

    loader, random_state = DataLoader(Counted(40), batch_size=4), torch.get_rng_state()
    before = dict(vars(loader))
    make_feed(loader)
    assert vars(loader) == before
    assert torch.equal(torch.get_rng_state(), random_state)


class ReturnsItself:
    """A loader that is its own iterator, as FastTensorDataLoader is."""

    batch_size = 10

    def __init__(self) -> None:
        self.begun = 0

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> ReturnsItself:
        self.begun += 1
        return self

    def __next__(self) -> Any:
        raise StopIteration


def test_a_loader_that_returns_itself_is_taken_and_not_begun() -> None:
    loader = ReturnsItself()
    assert make_feed(loader).sample_count == 40
    assert loader.begun == 0


def test_a_loader_of_the_users_own_class_is_never_rebuilt() -> None:
    class Named(DataLoader[Any]):
        def __iter__(self) -> Any:
            return iter([])

    data = TensorDataset(X, Y)
    assert make_feed(Named(data, batch_size=8)).part(8) is None
    some = torch.utils.data.SubsetRandomSampler(range(10))
    assert make_feed(DataLoader(data, batch_size=8, sampler=some)).part(8) is None
    assert make_feed(DataLoader(data, batch_size=8, shuffle=True)).part(8) is not None


def test_the_default_step_says_what_it_did_where_it_does_not_fit() -> None:
    training = a_training(TensorDataset(X, Y, torch.arange(40)))
    step = training.make_step()
    with pytest.raises(BenchmarkError, match=r"model\(\*batch\[:-1\]\).*pass train_step"):
        step((X, Y, torch.arange(40)))


def test_an_error_after_the_first_batch_is_the_users_own() -> None:
    step = a_training(TensorDataset(X, Y)).make_step()
    step((X, Y))
    with pytest.raises(RuntimeError):
        step((X[:, :1], Y))


def test_a_part_has_as_many_samples_and_the_loaders_own_ways() -> None:
    def collate(items: list[Any]) -> Any:
        return torch.stack([x for x, _ in items]) * 0, torch.tensor([y for _, y in items])

    feed = make_feed(DataLoader(TensorDataset(X, Y), batch_size=8, collate_fn=collate))
    batches = list(feed.part(20))
    assert [len(y) for _, y in batches] == [8, 8, 4]
    assert all((x == 0).all() for x, _ in batches)
    assert make_feed(DataLoader(Stream(40), batch_size=4), steps_per_epoch=6).part(8) is None


def test_a_data_set_smaller_than_a_batch_is_benchmarked() -> None:
    log = run_benchmark(a_training(TensorDataset(X[:5], Y[:5])), BenchmarkPlan(epoch_count=2, batch_size=64))
    assert (log.sample_count, log.steps_per_epoch) == (5, 1)


def test_a_stream_that_ends_sooner_than_stated_is_as_long_as_it_is() -> None:
    loader = DataLoader(Stream(12), batch_size=4)
    log = run_benchmark(a_training(loader), BenchmarkPlan(epoch_count=2, steps_per_epoch=10))
    assert log.steps_per_epoch == 3
    assert all(record.step_count <= 3 for record in log.epochs)


def test_a_stream_is_cut_where_the_epoch_ends() -> None:
    loader = DataLoader(Stream(40), batch_size=4)
    log = run_benchmark(a_training(loader), BenchmarkPlan(epoch_count=2, steps_per_epoch=6))
    assert log.steps_per_epoch == 6
    assert max(record.step_count for record in log.epochs) == 6


def test_workers_of_the_users_loader_are_left_alone() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=8, num_workers=1, persistent_workers=True)
    log = run_benchmark(a_training(loader), BenchmarkPlan(epoch_count=1, budget_s=0.5))
    assert loader._iterator is None
    assert log.worker_count == 1


def test_a_loss_that_is_not_finite_is_seen() -> None:
    broken = a_training(TensorDataset(X, Y), train_step=lambda *_: torch.tensor(float("nan")))
    assert run_benchmark(broken, BenchmarkPlan(epoch_count=1, batch_size=8)).loss_is_finite is False
    sound = a_training(TensorDataset(X, Y))
    assert run_benchmark(sound, BenchmarkPlan(epoch_count=1, batch_size=8)).loss_is_finite is True
    silent = a_training(TensorDataset(X, Y), train_step=lambda *_: None)
    assert run_benchmark(silent, BenchmarkPlan(epoch_count=1, batch_size=8)).loss_is_finite is None
