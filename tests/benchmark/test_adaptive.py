"""The adaptive benchmark on machines whose truth is known: its promise, its length, and what it leaves alone."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset

from greenlove_mlflow.benchmark import BenchmarkPlan, Training, make_feed, run_benchmark
from greenlove_mlflow.benchmark.adaptive import run_adaptive
from greenlove_mlflow.benchmark.session import Session
from greenlove_mlflow.core.records import BenchmarkLog, Machine
from greenlove_mlflow.core.timing.adaptive_fit import fit_log
from greenlove_mlflow.core.timing.fit import AdaptiveFit
from greenlove_mlflow.core.workload import Workload
from tests.support.clock import MachineModel, Profile, SimulatedMachine, SimulatedTraining, VirtualClock
from tests.support.spy import Spy

STEADY = MachineModel()


def promise(
    profile: Profile, model: MachineModel = STEADY, **plan: Any
) -> tuple[float, float, BenchmarkLog, AdaptiveFit]:
    """What is promised, what it really takes, the log and the fit."""
    machine = SimulatedMachine(model, seed=1, horizon_s=3.0 * profile.total_work_s() + 600.0)
    training = SimulatedTraining(profile, machine)
    log = training.benchmark(BenchmarkPlan(epoch_count=profile.epoch_count, **plan))
    fit = fit_log(log, training.workload(log))
    return fit.predict(training.workload(log)).point, training.true_total_s(), log, fit


PROFILES = [
    Profile("whole epochs", sample_count=400, step_s=0.02, epoch_count=30),
    Profile("one epoch is an hour", sample_count=1_440_000, step_s=0.02, epoch_count=2),
    Profile("very fast steps", sample_count=80_000, step_s=0.00008, epoch_count=200),
    Profile("slow steps", sample_count=3200, step_s=1.5, epoch_count=4),
    Profile("very slow steps", sample_count=1600, step_s=7.0, epoch_count=4),
    Profile("workers that start anew each epoch", sample_count=800, step_s=0.01, overhead_s=1.2, worker_count=2),
    Profile("workers and long epochs", sample_count=40_000, step_s=0.01, overhead_s=1.2, worker_count=2),
    Profile("smaller than a batch", sample_count=5, step_s=0.05, epoch_count=500),
    Profile("few batches and a partial one", sample_count=83, step_s=0.03, step_per_sample=True, epoch_count=200),
    Profile("partial batch dropped", sample_count=83, step_s=0.03, drop_last=True, epoch_count=200),
    Profile("cached data", sample_count=16_000, step_s=0.01, fetch_s=0.0002, cold_fetch_s=0.003, epoch_count=10),
    Profile("small cached data", sample_count=800, step_s=0.01, fetch_s=0.0002, cold_fetch_s=0.003, epoch_count=40),
    Profile("data-bound", sample_count=16_000, step_s=0.002, fetch_s=0.002, epoch_count=10),
]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_on_a_machine_that_keeps_its_pace_the_promise_is_the_truth(profile: Profile) -> None:
    promised, truth, log, _ = promise(profile)
    assert promised == pytest.approx(truth, rel=0.012)
    assert log.duration_s - log.first_contact_steps_s[0] <= 25.0


def test_a_first_step_that_compiles_is_paid_once() -> None:
    profile = Profile(sample_count=800, step_s=0.01, first_step_s=9.0, epoch_count=50)
    promised, truth, log, fit = promise(profile)
    assert fit.one_off_s == pytest.approx(9.0, rel=0.01)
    assert promised == pytest.approx(truth, rel=0.01)
    assert log.duration_s - 9.0 < 12.0


def test_batches_of_different_length_are_averaged_not_extrapolated_from_one() -> None:
    promised, truth, _, fit = promise(Profile(sample_count=40_000, step_s=0.01, length_cv=0.6, epoch_count=5))
    assert promised == pytest.approx(truth, rel=0.06)
    assert fit.noise_log_sd > 0.03


def test_it_stops_as_soon_as_more_data_cannot_help() -> None:
    _, _, log, _ = promise(Profile(sample_count=80_000, step_s=0.01, epoch_count=50))
    assert log.stop_reason == "precise"
    assert 5.0 < log.duration_s < 9.0


def test_noise_that_does_not_settle_ends_with_the_budget() -> None:
    noisy = MachineModel(noise_sd=0.5, noise_tau_s=2.0)
    _, _, log, _ = promise(Profile(sample_count=80_000, step_s=0.01, epoch_count=50), noisy)
    assert log.stop_reason == "budget"
    assert 11.0 < log.duration_s < 12.1
    _, _, log, _ = promise(Profile(sample_count=80_000, step_s=0.01, epoch_count=50), noisy, budget_s=4.0)
    assert log.duration_s < 6.0


def test_a_short_training_is_not_benchmarked_for_longer_than_a_tenth_of_it() -> None:
    noisy = MachineModel(noise_sd=0.5, noise_tau_s=2.0)
    _, _, log, _ = promise(Profile(sample_count=400, step_s=0.01, epoch_count=60), noisy)  # 30 s in all
    assert log.duration_s < 5.0


def test_a_training_that_is_done_is_not_benchmarked_on() -> None:
    _, _, log, _ = promise(Profile(sample_count=80, step_s=0.01, epoch_count=1))
    assert log.stop_reason == "complete"
    assert log.duration_s < 0.2
    _, _, log, _ = promise(Profile(sample_count=800, step_s=0.01, epoch_count=2))
    assert log.stop_reason == "complete"
    assert sum(record.phase == "timed" for record in log.epochs) <= 2


@pytest.mark.parametrize("step_s", [3.0, 9.0, 13.0, 24.0])
def test_caps_hold_after_the_first_step_however_slow_steps_are(step_s: float) -> None:
    promised, truth, log, _ = promise(Profile(sample_count=8000, step_s=step_s, epoch_count=2))
    assert log.duration_s - log.first_contact_steps_s[0] <= 25.0
    assert promised == pytest.approx(truth, rel=0.01)


def test_a_step_longer_than_the_cap_is_run_twice_because_only_the_second_tells() -> None:
    promised, truth, log, fit = promise(Profile(sample_count=8000, step_s=40.0, epoch_count=2))
    assert sum(record.step_count for record in log.epochs) == 2
    assert promised == pytest.approx(truth, rel=0.01)
    assert [caveat.code for caveat in fit.caveats if caveat.code == "few-steps"]


@pytest.mark.parametrize("first_step_s", [26.0, 90.0])
def test_a_first_step_longer_than_the_cap_is_paid_once(first_step_s: float) -> None:
    profile = Profile(sample_count=32_000, step_s=0.009, first_step_s=first_step_s, epoch_count=20)
    promised, truth, log, fit = promise(profile)
    assert len(log.first_contact_steps_s) >= 5
    assert fit.one_off_s == pytest.approx(first_step_s, rel=0.01)
    assert promised == pytest.approx(truth, rel=0.02)
    assert log.duration_s - log.first_contact_steps_s[0] <= 25.0


def test_throttling_is_watched_for_longer_and_the_later_half_counts() -> None:
    heating = MachineModel(throttle=0.15, throttle_tau_s=6.0)
    promised, truth, log, fit = promise(Profile(sample_count=80_000, step_s=0.01, epoch_count=20), heating)
    assert log.duration_s > 14.0
    assert promised == pytest.approx(truth, rel=0.04)
    assert "drift" in [caveat.code for caveat in fit.caveats]


def test_a_neighbour_who_comes_half_way_is_not_taken_for_a_machine_warming_up() -> None:
    clock = VirtualClock()
    training = a_plain_training(lambda *_: clock.advance(0.01 if clock.now_s < 4.0 else 0.02))
    with clock.installed():
        log = run_benchmark(training, BenchmarkPlan(epoch_count=50), machine=Machine(device="cpu"))
    workload = SimulatedTraining(Profile(epoch_count=50), SimulatedMachine(STEADY)).workload(log)
    fit = fit_log(log, workload)
    assert 0.012 < fit.step_s < 0.018
    assert fit.drift_log_sd > 0.12


def test_three_sizes_are_timed_within_a_second_unless_steps_are_too_slow() -> None:
    _, _, log, fit = promise(Profile(sample_count=400, step_s=0.005, epoch_count=100))
    scaling = [record for record in log.epochs if record.phase == "scaling"]
    assert sorted({record.sample_count for record in scaling}) == [96, 200, 400] or len(scaling) == 6
    assert sum(record.duration_s for record in scaling) <= 1.05
    assert fit.spearman_rho == 1.0
    assert fit.affine_r2 == pytest.approx(1.0, abs=0.02)
    _, _, log, fit = promise(Profile(sample_count=400, step_s=0.5, epoch_count=100))
    assert not [record for record in log.epochs if record.phase == "scaling"]
    assert fit.spearman_rho is None


class CountingClock(VirtualClock):
    calls = 0

    def perf_counter(self) -> float:
        self.calls += 1
        return super().perf_counter()


def a_plain_training(step: Any, data: Any = None, **over: Any) -> Training:
    model = torch.nn.Linear(1, 1)
    fields = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "criterion": None,
        "data": torch.utils.data.DataLoader(range(2000), batch_size=2) if data is None else data,
        "train_step": step,
    }
    return Training(**{**fields, **over})


def test_the_loop_looks_at_the_clock_twice_a_step_and_synchronises_at_edges_only(monkeypatch: Any) -> None:
    clock, waits = CountingClock(), []
    training = a_plain_training(lambda *_: clock.advance(0.002))
    monkeypatch.setattr(Training, "synchronize", lambda self: waits.append(clock.now_s))
    with clock.installed():
        log = run_benchmark(training, BenchmarkPlan(epoch_count=50), machine=Machine(device="cpu"))
    steps = sum(record.step_count for record in log.epochs)
    first_steps = 64
    assert clock.calls < 2 * steps + 20 * (len(log.blocks) + len(log.epochs) + first_steps)
    assert len(waits) < 3 * (len(log.blocks) + len(log.epochs)) + first_steps + 20


def test_what_progress_takes_is_not_timed() -> None:
    clock, seen = VirtualClock(), []

    def progress(phase: str, done_s: float, budget_s: float) -> None:
        seen.append((phase, done_s, budget_s))
        clock.advance(0.3)

    training = a_plain_training(lambda *_: clock.advance(0.01))
    with clock.installed():
        log = run_benchmark(training, BenchmarkPlan(epoch_count=50), machine=Machine(device="cpu"), progress=progress)
    stepped = [record for record in log.epochs if record.phase != "revisit"]
    assert all(record.duration_s == pytest.approx(0.01 * record.step_count) for record in stepped)
    assert {"first-contact", "timed", "scaling"} <= {phase for phase, _, _ in seen}
    assert seen[-1][2] < 30.0


class Meter:
    """A meter of 100 W that knows which segments were called steady."""

    def __init__(self) -> None:
        self.windows: list[float] = []

    def energy_j(self) -> float | None:
        return 100.0 * time.perf_counter()

    @contextmanager
    def window(self) -> Iterator[None]:
        begun_s = time.perf_counter()
        yield
        self.windows.append(time.perf_counter() - begun_s)

    def readings(self) -> tuple[()]:
        return ()

    def samples(self) -> tuple[()]:
        return ()


def test_energy_belongs_to_passes_and_steady_segments_are_timed_passes_of_five_seconds() -> None:
    clock, meter = VirtualClock(), Meter()
    training = a_plain_training(lambda *_: clock.advance(0.01))
    with clock.installed():
        log = run_benchmark(training, BenchmarkPlan(epoch_count=3), machine=Machine(device="cpu"), meter=meter)
    timed = log.epochs_of("timed")
    assert len(meter.windows) == len(timed)
    assert all(record.energy_j == pytest.approx(100.0 * record.duration_s) for record in timed)
    with clock.installed():
        longer = run_benchmark(
            a_plain_training(lambda *_: clock.advance(0.01)),
            BenchmarkPlan(epoch_count=8),
            machine=Machine(device="cpu"),
            meter=meter,
        )
    assert sum(record.duration_s for record in longer.epochs_of("timed")) > 4.0


def test_validation_is_timed_in_evaluation_mode_and_extrapolated_when_long() -> None:
    clock, modes = VirtualClock(), Spy()

    def validate(model: Any, *_: Any) -> None:
        modes.put(model.training)
        clock.advance(0.1)

    for batches, expected_s in ((5, 0.5), (200, 20.0)):
        loader = torch.utils.data.DataLoader(range(2 * batches), batch_size=2)
        training = a_plain_training(lambda *_: clock.advance(0.01), validation=(loader, validate))
        with clock.installed():
            log = run_benchmark(training, BenchmarkPlan(epoch_count=3), machine=Machine(device="cpu"))
        assert log.validation_s == pytest.approx(expected_s)
        assert training.model.training
    assert set(modes.noted()) == {False}


def test_a_validation_loader_alone_gets_the_default_step() -> None:
    data = torch.utils.data.TensorDataset(torch.randn(8, 1), torch.randn(8, 1))
    model = torch.nn.Linear(1, 1)
    training = Training(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=torch.nn.MSELoss(),
        data=data,
        validation=torch.utils.data.DataLoader(data, batch_size=4),
    )
    log = run_benchmark(training, BenchmarkPlan(epoch_count=1, batch_size=4))
    assert log.validation_s > 0.0
    assert log.epochs_of("validation")[0].step_count == 2


def test_gradient_accumulation_is_averaged_over_its_cycle() -> None:
    clock, count = VirtualClock(), [0]

    def step(*_: Any) -> None:
        count[0] += 1
        clock.advance(0.01 if count[0] % 4 else 0.03)

    with clock.installed():
        log = run_benchmark(a_plain_training(step), BenchmarkPlan(epoch_count=20), machine=Machine(device="cpu"))
    workload = SimulatedTraining(Profile(epoch_count=20), SimulatedMachine(STEADY)).workload(log)
    fit = fit_log(log, workload)
    promised = fit.predict(workload)
    # Steps of unequal cost may hide a rough pace, so a machine without counters is taken for a shared one, and bursts
    # that it did not see are added.
    assert promised.point / math.exp(fit.bias_log) == pytest.approx(20 * 1000 * 0.015, rel=0.01)
    assert promised.contains(20 * 1000 * 0.015)


def test_a_stream_with_stated_steps_is_timed_like_any_data() -> None:
    class Stream(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(10**9))

    clock = VirtualClock()
    training = a_plain_training(lambda *_: clock.advance(0.01), torch.utils.data.DataLoader(Stream(), batch_size=4))
    with clock.installed():
        log = run_benchmark(training, BenchmarkPlan(epoch_count=10, steps_per_epoch=500), machine=Machine(device="cpu"))
    workload = SimulatedTraining(Profile(epoch_count=10), SimulatedMachine(STEADY)).workload(log)
    assert (workload.steps_per_epoch, workload.sample_count) == (500, 2000)
    assert fit_log(log, workload).predict(workload).point == pytest.approx(50.0, rel=0.01)


def test_first_steps_are_kept_one_by_one_and_blocks_are_half_seconds() -> None:
    _, _, log, _ = promise(Profile(sample_count=80_000, step_s=0.01, first_step_s=1.0))
    assert log.first_contact_steps_s[0] == pytest.approx(1.01)
    assert log.first_contact_steps_s[1] == pytest.approx(0.01)
    heads = {block.epoch_index: block for block in reversed(log.blocks)}
    body = [block for block in log.blocks if heads[block.epoch_index] is not block]
    assert sum(0.45 < block.duration_s < 0.55 for block in body) > 0.6 * len(body)
    assert all(head.step_count == 1 for head in heads.values())


class CountingMeter:
    """A meter that knows its energy and how long its windows were open."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.metered_s = clock, 0.0

    def energy_j(self) -> float:
        return 100.0 * self.clock.now_s

    @contextlib.contextmanager
    def window(self) -> Iterator[None]:
        begun_s = self.clock.now_s
        yield
        self.metered_s += self.clock.now_s - begun_s

    def readings(self) -> tuple[()]:
        return ()

    def samples(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize(
    "profile",
    [
        Profile(sample_count=8000, step_s=0.02, epoch_count=2),
        Profile(sample_count=2400, step_s=0.05, epoch_count=3),
        Profile(sample_count=80_000, step_s=0.005, fetch_s=0.0001, epoch_count=2),
        Profile(sample_count=800, step_s=0.01, overhead_s=1.2, worker_count=2, epoch_count=100),
    ],
    ids=["short", "slow steps", "long", "workers"],
)
def test_energy_is_metered_for_its_five_seconds(profile: Profile) -> None:
    machine = SimulatedMachine(STEADY, horizon_s=600.0)
    meter = CountingMeter(machine.clock)
    log = SimulatedTraining(profile, machine).benchmark(BenchmarkPlan(epoch_count=profile.epoch_count), meter=meter)
    assert meter.metered_s >= 5.0
    assert log.duration_s < 16.0


def test_a_budget_that_was_given_is_kept_though_less_is_metered() -> None:
    machine = SimulatedMachine(STEADY, horizon_s=600.0)
    meter = CountingMeter(machine.clock)
    profile = Profile(sample_count=80_000, step_s=0.005, epoch_count=20)
    log = SimulatedTraining(profile, machine).benchmark(BenchmarkPlan(epoch_count=20, budget_s=2.0), meter=meter)
    assert log.duration_s < 3.5


def test_workers_that_load_while_steps_run_leave_no_cache_cold() -> None:
    """The first visit costs the loader more, but less than a step: no step waits for it."""
    from greenlove_mlflow.core.timing.adaptive_fit import later_wait_s, visible_wait_s

    cold_s, warm_s, busy_s = 0.015, 0.004, 0.020
    assert visible_wait_s(cold_s, busy_s, 4) == visible_wait_s(warm_s, busy_s, 4) == 0.0
    assert visible_wait_s(0.035, busy_s, 4) == pytest.approx(0.015)
    # Workers starting is no fetch: ten batches, the first after two seconds.
    assert later_wait_s(2.0 + 9 * 0.004, 2.0, 10) == pytest.approx(0.004)


def test_shapes_seen_for_the_first_time_are_paid_once_and_no_epoch_is_slower_for_them() -> None:
    clock = VirtualClock()
    built: set[int] = set()
    lengths = [8 + (index * 7) % 30 for index in range(400)]

    def step(model: Any, batch: torch.Tensor, *_: Any) -> None:
        clock.advance(0.01 if batch.shape[1] in built else 0.31)
        built.add(batch.shape[1])

    class Loader:
        batch_size = 4

        def __len__(self) -> int:
            return len(lengths)

        def __iter__(self) -> Iterator[torch.Tensor]:
            return (torch.zeros(4, length) for length in lengths)

    model = torch.nn.Linear(1, 1)
    training = Training(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), criterion=None, data=Loader(),
        train_step=step,
    )  # fmt: skip
    session = Session(make_feed(Loader()), training.make_step(), BenchmarkPlan(epoch_count=30),
                      synchronize=lambda: None, host_sees_steps=False)  # fmt: skip
    with clock.installed():
        run_adaptive(session)
    log = BenchmarkLog(
        method="adaptive", machine=Machine(device="cuda:0"), sample_count=1600, batch_size=4, steps_per_epoch=400,
        epochs=tuple(session.epochs), blocks=tuple(session.blocks), duration_s=12.0,
        first_contact_steps_s=tuple(session.first_steps_s),
    )  # fmt: skip
    workload = Workload(sample_count=1600, batch_size=4, epoch_count=30, steps_per_epoch=400)
    fit = fit_log(log, workload)
    truth = 30 * 400 * 0.01 + 30 * 0.3
    assert fit.epoch_s == pytest.approx(4.0, rel=0.01)
    assert fit.one_off_s == pytest.approx(30 * 0.3, rel=0.35)
    assert fit.predict(workload).point == pytest.approx(truth, rel=0.04)
