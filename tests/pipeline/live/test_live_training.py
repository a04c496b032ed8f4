"""A training while it runs: laps told by steps or by calls, limits, what any kind of end leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from greenlove_mlflow.core.account.estimate import estimate_training
from greenlove_mlflow.core.account.laps import LapPlan
from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.errors import InvalidInputError, LimitReached
from greenlove_mlflow.pipeline.live.lap_meter import LapMeter
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.pipeline.live.running_estimate import Estimated
from greenlove_mlflow.pipeline.tracked_training import TrackedTraining
from greenlove_mlflow.tracking import TrackedRun
from tests.support.clock import VirtualClock
from tests.support.factories import a_fit, a_workload, some_statistics
from tests.support.report import a_benchmark

STEP_S = 0.1
STEPS, EPOCHS = 32, 6
WATTS = 50.0


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock().installed() as installed:
        yield installed


class Meter:
    """A meter of a steady power."""

    is_metered = True

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def energy_j(self, *, modelled: bool = False) -> float:
        return WATTS * self._clock.now_s

    def energy_note(self) -> str:
        return ""


class Kept(TrackedRun):
    """A run that keeps nothing, as on ranks other than 0, but remembers what it was asked to keep."""

    def __init__(self) -> None:
        super().__init__(None, Path())
        self.laps: list[tuple[int, float, float | None]] = []
        self.said: list[tuple[str, str]] = []

    def log_epoch(self, epoch: int, duration_s: float, energy_j: float | None, *_: Any, **__: Any) -> None:
        self.laps.append((epoch, duration_s, energy_j))

    def say_status(self, status: str, reason: str) -> None:
        self.said.append((status, reason))


def an_estimate(epochs: float = EPOCHS, *, step_s: float = STEP_S) -> Estimated:
    epoch_s = STEPS * step_s
    fit = a_fit(sample_count=STEPS * 64, steps_per_epoch=STEPS, epoch_s=epoch_s, first_epoch_s=epoch_s, one_off_s=0.0)
    plan = a_workload(sample_count=STEPS * 64, batch_size=64, steps_per_epoch=STEPS, epoch_count=epochs)
    estimate = estimate_training(some_statistics(fit=fit, workload=plan))
    return Estimated(log=a_benchmark(), estimate=estimate, comparison=None)


def a_training(clock: VirtualClock, *, plan: LapPlan | None = None, **over: Any) -> TrackedTraining:
    @contextmanager
    def open_meter() -> Iterator[Any]:
        yield Meter(clock)

    plan = plan or LapPlan(lap_count=EPOCHS, steps_per_lap=STEPS)
    fields = {
        "tracked": Kept(),
        "laps": LapMeter(open_meter, lambda: None),
        "plan": plan,
        "policy": Policy(),
        "estimated": an_estimate(plan.left_count or 1),
    }
    return TrackedTraining(**{**fields, **over})


def kept(run: TrackedTraining) -> Kept:
    assert isinstance(run._tracked, Kept)
    return run._tracked


def step(run: TrackedTraining, clock: VirtualClock, count: int = 1) -> None:
    for _ in range(count):
        clock.advance(STEP_S)
        run.step()


def test_a_loop_of_ones_own_is_metered_epoch_by_epoch(clock: VirtualClock) -> None:
    run = a_training(clock)
    run.begin()
    step(run, clock, EPOCHS * STEPS)
    clock.advance(1.0)  # a last evaluation
    run.end()
    assert [lap[0] for lap in kept(run).laps] == list(range(EPOCHS))
    assert run.outcome is not None
    assert run.outcome.epoch_durations_s == pytest.approx([STEPS * STEP_S] * EPOCHS)
    assert run.outcome.time_s == pytest.approx(EPOCHS * STEPS * STEP_S + 1.0)
    assert run.outcome.completed
    joules = WATTS * run.outcome.time_s
    pue = run.estimate.statistics.pue.point  # type: ignore[union-attr]
    assert run.outcome.energy_kwh == pytest.approx(joules / 3.6e6 * pue)


def test_steps_that_a_scaler_skips_are_not_missed_at_the_end(clock: VirtualClock) -> None:
    run = a_training(clock)
    run.begin()
    step(run, clock, EPOCHS * STEPS - 3)
    run.end()
    assert run.outcome is not None
    assert run.outcome.completed
    assert len(kept(run).laps) == EPOCHS
    assert "plan-differs" not in {caveat.code for caveat in run.estimate.caveats}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("steps", "laps", "differs"),
    [
        (2 * STEPS, 2, False),  # stopped early, after an epoch
        (2 * STEPS + 9, 2, False),  # stopped within one
        (2 * EPOCHS * STEPS, EPOCHS, True),  # batches half as large
        (5 * EPOCHS * STEPS, EPOCHS, True),
        (EPOCHS * STEPS + STEPS, EPOCHS, True),
        (EPOCHS * 8, EPOCHS, True),  # gradients of four batches accumulated
    ],
)
def test_laps_are_cut_to_what_was_trained(clock: VirtualClock, steps: int, laps: int, differs: bool) -> None:
    run = a_training(clock)
    run.begin()
    step(run, clock, steps)
    run.end()
    assert run.outcome is not None
    assert len(run.outcome.epoch_durations_s) == laps
    caveats = {caveat.code for caveat in run.estimate.caveats}  # type: ignore[union-attr]
    assert ("plan-differs" in caveats) is differs
    if differs:
        assert run.outcome.epoch_durations_s == pytest.approx([steps * STEP_S / laps] * laps)


def test_a_plan_that_is_seen_to_be_another_is_followed_at_once(
    clock: VirtualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = LapPlan(lap_count=EPOCHS, steps_per_lap=64)
    run = a_training(clock, see_plan=lambda step_count: seen)
    run.begin()
    step(run, clock, EPOCHS * 64)
    run.end()
    assert [duration_s for _, duration_s, _ in kept(run).laps] == pytest.approx([64 * STEP_S] * EPOCHS)
    assert "64 optimizer steps, not the planned 32" in capsys.readouterr().err
    assert "plan-differs" in {caveat.code for caveat in run.estimate.caveats}  # type: ignore[union-attr]


def test_half_an_epoch_is_no_accumulation_where_the_loader_was_seen(clock: VirtualClock) -> None:
    plan = LapPlan(lap_count=1, steps_per_lap=STEPS)
    for seen, laps in ((None, 1), (dataclasses.replace(plan, is_seen=True), 0)):
        run = a_training(clock, plan=plan, see_plan=lambda _, seen=seen: seen)
        run.begin()
        step(run, clock, STEPS // 2)
        run.end()
        assert run.outcome is not None
        assert len(run.outcome.epoch_durations_s) == laps


def test_a_second_loop_goes_on_where_the_first_was_left(clock: VirtualClock) -> None:
    run = a_training(clock)
    run.begin()
    epochs = []
    for until in (1, 3, EPOCHS):
        for epoch in run.epochs():
            epochs.append(epoch)
            step(run, clock, STEPS)
            if epoch == until:
                break
        clock.advance(50.0)  # an evaluation between the loops is of no epoch
    run.end()
    assert epochs == list(range(EPOCHS))
    assert [lap[0] for lap in kept(run).laps] == epochs
    assert run.outcome is not None
    assert run.outcome.epoch_durations_s == pytest.approx([STEPS * STEP_S] * EPOCHS)
    assert run.outcome.time_s == pytest.approx(EPOCHS * STEPS * STEP_S + 150.0)
    assert run.outcome.completed


def test_an_interrupted_epoch_is_repeated_by_the_next_loop_as_in_a_notebook(clock: VirtualClock) -> None:
    run = a_training(clock)
    run.begin()
    epochs: list[int] = []
    kept_alive = run.epochs()  # a notebook keeps the interrupted frame, and with it the loop
    for epoch in kept_alive:
        epochs.append(epoch)
        step(run, clock, STEPS if epoch < 2 else 5)
        if epoch == 2:
            break
    for epoch in run.epochs():
        epochs.append(epoch)
        step(run, clock, STEPS)
    kept_alive.close()  # type: ignore[attr-defined]
    run.end()
    assert epochs == [0, 1, 2, 2, 3, 4, 5]
    assert run.outcome is not None
    assert run.outcome.epoch_durations_s == pytest.approx([STEPS * STEP_S] * EPOCHS)


def test_a_loop_left_before_its_first_step_has_trained_no_epoch(clock: VirtualClock) -> None:
    _, optimizer = make_optimizer()
    run = a_training(clock, optimizers=[optimizer])
    run.begin()
    for _ in run.epochs():
        clock.advance(1.0)
        break
    run.end()
    assert kept(run).laps == []


def test_steps_go_on_after_the_one_they_were_left_with(clock: VirtualClock) -> None:
    run = a_training(clock, plan=LapPlan(lap_count=2, steps_per_lap=STEPS, is_epoch=False))
    run.begin()
    numbers = []
    for until in (9, 2 * STEPS):
        for number in run.steps():
            clock.advance(STEP_S)
            numbers.append(number)
            if number == until:
                break
    run.end()
    assert numbers == list(range(2 * STEPS))
    assert run.outcome is not None
    assert run.outcome.epoch_durations_s == pytest.approx([STEPS * STEP_S] * 2)


def test_a_loop_beyond_the_plan_or_inside_another_is_refused(clock: VirtualClock) -> None:
    run = a_training(clock)
    run.begin()
    for _ in run.epochs():
        step(run, clock, STEPS)
    with pytest.raises(InvalidInputError, match="has counted all 6 epochs"):
        next(run.epochs())
    with pytest.raises(InvalidInputError, match=r"counted by run\.epochs\(\)"):
        next(run.steps())
    run.end()
    with pytest.raises(InvalidInputError, match="has ended"):
        next(run.epochs())
    assert len(kept(run).laps) == EPOCHS
    run = a_training(clock)
    outer = run.epochs()
    next(outer)
    next(run.epochs())
    with pytest.raises(InvalidInputError, match="another loop over run"):
        next(outer)


def test_a_training_of_another_optimizer_says_that_nothing_was_seen(
    clock: VirtualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    (_, given), (model, other) = make_optimizer(), make_optimizer()
    run = a_training(clock, optimizers=[given])
    run.begin()
    for _ in range(3):
        model(torch.ones(1, 1)).sum().backward()
        other.step()
    run.end()
    run.say_end(None)
    assert "no step of the given optimizer was seen, but 3 of another one" in capsys.readouterr().err


def make_optimizer() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Linear(1, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_epochs_take_over_from_steps(clock: VirtualClock) -> None:
    run = a_training(clock)
    run.begin()
    step(run, clock, 40)  # something else was trained before
    for _ in run.epochs():
        step(run, clock, 10)
    run.end()
    assert run.outcome is not None
    assert run.outcome.epoch_durations_s == pytest.approx([10 * STEP_S] * EPOCHS)
    assert run.outcome.time_s == pytest.approx((40 + 10 * EPOCHS) * STEP_S)


def leave_by_break(run: TrackedTraining, clock: VirtualClock, after: int) -> None:
    for epoch in run.epochs():
        step(run, clock, STEPS)
        if epoch == after:
            break


def test_a_break_after_an_epoch_keeps_it(clock: VirtualClock) -> None:
    run = a_training(clock)
    run.begin()
    leave_by_break(run, clock, 2)
    run.end()
    assert run.outcome is not None
    assert run.outcome.epoch_durations_s == pytest.approx([STEPS * STEP_S] * 3)
    assert not run.outcome.completed


def test_a_break_within_an_epoch_counts_for_the_time_alone(clock: VirtualClock) -> None:
    run = a_training(clock)
    run.begin()
    for epoch in run.epochs():
        step(run, clock, STEPS if epoch < 2 else 11)
        if epoch == 2:
            break
    run.end()
    assert run.outcome is not None
    assert len(run.outcome.epoch_durations_s) == 2
    assert run.outcome.time_s == pytest.approx((2 * STEPS + 11) * STEP_S)


def test_a_break_where_no_step_is_seen_goes_by_the_time_of_an_epoch(clock: VirtualClock) -> None:
    for last_s, laps in ((3.2, 3), (0.4, 2)):
        run = a_training(clock)
        run.begin()
        for epoch in run.epochs():
            clock.advance(3.2 if epoch < 2 else last_s)
            if epoch == 2:
                break
        run.end()
        assert run.outcome is not None
        assert len(run.outcome.epoch_durations_s) == laps


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
def test_an_exception_settles_the_time_so_far(clock: VirtualClock, error: BaseException) -> None:
    run = a_training(clock)
    run.begin()

    def train() -> None:
        for epoch in run.epochs():
            step(run, clock, STEPS // 2 if epoch == 3 else STEPS)
            if epoch == 3:
                raise error

    with pytest.raises(type(error)):
        train()
    run.end()
    assert run.outcome is not None
    assert len(run.outcome.epoch_durations_s) == 3
    assert run.outcome.time_s == pytest.approx(3.5 * STEPS * STEP_S)


def test_a_limit_that_is_spent_ends_the_epochs(clock: VirtualClock, capsys: pytest.CaptureFixture[str]) -> None:
    limit_h = 2.5 * STEPS * STEP_S / 3600.0
    run = a_training(clock, policy=Policy(limits=Limits(hours=limit_h)))
    run.begin()
    trained = 0
    for _ in run.epochs():
        step(run, clock, STEPS)
        trained += 1
    run.end()
    assert trained == 3
    assert run.must_stop.startswith("reached the limit of ")
    assert [status for status, _ in kept(run).said] == ["stopped"]
    assert capsys.readouterr().err.count("training stopped") == 1


def test_a_limit_that_is_spent_warns_a_loop_of_ones_own_once(
    clock: VirtualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_training(clock, policy=Policy(limits=Limits(hours=STEPS * STEP_S / 3600.0)))
    run.begin()
    step(run, clock, EPOCHS * STEPS)
    run.end()
    assert kept(run).said == []
    assert capsys.readouterr().err.count('on_limit="raise"') == 1
    assert run.outcome is not None
    assert run.outcome.completed


def test_a_limit_raises_in_a_loop_of_ones_own_when_asked_to(clock: VirtualClock) -> None:
    limit_h = 1.5 * STEPS * STEP_S / 3600.0
    run = a_training(clock, policy=Policy(limits=Limits(hours=limit_h), on_limit="raise"))
    run.begin()
    with pytest.raises(LimitReached, match=r"reached the limit of \d+(\.\d+)? s \(spent"):
        step(run, clock, EPOCHS * STEPS)
    run.end()
    assert run.step_count == 2 * STEPS
    assert run.outcome is not None
    assert len(run.outcome.epoch_durations_s) == 2


def test_steps_are_yielded_and_metered_in_laps(clock: VirtualClock) -> None:
    plan = LapPlan(lap_count=3.75, steps_per_lap=STEPS, is_epoch=False)
    run = a_training(clock, plan=plan)
    run.begin()
    seen = []
    for number in run.steps():
        seen.append(number)
        clock.advance(STEP_S)
    run.end()
    assert seen == list(range(120))
    assert run.outcome is not None
    assert run.outcome.epoch_durations_s == pytest.approx([STEPS * STEP_S] * 3 + [24 * STEP_S])
    assert run.outcome.completed


@pytest.mark.parametrize("plan_by_epochs", [False, True])
def test_a_break_keeps_the_step_and_reads_no_accumulation_from_the_rest(
    clock: VirtualClock, plan_by_epochs: bool
) -> None:
    run = a_training(clock, plan=LapPlan(lap_count=2, steps_per_lap=57, is_epoch=plan_by_epochs))
    run.begin()
    for step in run.steps():
        clock.advance(STEP_S)
        if step == 29:  # half an epoch, as if two batches made a step
            break
    assert run.step_count == 30
    run.end()
    assert kept(run).laps == []
    assert run.outcome is not None
    assert not run.outcome.completed
    assert run.outcome.time_s == pytest.approx(30 * STEP_S)


def test_a_resumed_training_goes_on_counting(clock: VirtualClock) -> None:
    run = a_training(clock, plan=LapPlan(lap_count=10, steps_per_lap=STEPS, done_count=4))
    run.begin()
    epochs = []
    for epoch in run.epochs():
        epochs.append(epoch)
        step(run, clock, STEPS)
    run.end()
    assert epochs == [4, 5, 6, 7, 8, 9]
    assert [lap[0] for lap in kept(run).laps] == epochs
    assert run.outcome is not None
    assert run.outcome.completed


def test_steps_of_a_resumed_training_keep_their_numbers(clock: VirtualClock) -> None:
    plan = LapPlan(lap_count=10, steps_per_lap=STEPS, done_count=4, is_epoch=False)
    run = a_training(clock, plan=plan)
    run.begin()
    seen = [number for number in run.steps() if clock.advance(STEP_S) is None]
    assert (seen[0], seen[-1]) == (4 * STEPS, 10 * STEPS - 1)


def test_a_training_that_may_not_run_has_no_epochs(clock: VirtualClock) -> None:
    run = a_training(clock)
    run.refusal = "no"
    run.begin()
    assert list(run.epochs()) == []
    assert list(run.steps()) == []
    run.end()
    assert run.outcome is None


def test_epochs_of_a_training_planned_by_steps_are_refused(clock: VirtualClock) -> None:
    run = a_training(clock, plan=LapPlan(lap_count=3.75, steps_per_lap=STEPS, is_epoch=False))
    run.begin()
    with pytest.raises(InvalidInputError, match=r"run\.steps"):
        next(iter(run.epochs()))


def test_a_runner_is_trained_by_its_own_epochs(clock: VirtualClock) -> None:
    class Runner:
        sample_count, batch_size = 100, 1

        def __init__(self) -> None:
            self.asked: list[int] = []

        def run_epoch(self, sample_count: int) -> None:
            self.asked.append(sample_count)
            clock.advance(2.0)

    runner = Runner()
    run = a_training(clock, plan=LapPlan(lap_count=3), runner=runner)
    run.begin()
    run.train()
    run.end()
    assert runner.asked == [100, 100, 100]
    assert run.outcome is not None
    assert run.outcome.epoch_durations_s == pytest.approx([2.0, 2.0, 2.0])


def test_train_without_a_runner_says_what_it_is_for(clock: VirtualClock) -> None:
    with pytest.raises(InvalidInputError, match="EpochRunner"):
        a_training(clock).train()


def test_ending_twice_changes_nothing(clock: VirtualClock) -> None:
    run = a_training(clock)
    run.begin()
    step(run, clock, STEPS)
    run.end()
    first = run.outcome
    clock.advance(100.0)
    run.end()
    assert run.outcome == first


def test_many_tiny_steps_can_still_be_cut_again(clock: VirtualClock) -> None:
    run = a_training(clock, plan=LapPlan(lap_count=4, steps_per_lap=5000))
    run.begin()
    for index in range(40_000):
        clock.advance(0.001 if index < 10_000 else 0.003)
        run.step()
    run.end()
    assert run.outcome is not None
    assert run.outcome.epoch_durations_s == pytest.approx([10.0, 30.0, 30.0, 30.0], rel=1e-3)


@pytest.mark.parametrize(("slower", "said"), [(4.0, 0), (100.0, 1)])
def test_a_forecast_that_reads_like_the_estimate_is_no_news(
    clock: VirtualClock, capsys: pytest.CaptureFixture[str], slower: float, said: int
) -> None:
    """Both are under a second, four times apart as they are; a hundred times is told."""
    run = a_training(clock, estimated=an_estimate(step_s=0.001))
    for _ in run.epochs():
        clock.advance(STEPS * 0.001 * slower)
    assert capsys.readouterr().err.count("outside the estimated under 1 s") == said
