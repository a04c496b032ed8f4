"""The doors: options refused before anything runs, the flow from step to comparison, the epochs beside the estimate."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, get_args

import mlflow
import pytest
import torch
from torch.utils.data import TensorDataset

import greenlove_mlflow as greenlove
from greenlove_mlflow.benchmark.machine import probe
from greenlove_mlflow.core.records import Method
from greenlove_mlflow.core.speed.gpu_names import find_gpu
from greenlove_mlflow.environment import Environment, read_environment
from greenlove_mlflow.errors import InvalidInputError, TableError, UnknownGpuError, UnknownPlaceError
from greenlove_mlflow.pipeline.estimating import make_plan
from greenlove_mlflow.pipeline.options import make_options
from greenlove_mlflow.tables import read_gpu_specs, read_price_sheet
from tests.support.clock import VirtualClock

pytestmark = pytest.mark.slow

STEP_S = 0.02
SAMPLE_COUNT, BATCH_SIZE = 400, 10
STEPS_PER_EPOCH = SAMPLE_COUNT // BATCH_SIZE


# With a clock that stands still, every probe of this machine measures the same.
probe_once = functools.cache(probe.probe_hardware)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualClock]:
    monkeypatch.setattr(probe, "probe_hardware", probe_once)
    with VirtualClock().installed() as installed:
        yield installed


def parts() -> tuple[Any, Any, Any, Any]:
    model = torch.nn.Linear(4, 2)
    data = TensorDataset(torch.randn(SAMPLE_COUNT, 4), torch.randint(0, 2, (SAMPLE_COUNT,)))
    return model, torch.optim.SGD(model.parameters(), lr=0.1), torch.nn.CrossEntropyLoss(), data


def step_of(clock: VirtualClock, step_s: float = STEP_S) -> Callable[..., None]:
    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> None:
        clock.advance(step_s)

    return step


def options(clock: VirtualClock, **over: Any) -> dict[str, Any]:
    return {"epochs": 50, "batch_size": BATCH_SIZE, "train_step": step_of(clock), "country": "DE", **over}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size"),
        ({"electricity_price_usd_per_kwh": -0.1}, "electricity_price_usd_per_kwh must be at least 0"),
        ({"carbon_intensity_g_per_kwh": float("nan")}, "carbon_intensity_g_per_kwh"),
        ({"pue": 0.9}, "pue must be at least 1"),
        ({"tdp_w": 0.0}, "tdp_w must be above 0"),
        ({"gpu_utilization": 1.5}, "between 0 and 1"),
        ({"method": "magic"}, "method must be one of 'adaptive', 'original', got 'magic'"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"speed_ratios": {"H100 HGX 80GB": 0.0}}, "must be above 0"),
        ({"contry": "DE"}, "did you mean country"),
        ({"one_off_s": -1.0}, "one_off_s"),
        ({"prices": 5}, "prices must be a version, a path or a PriceSheet, got 5"),
        ({"cloud_region": "us-nowhere1"}, "cloud_region"),
        ({"validation": 5}, "validation: data must be"),
        ({"validation": []}, "validation: the data is empty"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_option_is_refused_before_a_step_has_run(
    bad: dict[str, Any], message: str, store: str, clock: VirtualClock
) -> None:
    steps: list[int] = []
    settings = options(clock, train_step=lambda *args: steps.append(1), **bad)
    with pytest.raises(InvalidInputError, match=message):
        greenlove.estimate(*parts(), **settings)
    with pytest.raises(InvalidInputError, match=message), greenlove.track(*parts(), **settings):
        pass
    assert steps == []
    assert mlflow.MlflowClient(store).search_runs(["0"]) == []


@pytest.mark.parametrize(
    "bad",
    [{"run_name": 5}, {"experiment": b"x"}, {"run_id": 5}, {"log_model": "yes"}, {"saved_view": 1}, {"nested": "no"}],
)
def test_how_a_training_is_kept_is_checked_before_a_run_is_opened(
    bad: dict[str, Any], store: str, clock: VirtualClock
) -> None:
    name = next(iter(bad))
    with pytest.raises(InvalidInputError, match=f"{name} must be"), greenlove.track(*parts(), **options(clock, **bad)):
        pass
    assert mlflow.MlflowClient(store).search_runs(["0"]) == []


def test_an_unknown_country_is_refused_with_near_names(clock: VirtualClock) -> None:
    with pytest.raises(UnknownPlaceError, match=r"Germany|DE"):
        greenlove.estimate(*parts(), **options(clock, country="Germny"))


def test_an_empty_dataset_is_refused(clock: VirtualClock) -> None:
    model, optimizer, criterion, _ = parts()
    empty = TensorDataset(torch.empty(0, 4), torch.empty(0))
    with pytest.raises(InvalidInputError, match=r"empty|no samples"):
        greenlove.estimate(model, optimizer, criterion, empty, **options(clock))


def test_an_estimate_on_a_steady_machine_is_the_truth(clock: VirtualClock) -> None:
    estimate = greenlove.estimate(*parts(), **options(clock))
    truth_s = 50 * STEPS_PER_EPOCH * STEP_S
    assert estimate.time_s.point == pytest.approx(truth_s, rel=1e-3)
    assert estimate.time_s.contains(truth_s)
    assert estimate.grid.code == "DE"
    assert estimate.energy_kwh is not None
    assert estimate.cost_usd is not None
    assert estimate.co2_g is not None
    price = estimate.grid.price_usd_per_kwh
    assert price is not None
    assert estimate.cost_usd.point == pytest.approx(estimate.energy_kwh.point * price.point, rel=1e-12)


def test_estimate_opens_no_mlflow_run(clock: VirtualClock, store: str) -> None:
    greenlove.estimate(*parts(), **options(clock))
    assert mlflow.active_run() is None
    assert mlflow.MlflowClient(store).search_runs(["0"]) == []


def test_given_figures_are_used_as_given(clock: VirtualClock) -> None:
    estimate = greenlove.estimate(
        *parts(),
        **options(clock, carbon_intensity_g_per_kwh=332.0, electricity_price_usd_per_kwh=0.5, pue=1.5, tdp_w=100.0),
    )
    assert estimate.energy_kwh is not None
    assert estimate.cost_usd is not None
    assert estimate.co2_g is not None
    assert estimate.cost_usd.point == pytest.approx(estimate.energy_kwh.point * 0.5)
    assert estimate.co2_g.point == pytest.approx(estimate.energy_kwh.point * 332.0)
    plain = greenlove.estimate(*parts(), **options(clock, tdp_w=100.0))
    assert plain.energy_kwh is not None
    assert estimate.energy_kwh.point == pytest.approx(plain.energy_kwh.point * 1.5, rel=0.2)


def test_a_cpu_gets_a_comparison_with_every_public_offer() -> None:
    estimate = greenlove.estimate(*parts(), epochs=2, batch_size=BATCH_SIZE, country="DE")
    comparison = greenlove.compare(estimate)
    public = {offer.gpu for offer in read_price_sheet().offers if offer.price_usd_per_hour is not None}
    priced = {row.offer.gpu for row in comparison.rows if row.estimate.cost_usd is not None}
    assert public
    assert priced == public
    assert {row.speed_ratio.basis for row in comparison.rows} == {"spec"}
    assert "counted-work" in {caveat.code for caveat in comparison.caveats}


def test_a_named_home_gpu_is_exactly_as_fast_as_itself(clock: VirtualClock) -> None:
    estimate = greenlove.estimate(*parts(), **options(clock))
    comparison = greenlove.compare(estimate, gpu="NVIDIA H100 80GB HBM3")
    row = next(row for row in comparison.rows if row.offer.gpu == "H100 HGX 80GB")
    assert row.speed_ratio.ratio.low == row.speed_ratio.ratio.point == row.speed_ratio.ratio.high == 1.0
    assert row.estimate.time_s.point == estimate.time_s.point
    assert "time-measured-elsewhere" in {caveat.code for caveat in comparison.caveats}


def test_a_home_gpu_may_be_named_as_the_price_sheet_does(clock: VirtualClock) -> None:
    estimate = greenlove.estimate(*parts(), **options(clock))
    comparison = greenlove.compare(estimate, gpu="A100 SXM 80GB")
    row = next(row for row in comparison.rows if row.offer.gpu == "A100 SXM 80GB")
    assert row.speed_ratio.ratio.point == 1.0


def test_a_home_gpu_that_no_table_knows_is_refused_with_the_nearest_names(clock: VirtualClock) -> None:
    estimate = greenlove.estimate(*parts(), **options(clock))
    with pytest.raises(UnknownGpuError, match="H100"):
        greenlove.compare(estimate, gpu="NVIDIA H1000")


def test_a_given_ratio_beats_every_table(clock: VirtualClock) -> None:
    estimate = greenlove.estimate(*parts(), **options(clock))
    comparison = greenlove.compare(estimate, gpu="NVIDIA A100-SXM4-80GB", speed_ratios={"H100 HGX 80GB": 2.5})
    row = next(row for row in comparison.rows if row.offer.gpu == "H100 HGX 80GB")
    assert row.speed_ratio.basis == "given"
    assert row.estimate.time_s.point == pytest.approx(estimate.time_s.point / 2.5)


def test_a_ratio_for_a_gpu_that_no_table_knows_is_refused(clock: VirtualClock) -> None:
    estimate = greenlove.estimate(*parts(), **options(clock))
    with pytest.raises(UnknownGpuError):
        greenlove.compare(estimate, gpu="NVIDIA A100-SXM4-80GB", speed_ratios={"H100 HGX 80": 2.5})


def test_an_unknown_price_version_is_refused(clock: VirtualClock) -> None:
    estimate = greenlove.estimate(*parts(), **options(clock))
    with pytest.raises(TableError, match="2026-09-28"):
        greenlove.compare(estimate, gpu="NVIDIA A100-SXM4-80GB", prices="2031-01-01")


def run_tracked(clock: VirtualClock, *, epoch_factor: float = 1.0, stop_after: int = 10**6, **over: Any) -> Any:
    with greenlove.track(*parts(), **options(clock, **over)) as run:
        for epoch in run.epochs():
            if epoch >= stop_after:
                break
            clock.advance(STEPS_PER_EPOCH * STEP_S * epoch_factor)
    return run


def test_epochs_are_timed_and_settled_beside_the_estimate(clock: VirtualClock, store: str) -> None:
    run = run_tracked(clock)
    assert run.outcome.completed
    assert run.outcome.time_s == pytest.approx(50 * STEPS_PER_EPOCH * STEP_S)
    assert run.forecast.time_s.point == pytest.approx(run.outcome.time_s)
    recorded = mlflow.MlflowClient(store).get_run(run.run_id)
    assert recorded.info.status == "FINISHED"
    metrics = recorded.data.metrics
    assert metrics["green/train/energy_j"] > 0.0
    assert run.outcome.energy_source == "modelled"
    assert metrics["green/actual/time_error_ratio"] == pytest.approx(
        run.outcome.time_s / run.estimate.time_s.point, rel=1e-9
    )
    assert len(mlflow.MlflowClient(store).get_metric_history(run.run_id, "green/train/epoch_s")) == 50


def test_the_forecast_follows_the_truth_and_says_when_the_estimate_is_left(
    clock: VirtualClock, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_tracked(clock, epoch_factor=3.0)
    assert capsys.readouterr().err.count("outside the estimated") == 1
    assert run.forecast.time_s.point == pytest.approx(3 * 50 * STEPS_PER_EPOCH * STEP_S, rel=0.01)


def test_a_loop_that_is_left_early_has_no_error_ratio(clock: VirtualClock, store: str) -> None:
    run = run_tracked(clock, stop_after=5)
    assert not run.outcome.completed
    assert len(run.outcome.epoch_durations_s) == 5
    assert "green/actual/time_error_ratio" not in mlflow.MlflowClient(store).get_run(run.run_id).data.metrics


def test_a_no_of_confirm_leaves_no_epochs(clock: VirtualClock, store: str) -> None:
    asked: list[Any] = []

    def refuse(estimate: Any) -> bool:
        asked.append(estimate)
        return False

    run = run_tracked(clock, confirm=refuse)
    assert asked == [run.estimate]
    assert not run.approved
    assert run.outcome is None


def test_a_broken_limit_is_named_and_nobody_is_asked(clock: VirtualClock, store: str) -> None:
    run = run_tracked(
        clock, limits=greenlove.Limits(hours=1e-6, kwh=1e9), confirm=lambda estimate: pytest.fail("asked")
    )
    assert not run.approved
    assert "the limit of" in run.refusal
    assert "kWh" not in run.refusal


def test_a_limit_that_holds_lets_the_training_run(clock: VirtualClock, store: str) -> None:
    assert run_tracked(clock, limits=greenlove.Limits(hours=10.0)).outcome.completed


def test_on_epoch_sees_every_epoch_and_its_forecast(clock: VirtualClock, store: str) -> None:
    seen: list[tuple[int, int, float]] = []
    run = run_tracked(clock, on_epoch=lambda done, total, forecast: seen.append((done, total, forecast.time_s.point)))
    assert [each[0] for each in seen] == list(range(1, 51))
    assert seen[-1][1:] == (50, run.forecast.time_s.point)


def test_an_exception_in_the_body_goes_on_and_fails_the_run(clock: VirtualClock, store: str) -> None:
    with pytest.raises(RuntimeError, match="mine"), greenlove.track(*parts(), **options(clock)) as run:
        raise RuntimeError("mine")
    assert mlflow.MlflowClient(store).get_run(run.run_id).info.status == "FAILED"


def test_a_step_that_raises_lets_its_own_error_out(clock: VirtualClock, store: str) -> None:
    def broken(*args: Any) -> None:
        raise KeyError("my own")

    with pytest.raises(KeyError, match="my own"), greenlove.track(*parts(), **options(clock, train_step=broken)):
        pytest.fail("the body must not run")


def test_the_statistics_remember_every_offers_ratio(clock: VirtualClock, store: str) -> None:
    run = run_tracked(clock)
    remembered = {ratio.gpu_id for ratio in run.estimate.statistics.ratios}
    assert remembered == {row.offer.gpu_id for row in run.comparison.rows}
    assert run.estimate.statistics.prices_version == read_price_sheet().version


def test_the_environment_never_shows_its_key() -> None:
    assert "hush" not in repr(Environment(electricity_maps_key="hush"))


def test_the_environment_names_place_and_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLOVE_PLACE", "US-VA")
    monkeypatch.setenv("TZ", ":Europe/Berlin")
    environment = read_environment()
    assert (environment.place, environment.time_zone) == ("US-VA", "Europe/Berlin")


def test_the_environments_budget_is_that_of_a_benchmark_for_which_none_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GREENLOVE_BUDGET_S", "2.5")
    assert make_plan(make_options(3, {}), read_environment()).budget_s == 2.5
    assert make_plan(make_options(3, {"budget_s": 7.0}), read_environment()).budget_s == 7.0
    for wrong in ("soon", "-1", "0", "nan"):
        monkeypatch.setenv("GREENLOVE_BUDGET_S", wrong)
        with pytest.raises(InvalidInputError, match="GREENLOVE_BUDGET_S must be"):
            make_plan(make_options(3, {}), read_environment())


def test_the_environments_place_is_used_when_nothing_is_named(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLOVE_PLACE", "IS")
    assert greenlove.estimate(*parts(), **options(clock, country=None)).grid.code == "IS"


def test_a_detected_gpu_is_found_by_its_nvml_name() -> None:
    assert find_gpu("NVIDIA H100 80GB HBM3", read_gpu_specs()).fp16_tflops == pytest.approx(989.4, rel=0.01)


def test_a_cloud_task_benchmarks_and_does_not_train(
    clock: VirtualClock, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLOVE_BENCHMARK_ONLY", "1")
    run = run_tracked(clock)
    assert not run.approved
    assert "GREENLOVE_BENCHMARK_ONLY" in run.refusal
    assert mlflow.MlflowClient(store).get_run(run.run_id).info.status == "FINISHED"


def test_energy_stays_gross_and_says_so_where_idle_power_is_unknown(clock: VirtualClock) -> None:
    estimate = greenlove.estimate(*parts(), **options(clock, net_of_idle=True))
    assert "idle-not-measured" in {caveat.code for caveat in estimate.caveats}


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("pass_s", [1.0, 40.0])
def test_a_validation_pass_counts_whole_however_long_it_is(clock: VirtualClock, method: str, pass_s: float) -> None:
    model, optimizer, criterion, data = parts()
    loader = torch.utils.data.DataLoader(TensorDataset(torch.randn(200, 4), torch.zeros(200, dtype=torch.long)), 1)

    def validate(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> None:
        clock.advance(pass_s / 200.0)

    def estimated_s(**over: Any) -> Any:
        plan = options(clock, epochs=12, budget_s=5.0, method=method, **over)
        return greenlove.estimate(model, optimizer, criterion, data, **plan)

    with_it = estimated_s(validation=(loader, validate), validation_every_epochs=2)
    assert with_it.workload.validation_s == pytest.approx(pass_s, rel=0.05)
    # Six passes in twelve epochs.
    assert with_it.time_s.point - estimated_s().time_s.point == pytest.approx(6.0 * pass_s, rel=0.1)
